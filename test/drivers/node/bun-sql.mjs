/** Bun's own client, Bun.SQL: what applications do with it. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import { SQL } from "bun";
import { ca, failure, globex, ownBackend, report, samples, until, wayne } from "./report.mjs";

function make(more = {}) {
  const { host: hostname, port, user: username, password, database } = wayne;
  return new SQL({ adapter: "postgres", hostname, port, username, password, database, tls: { ca }, max: 1, ...more });
}

async function using(work, more) {
  const sql = make(more);
  try {
    return await work(sql);
  } finally {
    await sql.close();
  }
}

const codeOf = (error) => error.errno ?? error.code;
const count = async (sql) => (await sql`SELECT count(*)::int AS n FROM accounts WHERE email LIKE 'tx%'`)[0].n;
const insert = (sql, email) => sql`INSERT INTO accounts (name, email) VALUES ('T', ${email})`;

await report(`Bun ${process.versions.bun}`, {
  types: () =>
    using(async (sql) => {
      const { text, big, numeric, json, bytes, time, uuid } = samples;
      const [row] = await sql`SELECT ${text}::text AS text, ${big}::bigint AS big, ${numeric}::numeric AS numeric, ${json}::jsonb AS json,
        ${Buffer.from(bytes)}::bytea AS bytes, ${new Date(time)}::timestamptz AS time, ${uuid}::uuid AS uuid, ${null}::text AS nothing, ${true}::bool AS yes,
        ARRAY['a', 'b"c'] AS list`;
      const { bytes: gotBytes, time: gotTime, ...others } = row;
      same(others, { text, big, numeric, json, uuid, nothing: null, yes: true, list: ["a", 'b"c'] });
      same([...gotBytes], bytes);
      is(gotTime.toISOString(), time);
      is((await sql`SELECT i, repeat('x', 100) AS x FROM generate_series(1, 20000) i`).length, 20_000);
    }),
  "prepared statements": () =>
    using(async (sql) => {
      for (let at = 0; at < 50; at++) is((await sql`SELECT ${at}::int * 2 AS twice`)[0].twice, at * 2);
      is((await sql.unsafe("SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement LIKE '%* 2 AS twice%'"))[0].n, 1);
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
      await sql.begin(async (tx) => {
        await insert(tx, "tx1");
        is(codeOf(await failure(tx.savepoint((nested) => insert(nested, "tx1")))), "23505");
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
    using(async (sql) => {
      await sql`SET statement_timeout = 300`;
      is(codeOf(await failure(sql`SELECT pg_sleep(60)`)), "57014");
      is((await sql`SELECT 1 AS one`)[0].one, 1);
    }),
  errors: async () => {
    await using(async (sql) => {
      const twice = await failure(insert(sql, "zoe@test.com"));
      ok(twice instanceof SQL.PostgresError);
      same([codeOf(twice), twice.constraint, twice.table], ["23505", "accounts_email_key", "accounts"]);
      is(codeOf(await failure(sql`SELECT FROM WHERE`)), "42601");
      const ddl = await failure(sql`CREATE TABLE more (id int)`);
      same([codeOf(ddl), ddl.message], ["42501", "DDL not allowed on tenant databases, use workspace mode"]);
      is((await sql`SELECT 1 AS one`)[0].one, 1);
    });
    const wrong = await failure(using((sql) => sql`SELECT 1`, { password: "wrong" }));
    ok(wrong.message.includes(`password authentication failed for user "${wayne.user}"`), wrong.message);
    await failure(using((sql) => sql`SELECT 1`, { database: globex.database }));
  },
  LISTEN: "it has none yet",
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
            ok(codeOf(error) === "57P01" || /CONNECTION_CLOSED/.test(String(error.code)), String(error));
            return false;
          }
        });
      }),
    ),
});
