/** Stands before the listeners: connections of trusted load balancers are let through once they have said whose they are. */
import type { BytePipe } from "../core/byte-pipe.ts";
import type { Clock } from "../core/clock.ts";
import { GatewayError } from "../core/errors.ts";
import { matchCidrs } from "../core/limit.ts";
import type { Log } from "../core/log.ts";
import { PipeClosedError } from "../core/pipe-reader.ts";
import { readProxied } from "../core/proxied-pipe.ts";

export interface ProxyDoorOptions {
  /** CIDRs whose PROXY header is believed, and required. */
  readonly from: readonly string[];
  /** How long a header may take; 0 = for ever. */
  readonly timeoutMs: number;
  /** Most connections whose header is awaited; beyond it the oldest goes. */
  readonly maxWaiting: number;
}

const sweepMs = 1000;

interface Waiting {
  readonly sinceMs: number;
  readonly abort: AbortController;
}

export class ProxyDoor {
  readonly #clock: Clock;
  readonly #log: Log;
  #options: ProxyDoorOptions;
  #isBalancer: (address: string) => boolean;
  /** Oldest first. */
  readonly #waiting = new Set<Waiting>();
  readonly #stopSweep: () => void;

  /** @throws RangeError for a CIDR that is none. */
  constructor(clock: Clock, log: Log, options: ProxyDoorOptions) {
    this.#clock = clock;
    this.#log = log;
    this.#options = options;
    this.#isBalancer = matchCidrs(options.from);
    this.#stopSweep = clock.every(sweepMs, () => this.#sweep());
  }

  /** @throws RangeError for a CIDR that is none; what was in force stays so. */
  reload(options: ProxyDoorOptions): void {
    this.#isBalancer = matchCidrs(options.from);
    this.#options = options;
  }

  /** Connections whose header is awaited. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Hands a connection on to `run` at once, or once its header is read and taken off. */
  enter(pipe: BytePipe, run: (pipe: BytePipe) => void): void {
    if (this.#isBalancer(pipe.peer.address)) void this.#enterProxied(pipe, run);
    else run(pipe);
  }

  stop(): void {
    this.#stopSweep();
    for (const each of [...this.#waiting]) each.abort.abort(new GatewayError("shutdown", "the gateway stops"));
  }

  async #enterProxied(pipe: BytePipe, run: (pipe: BytePipe) => void): Promise<void> {
    const waiting: Waiting = { sinceMs: this.#clock.nowMs(), abort: new AbortController() };
    this.#waiting.add(waiting);
    if (this.#waiting.size > this.#options.maxWaiting) tooSlow(this.#waiting.values().next().value as Waiting);
    try {
      const proxied = await readProxied(pipe, waiting.abort.signal);
      this.#waiting.delete(waiting);
      run(proxied);
    } catch (error) {
      this.#waiting.delete(waiting);
      // A balancer's health check connects and leaves: nothing to note.
      const level = error instanceof PipeClosedError ? "debug" : error instanceof GatewayError ? error.refusal.log : "error";
      const reason = error instanceof Error ? error.message : String(error);
      this.#log.write(level, "connection of a load balancer closed", { address: pipe.peer.address, reason });
      pipe.end();
    }
  }

  #sweep(): void {
    const { timeoutMs } = this.#options;
    if (timeoutMs === 0) return;
    const before = this.#clock.nowMs() - timeoutMs;
    for (const each of this.#waiting) {
      if (each.sinceMs > before) return;
      tooSlow(each);
    }
  }
}

function tooSlow(waiting: Waiting): void {
  waiting.abort.abort(new GatewayError("login_timeout", "the PROXY protocol header did not come in time"));
}
