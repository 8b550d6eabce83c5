/**
 * A client pool, its argument, under a gateway that drops idle clients after three seconds: what the guide advises against its 1800, at scale.
 * The time that passes is what is tried here; the three run side by side.
 */

import { strictEqual as is } from "node:assert";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import knex from "knex";
import pg from "pg";
import postgres from "postgres";
import { Sequelize } from "sequelize";
import { ca, report, wayne } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const idleLimitMs = 3000;
const { host, port, user, password, database } = wayne;
const target = { host, port, user, password, database, ssl: { ca } };

/** `recycle`: connections older than a third of the limit are not used again. Else they stay as long as they live. */
const pools = {
  pg({ recycle }) {
    const pool = new pg.Pool({ ...target, max: 1, idleTimeoutMillis: 0, ...(recycle && { maxLifetimeSeconds: 1 }) });
    pool.on("error", () => undefined);
    return { ask: async (sql) => (await pool.query(sql)).rows, close: () => pool.end() };
  },
  postgres({ recycle }) {
    const sql = postgres({ ...target, ssl: { ca, servername: host }, max: 1, ...(recycle ? { max_lifetime: 1 } : { max_lifetime: null }) });
    return { ask: (text) => sql.unsafe(text), close: () => sql.end() };
  },
  knex({ recycle }) {
    const db = knex({
      client: "pg",
      connection: target,
      pool: { min: 0, max: 1, ...(recycle && { idleTimeoutMillis: 1000, reapIntervalMillis: 100 }) },
    });
    return { ask: async (text) => (await db.raw(text)).rows, close: () => db.destroy() };
  },
  sequelize({ recycle }) {
    const options = { host, port, dialect: "postgres", logging: false, dialectOptions: { ssl: { ca } } };
    const pool = { max: 1, ...(recycle ? { idle: 1000, evict: 100 } : { idle: 60_000 }) };
    const sequelize = new Sequelize(database, user, password, { ...options, pool });
    return { ask: async (text) => (await sequelize.query(text))[0], close: () => sequelize.close() };
  },
};

const name = process.argv[2];

async function using(options, work) {
  const { ask, close } = pools[name](options);
  try {
    await work(async () => is((await ask("SELECT 1 AS one"))[0].one, 1), ask);
  } finally {
    await close();
  }
}

const running = {
  "checked before use": using({}, async (ask) => {
    await ask();
    await sleep(2 * idleLimitMs);
    await ask();
  }),
  "recycled in time": using({ recycle: true }, async (ask) => {
    for (const factor of [0.1, 0.5, 0.75, 1.5]) {
      await ask();
      await sleep(idleLimitMs * factor);
    }
    await ask();
  }),
  "long request": using({}, async (_, ask) => {
    await ask("SELECT pg_sleep(4)::text");
    await ask("SELECT 1 AS one");
  }),
};
for (const work of Object.values(running)) work.catch(() => undefined); // looked at below, one after the other
await report(versionOf(name), Object.fromEntries(Object.entries(running).map(([check, work]) => [check, () => work])));
