/** Limits per address: what counts as one address, connections, the rate, exemptions, CIDRs. */
import { describe, expect, it } from "vitest";
import { BanTracker } from "../../core/ban.ts";
import { ManualClock } from "../../core/clock.ts";
import { AddressGate, expandIpv6, isLoopback, limitKey, matchCidrs } from "../../core/limit.ts";

function make(limits = {}) {
  const clock = new ManualClock();
  const bans = new BanTracker(clock, { threshold: 1, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  const gate = new AddressGate(clock, bans, {
    maxConnections: 3,
    connectRate: 2,
    connectBurst: 4,
    exempt: ["10.0.0.0/8", "2001:db8:1::/48"],
    ...limits,
  });
  return { clock, bans, gate };
}

describe("limit key", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:0DB8:0:0:ffff:ffff:ffff:ffff", "2001:db8:0:0::/64"],
    ["2001:db8:0:1::1", "2001:db8:0:1::/64"],
    ["::1", "0:0:0:0::/64"],
    ["not:an:address", "not:an:address"],
  ])("of %s is %s", (address, key) => expect(limitKey(address)).toBe(key));

  it.each(["1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3", ":::", "g::", "12345::", "1:2:3:4:5:6:7:8::"])("%s is no IPv6 address", (address) => {
    expect(expandIpv6(address)).toBeUndefined();
  });

  it.each([
    ["127.0.0.1", true],
    ["127.255.0.9", true],
    ["::1", true],
    ["0:0:0:0:0:0:0:1", true],
    ["", true],
    ["128.0.0.1", false],
    ["127.0.0.1.example", false],
    ["::2", false],
  ])("%s: loopback %s", (address, expected) => expect(isLoopback(address)).toBe(expected));
});

describe("CIDR", () => {
  it.each([
    ["10.0.0.0/8", "10.255.1.2", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["192.0.2.128/25", "192.0.2.129", true],
    ["192.0.2.128/25", "192.0.2.127", false],
    ["0.0.0.0/0", "8.8.8.8", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "2001:db8::1", true],
    ["2001:db8::/33", "2001:db8:7fff::", true],
    ["2001:db8::/33", "2001:db8:8000::", false],
    ["10.0.0.0/8", "", false],
    ["10.0.0.0/8", "999.0.0.1", false],
  ])("%s and %s: %s", (cidr, address, expected) => expect(matchCidrs([cidr])(address)).toBe(expected));

  it.each([
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/8/9",
    "10.0.0.0/0x8",
    "10.0.0.0/ 8",
    "10.0.0",
    "256.0.0.0/8",
    "::/129",
    "",
    "/8",
    "example.com",
  ])("%j is refused", (cidr) => expect(() => matchCidrs([cidr])).toThrow(RangeError));
});

describe("address gate", () => {
  it("admits up to the limit of connections at once, and again when one has gone", () => {
    const { gate, clock } = make();
    const admissions = [1, 2, 3].map(() => gate.admit("192.0.2.1"));
    expect(admissions.map((one) => one.refusal)).toEqual([undefined, undefined, undefined]);
    const refused = gate.admit("192.0.2.1");
    expect(refused.refusal).toMatchObject({ kind: "ip_connections", message: "connection rejected: too many connections from your IP (limit 3)" });
    refused.release();
    admissions[0]!.release();
    admissions[0]!.release();
    clock.advance(1000);
    expect(gate.admit("192.0.2.1").refusal).toBeUndefined();
    expect(gate.admit("192.0.2.1").refusal?.kind).toBe("ip_connections");
  });

  it("lets a burst through, then so many a second, and says how long to wait", () => {
    const { gate, clock } = make({ maxConnections: 100 });
    const kinds = () => Array.from({ length: 6 }, () => gate.admit("192.0.2.1").refusal?.kind);
    expect(kinds()).toEqual([undefined, undefined, undefined, undefined, "ip_rate", "ip_rate"]);
    expect(gate.admit("192.0.2.1").refusal).toMatchObject({
      message: "connection rejected: your IP is connecting too fast, retry in 1s",
      details: { retryAfterS: 1 },
    });
    clock.advance(500);
    expect(kinds().filter((kind) => !kind)).toHaveLength(1);
    clock.advance(3_600_000);
    expect(kinds().filter((kind) => !kind)).toHaveLength(4);
  });

  it("counts a /64 as one address, and another /64 apart", () => {
    const { gate } = make({ maxConnections: 1 });
    gate.admit("2001:db8::1");
    expect(gate.admit("2001:db8::ffff").refusal?.kind).toBe("ip_connections");
    expect(gate.admit("2001:db8:0:1::1").refusal).toBeUndefined();
  });

  it("tells a banned address the seconds left, before anything else", () => {
    const { gate, bans, clock } = make({ maxConnections: 1 });
    gate.admit("192.0.2.1");
    bans.recordFailure("192.0.2.1");
    clock.advance(13_000);
    expect(gate.admit("192.0.2.1").refusal).toMatchObject({
      kind: "ip_banned",
      message: "connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in 47s",
      details: { retryAfterS: 47 },
    });
  });

  it.each(["10.1.2.3", "2001:db8:1::9", ""])("does not count %j, which is exempt or local", (address) => {
    const { gate, bans } = make();
    bans.recordFailure(limitKey(address));
    const admissions = Array.from({ length: 50 }, () => gate.admit(address));
    expect(admissions.every((one) => one.refusal === undefined && one.exempt)).toBe(true);
  });

  it("keeps a bounded number of a million addresses that come and go and guess passwords", () => {
    const { gate, bans, clock } = make();
    let most = 0;
    for (let i = 0; i < 1_000_000; i++) {
      const address = `2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`;
      const admission = gate.admit(address);
      if (i % 2) bans.recordFailure(admission.addressKey);
      admission.release();
      if (i % 1000 === 0) {
        clock.advance(1000); // a thousand new addresses a second
        most = Math.max(most, gate.size);
      }
    }
    expect(most).toBeLessThanOrEqual(20_000);
    expect(bans.size).toBeGreaterThan(90_000);
    expect(bans.size).toBeLessThanOrEqual(100_000);
    clock.advance(60_000);
    expect(gate.size).toBe(0);
  }, 300_000);

  it("keeps a bounded number of a million addresses that come at once", () => {
    const { gate } = make();
    const stays = gate.admit("192.0.2.1");
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 1_000_000; i++) gate.admit(`2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`).release();
    expect(gate.size).toBeLessThanOrEqual(100_000);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(200_000_000);
    for (let i = 0; i < 2; i++) gate.admit("192.0.2.1");
    expect(gate.admit("192.0.2.1").refusal?.kind).toBe("ip_connections"); // one with something open is never forgotten
    stays.release();
  }, 300_000);

  it("forgets an address once it has nothing open and a full bucket, not before", () => {
    const { gate, clock } = make({ maxConnections: 1 });
    const open = gate.admit("192.0.2.1");
    clock.advance(60_000);
    expect(gate.admit("192.0.2.1").refusal?.kind).toBe("ip_connections");
    open.release();
  });
});
