/** node-postgres: what applications do with it. */
import { strictEqual as is, match, ok, deepStrictEqual as same } from "node:assert";
import pg from "pg";
import { ca, countPrepared, failure, globex, ownBackend, report, samples, until, wayne } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const { host, port, user, password, database } = wayne;
const config = { host, port, user, password, database, ssl: { ca } };

async function withClient(work, more = {}) {
  const client = new pg.Client({ ...config, ...more });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function withPool(work, more = {}) {
  const pool = new pg.Pool({ ...config, ...more });
  pool.on("error", () => undefined);
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

const version = versionOf("pg");

await report(version, {
  types: () =>
    withClient(async (client) => {
      const sql = `SELECT $1::text AS text, $2::bigint AS big, $3::numeric AS numeric, $4::jsonb AS json, $5::text[] AS list,
        $6::bytea AS bytes, $7::timestamptz AS time, $8::uuid AS uuid, $9::text AS nothing, $10::bool AS yes`;
      const { text, big, numeric, json, list, bytes, time, uuid } = samples;
      const { rows, fields } = await client.query(sql, [text, big, numeric, json, list, Buffer.from(bytes), new Date(time), uuid, null, true]);
      const expected = { text, big, numeric, json, list, bytes: Buffer.from(bytes), time: new Date(time), uuid, nothing: null, yes: true };
      same(rows[0], expected);
      same(
        fields.map(({ name }) => name),
        Object.keys(expected),
      );
      const { rows: many } = await client.query("SELECT i, repeat('x', 100) AS x FROM generate_series(1, 20000) i");
      is(many.length, 20_000);
    }),
  "prepared statements": () =>
    withClient(async (client) => {
      for (let at = 0; at < 50; at++) {
        const { rows } = await client.query({ name: "double", text: "SELECT $1::int * 2 AS twice", values: [at] });
        is(rows[0].twice, at * 2);
      }
      const { rows } = await client.query(countPrepared("double", "* 2 AS twice"));
      is(rows[0].n, 1);
    }),
  transactions: () =>
    withClient(async (client) => {
      const count = async () => (await client.query("SELECT count(*)::int AS n FROM accounts WHERE email LIKE 'tx%'")).rows[0].n;
      const insert = (email) => client.query("INSERT INTO accounts (name, email) VALUES ('T', $1)", [email]);
      await client.query("BEGIN");
      await insert("tx1");
      await client.query("ROLLBACK");
      is(await count(), 0);
      await client.query("BEGIN ISOLATION LEVEL SERIALIZABLE");
      await insert("tx1");
      await client.query("SAVEPOINT s");
      is((await failure(insert("tx1"))).code, "23505");
      is((await failure(count())).code, "25P02");
      await client.query("ROLLBACK TO s");
      await insert("tx2");
      await client.query("COMMIT");
      is(await count(), 2);
    }),
  pool: () =>
    withPool(
      async (pool) => {
        const asked = Array.from({ length: 40 }, (_, at) => pool.query("SELECT $1::int AS at, pg_backend_pid() AS pid", [at]));
        const rows = (await Promise.all(asked)).map((result) => result.rows[0]);
        same(
          rows.map(({ at }) => at),
          asked.map((_, at) => at),
        );
        ok(new Set(rows.map(({ pid }) => pid)).size <= 4);
      },
      { max: 4 },
    ),
  cancellation: async () => {
    await withClient(
      async (client) => {
        is((await failure(client.query("SELECT pg_sleep(60)"))).code, "57014");
        is((await client.query("SELECT 1 AS one")).rows[0].one, 1);
      },
      { statement_timeout: 200 },
    );
    await withClient(async (client) => {
      const sleeping = new pg.Query("SELECT pg_sleep(60), 'cancel me'");
      const ended = new Promise((done) => sleeping.once("error", done));
      client.query(sleeping);
      await until(() =>
        withClient(
          async (other) =>
            (await other.query("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%cancel me%' AND pid <> pg_backend_pid()")).rowCount > 0,
        ),
      );
      // its own CancelRequest, on a connection of its own
      new pg.Client(config).cancel(client, sleeping);
      is((await ended).code, "57014");
      is((await client.query("SELECT 1 AS one")).rows[0].one, 1);
    });
  },
  errors: async () => {
    await withClient(async (client) => {
      const twice = await failure(client.query("INSERT INTO accounts (name, email) VALUES ('Zoe', 'zoe@test.com')"));
      ok(twice instanceof pg.DatabaseError);
      same([twice.code, twice.constraint, twice.table], ["23505", "accounts_email_key", "accounts"]);
      const syntax = await failure(client.query("SELECT FROM WHERE"));
      same([syntax.code, syntax.position], ["42601", "13"]);
      const ddl = await failure(client.query("CREATE TABLE more (id int)"));
      same([ddl.code, ddl.message], ["42501", "DDL not allowed on tenant databases, use workspace mode"]);
      is((await client.query("SELECT 1 AS one")).rows[0].one, 1);
    });
    const wrong = await failure(withClient(async () => undefined, { password: "wrong" }));
    same([wrong.code, wrong.message], ["28P01", `password authentication failed for user "${user}"`]);
    const elsewhere = await failure(withClient(async () => undefined, { database: globex.database }));
    match(elsewhere.code, /^28(P01|000)$/);
  },
  LISTEN: () =>
    withClient(async (client) => {
      const heard = new Promise((done) => client.once("notification", done));
      await client.query("LISTEN news");
      await withClient((other) => other.query("SELECT pg_notify('news', 'hello ☃')"));
      const { channel, payload } = await heard;
      same([channel, payload], ["news", "hello ☃"]);
    }),
  reconnect: () =>
    withPool(
      async (pool) => {
        const ask = async () => (await pool.query(ownBackend)).rows[0].pid;
        const first = await ask();
        const lost = new Promise((done) => pool.once("error", done));
        await withClient((other) => other.query("SELECT pg_terminate_backend($1)", [first]));
        is((await lost).code, "57P01");
        ok((await ask()) !== first);
      },
      { max: 1 },
    ),
});
