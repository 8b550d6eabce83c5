/** pg-promise: its tasks, prepared statements and listeners besides what every ORM is asked. */
import { strictEqual as is, deepStrictEqual as same } from "node:assert";
import pgPromise from "pg-promise";
import { ca, countPrepared, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

const library = pgPromise({ noWarnings: true });

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  const { host, port, user } = wayne;
  return library({ host, port, user, password, database, max, ssl: { ca }, ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }) });
}

const raw = (on, text, values) => on.any(values.length === 0 ? text : new pgPromise.ParameterizedQuery({ text, values }));

function open(options) {
  const db = make(options);
  return {
    query: (sql, values) => raw(db, sql, values),
    transaction: (work) => db.tx((tx) => work({ query: (sql, values) => raw(tx, sql, values) })),
    close: () => db.$pool.end(),
  };
}

async function using(work) {
  const db = make({ max: 2 });
  try {
    await work(db);
  } finally {
    await db.$pool.end();
  }
}

await reportSuite(open, {
  version: versionOf("pg-promise"),
  checks: {
    "prepared statements": () =>
      using((db) =>
        db.task(async (task) => {
          const double = new pgPromise.PreparedStatement({ name: "double", text: "SELECT $1::int * 2 AS twice" });
          for (let at = 0; at < 50; at++) is((await task.one(double, [at])).twice, at * 2);
          is((await task.one(countPrepared("double", "* 2 AS twice"))).n, 1);
        }),
      ),
    formatting: () =>
      using(async (db) => {
        const row = await db.one("SELECT $<text> AS text, $<list>::text[] AS list, $<json:json>::jsonb AS json", {
          text: "it's ☃",
          list: ["a", "b"],
          json: { a: 1 },
        });
        same({ ...row }, { text: "it's ☃", list: ["a", "b"], json: { a: 1 } });
      }),
    LISTEN: () =>
      using(async (db) => {
        const connection = await db.connect({ direct: true });
        const heard = new Promise((done) => connection.client.on("notification", done));
        await connection.none("LISTEN $1:name", "news");
        await db.any("SELECT pg_notify('news', 'hello ☃')");
        is((await heard).payload, "hello ☃");
        await connection.done(true);
      }),
  },
});
