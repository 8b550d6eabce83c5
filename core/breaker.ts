/** Spares a database server that is down the logins that cannot succeed, and their clients the wait: one of them asks, the others are told at once. */
import type { Clock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import type { Log } from "./log.ts";
import { type Metric, observed } from "./metrics.ts";
import type { BackendDialer, BackendRequest, PooledBackend } from "./pool.ts";
import { starting, unreachable } from "./server-errors.ts";

/** What a failed login says of the whole server: nothing is there, or it says itself that it lets nobody in yet. */
export type ServerState = "away" | "starting";

export interface BreakerDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined for a failure that is about its own role or database: no tenant can have its neighbours' logins refused by its own. */
  judge(error: unknown): ServerState | undefined;
  /** How long a client waits for a server that is starting. */
  readonly patienceMs: () => number;
  /** 0 … 1, so that several gateways do not ask at the same moments. */
  readonly random: () => number;
}

/** Failures in a row from which on logins are refused without asking. A server that says that it is starting is believed at once. */
const failuresToOpen = 5;
/** Between two who ask: doubled each time, up to the longest, and a quarter shorter or longer by chance. Recovery is noticed that late. */
const firstPauseMs = 100;
const longestPauseMs = 800;

/** One cluster whose last login failed. */
interface Down {
  failures: number;
  state: ServerState;
  cause: unknown;
  /** Undefined while every login still asks. */
  pauseMs: number | undefined;
  /** When the next one may ask. */
  askAtMs: number;
}

export class Breaker<B extends PooledBackend> implements BackendDialer<B> {
  readonly #dialer: BackendDialer<B>;
  readonly #deps: BreakerDeps;
  /** By cluster id; one that answers is not in it. */
  readonly #down = new Map<string, Down>();
  /** Logins that did not ask, by cluster that was ever logged in to. */
  readonly #spared = new Map<string, number>();

  constructor(dialer: BackendDialer<B>, deps: BreakerDeps) {
    this.#dialer = dialer;
    this.#deps = deps;
  }

  get metrics(): readonly Metric[] {
    const perCluster = (read: (cluster: string, spared: number) => number) => () =>
      [...this.#spared].map(([cluster, spared]) => ({ labels: [["cluster", cluster]] as const, value: read(cluster, spared) }));
    return [
      observed(
        "gauge",
        "tenantry_server_down",
        "1 for a database server that logins are not passed on to; of several workers, how many see it so.",
        perCluster((cluster) => (this.#down.get(cluster)?.pauseMs === undefined ? 0 : 1)),
      ),
      observed(
        "counter",
        "tenantry_server_logins_spared_total",
        "Logins to a database server that was known to be down and was not asked: refused at once, or waiting while it starts.",
        perCluster((_, spared) => spared),
      ),
    ];
  }

  async dial(request: BackendRequest, signal: AbortSignal): Promise<B> {
    const { clock, patienceMs } = this.#deps;
    const { clusterId } = request.database;
    const patientUntilMs = clock.nowMs() + patienceMs();
    this.#spare(clusterId, 0);
    for (let asked = 0; ; asked++) {
      const down = this.#down.get(clusterId);
      if (!down || this.#mayAsk(down)) {
        const backend = await this.#ask(request, signal, patientUntilMs);
        if (backend) return backend;
      } else if (down.state === "away") {
        this.#spare(clusterId, 1);
        throw unreachable(request, down.cause);
      } else if (asked === 0) this.#spare(clusterId, 1);
      const nowMs = clock.nowMs();
      const left = this.#down.get(clusterId);
      if (left && nowMs >= patientUntilMs) throw starting(request, left.cause);
      // Looking costs nothing; and those who wait log in one after another, not all in the moment in which one has been let in.
      const waitMs = left ? firstPauseMs * (0.5 + this.#deps.random()) : 0;
      await clock.sleep(Math.min(waitMs, Math.max(patientUntilMs - nowMs, 0)), signal);
    }
  }

  whyDown(request: BackendRequest): GatewayError | undefined {
    const down = this.#down.get(request.database.clusterId);
    if (down?.pauseMs === undefined) return undefined;
    return down.state === "away" ? unreachable(request, down.cause) : starting(request, down.cause);
  }

  #spare(clusterId: string, logins: number): void {
    this.#spared.set(clusterId, (this.#spared.get(clusterId) ?? 0) + logins);
  }

  /** Takes the turn to ask, where it is time. One who asks for long holds up nobody: a server that is back is not to wait for its deadline. */
  #mayAsk(down: Down): boolean {
    if (down.pauseMs === undefined) return true;
    const { clock, random } = this.#deps;
    if (clock.nowMs() < down.askAtMs) return false;
    down.pauseMs = Math.min(2 * down.pauseMs, longestPauseMs);
    down.askAtMs = clock.nowMs() + down.pauseMs * (0.75 + random() / 2);
    return true;
  }

  /** @returns undefined where the server is starting and the client may wait. @throws what the login failed with. */
  async #ask(request: BackendRequest, signal: AbortSignal, patientUntilMs: number): Promise<B | undefined> {
    try {
      const backend = await this.#dialer.dial(request, signal);
      this.#isUp(request.database.clusterId);
      return backend;
    } catch (error) {
      const state = signal.aborted ? undefined : this.#deps.judge(error);
      if (state) this.#failed(request.database.clusterId, state, error);
      if (state === "starting" && this.#deps.clock.nowMs() < patientUntilMs) return undefined;
      throw error;
    }
  }

  #isUp(clusterId: string): void {
    const down = this.#down.get(clusterId);
    if (!down) return;
    this.#down.delete(clusterId);
    if (down.pauseMs !== undefined) this.#deps.log.write("info", "database server answers again", { cluster: clusterId });
  }

  #failed(clusterId: string, state: ServerState, error: unknown): void {
    const { clock, log, random } = this.#deps;
    const down = this.#down.get(clusterId) ?? { failures: 0, state, cause: error, pauseMs: undefined, askAtMs: 0 };
    this.#down.set(clusterId, down);
    const cause = error instanceof GatewayError ? error.details.cause : error;
    Object.assign(down, { failures: down.failures + 1, state, cause });
    if (down.pauseMs !== undefined || (state === "away" && down.failures < failuresToOpen)) return;
    down.pauseMs = firstPauseMs;
    down.askAtMs = clock.nowMs() + firstPauseMs * (0.75 + random() / 2);
    log.write("warn", "database server is down, logins are not passed on", { cluster: clusterId, state, cause: String(cause) });
  }
}
