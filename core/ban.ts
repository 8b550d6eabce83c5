/** Failed passwords per address: a window, then a ban that doubles with each repetition within an hour. Bounded memory. */
import type { Clock } from "./clock.ts";
import { makeRoom } from "./make-room.ts";
import type { SharedCounts } from "./shared-counts.ts";

export interface BanOptions {
  readonly threshold: number;
  readonly windowMs: number;
  readonly banMs: number;
  readonly maxBanMs: number;
}

/** What logins report, and what administrators see and do. */
export interface Bans {
  /** Counts one proven wrong secret; its client is told afterwards. @returns true when it brought a ban that nobody has logged yet. */
  recordFailure(address: string): boolean | Promise<boolean>;
  recordSuccess(address: string): void;
  /** Whole seconds left of a ban, rounded up; 0 when not banned. */
  secondsLeft(address: string): number;
  list(): { address: string; secondsLeft: number }[];
  lift(address: string): boolean;
}

/** Bans older than this no longer double the next one. */
const memoryMs = 3_600_000;
const maxAddresses = 100_000;

interface Record {
  failures: number;
  windowStartMs: number;
  bannedUntilMs: number;
  lastBanMs: number;
  bans: number;
}

export class BanTracker implements Bans {
  readonly #clock: Clock;
  #options: BanOptions;
  readonly #shared: SharedCounts | undefined;
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock, options: BanOptions, shared?: SharedCounts) {
    this.#clock = clock;
    this.#shared = shared;
    this.#options = options;
  }

  /** New numbers for what comes; bans in force stay as they are. */
  reload(options: BanOptions): void {
    this.#options = options;
  }

  /** Whole seconds left of a ban, rounded up; 0 when not banned. Attempts during a ban do not extend it. */
  secondsLeft(address: string): number {
    const record = this.#records.get(address);
    if (!record) return 0;
    return Math.max(0, Math.ceil((record.bannedUntilMs - this.#clock.nowMs()) / 1000));
  }

  /** Addresses of which anything is kept. */
  get size(): number {
    return this.#records.size;
  }

  /** Counts one proven wrong secret. @returns true when it brought a ban. */
  recordFailure(address: string): boolean {
    this.#shared?.failed(address);
    const now = this.#clock.nowMs();
    const record = this.#touch(address, now);
    if (now < record.bannedUntilMs) return false;
    if (now - record.windowStartMs >= this.#options.windowMs) {
      record.failures = 0;
      record.windowStartMs = now;
    }
    record.failures++;
    if (record.failures < this.#options.threshold) return false;
    record.bans = now - record.lastBanMs < memoryMs ? record.bans + 1 : 1;
    record.lastBanMs = now;
    record.failures = 0;
    record.windowStartMs = now;
    record.bannedUntilMs = now + Math.min(this.#options.maxBanMs, this.#options.banMs * 2 ** Math.min(record.bans - 1, 30));
    return true;
  }

  /** A right secret clears the count, not a ban nor its history. */
  recordSuccess(address: string): void {
    this.#shared?.succeeded(address);
    const record = this.#records.get(address);
    if (record) record.failures = 0;
  }

  /** Takes over a ban another instance knows of. @returns true when there was none in force here. */
  impose(address: string, seconds: number): boolean {
    const now = this.#clock.nowMs();
    const record = this.#touch(address, now);
    const isNew = now >= record.bannedUntilMs;
    if (isNew) {
      record.bans = Math.max(1, record.bans);
      record.lastBanMs = now;
      record.failures = 0;
    }
    record.bannedUntilMs = Math.max(record.bannedUntilMs, now + seconds * 1000);
    return isNew;
  }

  lift(address: string): boolean {
    this.#shared?.lifted(address);
    return this.#records.delete(address);
  }

  list(): { address: string; secondsLeft: number }[] {
    return [...this.#records.keys()].map((address) => ({ address, secondsLeft: this.secondsLeft(address) })).filter((ban) => ban.secondsLeft > 0);
  }

  /** The record, moved to the young end; the oldest ones without a ban in force go when there are too many. */
  #touch(address: string, now: number): Record {
    const record = this.#records.get(address) ?? { failures: 0, windowStartMs: now, bannedUntilMs: 0, lastBanMs: Number.NEGATIVE_INFINITY, bans: 0 };
    this.#records.delete(address);
    makeRoom(this.#records, maxAddresses, ({ bannedUntilMs }) => bannedUntilMs <= now);
    this.#records.set(address, record);
    return record;
  }
}
