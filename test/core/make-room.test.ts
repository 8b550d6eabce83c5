/** Bounded maps: the oldest go first, some are spared while others can go, and a full map costs each newcomer little. */
import { describe, expect, it } from "vitest";
import { makeRoom } from "../../core/make-room.ts";

const filled = (count: number) => new Map(Array.from({ length: count }, (_, i) => [i, i]));

describe("room in a bounded map", () => {
  it("is left alone while there is some", () => {
    const entries = filled(31);
    makeRoom(entries, 32);
    expect(entries.size).toBe(31);
  });

  it("is made by letting the oldest sixteenth go", () => {
    const entries = filled(32);
    makeRoom(entries, 32);
    expect([...entries.keys()].slice(0, 2)).toEqual([2, 3]);
    expect(entries.size).toBe(30);
  });

  it("spares what must stay while there is enough else among the oldest", () => {
    const entries = filled(64);
    makeRoom(entries, 64, (value) => value % 2 === 1);
    expect([...entries.keys()].slice(0, 6)).toEqual([0, 2, 4, 6, 8, 9]);
  });

  it("spares nothing where that would mean looking at everything", () => {
    const entries = filled(64);
    makeRoom(entries, 64, (value) => value > 60);
    expect([...entries.keys()].slice(0, 2)).toEqual([2, 3]);
  });

  it("is found in the smallest map", () => {
    const entries = filled(1);
    makeRoom(entries, 1);
    expect(entries.size).toBe(0);
  });

  it("looks at each entry a few times at most, however long newcomers come to a full map of those that must stay", () => {
    const entries = new Map<number, number>();
    let looks = 0;
    for (let i = 0; i < 50_000; i++) {
      makeRoom(entries, 1000, () => {
        looks++;
        return false;
      });
      entries.set(i, i);
    }
    expect(entries.size).toBeLessThanOrEqual(1000);
    expect(looks).toBeLessThan(50_000 * 5);
  });
});
