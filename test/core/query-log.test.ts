/** The query log's buffer: what it keeps, what it drops and counts, and that one busy database does not take the others' place. */
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../core/clock.ts";
import { type EndedStatement, QueryLog, type QueryLogOptions } from "../../core/query-log.ts";

const defaults: QueryLogOptions = { enabled: true, samplePercent: 100, maxPerS: 1000, maxPerDatabasePerS: 200 };
const text = { bytes: new TextEncoder().encode("SELECT 1"), isCut: false, backslashes: false };

function makeLog(options: Partial<QueryLogOptions> = {}, random: () => number = () => 0.5) {
  const clock = new ManualClock();
  const log = new QueryLog(clock, { ...defaults, ...options }, random);
  const open = (database: string) =>
    log.open(
      { projectId: "tdb_1", workspaceId: "ws_1", tenantId: database, database, credentialId: "key_1", address: "192.0.2.1", sessionId: "s" },
      () => ({ slow_query_ms: 100 }),
    );
  const statement = (over: Partial<EndedStatement> = {}): EndedStatement => {
    const endedMs = clock.nowMs();
    return {
      startedMs: endedMs - 4,
      endedMs,
      rows: 2,
      bytesReceived: 10,
      bytesSent: 20,
      sqlstate: undefined,
      hasText: true,
      text,
      transaction: 1,
      ...over,
    };
  };
  const run = (journal: ReturnType<typeof open>, times: number, over?: Partial<EndedStatement>) => {
    for (let i = 0; i < times; i++) journal.ended(statement(over));
  };
  return { clock, log, open, run };
}

describe("query log", () => {
  it("keeps what it is told, with its beginning on the wall clock, and gives it away once", () => {
    const { clock, log, open, run } = makeLog();
    run(open("wayne"), 3);
    const taken = log.take(2);
    expect(taken).toHaveLength(2);
    expect(taken[0]).toMatchObject({ at: clock.wallMs() - 4, isSlow: false, weight: 1, origin: { tenantId: "wayne" } });
    expect([log.take(10).length, log.take(10).length]).toEqual([1, 0]);
  });

  it("keeps so many per second and database and no more, counts the rest, and leaves others their place", () => {
    const { clock, log, open, run } = makeLog({ maxPerDatabasePerS: 10, maxPerS: 15 });
    const [busy, quiet] = [open("busy"), open("quiet")];
    run(busy, 100);
    run(quiet, 3);
    expect(log.take(1000).map((record) => record.origin.tenantId)).toEqual([...Array(10).fill("busy"), ...Array(3).fill("quiet")]);
    expect(log.totals).toMatchObject({ statements: 103, kept: 13, dropped: 90 });
    clock.advance(1000);
    run(busy, 1);
    expect(log.take(1000)).toHaveLength(1);
    expect(log.takeUsage().map(({ origin, usage }) => [origin.tenantId, usage.statements, usage.dropped])).toEqual([
      ["busy", 101, 90],
      ["quiet", 3, 0],
    ]);
  });

  it("keeps errors and slow statements whatever the sample, within a budget of their own", () => {
    const { clock, log, open, run } = makeLog({ samplePercent: 0, maxPerDatabasePerS: 2 });
    const journal = open("wayne");
    run(journal, 50);
    run(journal, 1, { sqlstate: "42601" });
    run(journal, 1, { startedMs: clock.nowMs() - 100 });
    run(journal, 5, { sqlstate: "23505" });
    expect(log.take(100).map(({ sqlstate, isSlow, weight }) => [sqlstate, isSlow, weight])).toEqual([
      ["42601", false, 1],
      [undefined, true, 1],
    ]);
    expect(log.totals).toMatchObject({ statements: 57, errors: 6, slow: 1, dropped: 5 });
    expect(Object.fromEntries(log.totals.errorsByClass)).toEqual({ 42: 1, 23: 5 });
  });

  it("gives sampled statements the weight of those they stand for", () => {
    let turn = 0;
    const { log, open, run } = makeLog({ samplePercent: 25 }, () => (turn++ % 4) / 4);
    run(open("wayne"), 40);
    const taken = log.take(100);
    expect(taken).toHaveLength(10);
    expect(taken.reduce((sum, { weight }) => sum + weight, 0)).toBe(40);
    expect(log.totals.dropped).toBe(0);
  });

  it("never holds more than it can, however long nobody takes", () => {
    const { clock, log, open, run } = makeLog({ maxPerS: 20_000, maxPerDatabasePerS: 20_000 });
    const journal = open("wayne");
    for (let second = 0; second < 3; second++) {
      run(journal, 6000);
      clock.advance(1000);
    }
    expect(log.totals).toMatchObject({ waiting: 10_000, kept: 10_000, dropped: 8000 });
  });

  it("keeps no text when it is off, and goes on counting", () => {
    const { log, open, run } = makeLog({ enabled: false });
    const journal = open("wayne");
    expect(journal.wantsText).toBe(false);
    run(journal, 2, { hasText: false, text: undefined });
    expect(log.take(10)).toEqual([]);
    expect(log.totals.statements).toBe(2);
    log.reload(defaults);
    expect(journal.wantsText).toBe(true);
  });

  it("bounds labels: SQLSTATEs functions invent are one class", () => {
    const { log, open, run } = makeLog();
    for (let i = 0; i < 300; i++) run(open("wayne"), 1, { sqlstate: `Q${String.fromCharCode(65 + (i % 26))}${i}` });
    expect(Object.fromEntries(log.totals.errorsByClass)).toEqual({ other: 300 });
  });

  it("counts usage again that could not be written, and forgets databases nobody uses", () => {
    const { log, open, run } = makeLog();
    const journal = open("wayne");
    run(journal, 2);
    const usages = log.takeUsage();
    log.giveBack(usages);
    run(journal, 1);
    const [again] = log.takeUsage();
    expect(again!.usage).toMatchObject({ statements: 3, rows: 6, bytesSent: 60 });
    expect(again!.usage.latencies.reduce((sum, value) => sum + value, 0)).toBe(3);
    journal.close();
    expect(log.takeUsage()).toEqual([]);
    run(journal, 1); // told late, by a relay on its way out
    expect(log.totals.statements).toBe(4);
  });
});
