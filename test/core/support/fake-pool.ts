/** A pool over backends that are only objects: what it dialled, what is alive, and how far its promises are. */
import { ManualClock } from "../../../core/clock.ts";
import type { GatewayError } from "../../../core/errors.ts";
import { silentLog } from "../../../core/log.ts";
import { type BackendRequest, Pool, type PooledBackend, type PoolOptions } from "../../../core/pool.ts";

export class FakeBackend implements PooledBackend {
  isAlive = true;
  isClosed = false;
  onDeath: (() => void) | undefined;
  readonly request: BackendRequest;
  resets = 0;
  resetAnswer: Promise<boolean> | boolean = true;
  checks = 0;
  /** What `answers` comes to; one that never settles is a server that vanished. */
  checkAnswer: Promise<boolean> | boolean = true;
  cancels: Promise<void> = Promise.resolve();
  isCancelling = false;
  /** What close() answers: when the server has let go. */
  gone: Promise<void> | undefined;

  constructor(request: BackendRequest) {
    this.request = request;
  }

  async reset(): Promise<boolean> {
    this.resets++;
    return this.resetAnswer;
  }

  async answers(): Promise<boolean> {
    this.checks++;
    return this.checkAnswer;
  }

  cancelsSettled(): Promise<void> {
    return this.cancels;
  }

  close(): Promise<void> | undefined {
    this.isAlive = false;
    this.isClosed = true;
    return this.gone;
  }

  die(): void {
    this.isAlive = false;
    this.onDeath?.();
  }
}

export function makePool(options: Partial<PoolOptions> = {}) {
  const clock = new ManualClock();
  const dialled: FakeBackend[] = [];
  const control = {
    fail: undefined as Error | undefined,
    /** Why nobody is let in. */
    down: undefined as GatewayError | undefined,
    delay: undefined as Promise<void> | undefined,
    /** How long a login takes on the pool's clock. */
    loginMs: 0,
    /** When the server lets go of what is closed; undefined: at once. */
    gone: undefined as Promise<void> | undefined,
  };
  const dialer = {
    async dial(request: BackendRequest, signal: AbortSignal) {
      await control.delay;
      if (signal.aborted) throw signal.reason;
      if (control.fail) throw control.fail;
      clock.advance(control.loginMs);
      const backend = new FakeBackend(request);
      backend.gone = control.gone;
      dialled.push(backend);
      return backend;
    },
  };
  const pool = new Pool<FakeBackend>({ ...dialer, whyDown: () => control.down }, clock, silentLog, {
    budget: 2,
    connectWaitMs: 1000,
    idleTimeoutMs: 60_000,
    ...options,
  });
  const acquire = (name: string, signal = new AbortController().signal, more: Partial<BackendRequest> = {}) =>
    pool.acquire(request(name, more), signal);
  return { clock, pool, dialled, control, acquire, real: () => dialled.filter((backend) => backend.isAlive).length };
}

export function request(name: string, more: Partial<BackendRequest> = {}): BackendRequest {
  return { database: { clusterId: "main", name, passwordGeneration: 1 }, role: "admin", parameters: new Map(), displayName: name, ...more };
}

/** The outcome of a promise so far. */
export function watch<T>(promise: Promise<T>): { value?: T; error?: unknown; isSettled: boolean } {
  const state: { value?: T; error?: unknown; isSettled: boolean } = { isSettled: false };
  promise.then(
    (value) => Object.assign(state, { value, isSettled: true }),
    (error) => Object.assign(state, { error, isSettled: true }),
  );
  return state;
}
