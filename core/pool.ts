/** Backends lent as leases: reused only for the same key and only when known to be clean; one budget per cluster, shared fairly by its databases. */
import type { Clock } from "./clock.ts";
import { type Asking, ClusterPool, type KeyPool, type PoolParts, type Waiter } from "./cluster-pool.ts";
import type { GatewayError } from "./errors.ts";
import type { Log } from "./log.ts";
import { Histogram, type Metric } from "./metrics.ts";
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
  /** Lent for one transaction at a time, and given back as it is: whoever gets it next cleans up. Never the same backend as for others. */
  readonly isShared?: boolean;
}

/** One login to a database server, as the pool sees it. */
export interface PooledBackend {
  /** False once the server or the network ended it. */
  readonly isAlive: boolean;
  /** Called once when it dies while idle. */
  onDeath: (() => void) | undefined;
  /** Rolls back and discards all session state. @returns true only when every answer was exactly the one expected and nothing else came. */
  reset(): Promise<boolean>;
  /** Asks the server for a sign of life that changes nothing. @returns true when exactly that came; the pool does not wait for it for ever. */
  answers(): Promise<boolean>;
  /** A cancel request for it is on its way. */
  readonly isCancelling: boolean;
  /** Resolves when no cancel request for it is on its way any more. */
  cancelsSettled(): Promise<void>;
  /** @returns what resolves, and never rejects, when the server has let go of it, so that its place there is free; undefined where it has already. */
  close(): Promise<void> | undefined;
}

export interface BackendDialer<B extends PooledBackend> {
  /** @throws {GatewayError} or what the server said. */
  dial(request: BackendRequest, signal: AbortSignal): Promise<B>;
  /** Why nobody is let in now, where that is known: what to tell those who wait for a place behind others that wait for the server. */
  whyDown?(request: BackendRequest): GatewayError | undefined;
}

export interface PoolOptions {
  /** Most backends per cluster, whatever the database. */
  readonly budget: number;
  /** What every database with clients is to have, where the budget allows. Default: 1. */
  readonly minimum?: number;
  /** Part of the budget, rounded down, that only databases get which hold less than the minimum. Default: 0. */
  readonly reserveShare?: number;
  /** How long a client waits for a backend before 53300. */
  readonly connectWaitMs: number;
  /** An idle backend is closed after this. */
  readonly idleTimeoutMs: number;
  /** One that has idled for this long is asked whether it is there before it is lent. Default: 0, none is. */
  readonly checkAfterMs?: number;
}

/** A backend on loan to one session. */
export interface Lease<B extends PooledBackend> {
  readonly backend: B;
  /** Gives it back. `reusable` = no statement in flight, no transaction other than one to roll back, framing intact; then it is reset, otherwise closed. */
  release(reusable: boolean): void;
  /** Gives it back as it is, to be lent again at once: at rest, in no transaction, and nothing in its session that the next client must not meet. */
  releaseClean(): void;
  /** Takes the same one again, once given back, where nobody has it and nobody else has a better right to it. */
  retake(): boolean;
}

export interface PoolCounts {
  /** Idle, leased, being logged in and being reset. */
  readonly open: number;
  readonly idle: number;
  readonly waiting: number;
}

/** Of one cluster. */
export interface ClusterCounts extends PoolCounts {
  /** Lent to sessions, being reset after one included. */
  readonly leased: number;
  /** Told to close: they count against the budget until the server has let go of them. */
  readonly closing: number;
  /** Databases with clients in line. */
  readonly waitingDatabases: number;
  /** How long whoever has waited longest has; 0 when nobody waits. */
  readonly longestWaitMs: number;
  /** Clients that waited in vain, and idle backends closed to make room for others; since the start. */
  readonly refused: number;
  readonly evicted: number;
  /** Idle backends that did not answer when they were to be lent; since the start. */
  readonly vanished: number;
}

/** A client in line for a backend. */
export interface BackendWait {
  /** On the pool's clock. */
  readonly sinceMs: number;
  /** Among those who wait for the same database; 1 = next. */
  readonly position: number;
}

/** What a pool counts of itself, for as long as it lives. */
export class PoolMetrics {
  readonly waits = new Histogram(
    "tenantry_pool_wait_seconds",
    "Time in line for a backend of those who got one; who found one at once is not counted. In transaction mode of every transaction.",
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  );

  all(): readonly Metric[] {
    return [this.waits];
  }
}

/** How often deadlines are looked at: who waits is refused, and what is idle closed, this exact. */
const sweepMs = 50;

export class Pool<B extends PooledBackend> {
  readonly #clock: Clock;
  readonly #parts: PoolParts<B>;
  readonly metrics = new PoolMetrics();
  #options: PoolOptions;
  readonly #clusters = new Map<string, ClusterPool<B>>();
  readonly #stopSweep: () => void;
  #closed = false;
  /**
   * Called when a client of the cluster waits, or has stopped waiting; when room has come free; and when there was so little that an idle
   * backend was `evicted` for another. For whoever passes parts of a budget around; must not throw.
   */
  onRoom: ((clusterId: string, evicted: boolean) => void) | undefined;
  /** What a cluster is granted when it is first used; the whole budget without it. */
  roomOf: ((clusterId: string) => number) | undefined;

  constructor(dialer: BackendDialer<B>, clock: Clock, log: Log, options: PoolOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#parts = { dialer, clock, log, metrics: this.metrics, options: () => this.#options };
    this.#stopSweep = clock.every(sweepMs, () => this.#sweep());
  }

  /** For a client that needs backends again and again: the key is made once. Nothing is held by it, and it need not be given back. */
  handle(request: BackendRequest): PoolHandle<B> {
    return new PoolHandle(this.#cluster(request.database.clusterId), request);
  }

  /** Lends a backend once, see `PoolHandle.acquire`. */
  acquire(request: BackendRequest, signal: AbortSignal): Promise<Lease<B>> {
    return this.handle(request).acquire(signal);
  }

  /** After DDL: idle backends of the database are closed, leased ones are closed when given back, so that no stale plan is reused. */
  retire(database: PhysicalDatabase): void {
    this.#clusters.get(database.clusterId)?.retire(database.name);
  }

  /** A smaller budget is reached by closing idle backends now and others as they come back; none is taken away. */
  reload(options: PoolOptions): void {
    this.#options = options;
    for (const cluster of this.#clusters.values()) cluster.settle();
  }

  /**
   * The budget of one cluster from now on, in place of the options' own: for several processes that share one and pass parts of it to each other.
   * It may grow and shrink; what was taken away is free for others once `open` and `closing` are no larger. `waiting` tells where more is needed.
   */
  grant(clusterId: string, backends: number): void {
    this.#cluster(clusterId).grant(backends);
  }

  counts(): PoolCounts {
    let [open, idle, waiting] = [0, 0, 0];
    for (const { counts } of this.#clusters.values()) {
      open += counts.open;
      idle += counts.idle;
      waiting += counts.waiting;
    }
    return { open, idle, waiting };
  }

  /** By cluster id, for those that were used since the start. */
  countsByCluster(): ReadonlyMap<string, ClusterCounts> {
    return new Map([...this.#clusters].map(([id, { counts }]) => [id, counts]));
  }

  /** For how long the cluster's least recently used idle backend has been idle; undefined where none is. */
  longestIdleMs(clusterId: string): number | undefined {
    return this.#clusters.get(clusterId)?.longestIdleMs;
  }

  /** Of one cluster, used or not. */
  countsOf(clusterId: string): ClusterCounts {
    return this.#cluster(clusterId).counts;
  }

  /** Closes idle backends now, and leased ones as they come back. */
  close(): void {
    this.#closed = true;
    this.#stopSweep();
    for (const cluster of this.#clusters.values()) cluster.close();
  }

  #cluster(id: string): ClusterPool<B> {
    let cluster = this.#clusters.get(id);
    if (!cluster) {
      cluster = new ClusterPool(this.#parts, (evicted) => this.onRoom?.(id, evicted));
      if (this.#closed) cluster.close();
      this.#clusters.set(id, cluster);
      if (this.roomOf) cluster.grant(this.roomOf(id));
    }
    return cluster;
  }

  #sweep(): void {
    const nowMs = this.#clock.nowMs();
    for (const cluster of this.#clusters.values()) cluster.sweep(nowMs);
  }
}

/** What one client asks the pool for. */
export class PoolHandle<B extends PooledBackend> implements Asking<B> {
  readonly request: BackendRequest;
  readonly keyText: string;
  readonly #cluster: ClusterPool<B>;
  #key: KeyPool<B> | undefined;
  waiter: Waiter<B> | undefined;

  constructor(cluster: ClusterPool<B>, request: BackendRequest) {
    this.request = request;
    this.keyText = describeKey(request);
    this.#cluster = cluster;
  }

  /** An idle backend with the same key, at once; undefined where there is none, or another client has a better right: then `acquire`. */
  tryAcquire(): Lease<B> | undefined {
    if (!this.#key || this.#key.isForgotten) this.#key = this.#cluster.findKey(this);
    return this.#key && this.#cluster.tryAcquire(this.#key);
  }

  /**
   * Lends a backend: an idle one with the same key, else a new login within the budget, else in place of the least recently used idle one.
   * Where the budget is spent the client waits: the next one goes to the database that holds least, and within a database to whoever came first.
   * @throws {GatewayError} no_backend_slot after `connectWaitMs`; backend_unreachable, backend_starting; the signal's reason.
   */
  acquire(signal: AbortSignal): Promise<Lease<B>> {
    return this.#cluster.acquire(this, signal);
  }

  /** Undefined while it is in no line. */
  get waiting(): BackendWait | undefined {
    const { waiter } = this;
    return waiter && { sinceMs: waiter.sinceMs, position: this.#cluster.positionOf(waiter) };
  }
}

function describeKey(request: BackendRequest): string {
  const { database, role, isShared = false } = request;
  const parameters = [...request.parameters].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([database.name, database.passwordGeneration, role, isShared, parameters]);
}
