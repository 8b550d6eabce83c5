/** One clock for everything that waits or measures, so that tests can move time by hand. */

export interface Clock {
  /** Milliseconds on a clock that only goes forward; for limits, bans, timeouts. */
  nowMs(): number;
  /** Milliseconds since 1970; for expiry dates and records only. */
  wallMs(): number;
  /** Calls `tick` about every `intervalMs` until the returned function is called. */
  every(intervalMs: number, tick: () => void): () => void;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The real clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  every(intervalMs, tick) {
    const timer = setInterval(tick, intervalMs);
    return () => clearInterval(timer);
  },
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      }, ms);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  },
};

/** A clock moved by `advance`. `every` and `sleep` fire during `advance`, in order of time. */
export class ManualClock implements Clock {
  #now = 1_000_000;
  #wallOffset = 1_700_000_000_000;
  #timers: { at: number; interval: number | undefined; fire: () => void }[] = [];

  nowMs(): number {
    return this.#now;
  }

  wallMs(): number {
    return this.#now + this.#wallOffset;
  }

  every(intervalMs: number, tick: () => void): () => void {
    const timer = { at: this.#now + intervalMs, interval: intervalMs, fire: tick };
    this.#timers.push(timer);
    return () => this.#remove(timer);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const timer = { at: this.#now + ms, interval: undefined, fire: resolve };
      this.#timers.push(timer);
      signal?.addEventListener("abort", () => {
        this.#remove(timer);
        reject(signal.reason);
      });
    });
  }

  /** Moves time forward, firing what falls due on the way. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#now = due.at;
      if (due.interval === undefined) this.#remove(due);
      else due.at += due.interval;
      due.fire();
    }
    this.#now = end;
  }

  /** Moves the wall clock alone, as an operator or NTP may. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  #remove(timer: object): void {
    this.#timers = this.#timers.filter((t) => t !== timer);
  }
}
