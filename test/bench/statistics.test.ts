/** Benchmark: medians, ratios by round, and the order contenders run in. */
import { describe, expect, it } from "vitest";
import { median, percentile, ratiosOf, rotate, spreadOf } from "../../bench/statistics.ts";

describe("median", () => {
  it.each([
    [[3], 3],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 2.5],
    [[10, 9, 100], 10],
  ])("of %j is %d", (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  it("leaves its input as it was, and refuses to make one up", () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
    expect(() => median([])).toThrow(RangeError);
  });

  it("comes with the least and the most", () => {
    expect(spreadOf([2, 8, 4])).toEqual({ median: 4, least: 2, most: 8 });
  });
});

describe("ratios", () => {
  it("are taken round by round, so that a slow minute of the machine does not count", () => {
    const base = [100, 50, 100];
    const values = [90, 45, 90]; // the second round was slow for both
    expect(ratiosOf(values, base)).toEqual({ median: 0.9, least: 0.9, most: 0.9 });
  });

  it("need as many rounds on both sides", () => {
    expect(() => ratiosOf([1], [1, 2])).toThrow(RangeError);
  });
});

describe("rotation", () => {
  it("lets each contender go first once", () => {
    const items = ["a", "b", "c"];
    expect([0, 1, 2, 3].map((round) => rotate(items, round).join(""))).toEqual(["abc", "bca", "cab", "abc"]);
    expect(rotate([], 3)).toEqual([]);
  });
});

describe("percentiles", () => {
  it("are the value that the part asked for is not above", () => {
    const sorted = Array.from({ length: 200 }, (_, i) => i + 1);
    expect([percentile(sorted, 0.5), percentile(sorted, 0.99), percentile([7], 0.99)]).toEqual([101, 199, 7]);
    expect(() => percentile([], 0.5)).toThrow(RangeError);
  });
});
