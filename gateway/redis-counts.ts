/** Limits and bans counted in Redis or Valkey, for all instances together; while it is away, each instance counts for itself. */
import { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { BanOptions } from "../core/ban.ts";
import type { Clock } from "../core/clock.ts";
import type { AddressLimits } from "../core/limit.ts";
import type { Log } from "../core/log.ts";
import type { SharedAnswer, SharedCounts } from "../core/shared-counts.ts";
import { addScripts, type ScriptedRedis } from "./redis-scripts.ts";

export interface RedisCountsOptions {
  readonly bans: BanOptions;
  readonly limits: AddressLimits;
}

export interface RedisCountsDeps {
  readonly url: string;
  /** Unlike that of any other instance. */
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly options: RedisCountsOptions;
  /** How long an answer may take; no login waits longer. Default 100. */
  readonly deadlineMs?: number;
  /** A ban that failures of all instances together brought. */
  readonly onBan: (key: string, seconds: number) => void;
}

const defaultDeadlineMs = 100;
/** How often an instance says that it is alive, and looks for a server that was away. */
const beatMs = 1000;
/** What an instance counted vanishes when it has not said so for this long. */
const instanceLifeMs = 15_000;
/** How often all counts are written anew, which keeps them from expiring. */
const rewriteMs = 600_000;
const rewriteAtOnce = 500;
const prefix = "tenantry";

export class RedisCounts implements SharedCounts {
  readonly #deps: RedisCountsDeps;
  readonly #redis: ScriptedRedis;
  #options: RedisCountsOptions;
  #failures: RateLimiterRedis;
  #connects: RateLimiterRedis;
  /** Open connections of this instance, by address. */
  readonly #open = new Map<string, number>();
  #state: "starting" | "shared" | "away" = "starting";
  #probing = false;
  #rewrittenMs = 0;
  readonly #stopBeat: () => void;

  constructor(deps: RedisCountsDeps) {
    this.#deps = deps;
    this.#options = deps.options;
    this.#redis = addScripts(
      new Redis(deps.url, {
        commandTimeout: deps.deadlineMs ?? defaultDeadlineMs,
        connectTimeout: 2000,
        enableOfflineQueue: false,
        maxRetriesPerRequest: 0,
        autoResendUnfulfilledCommands: false,
        retryStrategy: (times) => Math.min(100 * times, 1000),
      }),
    );
    this.#redis.on("error", (error) => this.#goAway(error));
    this.#redis.on("close", () => this.#goAway(new Error("the connection was closed")));
    this.#redis.on("ready", () => void this.#probe());
    [this.#failures, this.#connects] = makeLimiters(this.#redis, deps.options);
    this.#stopBeat = deps.clock.every(beatMs, () => void this.#probe());
  }

  /** False while each instance counts for itself. */
  get isShared(): boolean {
    return this.#state === "shared";
  }

  reload(options: RedisCountsOptions): void {
    this.#options = options;
    [this.#failures, this.#connects] = makeLimiters(this.#redis, options);
  }

  admit(key: string, open: number): Promise<SharedAnswer | undefined> {
    this.#open.set(key, open);
    return this.#ask(async () => {
      const [banMs, waitMs, connections] = await Promise.all([
        this.#redis.pttl(banKey(key)),
        consume(this.#connects, key).then(({ isOver, msBeforeNext }) => (isOver ? Math.max(1, msBeforeNext) : 0)),
        this.#tellOpen(key, open),
      ]);
      return { bannedS: Math.ceil(Math.max(0, banMs) / 1000), connections, waitS: Math.ceil(waitMs / 1000) };
    });
  }

  refund(key: string): void {
    void this.#ask(() => this.#connects.reward(key, 1));
  }

  released(key: string, open: number): void {
    if (open > 0) this.#open.set(key, open);
    else this.#open.delete(key);
    void this.#ask(() => this.#tellOpen(key, open));
  }

  failed(key: string): void {
    void this.#ask(async () => {
      if ((await this.#redis.pttl(banKey(key))) > 0) return; // attempts during a ban do not count
      const { consumedPoints } = await consume(this.#failures, key);
      const { threshold, banMs, maxBanMs } = this.#options.bans;
      if (consumedPoints < threshold) return;
      const leftMs = await this.#redis.tenantryBan(banKey(key), `${prefix}:bans:${key}`, banMs, maxBanMs);
      await this.#failures.delete(key);
      this.#deps.onBan(key, Math.ceil(leftMs / 1000));
    });
  }

  succeeded(key: string): void {
    void this.#ask(() => this.#failures.delete(key));
  }

  lifted(key: string): void {
    void this.#ask(() => this.#redis.del(banKey(key), `${prefix}:bans:${key}`, `${prefix}:failures:${key}`));
  }

  /** What this instance counted is gone at once, instead of when its time is up. */
  async stop(): Promise<void> {
    this.#stopBeat();
    if (this.#state === "shared") await this.#redis.del(instanceKey(this.#deps.instance)).catch(() => undefined);
    this.#state = "away";
    this.#redis.disconnect();
  }

  #tellOpen(key: string, open: number): Promise<number> {
    return this.#redis.tenantryOpen(`${prefix}:open:${key}`, this.#deps.instance, open, instanceKey(""));
  }

  /** Undefined at once while the server is away, and when it does not answer in time, from which on it is away. */
  async #ask<T>(question: () => Promise<T>): Promise<T | undefined> {
    if (this.#state !== "shared") return undefined;
    try {
      return await question();
    } catch (error) {
      this.#goAway(error);
      return undefined;
    }
  }

  #goAway(error: unknown): void {
    if (this.#state === "away") return;
    this.#state = "away";
    const reason = error instanceof Error ? error.message || (error as NodeJS.ErrnoException).code || error.name : String(error);
    this.#deps.log.write("warn", "limits and bans are counted by this instance alone: redis_url does not answer", { reason });
  }

  /** Says that this instance is alive; a server that was away is told everything anew before it is asked again. */
  async #probe(): Promise<void> {
    if (this.#probing || this.#redis.status !== "ready") return;
    this.#probing = true;
    const wasShared = this.#state === "shared";
    try {
      await this.#redis.set(instanceKey(this.#deps.instance), "1", "PX", instanceLifeMs);
      if (!wasShared || this.#deps.clock.nowMs() - this.#rewrittenMs > rewriteMs) await this.#rewrite();
      if (!wasShared && this.#redis.status === "ready") {
        this.#state = "shared";
        this.#deps.log.write("info", "limits and bans are shared by redis_url");
      }
    } catch (error) {
      this.#goAway(error);
      if (!wasShared) this.#redis.disconnect(true); // a connection nothing comes back on is replaced
    } finally {
      this.#probing = false;
    }
  }

  async #rewrite(): Promise<void> {
    const keys = [...this.#open.keys()];
    for (let at = 0; at < keys.length; at += rewriteAtOnce) {
      await Promise.all(keys.slice(at, at + rewriteAtOnce).map((key) => this.#tellOpen(key, this.#open.get(key) ?? 0)));
    }
    this.#rewrittenMs = this.#deps.clock.nowMs();
  }
}

/** The burst, over the time in which the rate alone would allow it. */
function makeLimiters(redis: Redis, { bans, limits }: RedisCountsOptions): [failures: RateLimiterRedis, connects: RateLimiterRedis] {
  const { connectRate, connectBurst } = limits;
  return [
    new RateLimiterRedis({ storeClient: redis, keyPrefix: `${prefix}:failures`, points: bans.threshold, duration: Math.ceil(bans.windowMs / 1000) }),
    new RateLimiterRedis({
      storeClient: redis,
      keyPrefix: `${prefix}:connects`,
      points: Math.max(connectBurst, connectRate),
      duration: Math.max(1, Math.ceil(connectBurst / connectRate)),
    }),
  ];
}

/** The library throws its result when the limit is passed. */
async function consume(limiter: RateLimiterRedis, key: string): Promise<{ isOver: boolean; consumedPoints: number; msBeforeNext: number }> {
  try {
    const { consumedPoints, msBeforeNext } = await limiter.consume(key);
    return { isOver: false, consumedPoints, msBeforeNext };
  } catch (result) {
    if (!(result instanceof RateLimiterRes)) throw result;
    return { isOver: true, consumedPoints: result.consumedPoints, msBeforeNext: result.msBeforeNext };
  }
}

function banKey(key: string): string {
  return `${prefix}:ban:${key}`;
}

function instanceKey(instance: string): string {
  return `${prefix}:instance:${instance}`;
}
