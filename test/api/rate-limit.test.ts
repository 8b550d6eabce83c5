/** Rate limit: the allowance of a second, the ban, and failed log-ins. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { rateKey } from "../../api/rate-limit.ts";
import { makeWorld, type World } from "./support/world.ts";

// The limiter's library reads Date and sets timers; both are moved by hand here.
beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  vi.useRealTimers();
});

const limits = { requestsPerS: 3, violations: 2, windowS: 60, banS: 300, failedLogins: 3 };

async function burst(world: World, count: number, from?: string): Promise<number[]> {
  const statuses: number[] = [];
  for (let i = 0; i < count; i++) statuses.push((await world.send("GET", "/health", from === undefined ? {} : { from })).status);
  return statuses;
}

describe("rate limit", () => {
  it("refuses what goes over a second's allowance, and says when to come back", async () => {
    const world = await makeWorld({ rateLimits: limits });
    expect(await burst(world, 4)).toEqual([200, 200, 200, 429]);
    const refused = await world.send("GET", "/health");
    expect(refused.body).toMatchObject({ success: false, code: "rate_limited", error: "too many requests from your address, retry in 1s" });
    expect(refused.headers.get("retry-after")).toBe("1");
    vi.advanceTimersByTime(1000);
    expect(await burst(world, 1)).toEqual([200]);
  });

  it("counts a second over the allowance once, however many requests it held", async () => {
    const world = await makeWorld({ rateLimits: limits });
    await burst(world, 30);
    vi.advanceTimersByTime(1000);
    expect(await burst(world, 1)).toEqual([200]);
  });

  it("bans an address that keeps going over it, until the ban ends", async () => {
    const world = await makeWorld({ rateLimits: limits });
    await burst(world, 4);
    vi.advanceTimersByTime(1000);
    await burst(world, 4);
    vi.advanceTimersByTime(2000);
    const banned = await world.send("GET", "/health");
    expect(banned.status).toBe(429);
    expect(banned.headers.get("retry-after")).toBe("298");
    vi.advanceTimersByTime(297_999);
    expect(await burst(world, 1)).toEqual([429]);
    vi.advanceTimersByTime(1);
    expect(await burst(world, 1)).toEqual([200]);
  });

  it("forgets violations after the window", async () => {
    const world = await makeWorld({ rateLimits: limits });
    await burst(world, 4);
    vi.advanceTimersByTime(60_000);
    await burst(world, 4);
    vi.advanceTimersByTime(1000);
    expect(await burst(world, 1)).toEqual([200]);
  });

  it("counts addresses apart, by the address the socket has and not a header", async () => {
    const world = await makeWorld({ rateLimits: limits });
    await burst(world, 4, "192.0.2.1");
    expect(await burst(world, 1, "192.0.2.2")).toEqual([200]);
    const forged = await world.send("GET", "/health", { from: "192.0.2.1", headers: { "x-forwarded-for": "203.0.113.9" } });
    expect(forged.status).toBe(429);
  });

  it("stops guessing of passwords, but not other requests", async () => {
    const world = await makeWorld({ rateLimits: { ...limits, requestsPerS: 100 } });
    const login = (password: string) => world.send("POST", "/login", { body: { email: "ada@example.com", password } });
    for (let i = 0; i < 3; i++) expect((await login("wrong one")).body.code).toBe("unauthorized");
    expect((await login("correct horse")).body).toMatchObject({ code: "rate_limited", http_status: 429, retry_after_s: 60 });
    expect(await burst(world, 1)).toEqual([200]);
    vi.advanceTimersByTime(60_000);
    expect((await login("correct horse")).status).toBe(200);
  });

  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:0DB8:0001:2::9", "2001:db8:1:2"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["fe80::1%eth0", "fe80:0:0:0"],
    ["::1", "0:0:0:0"],
  ])("keys %s as %s", (address, key) => {
    expect(rateKey(address)).toBe(key);
  });
});
