/** Knex: its builder besides what every ORM is asked. */
import { strictEqual as is, deepStrictEqual as same } from "node:assert";
import knex from "knex";
import { ca, failure, shares, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  const { host, port, user } = wayne;
  return knex({
    client: "pg",
    connection: { host, port, user, password, database, ssl: { ca }, ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }) },
    pool: { min: 0, max },
  });
}

/** Its own placeholders, by name: an array as it stands is a list of values to it. */
async function raw(on, sql, values) {
  const bindings = Object.fromEntries(values.map((value, at) => [`p${at + 1}`, value]));
  const named =
    values.length === 0
      ? sql
      : sql
          .replaceAll("::", "\\::")
          .replaceAll(/\$(\d+)/g, (_, at) => `:p${at}`)
          .replaceAll("\\::", "::");
  return (await on.raw(named, values.length === 0 ? [] : bindings)).rows;
}

function open(options) {
  const db = make(options);
  return {
    query: (sql, values) => raw(db, sql, values),
    transaction: (work) => db.transaction((tx) => work({ query: (sql, values) => raw(tx, sql, values) })),
    close: () => db.destroy(),
  };
}

async function checkBuilder() {
  const db = make({ max: 2 });
  try {
    const [{ id }] = await db("accounts").insert({ name: "Built", email: "built@test.com", balance: 10.5 }).returning("id");
    await db("transactions").insert([1, 2, 3].map((amount) => ({ account_id: id, amount })));
    const rows = await db("accounts as a")
      .join("transactions as t", "t.account_id", "a.id")
      .where("a.id", id)
      .orderBy("t.amount")
      .select("a.balance", "t.amount");
    same(
      rows.map(({ balance, amount }) => [balance, amount]),
      [
        ["10.50", "1.00"],
        ["10.50", "2.00"],
        ["10.50", "3.00"],
      ],
    );
    const streamed = [];
    for await (const row of db("transactions").where({ account_id: id }).select("amount").stream()) streamed.push(row.amount);
    same(streamed.sort(), ["1.00", "2.00", "3.00"]);
    await checkCancel(db);
    await db("transactions").where({ account_id: id }).delete();
    is(await db("accounts").where({ id }).delete(), 1);
  } finally {
    await db.destroy();
  }
}

/** It sends no cancel request: it calls pg_cancel_backend with what it was told at login, which is no process where backends are shared. */
async function checkCancel(db) {
  if (!shares) return is((await failure(db.raw("SELECT pg_sleep(60)").timeout(300, { cancel: true }))).name, "KnexTimeoutError");
  const client = await db.client.acquireRawConnection();
  try {
    is((await client.query("SELECT pg_cancel_backend($1) AS found", [client.processID])).rows[0].found, false);
  } finally {
    await db.client.destroyRawConnection(client);
  }
}

await reportSuite(open, {
  version: versionOf("knex"),
  // It puts the statement in front.
  messageOf: (error) => error.message.split(" - ").at(-1),
  checks: {
    builder: checkBuilder,
    "prepared statements": "it binds parameters, and names no statement",
    LISTEN: "it has none; pg beside it does",
  },
});
