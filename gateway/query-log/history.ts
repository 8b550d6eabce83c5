/** core's QueryHistory over the store: statements newest first, their statistics, usage by interval. */
import { type Kysely, type RawBuilder, type Selectable, sql } from "kysely";
import type { Listing } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type {
  ErrorStatistics,
  HistoryEntry,
  HistoryOwner,
  HistoryPage,
  HistoryRange,
  HistoryStatistics,
  QueryHistory,
  StatementStatistics,
  UsageInterval,
} from "../../core/query-history.ts";
import { decodeCursor, pageLimit, toListing } from "../control/paging.ts";
import type { QueryLogRow, Tables } from "../store/schema.ts";
import { translateStoreError } from "../store/store-errors.ts";
import { usageIntervalMs } from "./usage.ts";

/** Ids of requests begin so; those of connections are hex. No wildcard of LIKE is in it. */
const requestPrefix = "req";

/** Searching is the reader's wait, never the database's burden. */
const searchTimeoutMs = 10_000;

export function createQueryHistory(db: Kysely<Tables>): QueryHistory {
  return {
    usageIntervalS: usageIntervalMs / 1000,
    listStatements: (owner, page) => asking(db, (trx) => listStatements(trx, owner, page)),
    summarize: (owner, range, limit) => asking(db, (trx) => summarize(trx, owner, range, limit)),
    listUsage: (owner, range) => asking(db, (trx) => listUsage(trx, owner, range)),
  };
}

async function asking<T>(db: Kysely<Tables>, ask: (trx: Kysely<Tables>) => Promise<T>): Promise<T> {
  try {
    return await db.transaction().execute(async (trx) => {
      await sql`set local statement_timeout = ${sql.lit(searchTimeoutMs)}`.execute(trx);
      return await ask(trx);
    });
  } catch (error) {
    if ((error as { code?: unknown }).code === "57014") {
      throw new GatewayError("timeout", `the query log could not be searched within ${searchTimeoutMs / 1000} s; narrow it with since and until`);
    }
    throw translateStoreError(error, "backend_unreachable");
  }
}

async function listStatements(db: Kysely<Tables>, owner: HistoryOwner, page: HistoryPage): Promise<Listing<HistoryEntry>> {
  const conditions = [...ownedBy(owner, page), ...matching(page)];
  if (page.cursor !== undefined) {
    const [at, id] = decodeCursor(page.cursor, ["string", "number"]) as [string, number];
    if (Number.isNaN(Date.parse(at)) || !Number.isSafeInteger(id)) decodeCursor("", ["string"]);
    conditions.push(sql`(at, id) < (${at}::timestamptz, ${id})`);
  }
  const found = await sql<Selectable<QueryLogRow> & { exact: string }>`
    select *, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as exact from tenantry.query_log
    where ${sql.join(conditions, sql` and `)} order by at desc, id desc limit ${pageLimit(page) + 1}`.execute(db);
  return toListing(found.rows, page, toEntry, (row) => [row.exact, row.id]);
}

function matching(page: HistoryPage): RawBuilder<unknown>[] {
  const conditions: RawBuilder<unknown>[] = [];
  const wanted = new Set(page.types);
  if (wanted.size > 0) conditions.push(sql`(sqlstate is not null or is_slow)`); // as the partial index has it
  if (wanted.size === 1) conditions.push(wanted.has("error") ? sql`sqlstate is not null` : sql`is_slow`);
  if (page.credentialId !== undefined) conditions.push(sql`credential_id = ${page.credentialId}`);
  if (page.sqlstate !== undefined) conditions.push(sql`sqlstate = ${page.sqlstate}`);
  if (page.fingerprint !== undefined) conditions.push(sql`fingerprint = ${page.fingerprint}`);
  if (page.sessionId !== undefined) conditions.push(sql`session_id = ${page.sessionId}`);
  if (page.via !== undefined)
    conditions.push(page.via === "api" ? sql`session_id like ${`${requestPrefix}%`}` : sql`session_id not like ${`${requestPrefix}%`}`);
  if (page.transactionId !== undefined) conditions.push(sql`transaction_id = ${page.transactionId}`);
  if (page.search !== undefined) conditions.push(sql`statement ilike ${`%${page.search.replaceAll(/[\\%_]/g, "\\$&")}%`}`);
  return conditions;
}

function ownedBy(owner: HistoryOwner, range: HistoryRange): RawBuilder<unknown>[] {
  const since = Math.max(owner.since, range.since ?? owner.since);
  return [
    sql`project_id = ${owner.projectId}`,
    owner.tenantId === undefined ? sql`tenant_id is null` : sql`tenant_id = ${owner.tenantId}`,
    sql`at >= ${new Date(since)}`,
    ...inWorkspaces(owner),
    ...(range.until === undefined ? [] : [sql`at < ${new Date(range.until)}`]),
  ];
}

function inWorkspaces({ workspaceIds }: HistoryOwner): RawBuilder<unknown>[] {
  return workspaceIds === undefined ? [] : [sql`workspace_id = any(${[...workspaceIds]}::text[])`];
}

async function summarize(db: Kysely<Tables>, owner: HistoryOwner, range: HistoryRange, limit: number): Promise<HistoryStatistics> {
  const owned = sql.join(ownedBy(owner, range), sql` and `);
  const top = await sql<StatementStatistics>`
    select fingerprint, (array_agg(statement order by at desc))[1] as statement, round(sum(weight))::float8 as calls,
      round(sum(weight) filter (where sqlstate is not null))::float8 as errors, sum(weight * duration_ms)::float8 as "totalMs",
      max(duration_ms) as "maxMs", round(sum(weight * rows))::float8 as rows
    from tenantry.query_log where ${owned} group by fingerprint order by "totalMs" desc, fingerprint limit ${limit}`.execute(db);
  const errors = await sql<{ sqlstate: string; count: number; last: Date; statement: string }>`
    select sqlstate, count(*) as count, max(at) as last, (array_agg(statement order by at desc))[1] as statement
    from tenantry.query_log where ${owned} and (sqlstate is not null or is_slow) and sqlstate is not null
    group by sqlstate order by count desc, sqlstate limit ${limit}`.execute(db);
  const dropped = (await listUsage(db, owner, range)).reduce((sum, interval) => sum + interval.dropped, 0);
  return {
    top: top.rows.map((row) => ({ ...row, errors: row.errors ?? 0 })),
    errors: errors.rows.map(
      (row): ErrorStatistics => ({ sqlstate: row.sqlstate, count: row.count, lastAt: row.last.getTime(), statement: row.statement }),
    ),
    dropped,
  };
}

async function listUsage(db: Kysely<Tables>, owner: HistoryOwner, range: HistoryRange): Promise<readonly UsageInterval[]> {
  // An interval counts when it overlaps the time asked for.
  const since = Math.max(owner.since, range.since ?? owner.since) - usageIntervalMs;
  const conditions = [
    sql`project_id = ${owner.projectId}`,
    sql`tenant_id = ${owner.tenantId ?? ""}`,
    sql`at > ${new Date(since)}`,
    // In the interval it was made in, an earlier one of the same id may have been used too.
    sql`(at >= ${new Date(owner.since)} or database_name = any(${[...owner.databases]}::text[]))`,
    ...inWorkspaces(owner),
    ...(range.until === undefined ? [] : [sql`at < ${new Date(range.until)}`]),
  ];
  const found = await sql<Omit<UsageInterval, "at" | "latencies"> & { at: Date; latencies: string }>`
    select at, sum(statements)::float8 as statements, sum(errors)::float8 as errors, sum(slow)::float8 as slow, sum(rows)::float8 as rows,
      sum(bytes_received)::float8 as "bytesReceived", sum(bytes_sent)::float8 as "bytesSent", sum(duration_ms) as "durationMs",
      sum(dropped)::float8 as dropped, json_agg(latencies)::text as latencies
    from tenantry.query_usage where ${sql.join(conditions, sql` and `)} group by at order by at`.execute(db);
  return found.rows.map((row) => ({ ...row, at: row.at.getTime(), latencies: addColumns(JSON.parse(row.latencies) as number[][]) }));
}

/** Databases of one tenant, bucket by bucket. */
function addColumns(lists: readonly (readonly number[])[]): number[] {
  const sum: number[] = [];
  for (const list of lists) for (const [i, value] of list.entries()) sum[i] = (sum[i] ?? 0) + value;
  return sum;
}

function toEntry(row: Selectable<QueryLogRow>): HistoryEntry {
  return {
    id: row.id,
    at: row.at.getTime(),
    workspaceId: row.workspace_id,
    credentialId: row.credential_id,
    address: row.address,
    sessionId: row.session_id,
    via: row.session_id.startsWith(requestPrefix) ? "api" : "wire",
    transactionId: row.transaction_id,
    durationMs: row.duration_ms,
    rows: row.rows,
    bytesReceived: row.bytes_received,
    bytesSent: row.bytes_sent,
    sqlstate: row.sqlstate ?? undefined,
    isSlow: row.is_slow,
    statement: row.statement,
    isCut: row.is_cut,
    fingerprint: row.fingerprint,
  };
}
