/** All client connections of this process: who they are, their deadlines by one sweep, and how they are ended. */
import type { Cancellable } from "./cancel.ts";
import type { Clock } from "./clock.ts";
import type { InLine, RelayActivity, RunningRelay, SilenceTimeouts } from "./engine.ts";
import { GatewayError } from "./errors.ts";
import type { Grant, Identity } from "./identity.ts";
import type { Admission } from "./limit.ts";
import type { LiveSession, SessionHold } from "./live.ts";
import type { LogFields } from "./log.ts";
import type { EngineName } from "./model.ts";
import { Newcomers } from "./newcomers.ts";
import { WireMetrics } from "./wire-metrics.ts";

export interface SessionTimeouts extends SilenceTimeouts {
  /** From connect to ReadyForQuery; 0 = none. */
  readonly loginTimeoutMs: number;
  /** Most clients that have not logged in; beyond it one of them goes, see `Newcomers`. */
  readonly maxUnauthenticated: number;
}

/**
 * What holds a client up: `admission` = it is not let in yet, as while its database is replaced; `backend` = the cluster's budget is spent and
 * others come first; `login` = the database server takes its time to let the gateway in.
 */
export type WaitReason = "admission" | "backend" | "login";

export interface SessionActivity {
  readonly state: RelayActivity["state"] | "waiting";
  /** On the sweep's clock. */
  readonly sinceMs: number;
  readonly waitingFor?: WaitReason;
  /** For a backend: its place among the clients that wait for the same database; 1 = next. */
  readonly position?: number;
  /** See `RelayActivity`. */
  readonly pins?: readonly string[];
}

/** How often deadlines are looked at. Query and idle timeouts are this exact. */
const sweepMs = 50;

export class Session implements Cancellable, LiveSession {
  readonly id: string;
  readonly address: string;
  readonly openedAtMs: number;
  readonly #registry: SessionRegistry;
  /** Until the relay has started. */
  #abort: AbortController | undefined = new AbortController();
  #user = "";
  #database = "";
  #identity: Identity | undefined;
  #engine: EngineName = "PostgreSQL";
  #grant: Grant | undefined;
  #relay: RunningRelay | undefined;
  #ending: GatewayError | undefined;
  #provenAtMs = 0;
  #asked: InLine | undefined;
  #leaving: GatewayError | undefined;
  isSettled = false;

  constructor(id: string, address: string, openedAtMs: number, registry: SessionRegistry) {
    this.id = id;
    this.address = address;
    this.openedAtMs = openedAtMs;
    this.#registry = registry;
  }

  /** Aborted with a GatewayError when the session must end before the relay has started; asked for later it is one that nothing aborts. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  get credentialId(): string {
    return this.#grant?.identity.credential.id ?? "";
  }

  /** Undefined until a secret has been proven. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  get engine(): EngineName {
    return this.#engine;
  }

  get activity(): SessionActivity {
    const inLine = this.#asked?.waiting; // at login, and in transaction mode at any time
    if (inLine) return { state: "waiting", waitingFor: "backend", ...inLine };
    if (this.#relay) return this.#relay.activity;
    if (this.isSettled) return { state: "idle", sinceMs: this.#provenAtMs };
    return { state: "waiting", waitingFor: this.#asked ? "login" : "admission", sinceMs: this.#provenAtMs };
  }

  /** It has asked the pool for a backend. */
  asked(asked: InLine): void {
    this.#asked = asked;
  }

  get expiresAt(): number | undefined {
    return this.#grant?.identity.credential.expiresAt;
  }

  get relay(): RunningRelay | undefined {
    return this.#relay;
  }

  /** Logged in without a relay of its own: no login deadline any more. */
  settle(): void {
    this.isSettled = true;
    this.#registry.loggedIn(this);
  }

  /** Whose it is. Told again where a client of a listener that redirects proves another secret. */
  identify(engine: EngineName, identity: Identity): void {
    this.#engine = engine;
    this.#identity = identity;
    this.#provenAtMs = this.#registry.nowMs;
    this.#registry.onIdentified?.(identity);
  }

  describe(user: string, database: string): void {
    this.#user = user;
    this.#database = database;
  }

  /** From now on changes of its database and credential reach it. */
  authorized(grant: Grant): void {
    this.#grant = grant;
    grant.live.sessions.add(this);
    this.#registry.loggedIn(this);
  }

  started(relay: RunningRelay): void {
    this.#relay = relay;
    this.#abort = undefined;
    if (this.#ending) relay.terminate(this.#ending);
    else if (this.#leaving) relay.drain(this.#leaving);
  }

  close(): void {
    this.#grant?.live.sessions.delete(this);
    this.#registry.remove(this);
  }

  cancel(): void {
    this.#relay?.cancel();
  }

  terminate(error: GatewayError): void {
    this.#ending ??= error;
    if (this.#relay) this.#relay.terminate(error);
    else this.#abort?.abort(error);
  }

  /** Between transactions. One that is still logging in leaves when it has: it need not be refused. */
  leave(error: GatewayError): void {
    this.#leaving ??= error;
    this.#relay?.drain(error);
  }

  /** A session without a relay yet has nothing prepared, and holds nothing up. */
  hold(): SessionHold {
    const relay = this.#relay;
    return { begun: relay?.hold() ?? Promise.resolve(true), resume: async (schemaChanged) => await relay?.resume(schemaChanged) };
  }

  drain(): void {
    const error = shutdownError();
    this.leave(error);
    if (!this.#relay) this.terminate(error);
  }

  logFields(): LogFields {
    return { session: this.id, address: this.address, user: this.#user, database: this.#database, credential: this.credentialId || undefined };
  }
}

export class SessionRegistry {
  readonly #clock: Clock;
  readonly #makeId: () => string;
  #timeouts: SessionTimeouts;
  readonly #sessions = new Set<Session>();
  readonly #unauthenticated = new Newcomers<Session>();
  readonly #stopSweep: () => void;
  readonly #emptied: (() => void)[] = [];
  #draining = false;
  /** The clock as of the last sweep: what the hot path reads instead of the real one. */
  nowMs: number;
  /** Added to times of the monotonic clock gives wall time, the same for as long as the process runs: lists are paged by it. */
  readonly toWallMs: number;
  readonly metrics = new WireMetrics();
  /** Called whenever a client has proven a secret. Must not throw nor wait. */
  onIdentified: ((identity: Identity) => void) | undefined;

  constructor(clock: Clock, makeId: () => string, timeouts: SessionTimeouts) {
    this.#clock = clock;
    this.#makeId = makeId;
    this.#timeouts = timeouts;
    this.nowMs = clock.nowMs();
    this.toWallMs = clock.wallMs() - this.nowMs;
    this.#stopSweep = clock.every(sweepMs, () => this.#sweep());
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Every connection there is. */
  list(): readonly Session[] {
    return [...this.#sessions];
  }

  /** @param admission what was decided about the address. */
  open(address: string, admission: Pick<Admission, "addressKey" | "exempt">): Session {
    const session = new Session(this.#makeId(), address, this.#clock.nowMs(), this);
    this.#sessions.add(session);
    this.#unauthenticated.add(session, admission.exempt ? undefined : admission.addressKey);
    if (this.#unauthenticated.size > this.#timeouts.maxUnauthenticated) {
      const slowest = this.#unauthenticated.next as Session;
      this.#unauthenticated.remove(slowest); // its place is free at once; a burst of connects takes the next ones
      slowest.terminate(new GatewayError("login_timeout", "too many clients are logging in; this one was the slowest"));
    }
    if (this.#draining) session.drain();
    return session;
  }

  loggedIn(session: Session): void {
    this.#unauthenticated.remove(session);
  }

  remove(session: Session): void {
    this.#unauthenticated.remove(session);
    this.#sessions.delete(session);
    if (this.#sessions.size === 0) for (const tell of this.#emptied.splice(0)) tell();
  }

  reload(timeouts: SessionTimeouts): void {
    this.#timeouts = timeouts;
  }

  /** Ends idle sessions now and the others as their transactions end; after `graceMs` all of them. Resolves when none is left. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    for (const session of [...this.#sessions]) session.drain();
    if (this.#sessions.size === 0) return;
    const empty = new Promise<void>((resolve) => this.#emptied.push(resolve));
    const stopWaiting = new AbortController();
    const grace = this.#clock.sleep(graceMs, stopWaiting.signal).then(
      () => {
        for (const session of [...this.#sessions]) session.terminate(shutdownError());
      },
      () => undefined, // all left in time
    );
    await empty;
    stopWaiting.abort();
    await grace;
  }

  stop(): void {
    this.#stopSweep();
  }

  #sweep(): void {
    const now = this.#clock.nowMs();
    this.nowMs = now;
    const { loginTimeoutMs } = this.#timeouts;
    for (const session of [...this.#sessions]) {
      if (session.relay) session.relay.sweep(this.#timeouts);
      else if (!session.isSettled && loginTimeoutMs > 0 && now - session.openedAtMs > loginTimeoutMs) {
        session.terminate(new GatewayError("login_timeout", `login was not finished within login_timeout_ms (${loginTimeoutMs})`));
      }
    }
  }
}

function shutdownError(): GatewayError {
  return new GatewayError("shutdown", "terminating connection due to gateway shutdown");
}
