/** What every ORM and query builder over SQL is asked: the same checks, through each one's own pool, transactions and errors. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import { failure, globex, ownBackend, report, samples, until, wayne } from "./report.mjs";

/**
 * @param open makes a pool: `open({ max, statementTimeoutMs, password, database })` →
 * `{ query(sql, values) → rows, transaction(work({ query })), close() }`; `values` belong to $1, $2, …
 * @param own `version`; `codeOf(error)` and `messageOf(error)` as this library shows them; `checks` of its own, or reasons why it cannot.
 */
export async function reportSuite(open, own) {
  const { version, checks, codeOf = (error) => error.code, messageOf = (error) => error.message, bytes = (list) => Buffer.from(list) } = own;
  const using = async (work, options = {}) => {
    const database = await open({ max: 1, ...options });
    try {
      return await work(database);
    } finally {
      await database.close();
    }
  };
  const count = async (db) => (await db.query("SELECT count(*)::int AS n FROM accounts WHERE email LIKE 'tx%'", []))[0].n;
  const insert = (db, email) => db.query("INSERT INTO accounts (name, email) VALUES ('T', $1)", [email]);

  await report(version, {
    types: () =>
      using(async (db) => {
        const { text, big, numeric, json, list, time, uuid } = samples;
        const sql = `SELECT $1::text AS text, $2::bigint AS big, $3::numeric AS numeric, $4::jsonb AS json, $5::text[] AS list,
          $6::bytea AS bytes, $7::timestamptz AS time, $8::uuid AS uuid, $9::text AS nothing, $10::bool AS yes`;
        const [row] = await db.query(sql, [text, big, numeric, JSON.stringify(json), list, bytes(samples.bytes), new Date(time), uuid, null, true]);
        const { bytes: gotBytes, time: gotTime, ...others } = row;
        same({ ...others }, { text, big, numeric, json, list, uuid, nothing: null, yes: true });
        same([...gotBytes], samples.bytes);
        is(new Date(gotTime).toISOString(), time);
        is((await db.query("SELECT i, repeat('x', 100) AS x FROM generate_series(1, 20000) i", [])).length, 20_000);
      }),
    transactions: () =>
      using(async (db) => {
        const stop = new Error("roll back");
        const rolledBack = db.transaction(async (tx) => {
          await insert(tx, "tx1");
          is(await count(tx), 1);
          throw stop;
        });
        is(await failure(rolledBack), stop);
        is(await count(db), 0);
        await db.transaction(async (tx) => {
          await insert(tx, "tx1");
          await tx.query("SAVEPOINT s", []);
          is(codeOf(await failure(insert(tx, "tx1"))), "23505");
          is(codeOf(await failure(count(tx))), "25P02");
          await tx.query("ROLLBACK TO s", []);
          await insert(tx, "tx2");
        });
        is(await count(db), 2);
      }),
    pool: () =>
      using(
        async (db) => {
          const asked = Array.from({ length: 40 }, (_, at) => db.query("SELECT $1::int AS at, pg_backend_pid() AS pid", [at]));
          const rows = (await Promise.all(asked)).map(([row]) => row);
          same(
            rows.map(({ at }) => at),
            asked.map((_, at) => at),
          );
          ok(new Set(rows.map(({ pid }) => pid)).size <= 4);
        },
        { max: 4 },
      ),
    cancellation: () =>
      using(
        async (db) => {
          is(codeOf(await failure(db.query("SELECT pg_sleep(60)", []))), "57014");
          is((await db.query("SELECT 1 AS one", []))[0].one, 1);
        },
        { statementTimeoutMs: 300 },
      ),
    errors: async () => {
      await using(async (db) => {
        is(codeOf(await failure(db.query("SELECT FROM WHERE", []))), "42601");
        const ddl = await failure(db.query("CREATE TABLE more (id int)", []));
        same([codeOf(ddl), messageOf(ddl)], ["42501", "DDL not allowed on tenant databases, use workspace mode"]);
        is((await db.query("SELECT 1 AS one", []))[0].one, 1);
      });
      const wrong = await failure(using((db) => db.query("SELECT 1", []), { password: "wrong" }));
      ok(messageOf(wrong).includes(`password authentication failed for user "${wayne.user}"`), messageOf(wrong));
      await failure(using((db) => db.query("SELECT 1", []), { database: globex.database }));
    },
    reconnect: () =>
      using((db) =>
        using(async (other) => {
          const ask = async () => (await db.query(ownBackend, []))[0].pid;
          const first = await ask();
          await other.query("SELECT pg_terminate_backend($1::int)", [first]);
          // A request sent before the news has arrived is told 57P01; the next one has a connection of its own.
          await until(async () => {
            try {
              return (await ask()) !== first;
            } catch (error) {
              ok(
                codeOf(error) === "57P01" || /terminat|closed|ended|not queryable|ECONNRESET|EPIPE|was lost/i.test(messageOf(error)),
                messageOf(error),
              );
              return false;
            }
          });
        }),
      ),
    ...checks,
  });
}
