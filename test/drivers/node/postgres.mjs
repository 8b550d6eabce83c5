/** postgres.js: what applications do with it. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import postgres from "postgres";
import { ca, failure, globex, ownBackend, report, samples, until, wayne } from "./report.mjs";
import { versionOf } from "./versions.mjs";

function make(more = {}) {
  const { host, port, user, password, database } = wayne;
  return postgres({ host, port, user, password, database, ssl: { ca, servername: host }, max: 1, onnotice: () => undefined, ...more });
}

async function using(work, more) {
  const sql = make(more);
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const count = async (sql) => (await sql`SELECT count(*)::int AS n FROM accounts WHERE email LIKE 'tx%'`)[0].n;
const insert = (sql, email) => sql`INSERT INTO accounts (name, email) VALUES ('T', ${email})`;

await report(versionOf("postgres"), {
  types: () =>
    using(async (sql) => {
      const { text, big, numeric, json, list, bytes, time, uuid } = samples;
      await sql`SELECT 1`; // with its first query it learns the array types
      const [row] = await sql`SELECT ${text}::text AS text, ${big}::bigint AS big, ${numeric}::numeric AS numeric, ${sql.json(json)}::jsonb AS json,
        ${sql.array(list)}::text[] AS list, ${Buffer.from(bytes)}::bytea AS bytes, ${new Date(time)}::timestamptz AS time, ${uuid}::uuid AS uuid,
        ${null}::text AS nothing, ${true}::bool AS yes`;
      const { bytes: gotBytes, ...others } = row;
      same(others, { text, big, numeric, json, list, time: new Date(time), uuid, nothing: null, yes: true });
      same([...gotBytes], bytes);
      let walked = 0;
      await sql`SELECT generate_series(1, 20000) AS i`.cursor(500, (rows) => {
        walked += rows.length;
      });
      is(walked, 20_000);
    }),
  "prepared statements": () =>
    using(async (sql) => {
      for (let at = 0; at < 50; at++) is((await sql`SELECT ${at}::int * 2 AS twice`)[0].twice, at * 2);
      is((await sql.unsafe("SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement LIKE '%* 2 AS twice'"))[0].n, 1);
      // 40 at once on one connection: pipelined
      const all = await Promise.all(Array.from({ length: 40 }, (_, at) => sql`SELECT ${at}::int AS at`));
      same(
        all.map(([{ at }]) => at),
        all.map((_, at) => at),
      );
    }),
  transactions: () =>
    using(async (sql) => {
      const stop = new Error("roll back");
      const rolledBack = sql.begin(async (tx) => {
        await insert(tx, "tx1");
        throw stop;
      });
      is(await failure(rolledBack), stop);
      is(await count(sql), 0);
      await sql.begin("ISOLATION LEVEL SERIALIZABLE", async (tx) => {
        await insert(tx, "tx1");
        is((await failure(tx.savepoint((nested) => insert(nested, "tx1")))).code, "23505");
        await insert(tx, "tx2");
      });
      is(await count(sql), 2);
    }),
  pool: () =>
    using(
      async (sql) => {
        const rows = await Promise.all(Array.from({ length: 40 }, (_, at) => sql`SELECT ${at}::int AS at, pg_backend_pid() AS pid`));
        same(
          rows.map(([{ at }]) => at),
          rows.map((_, at) => at),
        );
        ok(new Set(rows.map(([{ pid }]) => pid)).size <= 4);
      },
      { max: 4 },
    ),
  cancellation: () =>
    using((sql) =>
      using(async (other) => {
        const sleeping = sql`SELECT pg_sleep(60), 'cancel me'`;
        const failed = failure(sleeping.execute());
        await until(async () => (await other`SELECT 1 FROM pg_stat_activity WHERE query LIKE '%cancel me%' AND pid <> pg_backend_pid()`).length > 0);
        sleeping.cancel();
        is((await failed).code, "57014");
        is((await sql`SELECT 1 AS one`)[0].one, 1);
      }),
    ),
  errors: async () => {
    await using(async (sql) => {
      const twice = await failure(insert(sql, "zoe@test.com"));
      ok(twice instanceof postgres.PostgresError);
      same([twice.code, twice.constraint_name, twice.table_name], ["23505", "accounts_email_key", "accounts"]);
      is((await failure(sql`SELECT FROM WHERE`)).code, "42601");
      const ddl = await failure(sql`CREATE TABLE more (id int)`);
      same([ddl.code, ddl.message], ["42501", "DDL not allowed on tenant databases, use workspace mode"]);
      is((await sql`SELECT 1 AS one`)[0].one, 1);
    });
    const wrong = await failure(using((sql) => sql`SELECT 1`, { password: "wrong" }));
    same([wrong.code, wrong.message], ["28P01", `password authentication failed for user "${wayne.user}"`]);
    await failure(using((sql) => sql`SELECT 1`, { database: globex.database }));
  },
  LISTEN: () =>
    using(async (sql) => {
      let hear;
      const heard = new Promise((done) => {
        hear = done;
      });
      await sql.listen("news", hear);
      await sql.notify("news", "hello ☃");
      is(await heard, "hello ☃");
    }),
  reconnect: () =>
    using((sql) =>
      using(async (other) => {
        const ask = async () => (await sql.unsafe(ownBackend))[0].pid;
        const first = await ask();
        await other`SELECT pg_terminate_backend(${first}::int)`;
        await until(async () => {
          try {
            return (await ask()) !== first;
          } catch (error) {
            ok(error.code === "57P01" || error.code === "CONNECTION_CLOSED", String(error));
            return false;
          }
        });
      }),
    ),
});
