/** What telling refused clients may cost: TLS handshakes of one address only to be refused inside them, so many a minute. */
import type { BytePipe } from "./byte-pipe.ts";
import type { Clock } from "./clock.ts";
import { PipeClosedError } from "./pipe-reader.ts";
import { WrappedPipe } from "./wrapped-pipe.ts";

/** Addresses remembered; one forgotten early gets its budget anew. */
const maxAddresses = 10_000;
const minuteMs = 60_000;
/** How much of a minute's budget may be used up at once: handshakes in a burst are felt by everybody. */
const burstPart = 0.2;
/** A client that is cut off at once reconnects at once; one that waits this long first comes back once in that time. */
const holdMs = 1000;
/** Kept waiting at a time, all addresses together: they take places of clients that log in. Others are cut off at once. */
const maxHeld = 100;

export class ReplyBudget {
  readonly #clock: Clock;
  #perMinute: number;
  readonly #left = new Map<string, { tokens: number; atMs: number }>();
  #held = 0;

  constructor(clock: Clock, perMinute: number) {
    this.#clock = clock;
    this.#perMinute = perMinute;
  }

  reload(perMinute: number): void {
    this.#perMinute = perMinute;
  }

  get size(): number {
    return this.#left.size;
  }

  /** Counts one refusal. @returns false when this address has had its part. */
  take(key: string): boolean {
    const now = this.#clock.nowMs();
    const before = this.#left.get(key);
    const most = Math.max(1, this.#perMinute * burstPart);
    const regained = before ? before.tokens + ((now - before.atMs) / minuteMs) * this.#perMinute : most;
    const tokens = Math.min(most, regained);
    this.#left.delete(key);
    if (this.#left.size >= maxAddresses) this.#makeRoom();
    this.#left.set(key, { tokens: tokens < 1 ? tokens : tokens - 1, atMs: now });
    return tokens >= 1;
  }

  /** The older half goes at once: deleting one by one from the front of a Map is slow. */
  #makeRoom(): void {
    let gone = 0;
    for (const key of this.#left.keys()) {
      this.#left.delete(key);
      if (++gone >= maxAddresses / 2) return;
    }
  }

  /** Lets a client wait before it is cut off, where there is room. @throws the signal's reason when aborted. */
  async hold(signal: AbortSignal): Promise<void> {
    if (this.#held >= maxHeld) return;
    this.#held++;
    try {
      await this.#clock.sleep(holdMs, signal);
    } finally {
      this.#held--;
    }
  }
}

/** A connection that is not worth a TLS handshake any more: what its client says in clear is still read and answered. */
export class PlainOnlyPipe extends WrappedPipe {
  readonly #budget: ReplyBudget;

  constructor(inner: BytePipe, budget: ReplyBudget) {
    super(inner);
    this.#budget = budget;
  }

  async startTls(_context: unknown, _received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe> {
    try {
      await this.#budget.hold(signal);
    } finally {
      this.inner.destroy();
    }
    throw new PipeClosedError();
  }
}
