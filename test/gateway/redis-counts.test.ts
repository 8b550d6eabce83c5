/** Limits and bans over a real redis-server: shared by instances, doubling, crashes, and going on alone while it is away. */
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BanTracker } from "../../core/ban.ts";
import { ManualClock, systemClock } from "../../core/clock.ts";
import { AddressGate, type Admission } from "../../core/limit.ts";
import { RedisCounts } from "../../gateway/redis-counts.ts";
import { until } from "../e2e/support/until.ts";
import { hasRedis, type RedisProcess, startRedis } from "../support/redis.ts";

const address = "192.0.2.1";
const banOptions = { threshold: 3, windowMs: 60_000, banMs: 60_000, maxBanMs: 100_000 };
const limits = { maxConnections: 3, connectRate: 100, connectBurst: 100, exempt: ["10.0.0.0/8"] };

/** What one gateway has of all this. Its local clock stands still, so that nothing but Redis lets time pass. */
class Instance {
  readonly lines: string[] = [];
  readonly clock = new ManualClock();
  readonly counts: RedisCounts;
  readonly bans: BanTracker;
  readonly gate: AddressGate;

  /** Patient, unless it is about the deadline: a busy machine is no server that is away. */
  constructor(name: string, url: string, more: Partial<typeof limits> = {}, deadlineMs: number | undefined = 20_000) {
    const options = { bans: banOptions, limits: { ...limits, ...more } };
    this.counts = new RedisCounts({
      url,
      instance: name,
      clock: systemClock,
      log: { write: (level, event) => void this.lines.push(`${level}: ${event}`) },
      options,
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      onBan: (key, seconds) => void this.bans.impose(key, seconds),
    });
    this.bans = new BanTracker(this.clock, banOptions, this.counts);
    this.gate = new AddressGate(this.clock, this.bans, options.limits, this.counts);
  }

  untilShared(): Promise<void> {
    return until(
      () => this.counts.isShared,
      () => this.lines.join("\n"),
    );
  }

  /** The kind of refusal a connection gets, by all that count. */
  async admit(from = address): Promise<string | undefined> {
    const admission = this.gate.admit(from);
    return (await answerOf(admission))?.kind;
  }
}

async function answerOf(admission: Admission) {
  return admission.refusal ?? (await admission.shared);
}

const alone = "warn: limits and bans are counted by this instance alone: redis_url does not answer";
const together = "info: limits and bans are shared by redis_url";

describe.skipIf(!hasRedis)("limits over Redis (skipped where redis-server is missing)", () => {
  let redis: RedisProcess;
  let a: Instance;
  let b: Instance;
  let look: Redis;

  beforeEach(async () => {
    redis = await startRedis();
    a = new Instance("a", redis.url);
    b = new Instance("b", redis.url);
    look = new Redis(redis.url, { retryStrategy: () => 100, maxRetriesPerRequest: null });
    look.on("error", () => undefined);
    await Promise.all([a.untilShared(), b.untilShared()]);
  });

  afterEach(async () => {
    look.disconnect();
    redis.release();
    await Promise.all([a.counts.stop(), b.counts.stop()]);
    await redis.kill();
  });

  const failures = () => look.get(`tenantry:failures:${address}`);
  const banned = async (instance: Instance, seconds: number) => {
    const refusal = await answerOf(instance.gate.admit(address));
    expect(refusal?.kind).toBe("ip_banned");
    const left = Number(/retry in (\d+)s$/.exec(refusal?.message ?? "")?.[1]);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(seconds);
    return left;
  };

  it("bans an address whose failures are spread over instances, on all of them", async () => {
    a.bans.recordFailure(address);
    b.bans.recordFailure(address);
    await until(async () => (await failures()) === "2");
    expect(await a.admit()).toBeUndefined();
    a.bans.recordFailure(address);
    await until(() => a.bans.secondsLeft(address) > 0);
    await banned(a, 60);
    expect(b.bans.secondsLeft(address)).toBe(0);
    await banned(b, 60);
    expect(b.bans.secondsLeft(address)).toBeGreaterThan(0); // known here now, and refused without asking
    expect(b.gate.admit(address).shared).toBeUndefined();
    expect(await b.admit("192.0.2.2")).toBeUndefined();
  });

  it("counts a ban down, and doubles the next one up to the longest", async () => {
    const banKey = `tenantry:ban:${address}`;
    const lengths: number[] = [];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 3; i++) a.bans.recordFailure(address);
      await until(async () => (await look.exists(banKey)) === 1);
      await until(async () => (await failures()) === null);
      lengths.push(Math.ceil((await look.pttl(banKey)) / 1000));
      await look.pexpire(banKey, 20_000);
      expect(await banned(b, 20)).toBeLessThanOrEqual(20);
      await look.del(banKey);
      a.clock.advance(200_000);
      b.clock.advance(200_000);
    }
    expect(lengths).toEqual([60, 100, 100]);
  });

  it("forgets failures after a success on another instance, and all after a lift", async () => {
    a.bans.recordFailure(address);
    a.bans.recordFailure(address);
    await until(async () => (await failures()) === "2");
    b.bans.recordSuccess(address);
    await until(async () => (await failures()) === null);
    for (let i = 0; i < 3; i++) b.bans.recordFailure(address);
    await until(() => b.bans.secondsLeft(address) > 0);
    b.bans.lift(address);
    await until(async () => (await look.exists(`tenantry:ban:${address}`, `tenantry:bans:${address}`)) === 0);
    expect(await a.admit()).toBeUndefined();
  });

  it("counts connections of all instances, each as long as it is open", async () => {
    const first = a.gate.admit(address);
    expect(await answerOf(first)).toBeUndefined();
    expect(await a.admit()).toBeUndefined();
    expect(await b.admit()).toBeUndefined();
    const refused = b.gate.admit(address);
    expect((await answerOf(refused))?.message).toBe("connection rejected: too many connections from your IP (limit 3)");
    refused.release();
    first.release();
    await until(async () => (await look.hget(`tenantry:open:${address}`, "a")) === "1");
    expect(await b.admit()).toBeUndefined();
    expect(await b.admit()).toBe("ip_connections");
  });

  it("lets the counts of an instance vanish that is no more", async () => {
    await look.hset(`tenantry:open:${address}`, "crashed", "1000");
    expect(await a.admit()).toBeUndefined();
    expect(await look.hgetall(`tenantry:open:${address}`)).toEqual({ a: "1" });
    await look.hset(`tenantry:open:${address}`, "living", "1000");
    await look.set("tenantry:instance:living", "1");
    expect(await b.admit()).toBe("ip_connections");
    await a.counts.stop();
    expect(await look.exists("tenantry:instance:a")).toBe(0);
  });

  it("limits the rate of all instances together, and gives back what was no login", async () => {
    const c = new Instance("c", redis.url, { connectRate: 1, connectBurst: 3, maxConnections: 1000 });
    const d = new Instance("d", redis.url, { connectRate: 1, connectBurst: 3, maxConnections: 1000 });
    try {
      await Promise.all([c.untilShared(), d.untilShared()]);
      expect(await c.admit()).toBeUndefined();
      const cancel = d.gate.admit(address);
      expect(await answerOf(cancel)).toBeUndefined();
      cancel.refund();
      expect(await c.admit()).toBeUndefined();
      expect(await d.admit()).toBeUndefined();
      const refusal = await answerOf(d.gate.admit(address));
      expect(refusal?.message).toMatch(/^connection rejected: your IP is connecting too fast, retry in [1-3]s$/);
      expect(refusal?.details.retryAfterS).toBeGreaterThan(0);
    } finally {
      await Promise.all([c.counts.stop(), d.counts.stop()]);
    }
  });

  it("asks nothing about exempt addresses", async () => {
    expect(a.gate.admit("10.1.1.1").shared).toBeUndefined();
    expect(a.gate.admit("").shared).toBeUndefined();
    expect(await look.keys("tenantry:open:*")).toEqual([]);
  });

  it("goes on alone when Redis dies, says so once, and together when it is back", async () => {
    const staying = a.gate.admit(address);
    expect(await answerOf(staying)).toBeUndefined();
    await redis.kill();
    await until(() => !a.counts.isShared && !b.counts.isShared);
    for (let i = 0; i < 3; i++) a.bans.recordFailure("192.0.2.9");
    expect(await a.admit("192.0.2.9")).toBe("ip_banned");
    expect(await b.admit("192.0.2.9")).toBeUndefined();
    expect([await b.admit(), await b.admit(), await b.admit(), await b.admit()]).toEqual([undefined, undefined, undefined, "ip_connections"]);
    await redis.start();
    await Promise.all([a.untilShared(), b.untilShared()]);
    expect(await look.hgetall(`tenantry:open:${address}`)).toMatchObject({ a: "1" }); // told anew to a server that forgot
    expect(a.lines).toEqual([together, alone, together]);
    expect(b.lines).toEqual([together, alone, together]);
    for (let i = 0; i < 3; i++) a.bans.recordFailure("192.0.2.10");
    await until(() => a.bans.secondsLeft("192.0.2.10") > 0);
    await until(async () => (await look.exists("tenantry:ban:192.0.2.10")) === 1);
    expect(await b.admit("192.0.2.10")).toBe("ip_banned");
  });

  it("does not wait for a Redis that holds its connections and answers nothing", async () => {
    const hasty = new Instance("hasty", redis.url, {}, 100);
    await hasty.untilShared();
    redis.hold();
    expect(await hasty.admit()).toBeUndefined();
    expect(hasty.counts.isShared).toBe(false);
    expect(hasty.gate.admit(address).refusal).toBeUndefined();
    redis.release();
    await hasty.untilShared();
    expect(hasty.lines.slice(-2)).toEqual([alone, together]);
    await hasty.counts.stop();
  });

  it("starts without Redis, and shares when there is one", async () => {
    await redis.kill();
    const late = new Instance("late", redis.url);
    await until(() => late.lines.length > 0);
    expect(late.lines).toEqual([alone]);
    expect(await late.admit()).toBeUndefined();
    await redis.start();
    await late.untilShared();
    expect(late.lines).toEqual([alone, together]);
    await late.counts.stop();
  });
});
