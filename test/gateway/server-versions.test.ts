/** Servers below the safe minor version: told once, again when it changes, refused when asked for. */
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../core/clock.ts";
import type { LogFields } from "../../core/log.ts";
import { ServerVersions, versionProblem } from "../../gateway/server-versions.ts";

describe("server version", () => {
  it.each([
    [180_007, undefined],
    [180_004, /PostgreSQL 18\.4 lacks the fix for CVE-2026-6460.*; 18\.7 has it/],
    [170_011, /17\.12 has it/],
    [160_016, undefined],
    [150_019, /15\.20/],
    [140_025, undefined],
    [130_099, /PostgreSQL 13 gets no security fixes any more/],
    [190_000, undefined],
  ])("%i", (num, problem) => {
    if (problem) expect(versionProblem(num)).toMatch(problem);
    else expect(versionProblem(num)).toBeUndefined();
  });

  function make() {
    const clock = new ManualClock();
    const lines: [string, LogFields | undefined][] = [];
    const numbers: Record<string, number> = { main: 180_004, other: 180_007 };
    const prepared: Record<string, number> = { main: 0, other: 0 };
    let isAway = false;
    const connect = async (id: string) => {
      if (isAway) throw new Error("away");
      return { query: async () => ({ rows: [{ num: numbers[id], prepared: prepared[id] }], rowCount: 1 }), close: async () => undefined };
    };
    const versions = new ServerVersions({
      // biome-ignore lint/suspicious/noExplicitAny: only what is asked of it
      dialer: { asAdmin: connect } as any,
      clusterIds: () => ["main", "other"],
      clock,
      log: { write: (_level, event, fields) => void lines.push([event, fields]) },
    });
    const leave = () => {
      isAway = true;
    };
    return { clock, lines, numbers, prepared, versions, leave };
  }

  it("warns once, keeps what it knew while a server is away, and takes it back after an update", async () => {
    const { lines, numbers, versions, leave } = make();
    await versions.check();
    await versions.check();
    expect(lines).toEqual([["database server should be updated", { cluster: "main", reason: expect.stringContaining("CVE-2026-6460") }]]);
    expect([...versions.problems.keys()]).toEqual(["main"]);
    expect(() => versions.assertGood()).toThrow(/cluster "main": PostgreSQL 18\.4/);
    numbers.main = 180_007;
    await versions.check();
    expect(versions.problems.size).toBe(0);
    versions.assertGood();
    numbers.other = 180_001;
    await versions.check();
    leave();
    await versions.check();
    expect([...versions.problems.keys()]).toEqual(["other"]);
    versions.stop();
  });

  it("warns of one where transactions can be prepared, which is no reason to refuse it", async () => {
    const { lines, numbers, prepared, versions } = make();
    numbers.main = 180_007;
    prepared.other = 10;
    await versions.check();
    await versions.check();
    const reason = expect.stringMatching(/^max_prepared_transactions is 10: .*; set it to 0$/);
    expect(lines).toEqual([["database server lets clients prepare transactions", { cluster: "other", reason }]]);
    versions.assertGood();
    prepared.other = 0;
    await versions.check();
    expect(versions.cautions.size).toBe(0);
    versions.stop();
  });
});
