/** Backends lent as leases: reused only for the same key and only after a proven reset; one budget per cluster, least recently used out first. */
import type { Clock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { PhysicalDatabase } from "./model.ts";
import type { Role } from "./role.ts";

/** What a client needs of a backend. Two requests with the same key may use the same backend one after the other. */
export interface BackendRequest {
  readonly database: PhysicalDatabase;
  readonly role: Role;
  /** Session settings given at login, where DISCARD ALL returns to. */
  readonly parameters: ReadonlyMap<string, string>;
  /** For messages to the client: its own name of the database. */
  readonly displayName: string;
}

/** One login to a database server, as the pool sees it. */
export interface PooledBackend {
  /** False once the server or the network ended it. */
  readonly isAlive: boolean;
  /** Called once when it dies while idle. */
  onDeath: (() => void) | undefined;
  /** Rolls back and discards all session state. @returns true only when every answer was exactly the one expected and nothing else came. */
  reset(): Promise<boolean>;
  /** Resolves when no cancel request for it is on its way any more. */
  cancelsSettled(): Promise<void>;
  close(): void;
}

export interface BackendDialer<B extends PooledBackend> {
  /** @throws {GatewayError} or what the server said. */
  dial(request: BackendRequest, signal: AbortSignal): Promise<B>;
}

export interface PoolOptions {
  /** Most backends per cluster, whatever the database. */
  readonly budget: number;
  /** How long a client waits for a backend before 53300. */
  readonly connectWaitMs: number;
  /** An idle backend is closed after this. */
  readonly idleTimeoutMs: number;
}

/** A backend on loan to one session. */
export interface Lease<B extends PooledBackend> {
  readonly backend: B;
  /** Gives it back. `reusable` = no statement in flight, no transaction other than one to roll back, framing intact; otherwise it is closed. */
  release(reusable: boolean): void;
}

interface Slot<B> {
  readonly backend: B;
  readonly key: string;
  readonly databaseName: string;
  idleSinceMs: number;
  /** Set after DDL on its database: closed instead of reused. */
  retired: boolean;
}

interface Waiter<B> {
  /** Gives it a backend with its key, or room for a new one; the count passes along with either. */
  readonly serve: (slot: Slot<B> | undefined) => void;
  readonly refuse: (reason: unknown) => void;
  readonly key: string;
}

/** A backend that does not answer its reset in this time is closed. */
const resetTimeoutMs = 10_000;

class ClusterPool<B extends PooledBackend> {
  /** Idle ones, least recently used first. */
  readonly idle: Set<Slot<B>> = new Set();
  readonly leased: Set<Slot<B>> = new Set();
  readonly waiters: Set<Waiter<B>> = new Set();
  /** Idle, leased, dialling and resetting ones together. */
  open = 0;
}

export interface PoolCounts {
  readonly open: number;
  readonly idle: number;
  readonly waiting: number;
}

/** Of one cluster. */
export interface ClusterCounts extends PoolCounts {
  /** Lent to sessions, being reset after one included. */
  readonly leased: number;
}

export class Pool<B extends PooledBackend> {
  readonly #dialer: BackendDialer<B>;
  readonly #clock: Clock;
  readonly #log: Log;
  #options: PoolOptions;
  readonly #clusters = new Map<string, ClusterPool<B>>();
  readonly #stopSweep: () => void;
  #closed = false;

  constructor(dialer: BackendDialer<B>, clock: Clock, log: Log, options: PoolOptions) {
    this.#dialer = dialer;
    this.#clock = clock;
    this.#log = log;
    this.#options = options;
    this.#stopSweep = clock.every(1000, () => this.#closeIdle());
  }

  /**
   * Lends a backend: an idle one with the same key, else a new login within the budget, else in place of the least recently used idle one,
   * else the first that is given back.
   * @throws {GatewayError} no_backend_slot after `connectWaitMs`; backend_unreachable; the signal's reason.
   */
  async acquire(request: BackendRequest, signal: AbortSignal): Promise<Lease<B>> {
    if (signal.aborted) throw signal.reason;
    if (this.#closed) throw poolClosed();
    const cluster = this.#cluster(request.database.clusterId);
    const key = poolKey(request);
    const idle = this.#takeIdle(cluster, key);
    if (idle) return this.#lend(cluster, idle);
    if (cluster.open < this.#options.budget) cluster.open++;
    else if (!this.#evict(cluster)) {
      const given = await this.#waitForSlot(cluster, key, signal, request.displayName);
      if (given) return this.#lend(cluster, given);
    }
    return this.#dialInto(cluster, key, request, signal);
  }

  /** After DDL: idle backends of the database are closed, leased ones are closed when given back, so that no stale plan is reused. */
  retire(database: PhysicalDatabase): void {
    const cluster = this.#clusters.get(database.clusterId);
    if (!cluster) return;
    for (const slot of cluster.leased) if (slot.databaseName === database.name) slot.retired = true;
    for (const slot of [...cluster.idle]) if (slot.databaseName === database.name) this.#closeSlot(cluster, slot);
  }

  /** A smaller budget is reached as backends are closed, none is taken away. */
  reload(options: PoolOptions): void {
    this.#options = options;
  }

  counts(): PoolCounts {
    let open = 0;
    let idle = 0;
    let waiting = 0;
    for (const cluster of this.#clusters.values()) {
      open += cluster.open;
      idle += cluster.idle.size;
      waiting += cluster.waiters.size;
    }
    return { open, idle, waiting };
  }

  /** By cluster id, for those that were used since the start. */
  countsByCluster(): ReadonlyMap<string, ClusterCounts> {
    const counts = new Map<string, ClusterCounts>();
    for (const [id, { open, idle, leased, waiters }] of this.#clusters) {
      counts.set(id, { open, idle: idle.size, leased: leased.size, waiting: waiters.size });
    }
    return counts;
  }

  /** Closes idle backends now, and leased ones as they come back. */
  close(): void {
    this.#closed = true;
    this.#stopSweep();
    for (const cluster of this.#clusters.values()) {
      for (const waiter of [...cluster.waiters]) waiter.refuse(poolClosed());
      for (const slot of [...cluster.idle]) this.#closeSlot(cluster, slot);
    }
  }

  #cluster(id: string): ClusterPool<B> {
    let cluster = this.#clusters.get(id);
    if (!cluster) {
      cluster = new ClusterPool();
      this.#clusters.set(id, cluster);
    }
    return cluster;
  }

  /** The most recently used idle backend with this key, so that the others can grow old. */
  #takeIdle(cluster: ClusterPool<B>, key: string): Slot<B> | undefined {
    let found: Slot<B> | undefined;
    for (const slot of cluster.idle) if (slot.key === key && slot.backend.isAlive) found = slot;
    if (found) cluster.idle.delete(found);
    return found;
  }

  #lend(cluster: ClusterPool<B>, slot: Slot<B>): Lease<B> {
    slot.backend.onDeath = undefined;
    cluster.leased.add(slot);
    let released = false;
    return {
      backend: slot.backend,
      release: (reusable) => {
        if (released) return;
        released = true;
        void this.#takeBack(cluster, slot, reusable);
      },
    };
  }

  async #dialInto(cluster: ClusterPool<B>, key: string, request: BackendRequest, signal: AbortSignal): Promise<Lease<B>> {
    try {
      const backend = await this.#dialer.dial(request, signal);
      return this.#lend(cluster, { backend, key, databaseName: request.database.name, idleSinceMs: 0, retired: false });
    } catch (error) {
      this.#freeSlot(cluster);
      throw error;
    }
  }

  async #takeBack(cluster: ClusterPool<B>, slot: Slot<B>, reusable: boolean): Promise<void> {
    let clean = false;
    try {
      await slot.backend.cancelsSettled();
      clean = reusable && !slot.retired && !this.#closed && (await this.#reset(slot.backend));
    } catch (error) {
      this.#log.write("warn", "backend reset failed", { error: String(error) });
    }
    cluster.leased.delete(slot);
    if (!clean || slot.retired || this.#closed || !slot.backend.isAlive) {
      slot.backend.close();
      this.#freeSlot(cluster);
      return;
    }
    const waiter = cluster.waiters.values().next().value;
    if (waiter) {
      // The first in line gets this backend where the key is its own, otherwise the room it takes.
      const fits = waiter.key === slot.key;
      if (!fits) slot.backend.close();
      waiter.serve(fits ? slot : undefined);
      return;
    }
    slot.idleSinceMs = this.#clock.nowMs();
    slot.backend.onDeath = () => this.#closeSlot(cluster, slot);
    cluster.idle.add(slot);
  }

  async #reset(backend: B): Promise<boolean> {
    const answered = new AbortController();
    const tooLate = this.#clock.sleep(resetTimeoutMs, answered.signal).then(
      () => false,
      () => false, // it answered
    );
    try {
      return await Promise.race([backend.reset(), tooLate]);
    } finally {
      answered.abort();
    }
  }

  #freeSlot(cluster: ClusterPool<B>): void {
    const waiter = cluster.waiters.values().next().value;
    if (waiter) waiter.serve(undefined);
    else cluster.open--;
  }

  /** Closes the least recently used idle backend. Its count is the caller's from now on. @returns false when none is idle. */
  #evict(cluster: ClusterPool<B>): boolean {
    const oldest = cluster.idle.values().next().value;
    if (!oldest) return false;
    cluster.idle.delete(oldest);
    oldest.backend.onDeath = undefined;
    oldest.backend.close();
    return true;
  }

  #closeSlot(cluster: ClusterPool<B>, slot: Slot<B>): void {
    if (!cluster.idle.delete(slot)) return;
    slot.backend.onDeath = undefined;
    slot.backend.close();
    this.#freeSlot(cluster);
  }

  #waitForSlot(cluster: ClusterPool<B>, key: string, signal: AbortSignal, displayName: string): Promise<Slot<B> | undefined> {
    const giveUp = new AbortController();
    const waiting = new Promise<Slot<B> | undefined>((resolve, reject) => {
      const waiter: Waiter<B> = {
        key,
        serve: (slot) => {
          cluster.waiters.delete(waiter);
          resolve(slot);
        },
        refuse: (reason) => {
          if (cluster.waiters.delete(waiter)) reject(reason);
        },
      };
      cluster.waiters.add(waiter);
      signal.addEventListener("abort", () => waiter.refuse(signal.reason), { signal: giveUp.signal });
      this.#clock.sleep(this.#options.connectWaitMs, giveUp.signal).then(
        () => waiter.refuse(slotRefused(displayName, this.#options)),
        () => undefined, // the wait ended another way
      );
    });
    return waiting.finally(() => giveUp.abort());
  }

  #closeIdle(): void {
    const oldest = this.#clock.nowMs() - this.#options.idleTimeoutMs;
    for (const cluster of this.#clusters.values()) {
      for (const slot of [...cluster.idle]) {
        if (slot.idleSinceMs > oldest) break; // the set is in order of last use
        this.#closeSlot(cluster, slot);
      }
    }
  }
}

function poolClosed(): GatewayError {
  return new GatewayError("shutdown", "terminating connection due to gateway shutdown");
}

function slotRefused(displayName: string, options: PoolOptions): GatewayError {
  return new GatewayError(
    "no_backend_slot",
    `no database connection became free for "${displayName}" within ${options.connectWaitMs} ms: ${options.budget} of ${options.budget} in use`,
    { hint: "Retry later, or raise backend_budget." },
  );
}

function poolKey(request: BackendRequest): string {
  const { database, role } = request;
  const parameters = [...request.parameters].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([database.name, database.passwordGeneration, role, parameters]);
}
