/** Opens the durable store: connection pools, schema, change feed and locks on one PostgreSQL database. */
import { Kysely, PostgresDialect, type Transaction } from "kysely";
import pg from "pg";
import type { Clock } from "../../core/clock.ts";
import type { Change, RouteSource } from "../../core/directory.ts";
import type { Log } from "../../core/log.ts";
import { ScramClient } from "../scram-client.ts";
import { ChangeFeed } from "./change-feed.ts";
import { holdChannel, questionChannel } from "./changes.ts";
import { type LockMode, withAdvisoryLock } from "./locks.ts";
import { migrate } from "./migrate.ts";
import { countInstancesSql, makePresenceKey } from "./presence.ts";
import { StoreRouteSource } from "./route-source.ts";
import { storeSchema, type Tables } from "./schema.ts";

/** How to reach the control database: a URL, or its parts. `host` may be the directory of a Unix socket. */
export interface StoreConnection {
  readonly connectionString?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  /** A function where it may change while the gateway runs. */
  readonly password?: string | (() => string) | undefined;
  readonly database?: string | undefined;
  readonly ssl?: boolean | { readonly rejectUnauthorized?: boolean; readonly ca?: string } | undefined;
}

export interface StoreOptions {
  readonly connection: StoreConnection;
  readonly clock: Clock;
  readonly log: Log;
  /** What its connections call themselves in pg_stat_activity; default `tenantry`. */
  readonly applicationName?: string | undefined;
  /** Connections for queries; default 10. Locks have at most 4 more, the change feed one. */
  readonly poolSize?: number | undefined;
  /** How long to wait for a connection before the store counts as away; default 5000. */
  readonly connectTimeoutMs?: number | undefined;
  /** How often the feed's connection is checked; default 10,000. */
  readonly heartbeatMs?: number | undefined;
}

export interface Store {
  readonly db: Kysely<Tables>;
  /** This instance's number on the rows it is at work on; see presence.ts. */
  readonly presenceKey: number;
  /** What the data path reads. */
  readonly routes: RouteSource;
  /** Resolves when what it announced has reached this instance's own listeners. */
  transaction<T>(work: (trx: Transaction<Tables>) => Promise<T>): Promise<T>;
  /** Holds a named lock across instances while `work` runs. Never nested. */
  withLock<T>(name: string, mode: LockMode, work: () => Promise<T>): Promise<T>;
  onChange(listener: (change: Change | undefined) => void): () => void;
  /** Progress of a deployment, from any instance; undefined when events may have been missed. */
  onDeployment(listener: (deploymentId: string | undefined) => void): () => void;
  /** Words between instances about clients that are to wait; this one hears its own too. */
  onHold(listener: (payload: string) => void): () => void;
  /** The list of servers that host databases has changed, or may have. */
  onClusters(listener: () => void): () => void;
  /** What other instances, and this one, ask and answer. */
  onQuestion(listener: (payload: string) => void): () => void;
  notifyQuestion(payload: string): Promise<void>;
  sayHold(payload: string): Promise<void>;
  /** Instances alive, this one included. */
  countInstances(): Promise<number>;
  /** Statements as the job queue library gives them, which may be several at once with their own transaction. */
  executeSql(text: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
  /** @throws when the control database does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** int8 as numbers: none of ours comes near 2^53. Everything else as node-postgres has it. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === 20 ? Number : pg.types.getTypeParser(oid, format as "text")) as pg.CustomTypesConfig["getTypeParser"],
};

function makePool(connection: pg.ClientConfig, max: number, log: Log): pg.Pool {
  const pool = new pg.Pool({ ...connection, Client: ScramClient, max, idleTimeoutMillis: 30_000 });
  // A connection that breaks leaves the pool by itself; without listeners it would end the process, idle or between two queries of a transaction.
  pool.on("error", (error) => {
    if (!pool.ending) log.write("warn", "store connection lost", { reason: error.message });
  });
  pool.on("connect", (client) => client.on("error", (error) => log.write("debug", "store connection error", { reason: error.message })));
  return pool;
}

function toClientConfig(options: StoreOptions): pg.ClientConfig {
  const given = Object.entries(options.connection).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(given),
    application_name: options.applicationName ?? "tenantry",
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    types,
  };
}

/** Connects, migrates and starts the change feed. @throws {StoreTooNewError}, or the driver's error when the database cannot be reached. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const connection = toClientConfig(options);
  const pool = makePool(connection, options.poolSize ?? 10, options.log);
  const lockPool = makePool({ ...connection, connectionTimeoutMillis: 0 }, 4, options.log);
  const presenceKey = makePresenceKey(crypto.getRandomValues(new Uint8Array(4)));
  const feed = new ChangeFeed({
    connection: { ...connection, application_name: `${connection.application_name} changes` },
    presenceKey,
    clock: options.clock,
    log: options.log,
    heartbeatMs: options.heartbeatMs ?? 10_000,
  });
  try {
    await migrate(pool, options.log);
    await feed.start();
  } catch (error) {
    await Promise.all([feed.stop(), pool.end(), lockPool.end()]);
    throw error;
  }
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }).withSchema(storeSchema);
  const onChange = (listener: (change: Change | undefined) => void) => feed.onChange(listener);
  return {
    db,
    presenceKey,
    routes: new StoreRouteSource(db, options.clock, onChange),
    async transaction(work) {
      const result = await db.transaction().execute(work);
      await feed.caughtUp();
      return result;
    },
    withLock: (name, mode, work) => withAdvisoryLock(lockPool, name, mode, work),
    onChange,
    onDeployment: (listener) => feed.onDeployment(listener),
    onHold: (listener) => feed.onHold(listener),
    onClusters: (listener) => feed.onClusters(listener),
    onQuestion: (listener) => feed.onQuestion(listener),
    async notifyQuestion(payload) {
      await pool.query("select pg_notify($1, $2)", [questionChannel, payload]);
    },
    async sayHold(payload) {
      await pool.query("select pg_notify($1, $2)", [holdChannel, payload]);
    },
    async countInstances() {
      const { rows } = await pool.query<{ instances: number }>(countInstancesSql);
      return rows[0]?.instances ?? 1;
    },
    executeSql: (text, values) => executeSql(pool, text, values),
    async ping() {
      await pool.query("select 1");
    },
    async close() {
      await feed.stop();
      await lockPool.end();
      await db.destroy(); // ends `pool`
    },
  };
}

/** A failed script may leave its transaction open, so after an error the connection is not used again. */
async function executeSql(pool: pg.Pool, text: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }> {
  const client = await pool.connect();
  try {
    const result = await client.query(text, values as unknown[] | undefined);
    client.release();
    return { rows: result.rows ?? [] };
  } catch (error) {
    client.release(true);
    throw error;
  }
}
