/** Control-plane SQL connections to clusters, with node-postgres. */
import { connect as connectSocket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import { GatewayError } from "../core/errors.ts";
import { type NativeRole, nativeRoleName, type PhysicalDatabase } from "../core/model.ts";
import type { Secrets } from "../core/secrets.ts";
import type { SqlConnection, SqlDialer, SqlResult } from "../core/sql.ts";
import { ScramClient } from "./scram-client.ts";
import { copyIn, copyOut } from "./sql/copy.ts";
import { PortalQuery } from "./sql/portal-query.ts";

/** How to reach a cluster as its administrator. */
export interface ClusterTarget {
  /** A folder with the server's Unix socket; comes before `host`. */
  readonly socketDir?: string | undefined;
  readonly host?: string | undefined;
  readonly port: number;
  readonly user: string;
  /** A function where it may change while the gateway runs. */
  readonly password: string | (() => string);
  readonly ssl?: boolean | ConnectionOptions | undefined;
  /** Where cluster-wide work is done; `postgres` unless told otherwise. */
  readonly maintenanceDatabase?: string | undefined;
  /** The address to dial instead of `host`, asked for with each connection. @throws Error where there is none that may be dialled. */
  readonly resolve?: (() => Promise<string>) | undefined;
}

/** Clusters by id. A Map is one. */
export interface ClusterTargets {
  get(clusterId: string): ClusterTarget | undefined | Promise<ClusterTarget | undefined>;
}

export interface DialerOptions {
  readonly clusters: ClusterTargets;
  readonly secrets: Secrets;
  /** For connecting and logging in. */
  readonly connectTimeoutMs?: number;
  /** Idle administrator connections kept per cluster, maintenance database only. */
  readonly maxIdle?: number;
  readonly idleMs?: number;
}

export interface PooledDialer extends SqlDialer {
  /** Ends idle connections; those in use end when they are closed. */
  close(): Promise<void>;
}

/**
 * Our own SQL names everything in full; the path is pinned all the same, temporary objects last. And no view of a customer's is ever read: one put in a
 * sequence's or table's place between our look at the catalog and our query would run its functions as the administrator. Servers without the
 * setting have older minor versions, of which the log warns.
 */
const adminSettings = `
SET search_path TO pg_catalog, pg_temp;
SELECT pg_catalog.set_config(s.name, 'view, foreign-table', false) FROM pg_catalog.pg_settings s WHERE s.name = 'restrict_nonsystem_relation_kind'`;
const notReachable = "database server is not reachable";

export function createSqlDialer(options: DialerOptions): PooledDialer {
  return new PgDialer(options);
}

interface Idle {
  readonly client: pg.Client;
  /** A cluster's connection may have changed since. */
  readonly target: ClusterTarget;
  readonly timer: NodeJS.Timeout;
  readonly forget: () => void;
}

class PgDialer implements PooledDialer {
  readonly #options: DialerOptions;
  readonly #idle = new Map<string, Idle[]>();
  #closed = false;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  async asAdmin(clusterId: string, database?: string): Promise<SqlConnection> {
    const target = await this.#target(clusterId);
    const maintenance = target.maintenanceDatabase ?? "postgres";
    if (database !== undefined && database !== maintenance) {
      const client = await this.#connect(target, { user: target.user, password: target.password, database });
      return this.#prepared(client, () => endClient(client));
    }
    const kept = this.#takeIdle(clusterId, target);
    if (kept) return new PgConnection(kept, () => this.#giveBack(clusterId, target, kept));
    const client = await this.#connect(target, { user: target.user, password: target.password, database: maintenance });
    return this.#prepared(client, () => this.#giveBack(clusterId, target, client));
  }

  async asRole(database: PhysicalDatabase, role: NativeRole): Promise<SqlConnection> {
    const target = await this.#target(database.clusterId);
    const user = nativeRoleName(database.name, role);
    const client = await this.#connect(target, { user, password: this.#options.secrets.nativeRolePassword(database, role), database: database.name });
    return new PgConnection(client, () => endClient(client));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#idle.values()].flat();
    this.#idle.clear();
    for (const { timer } of all) clearTimeout(timer);
    await Promise.all(all.map(({ client }) => endClient(client)));
  }

  async #target(clusterId: string): Promise<ClusterTarget> {
    const target = await this.#options.clusters.get(clusterId);
    if (!target) throw new GatewayError("backend_unreachable", notReachable, { cause: new Error(`cluster ${clusterId} is not configured`) });
    return target;
  }

  async #connect(target: ClusterTarget, login: { user: string; password: ClusterTarget["password"]; database: string }): Promise<pg.Client> {
    const client = new ScramClient({
      ...login,
      host: target.socketDir ?? (await hostOf(target)),
      port: target.port,
      ssl: target.socketDir === undefined ? (target.ssl ?? false) : false,
      application_name: "tenantry",
      // A backup's snapshot may have nothing to say for long, and what is between must not forget it.
      ...(target.socketDir === undefined && { keepAlive: true, keepAliveInitialDelayMillis: 60_000 }),
      connectionTimeoutMillis: this.#options.connectTimeoutMs ?? 10_000,
    });
    // A connection lost while idle: the next query on it fails and says so.
    client.on("error", () => {});
    try {
      await client.connect();
      return client;
    } catch (error) {
      await endClient(client);
      throw asSqlError(error);
    }
  }

  async #prepared(client: pg.Client, close: () => Promise<void>): Promise<SqlConnection> {
    try {
      await client.query(adminSettings);
    } catch (error) {
      await endClient(client);
      throw asSqlError(error);
    }
    return new PgConnection(client, close);
  }

  #takeIdle(clusterId: string, target: ClusterTarget): pg.Client | undefined {
    const idle = this.#idle.get(clusterId)?.pop();
    if (!idle) return undefined;
    clearTimeout(idle.timer);
    idle.client.off("end", idle.forget);
    if (idle.target === target) return idle.client;
    void endClient(idle.client);
    return this.#takeIdle(clusterId, target);
  }

  /** Kept only when everything the session held, advisory locks above all, is certainly gone. */
  async #giveBack(clusterId: string, target: ClusterTarget, client: pg.Client): Promise<void> {
    const list = this.#idle.get(clusterId) ?? [];
    if (this.#closed || list.length >= (this.#options.maxIdle ?? 4)) return endClient(client);
    try {
      await client.query("ROLLBACK");
      await client.query("DISCARD ALL");
      await client.query(adminSettings);
    } catch {
      return endClient(client);
    }
    if (this.#closed) return endClient(client);
    const forget = () => {
      const kept = this.#idle.get(clusterId) ?? [];
      const at = kept.findIndex((entry) => entry.client === client);
      if (at !== -1) clearTimeout(kept.splice(at, 1)[0]?.timer);
      void endClient(client);
    };
    const timer = setTimeout(forget, this.#options.idleMs ?? 10_000);
    timer.unref();
    client.once("end", forget);
    list.push({ client, target, timer, forget });
    this.#idle.set(clusterId, list);
  }
}

class PgConnection implements SqlConnection {
  readonly #client: pg.Client;
  readonly #onClose: () => Promise<void>;
  #closing: Promise<void> | undefined;

  constructor(client: pg.Client, onClose: () => Promise<void>) {
    this.#client = client;
    this.#onClose = onClose;
  }

  async query(text: string, values?: readonly unknown[]): Promise<SqlResult> {
    try {
      const answer: pg.QueryResult | pg.QueryResult[] = await (values === undefined
        ? this.#client.query(text)
        : this.#client.query(text, values as unknown[]));
      // Several statements in one text: the last one's result, as with one.
      const last = Array.isArray(answer) ? answer.at(-1) : answer;
      const fields = (last?.fields ?? []).map((field: pg.FieldDef) => ({ name: field.name, typeOid: field.dataTypeID }));
      return { fields, rows: last?.rows ?? [], rowCount: last?.rowCount ?? 0 };
    } catch (error) {
      throw asSqlError(error);
    }
  }

  async queryArrays(text: string, values: readonly unknown[], options: Parameters<SqlConnection["queryArrays"]>[2]) {
    const query = new PortalQuery(text, values, options.maxRows);
    let timedOut = false;
    const timers: NodeJS.Timeout[] = [];
    if (options.timeoutMs > 0) {
      const onTimeout = () => {
        timedOut = true;
        this.#cancel();
        // A backend that does not hear the cancel request is left behind.
        timers.push(setTimeout(() => this.#client.connection.stream.destroy(), 5000));
      };
      timers.push(setTimeout(onTimeout, options.timeoutMs));
    }
    const onAbort = () => this.#cancel();
    options.signal?.throwIfAborted();
    options.signal?.addEventListener("abort", onAbort, { once: true });
    try {
      this.#client.query(query);
      return await query.answer;
    } catch (error) {
      if (timedOut) throw new GatewayError("query_timeout", `query exceeded query_timeout_ms (${options.timeoutMs})`, { cause: error });
      throw asSqlError(error);
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
  }

  async *copyOut(text: string): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* copyOut(this.#client, text);
    } catch (error) {
      throw asSqlError(error);
    }
  }

  async copyIn(text: string, data: AsyncIterable<Uint8Array>): Promise<number> {
    let failed: { error: unknown } | undefined;
    const watched = watchFailure(data, (error) => {
      failed = { error };
    });
    try {
      return await copyIn(this.#client, text, watched);
    } catch (error) {
      throw failed ? failed.error : asSqlError(error);
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#onClose();
    return this.#closing;
  }

  /** CancelRequest: length 16, code 80877102, process, secret; on a connection of its own, never answered. */
  #cancel(): void {
    const { processID, secretKey } = this.#client as unknown as { processID: number; secretKey: number };
    const { host, port } = this.#client; // a folder of Unix sockets, or the very address that was dialled
    const message = Buffer.alloc(16);
    message.writeInt32BE(16, 0);
    message.writeInt32BE(80_877_102, 4);
    message.writeInt32BE(processID, 8);
    message.writeInt32BE(secretKey, 12);
    const socket = host.startsWith("/") ? connectSocket(`${host}/.s.PGSQL.${port}`) : connectSocket(port, host);
    socket.on("error", () => socket.destroy());
    socket.end(message);
  }
}

/** The server answers a broken source with an error of its own; the one that came first is the one to tell. */
async function* watchFailure(data: AsyncIterable<Uint8Array>, onFailure: (error: unknown) => void): AsyncGenerator<Uint8Array> {
  try {
    yield* data;
  } catch (error) {
    onFailure(error);
    throw error;
  }
}

async function hostOf(target: ClusterTarget): Promise<string> {
  try {
    return (await target.resolve?.()) ?? target.host ?? "localhost";
  } catch (error) {
    throw asSqlError(error);
  }
}

async function endClient(client: pg.Client): Promise<void> {
  // Ending a connection that broke already rejects; gone is gone.
  await client.end().catch(() => undefined);
}

/** PostgreSQL's own errors pass (SqlErrorShape); everything else means that the server could not be talked to. */
function asSqlError(error: unknown): unknown {
  if (error instanceof pg.DatabaseError || error instanceof GatewayError) return error;
  return new GatewayError("backend_unreachable", notReachable, { cause: error });
}
