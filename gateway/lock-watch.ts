/** Watches the lock table all databases of a cluster share: one tenant that fills it would keep everybody else from connecting. */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { SqlConnection, SqlDialer } from "../core/sql.ts";

export interface LockWatchDeps {
  readonly dialer: SqlDialer;
  /** Those there are now. */
  readonly clusterIds: () => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** Most of a cluster's lock table that one database's sessions may hold, in percent; 0 = not watched. As of the last reload. */
  readonly percent: () => number;
}

const everyMs = 1000;

/**
 * Locks in the shared table by session of databases whose own roles hold more than $1 percent of it together, and how many the table has room for.
 * Locks kept by the fast path take none of it, predicate locks are in a table of their own. Everything is named in full and kept small: it must run when the table is nearly full.
 */
const countSql = `
SELECT database, pid, locks, room FROM (
  SELECT a.datname AS database, a.pid, pg_catalog.count(*)::int4 AS locks,
    (pg_catalog.sum(pg_catalog.count(*)) OVER (PARTITION BY a.datname))::float8 AS total,
    (SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8
      * (pg_catalog.current_setting('max_connections')::int8 + pg_catalog.current_setting('max_prepared_transactions')::int8))::float8 AS room
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
   WHERE NOT l.fastpath AND l.mode <> 'SIReadLock' AND a.usename ~ '^tdb_[0-9a-f]{16}_(admin|write|read)$'
   GROUP BY a.datname, a.pid) h
 WHERE total > room * $1::float8 / 100
 ORDER BY locks DESC`;

interface Holder {
  readonly database: string;
  readonly pid: number;
  readonly locks: number;
  readonly room: number;
}

export class LockWatch {
  readonly #deps: LockWatchDeps;
  /** Kept open: with the table full, nobody new gets in. */
  readonly #connections = new Map<string, SqlConnection>();
  readonly #looking = new Set<string>();
  readonly #stopTicks: () => void;
  #stopped = false;

  constructor(deps: LockWatchDeps) {
    this.#deps = deps;
    this.#stopTicks = deps.clock.every(everyMs, () => void this.look());
  }

  /** Looks at every cluster that is not being looked at already. */
  async look(): Promise<void> {
    if (this.#deps.percent() === 0) return;
    const ids = this.#deps.clusterIds();
    for (const [id, connection] of this.#connections) if (!ids.includes(id)) this.#drop(id, connection);
    await Promise.all(ids.map((id) => this.#lookAt(id)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopTicks();
    await Promise.all([...this.#connections.values()].map((each) => each.close().catch(() => undefined)));
    this.#connections.clear();
  }

  async #lookAt(id: string): Promise<void> {
    if (this.#looking.has(id)) return;
    this.#looking.add(id);
    try {
      const connection = this.#connections.get(id) ?? (await this.#deps.dialer.asAdmin(id));
      if (this.#stopped) return await connection.close();
      this.#connections.set(id, connection);
      const percent = this.#deps.percent();
      const { rows } = await connection.query(countSql, [percent]);
      for (const holder of tooGreedy(rows as unknown as Holder[], percent)) await this.#end(connection, id, holder);
    } catch (error) {
      // The server is away or restarts: the next look connects anew.
      this.#deps.log.write("debug", "locks not looked at", { cluster: id, reason: error instanceof Error ? error.message : String(error) });
      this.#drop(id, this.#connections.get(id));
    } finally {
      this.#looking.delete(id);
    }
  }

  #drop(id: string, connection: SqlConnection | undefined): void {
    this.#connections.delete(id);
    connection?.close().catch(() => undefined); // as good as closed
  }

  async #end(connection: SqlConnection, cluster: string, { database, pid, locks }: Holder): Promise<void> {
    this.#deps.log.write("warn", "session ended: its database held too much of the shared lock table", { cluster, database, locks });
    await connection.query("SELECT pg_catalog.pg_terminate_backend($1)", [pid]);
  }
}

/** Of databases that hold more than their part, the largest holders, until the rest is within it. `holders` come the largest first. */
export function tooGreedy(holders: readonly Holder[], percent: number): Holder[] {
  const held = new Map<string, number>();
  for (const { database, locks } of holders) held.set(database, (held.get(database) ?? 0) + locks);
  const ending: Holder[] = [];
  for (const holder of holders) {
    const total = held.get(holder.database) ?? 0;
    if (total <= (holder.room * percent) / 100) continue;
    held.set(holder.database, total - holder.locks);
    ending.push(holder);
  }
  return ending;
}
