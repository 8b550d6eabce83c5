/** Kysely: its builder besides what every ORM is asked. */
import { strictEqual as is, deepStrictEqual as same } from "node:assert";
import { CompiledQuery, Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { ca, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  const { host, port, user } = wayne;
  const pool = new pg.Pool({
    host,
    port,
    user,
    password,
    database,
    max,
    ssl: { ca },
    ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }),
  });
  pool.on("error", () => undefined);
  return new Kysely({ dialect: new PostgresDialect({ pool }) });
}

const raw = async (on, sql, values) => (await on.executeQuery(CompiledQuery.raw(sql, values))).rows;

function open(options) {
  const db = make(options);
  return {
    query: (sql, values) => raw(db, sql, values),
    transaction: (work) => db.transaction().execute((tx) => work({ query: (sql, values) => raw(tx, sql, values) })),
    close: () => db.destroy(),
  };
}

async function checkBuilder() {
  const db = make({ max: 2 });
  try {
    const { id } = await db
      .insertInto("accounts")
      .values({ name: "Built", email: "built@test.com", balance: 10.5 })
      .returning("id")
      .executeTakeFirstOrThrow();
    await db
      .insertInto("transactions")
      .values([1, 2, 3].map((amount) => ({ account_id: id, amount })))
      .execute();
    const rows = await db
      .selectFrom("accounts as a")
      .innerJoin("transactions as t", "t.account_id", "a.id")
      .select(["a.balance", "t.amount"])
      .where("a.id", "=", id)
      .orderBy("t.amount")
      .execute();
    same(
      rows.map(({ balance, amount }) => [balance, amount]),
      [
        ["10.50", "1.00"],
        ["10.50", "2.00"],
        ["10.50", "3.00"],
      ],
    );
    await db.deleteFrom("transactions").where("account_id", "=", id).execute();
    is((await db.deleteFrom("accounts").where("id", "=", id).executeTakeFirst()).numDeletedRows, 1n);
    const names = (await db.introspection.getTables()).map(({ name }) => name);
    is(names.includes("accounts") && names.includes("transactions"), true);
  } finally {
    await db.destroy();
  }
}

await reportSuite(open, {
  version: versionOf("kysely"),
  checks: {
    builder: checkBuilder,
    "prepared statements": "it binds parameters, and names no statement",
    LISTEN: "it has none; pg beside it does",
  },
});
