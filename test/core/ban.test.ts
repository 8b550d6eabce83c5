/** Bans after failed passwords: the window, the second they end, doubling, bounded memory, clocks that jump. */
import { describe, expect, it } from "vitest";
import { BanTracker } from "../../core/ban.ts";
import { ManualClock } from "../../core/clock.ts";

function make() {
  const clock = new ManualClock();
  const bans = new BanTracker(clock, { threshold: 10, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  const fail = (times: number, address = "192.0.2.1") => Array.from({ length: times }, () => bans.recordFailure(address)).at(-1);
  return { clock, bans, fail };
}

describe("ban", () => {
  it("comes with the tenth failure, not with the ninth", () => {
    const { bans, fail } = make();
    expect(fail(9)).toBe(false);
    expect(bans.secondsLeft("192.0.2.1")).toBe(0);
    expect(fail(1)).toBe(true);
    expect(bans.secondsLeft("192.0.2.1")).toBe(60);
    expect(bans.secondsLeft("192.0.2.2")).toBe(0);
  });

  it("counts down, still holds in its last millisecond and is over at the exact second it expires", () => {
    const { clock, bans, fail } = make();
    fail(10);
    const seen: number[] = [];
    for (const ms of [13_000, 46_000, 999, 1]) {
      clock.advance(ms);
      seen.push(bans.secondsLeft("192.0.2.1"));
    }
    expect(seen).toEqual([47, 1, 1, 0]);
    expect(bans.list()).toEqual([]);
  });

  it("forgets failures older than the window", () => {
    const { clock, fail } = make();
    fail(9);
    clock.advance(60_000);
    expect(fail(9)).toBe(false);
    expect(fail(1)).toBe(true);
  });

  it("forgets failures after a success, not a ban", () => {
    const { bans, fail } = make();
    fail(9);
    bans.recordSuccess("192.0.2.1");
    expect(fail(9)).toBe(false);
    fail(1);
    bans.recordSuccess("192.0.2.1");
    expect(bans.secondsLeft("192.0.2.1")).toBe(60);
  });

  it("is not made longer by attempts while it holds", () => {
    const { clock, bans, fail } = make();
    fail(10);
    clock.advance(30_000);
    expect(fail(50)).toBe(false);
    expect(bans.secondsLeft("192.0.2.1")).toBe(30);
    clock.advance(30_000);
    expect(fail(9)).toBe(false);
  });

  it("doubles each time within an hour, up to the longest, and starts anew after a quiet one", () => {
    const { clock, bans, fail } = make();
    const lengths: number[] = [];
    for (let i = 0; i < 7; i++) {
      fail(10);
      lengths.push(bans.secondsLeft("192.0.2.1"));
      clock.advance(lengths.at(-1)! * 1000);
    }
    expect(lengths).toEqual([60, 120, 240, 480, 900, 900, 900]);
    clock.advance(3_600_000);
    fail(10);
    expect(bans.secondsLeft("192.0.2.1")).toBe(60);
  });

  it("does not depend on the wall clock", () => {
    const { clock, bans, fail } = make();
    fail(10);
    clock.jumpWall(-3_600_000);
    clock.advance(59_000);
    expect(bans.secondsLeft("192.0.2.1")).toBe(1);
    clock.jumpWall(7_200_000);
    expect(bans.secondsLeft("192.0.2.1")).toBe(1);
    clock.advance(1000);
    expect(bans.secondsLeft("192.0.2.1")).toBe(0);
  });

  it("keeps no more than 100,000 addresses, bans in force the longest", () => {
    const { bans, fail } = make();
    fail(10, "banned");
    for (let i = 0; i < 150_000; i++) bans.recordFailure(`address ${i}`);
    expect(bans.secondsLeft("banned")).toBe(60);
    // The first of the flood were forgotten: nine more do not ban them.
    expect(fail(9, "address 0")).toBe(false);
  });

  it("is taken over from another instance, never made shorter by it, and doubles from there", () => {
    const { clock, bans, fail } = make();
    expect(bans.impose("192.0.2.1", 30)).toBe(true);
    expect(bans.secondsLeft("192.0.2.1")).toBe(30);
    expect(bans.impose("192.0.2.1", 20)).toBe(false);
    expect(bans.secondsLeft("192.0.2.1")).toBe(30);
    expect(bans.impose("192.0.2.1", 45)).toBe(false);
    expect(bans.secondsLeft("192.0.2.1")).toBe(45);
    clock.advance(45_000);
    fail(10);
    expect(bans.secondsLeft("192.0.2.1")).toBe(120);
  });

  it("can be lifted", () => {
    const { bans, fail } = make();
    fail(10);
    expect(bans.list()).toEqual([{ address: "192.0.2.1", secondsLeft: 60 }]);
    expect(bans.lift("192.0.2.1")).toBe(true);
    expect(bans.secondsLeft("192.0.2.1")).toBe(0);
    expect(bans.lift("192.0.2.1")).toBe(false);
  });
});
