/** Whose sessions are ended when a database holds too much of the lock table. */
import { describe, expect, it } from "vitest";
import { tooGreedy } from "../../gateway/lock-watch.ts";

const room = 1000;
const holder = (database: string, pid: number, locks: number) => ({ database, pid, locks, room });

describe("lock watch", () => {
  it("leaves alone what is within its part, several sessions together", () => {
    expect(tooGreedy([holder("a", 1, 300), holder("a", 2, 200), holder("b", 3, 100)], 50)).toEqual([]);
  });

  it("ends the largest holders of a database until the rest is within it, others' never", () => {
    const holders = [holder("a", 1, 400), holder("b", 2, 300), holder("a", 3, 200), holder("a", 4, 100)];
    expect(tooGreedy(holders, 50).map(({ pid }) => pid)).toEqual([1]);
    expect(tooGreedy(holders, 25).map(({ pid }) => pid)).toEqual([1, 2, 3]);
    expect(tooGreedy(holders, 1).map(({ pid }) => pid)).toEqual([1, 2, 3, 4]);
  });
});
