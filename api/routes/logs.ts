/** What ran in the databases: the query log, its statistics, and how much a tenant uses them. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import type { HistoryEntry, HistoryOwner, HistoryStatistics, QueryHistory, UsageInterval } from "../../core/query-history.ts";
import { addUsage, emptyUsage, latencyBoundsMs, type Usage } from "../../core/query-log.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, ok, paging } from "../envelope.ts";
import { coversBlueprint } from "../policy.ts";
import { isoTime, readPage } from "../present.ts";
import { filterText, PageQuery, TenantParams, Time, WorkspaceParams } from "../schema.ts";
import { rangeFields, readRange } from "../when.ts";

const tags = ["Logs and metrics"];
const readsTenant = { who: "T", role: "read", target: "tenant" } as const;
const readsWorkspace = { who: "W", role: "read", target: "workspace" } as const;

const LogQuery = z.strictObject({
  ...PageQuery.shape,
  type: z
    .string()
    .regex(/^(?:error|slow)(?:,(?:error|slow))*$/, "must be error, slow or error,slow")
    .optional()
    .openapi({
      description: "Only statements that failed, only slow ones (`slow_query_ms`), or either. Every statement unless told.",
      example: "error,slow",
    }),
  ...rangeFields,
  credential: filterText(80).optional().openapi({ description: "Statements of this key.", example: "key_5f0c2a" }),
  search: filterText(200).min(1).optional().openapi({ description: "Text that stands in the statement, in any case.", example: "from accounts" }),
  sqlstate: z
    .string()
    .regex(/^[0-9A-Z]{5}$/, "must be a SQLSTATE as 23505")
    .optional()
    .openapi({ description: "Statements that failed with it.", example: "23505" }),
  fingerprint: z
    .string()
    .regex(/^[0-9a-f]{16}$/, "must be 16 hex digits")
    .optional()
    .openapi({ description: "Statements alike but for their values; from `…/logs/stats`.", example: "9c1f6e0b2a4d7735" }),
  session: filterText(80).optional().openapi({ description: "Statements of one connection.", example: "9f2c41d07ab3" }),
  via: z
    .enum(["wire", "api"], "must be wire or api")
    .optional()
    .openapi({ description: "How they came: over a connection, or in a request to the API." }),
  transaction: filterText(80).optional().openapi({ description: "Statements of one transaction.", example: "9f2c41d07ab3.4" }),
});

const number = z.number();
const LogEntry = z
  .object({
    id: z.number().int().openapi({ example: 8812 }),
    at: Time.openapi({ description: "When it began." }),
    credential_id: z.string().openapi({ example: "key_5f0c2a" }),
    address: z.string().openapi({ description: "The client's.", example: "192.0.2.17" }),
    session_id: z.string().openapi({ description: "As in GET /sessions; the request's id, where it came over the API.", example: "9f2c41d07ab3" }),
    via: z.enum(["wire", "api"]).openapi({ example: "wire" }),
    transaction_id: z.string().openapi({ description: "The same for all statements of one transaction.", example: "9f2c41d07ab3.4" }),
    duration_ms: number.openapi({ description: "From the client's message to the end of the answer.", example: 2.417 }),
    rows: number.openapi({ description: "Read or written, as the statement reports them.", example: 1 }),
    bytes_received: number.openapi({ description: "From the client.", example: 88 }),
    bytes_sent: number.openapi({ description: "To the client.", example: 141 }),
    sqlstate: z.string().nullable().openapi({ description: "Null where it succeeded.", example: null }),
    slow: z.boolean().openapi({ example: false }),
    statement: z
      .string()
      .openapi({ description: "Literals are `?` unless `query_log.mask` is off.", example: "SELECT name FROM accounts WHERE id = ?" }),
    truncated: z.boolean().openapi({ description: "Longer than what is kept of a statement (4 KiB).", example: false }),
    fingerprint: z.string().openapi({ example: "9c1f6e0b2a4d7735" }),
  })
  .openapi("LogEntry");
const logFields = { logs: z.array(LogEntry), ...paging };

const tenantLogs = endpoint(
  { policy: readsTenant },
  {
    method: "get",
    path: "/tenants/{id}/logs",
    tags,
    summary: "Statements that ran in a tenant's databases, the newest first",
    description:
      "Written within a second or two of the statement's end. Errors and slow statements are always kept, ordinary ones as `query_log.sample_percent` says.",
    request: { params: TenantParams, query: LogQuery },
    responses: { 200: answer(200, "Statements", { tenant_id: z.string().openapi({ example: "wayne" }), ...logFields }) },
  },
  async (c) => ok(c, { tenant_id: c.var.tenant.id, ...(await listLogs(c, tenantOwner(c), c.req.valid("query"))) }),
);

const workspaceLogs = endpoint(
  { policy: readsWorkspace },
  {
    method: "get",
    path: "/workspaces/{id}/logs",
    tags,
    summary: "Statements that ran in a workspace itself, the newest first",
    request: { params: WorkspaceParams, query: LogQuery },
    responses: { 200: answer(200, "Statements", { workspace: z.string().openapi({ example: "myapp" }), ...logFields }) },
  },
  async (c) => ok(c, { workspace: c.var.workspace.name, ...(await listLogs(c, workspaceOwner(c), c.req.valid("query"))) }),
);

const StatsQuery = z.strictObject({
  ...rangeFields,
  limit: z
    .string()
    .regex(/^(?:[1-9]\d?|100)$/, "must be an integer from 1 to 100")
    .optional()
    .openapi({ type: "integer", minimum: 1, maximum: 100, description: "20 unless told.", example: "20" }),
});

const count = z.number().int();
const TopStatement = z
  .object({
    fingerprint: z.string(),
    statement: z.string().openapi({ description: "The latest of them." }),
    calls: count,
    errors: count,
    total_ms: number,
    mean_ms: number,
    max_ms: number,
    rows: count,
  })
  .openapi("TopStatement", {
    example: {
      fingerprint: "9c1f6e0b2a4d7735",
      statement: "SELECT name FROM accounts WHERE id = ?",
      calls: 1204,
      errors: 0,
      total_ms: 2910.4,
      mean_ms: 2.417,
      max_ms: 81.2,
      rows: 1204,
    },
  });
const ErrorCount = z
  .object({ sqlstate: z.string(), count, last_at: Time, statement: z.string().openapi({ description: "The latest that failed so." }) })
  .openapi("ErrorCount", {
    example: { sqlstate: "23505", count: 3, last_at: "2026-01-15T09:30:00.000Z", statement: "INSERT INTO accounts VALUES (?)" },
  });
const statsFields = {
  top_statements: z.array(TopStatement).openapi({ description: "By total time, an estimate where statements are sampled." }),
  errors: z.array(ErrorCount).openapi({ description: "By how often." }),
  dropped: count.openapi({ description: "Statements missing because there were too many at once.", example: 0 }),
};

const tenantStats = endpoint(
  { policy: readsTenant },
  {
    method: "get",
    path: "/tenants/{id}/logs/stats",
    tags,
    summary: "Where a tenant's time goes, and what fails",
    request: { params: TenantParams, query: StatsQuery },
    responses: { 200: answer(200, "Statistics", { tenant_id: z.string().openapi({ example: "wayne" }), ...statsFields }) },
  },
  async (c) => ok(c, { tenant_id: c.var.tenant.id, ...(await summarize(c, tenantOwner(c), c.req.valid("query"))) }),
);

const workspaceStats = endpoint(
  { policy: readsWorkspace },
  {
    method: "get",
    path: "/workspaces/{id}/logs/stats",
    tags,
    summary: "Where the time of a workspace's own statements goes, and what fails",
    request: { params: WorkspaceParams, query: StatsQuery },
    responses: { 200: answer(200, "Statistics", { workspace: z.string().openapi({ example: "myapp" }), ...statsFields }) },
  },
  async (c) => ok(c, { workspace: c.var.workspace.name, ...(await summarize(c, workspaceOwner(c), c.req.valid("query"))) }),
);

const usageFields = {
  statements: count,
  errors: count,
  slow: count,
  rows: count,
  bytes_received: count,
  bytes_sent: count,
  total_ms: number.openapi({ description: "Time of all statements together." }),
  p50_ms: number.nullable().openapi({ description: "Half of the statements took no longer. Null without statements." }),
  p95_ms: number.nullable(),
  p99_ms: number.nullable(),
};
const usageExample = {
  statements: 1204,
  errors: 3,
  slow: 1,
  rows: 8100,
  bytes_received: 105_600,
  bytes_sent: 912_004,
  total_ms: 2910.4,
  p50_ms: 1.8,
  p95_ms: 7.1,
  p99_ms: 22.5,
};
const UsageTotal = z.object(usageFields).openapi("Usage", { example: usageExample });
const UsagePoint = z.object({ at: Time, ...usageFields }).openapi("UsageInterval", { example: { at: "2026-01-15T09:30:00.000Z", ...usageExample } });

const tenantMetrics = endpoint(
  { policy: readsTenant },
  {
    method: "get",
    path: "/tenants/{id}/metrics",
    tags,
    summary: "How much a tenant uses its databases",
    description:
      "Counted from every statement on the wire, sampled or not. Of the last 24 hours unless told; intervals in which nothing ran are left out.",
    request: { params: TenantParams, query: z.strictObject(rangeFields) },
    responses: {
      200: answer(200, "Usage", {
        tenant_id: z.string().openapi({ example: "wayne" }),
        since: Time,
        until: Time,
        interval_s: count.openapi({ example: 300 }),
        sessions: count.nullable().openapi({ description: "Open on this instance now; null without a gateway.", example: 4 }),
        total: UsageTotal,
        series: z.array(UsagePoint),
      }),
    },
  },
  async (c) => {
    const { clock } = c.var.api;
    const now = clock.wallMs();
    const range = readRange(c.req.valid("query"), now);
    const since = range.since ?? now - 86_400_000;
    const until = range.until ?? now;
    assertOrder(since, until);
    const owner = tenantOwner(c);
    const series = await historyOf(c).listUsage(owner, { since, until });
    const total = emptyUsage();
    for (const interval of series) addUsage(total, interval);
    return ok(c, {
      tenant_id: c.var.tenant.id,
      since: isoTime(since),
      until: isoTime(until),
      interval_s: historyOf(c).usageIntervalS,
      sessions: await countSessions(c),
      total: presentUsage(total),
      series: series.map(presentInterval),
    });
  },
);

function historyOf(c: ApiContext): QueryHistory {
  const { history } = c.var.api;
  if (!history) throw new GatewayError("forbidden", "this API runs without a gateway; nothing is logged");
  return history;
}

/** A workspace-scoped key sees what ran in its own workspaces' databases only. */
function tenantOwner(c: ApiContext): HistoryOwner {
  const { tenant, access } = c.var;
  const covered = tenant.databases.filter((database) => coversBlueprint(access.scope, database.blueprint));
  const workspaceIds = access.scope.type === "workspace" ? covered.map((database) => database.workspaceId) : undefined;
  const databases = covered.flatMap(({ database }) => database?.name ?? []);
  return { projectId: access.projectId, tenantId: tenant.id, workspaceIds, databases, since: tenant.createdAt };
}

function workspaceOwner(c: ApiContext): HistoryOwner {
  const { workspace, access } = c.var;
  const databases = workspace.database ? [workspace.database.name] : [];
  return { projectId: access.projectId, tenantId: undefined, workspaceIds: [workspace.id], databases, since: workspace.createdAt };
}

async function listLogs(c: ApiContext, owner: HistoryOwner, query: z.output<typeof LogQuery>) {
  const { type, since, until, credential, session, via, transaction, search, sqlstate, fingerprint, ...page } = query;
  const { items, nextCursor } = await historyOf(c).listStatements(owner, {
    ...readPage(page),
    ...readRange({ since, until }, c.var.api.clock.wallMs()),
    types: (type?.split(",") ?? []) as ("error" | "slow")[],
    credentialId: credential,
    sessionId: session,
    via,
    transactionId: transaction,
    search,
    sqlstate,
    fingerprint,
  });
  return { logs: items.map(presentEntry), count: items.length, next_cursor: nextCursor ?? null };
}

async function summarize(c: ApiContext, owner: HistoryOwner, { limit, since, until }: z.output<typeof StatsQuery>) {
  const range = readRange({ since, until }, c.var.api.clock.wallMs());
  return presentStatistics(await historyOf(c).summarize(owner, range, Number(limit ?? 20)));
}

async function countSessions(c: ApiContext): Promise<number | null> {
  const { operations } = c.var.api;
  if (!operations) return null;
  const sessions = await operations.listSessions(c.var.access.projectId);
  const databases = new Set(c.var.tenant.databases.map(({ blueprint }) => blueprint).filter((name) => coversBlueprint(c.var.access.scope, name)));
  return sessions.filter(({ tenant, database }) => tenant === c.var.tenant.id && databases.has(database.split("__")[0]!)).length;
}

function assertOrder(since: number, until: number): void {
  if (since >= until) throw badInput([{ path: "since", message: "must be before until" }]);
}

function presentEntry(entry: HistoryEntry) {
  return {
    id: entry.id,
    at: isoTime(entry.at),
    credential_id: entry.credentialId,
    address: entry.address,
    session_id: entry.sessionId,
    via: entry.via,
    transaction_id: entry.transactionId,
    duration_ms: entry.durationMs,
    rows: entry.rows,
    bytes_received: entry.bytesReceived,
    bytes_sent: entry.bytesSent,
    sqlstate: entry.sqlstate ?? null,
    slow: entry.isSlow,
    statement: entry.statement,
    truncated: entry.isCut,
    fingerprint: entry.fingerprint,
  };
}

function presentStatistics({ top, errors, dropped }: HistoryStatistics) {
  return {
    top_statements: top.map(({ fingerprint, statement, calls, errors: failed, totalMs, maxMs, rows }) => ({
      fingerprint,
      statement,
      calls,
      errors: failed,
      total_ms: rounded(totalMs),
      mean_ms: rounded(totalMs / Math.max(1, calls)),
      max_ms: rounded(maxMs),
      rows,
    })),
    errors: errors.map(({ sqlstate, count: times, lastAt, statement }) => ({ sqlstate, count: times, last_at: isoTime(lastAt), statement })),
    dropped,
  };
}

function presentInterval(interval: UsageInterval) {
  return { at: isoTime(interval.at), ...presentUsage(interval) };
}

function presentUsage(usage: Readonly<Usage>) {
  return {
    statements: usage.statements,
    errors: usage.errors,
    slow: usage.slow,
    rows: usage.rows,
    bytes_received: usage.bytesReceived,
    bytes_sent: usage.bytesSent,
    total_ms: rounded(usage.durationMs),
    p50_ms: quantile(usage.latencies, 0.5),
    p95_ms: quantile(usage.latencies, 0.95),
    p99_ms: quantile(usage.latencies, 0.99),
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Read off the histogram, as between two bounds by the share of the bucket; what is above the last bound is told as that bound. */
function quantile(latencies: readonly number[], share: number): number | null {
  const total = latencies.reduce((sum, value) => sum + value, 0);
  if (total === 0) return null;
  let below = 0;
  for (const [i, value] of latencies.entries()) {
    const upper = latencyBoundsMs[i];
    if (upper === undefined) break;
    if (below + value >= share * total && value > 0) {
      const lower = i === 0 ? 0 : latencyBoundsMs[i - 1]!;
      return rounded(lower + ((upper - lower) * (share * total - below)) / value);
    }
    below += value;
  }
  return latencyBoundsMs.at(-1)!;
}

export const logEndpoints = [tenantLogs, tenantStats, tenantMetrics, workspaceLogs, workspaceStats] as const;
