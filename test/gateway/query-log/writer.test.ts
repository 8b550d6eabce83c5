/** The query log on its way to the store: daily partitions, retention, a store that is away, what it will not take. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ManualClock } from "../../../core/clock.ts";
import type { Log } from "../../../core/log.ts";
import { QueryLog } from "../../../core/query-log.ts";
import { maskStatement } from "../../../engines/postgres/mask.ts";
import { createQueryHistory } from "../../../gateway/query-log/history.ts";
import { QueryLogWriter } from "../../../gateway/query-log/writer.ts";
import type { Store } from "../../../gateway/store/store.ts";
import { useTestPostgres } from "../../support/postgres.ts";
import { type ControlDatabase, makeControlDatabase } from "../store/control-database.ts";

const server = useTestPostgres();
const dayMs = 86_400_000;
let database: ControlDatabase;
let store: Store;
let clock: ManualClock;
let queries: QueryLog;
let writer: QueryLogWriter;
let events: string[];
let retentionDays: number;

beforeEach(async () => {
  database = await makeControlDatabase(server());
  store = await database.open();
  clock = new ManualClock();
  queries = new QueryLog(clock, { enabled: true, samplePercent: 100, maxPerS: 20_000, maxPerDatabasePerS: 20_000 });
  events = [];
  retentionDays = 7;
  const log: Log = { write: (_level, event) => void events.push(event) };
  writer = new QueryLogWriter({
    db: store.db,
    clock,
    log,
    queries,
    mask: ({ bytes, backslashes }, keepLiterals) => maskStatement(bytes, { backslashes, keepLiterals }),
    options: () => ({ keepLiterals: false, retentionDays }),
  });
});
afterEach(async () => {
  await writer.stop();
  await database.close();
});

function run(text: string, times = 1, tenantId = "wayne"): void {
  const origin = {
    projectId: "tdb_1",
    workspaceId: "ws_1",
    tenantId,
    database: `of ${tenantId}`,
    credentialId: "key_1",
    address: "192.0.2.1",
    sessionId: "s1",
  };
  const journal = queries.open(origin, () => ({ slow_query_ms: 1000 }));
  const bytes = new TextEncoder().encode(text);
  for (let i = 0; i < times; i++) {
    const endedMs = clock.nowMs();
    const what = {
      rows: 1,
      bytesReceived: 10,
      bytesSent: 20,
      sqlstate: undefined,
      transaction: 3,
      hasText: true,
      text: { bytes, isCut: false, backslashes: false },
    };
    journal.ended({ startedMs: endedMs - 2, endedMs, ...what });
  }
  journal.close();
}

const partitions = async () =>
  (
    await database.query<{ name: string }>(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'tenantry.query_log'::regclass order by 1",
    )
  ).map(({ name }) => name.replace("tenantry.query_log_", ""));
const day = (offset = 0) => new Date(clock.wallMs() + offset * dayMs).toISOString().slice(0, 10).replaceAll("-", "");
const statements = async () =>
  (await database.query<{ statement: string }>("select statement from tenantry.query_log order by at, id")).map((row) => row.statement);

describe("writer", () => {
  it("makes each day's partition when the day comes, and writes masked statements there", async () => {
    run("SELECT 'yesterday'");
    await writer.flush();
    expect(await partitions()).toEqual([day()]);
    clock.advance(dayMs);
    run("SELECT 'today'", 2);
    await writer.flush();
    expect(await partitions()).toEqual([day(-1), day()]);
    expect(await statements()).toEqual(["SELECT ?", "SELECT ?", "SELECT ?"]);
    const [row] = await database.query("select * from tenantry.query_log limit 1");
    expect(row).toMatchObject({ tenant_id: "wayne", transaction_id: "s1.3", duration_ms: 2, bytes_sent: expect.anything(), address: "192.0.2.1" });
  });

  it("drops whole days when their time is over, and only those", async () => {
    for (let i = 0; i < 10; i++) {
      run(`SELECT ${i}`);
      await writer.flush();
      clock.advance(dayMs);
    }
    await writer.flush();
    const kept = async () => [(await partitions())[0], (await partitions()).length];
    clock.advance(3_600_000);
    await writer.flush();
    expect(await kept()).toEqual([day(-7), 7]);
    retentionDays = 2;
    clock.advance(3_600_000);
    await writer.flush();
    expect(await kept()).toEqual([day(-2), 1]); // the hour took the clock past midnight
  });

  it("adds usage up by interval, from whichever instance it comes", async () => {
    const history = createQueryHistory(store.db);
    const owner = { projectId: "tdb_1", tenantId: "wayne", workspaceIds: undefined, since: clock.wallMs() - dayMs, databases: ["of wayne"] };
    run("SELECT 1", 3);
    run("SELECT 1", 9, "globex");
    await writer.flush();
    run("SELECT 1", 4);
    await writer.flush();
    clock.advance(300_000);
    run("SELECT 1", 1);
    await writer.flush();
    const usage = await history.listUsage(owner, {});
    expect(usage.map(({ statements: count, bytesSent, durationMs }) => [count, bytesSent, durationMs])).toEqual([
      [7, 140, 14],
      [1, 20, 2],
    ]);
    expect(usage[0]!.latencies.reduce((sum, value) => sum + value, 0)).toBe(7);
  });

  it("keeps what it could not write while the store is busy, says so once, and writes it when it can", async () => {
    run("SELECT 'first day'");
    await writer.flush();
    await database.query("begin");
    await database.query("lock table tenantry.query_log");
    clock.advance(dayMs); // the new day's partition cannot be made now
    run("SELECT a");
    await writer.flush();
    await writer.flush();
    expect(events.filter((event) => event === "query log not written, to be tried again")).toHaveLength(1);
    await database.query("rollback");
    await writer.flush();
    await writer.flush();
    expect(await statements()).toEqual(["SELECT ?", "SELECT a"]);
    expect(events).toContain("query log is written again");
    expect(queries.totals.dropped).toBe(0);
  });

  it("counts as dropped what the store will never take, and goes on", async () => {
    await database.query("alter table tenantry.query_log add constraint odd check (statement <> 'SELECT bad')");
    run("SELECT bad");
    await writer.flush();
    run("SELECT good");
    await writer.flush();
    expect(await statements()).toEqual(["SELECT good"]);
    expect(queries.totals.dropped).toBe(1);
    const [row] = await database.query("select sum(dropped)::int as dropped from tenantry.query_usage");
    expect(row).toEqual({ dropped: 1 });
  });

  it("writes any bytes a client may send, and more than one batch", async () => {
    const hostile = "SELECT \u0000 \uD800 '\u2028' \\ \" \u{10FFFF} x\u0000";
    run(hostile);
    run("SELECT 2", 1700);
    await writer.flush();
    expect(await statements()).toHaveLength(1701);
    expect(queries.totals.waiting).toBe(0);
  });

  it("is shared by two instances that begin a day together", async () => {
    const other = new QueryLogWriter({
      db: (await database.open()).db,
      clock,
      log: { write: () => undefined },
      queries,
      mask: ({ bytes }) => maskStatement(bytes, { backslashes: false, keepLiterals: false }),
      options: () => ({ keepLiterals: false, retentionDays }),
    });
    run("SELECT 1", 600);
    await Promise.all([writer.flush(), other.flush()]);
    await Promise.all([writer.flush(), other.flush()]);
    expect(await statements()).toHaveLength(600);
    expect(await partitions()).toEqual([day()]);
    await other.stop();
  });
});
