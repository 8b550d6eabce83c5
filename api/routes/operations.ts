/** A running gateway for its administrators: metrics, sessions, bans, the record of changes. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import { metricsContentType } from "../../core/metrics.ts";
import { engineNames } from "../../core/model.ts";
import type { AuditEntry, Operations, SessionInfo } from "../../core/operations.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, ok, paging } from "../envelope.ts";
import { pageOf } from "../page-of.ts";
import { notFound } from "../policy.ts";
import { isoTime, readPage } from "../present.ts";
import { filterText, PageQuery, RoleField, Time } from "../schema.ts";
import { rangeFields, readRange } from "../when.ts";

const policy = { who: "P", role: "admin" } as const;

/** @throws {GatewayError} forbidden where there is no gateway behind the API. */
export function operationsOf(c: ApiContext): Operations {
  const { operations } = c.var.api;
  if (!operations) throw new GatewayError("forbidden", "this API runs without a gateway; there is nothing to operate");
  return operations;
}

const metrics = endpoint(
  { policy: { who: "metrics" } },
  {
    method: "get",
    path: "/metrics",
    tags: ["Service"],
    summary: "Metrics of this instance for Prometheus",
    description: "Open on loopback; from elsewhere with the configured `metrics_token` as Bearer token.",
    responses: { 200: { description: "Prometheus' text format", content: { "text/plain": { schema: z.string() } } } },
  },
  async (c) => c.text(await operationsOf(c).renderMetrics(), 200, { "Content-Type": metricsContentType }),
);

const Session = z
  .object({
    id: z.string().openapi({ example: "9f2c41d07ab3" }),
    database_type: z.enum(engineNames),
    database: z.string().openapi({ example: "myapp__wayne" }),
    tenant_id: z.string().nullable().openapi({ description: "Null in a workspace.", example: "wayne" }),
    credential_id: z.string().openapi({ example: "key_5f0c2a" }),
    credential_name: z.string().openapi({ example: "wayne" }),
    key: z.string().openapi({ description: "The first characters of its key.", example: "tenantsdb_sk_3cc0…" }),
    role: RoleField,
    address: z.string().openapi({ example: "192.0.2.17" }),
    state: z.enum(["active", "idle", "in_transaction", "waiting"]).openapi({ description: "`waiting`: see `waiting_for`." }),
    waiting_for: z.enum(["admission", "backend", "login"]).nullable().openapi({
      description:
        "Null unless it waits. `admission`: to be let in, as while its database is replaced. `backend`: for a database connection; the cluster's `backend_budget` is in use, or what is left of it is kept for others. `login`: the database server takes its time.",
      example: null,
    }),
    position: z.number().int().nullable().openapi({
      description: "For a `backend`: its place in line among clients of the same database on the same instance; 1 is next.",
      example: null,
    }),
    pinned_by: z.array(z.string()).openapi({
      description:
        "With `pool_mode` transaction: what it has that would be lost on another backend, so that it keeps its own between transactions (`setting`, `listen`, `temporary object`, `prepared statement`, `cursor`, `advisory lock`, `library`, `statement too large`). `DISCARD ALL` lets it go.",
      example: [],
    }),
    since: Time.openapi({ description: "In this state since then." }),
    connected_at: Time,
  })
  .openapi("Session");

const sessions = endpoint(
  { policy },
  {
    method: "get",
    path: "/sessions",
    tags: ["Operations"],
    summary: "Who is connected to the project's databases, on all instances",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Sessions, the oldest first", { sessions: z.array(Session), ...paging }) },
  },
  async (c) => {
    const found = await operationsOf(c).listSessions(c.var.access.projectId);
    const { items, ...page } = pageOf(found, c.req.valid("query"), ({ connectedAt, id }) => `${isoTime(connectedAt)} ${id}`);
    return ok(c, { sessions: items.map(presentSession), ...page });
  },
);

function presentSession(session: SessionInfo) {
  return {
    id: session.id,
    database_type: session.engine,
    database: session.database,
    tenant_id: session.tenant ?? null,
    credential_id: session.credentialId,
    credential_name: session.credentialName,
    key: `${session.keyPrefix}…`,
    role: session.role,
    address: session.address,
    state: session.state,
    waiting_for: session.waitingFor ?? null,
    position: session.position ?? null,
    pinned_by: [...(session.pins ?? [])],
    since: isoTime(session.since),
    connected_at: isoTime(session.connectedAt),
  };
}

const endSession = endpoint(
  { policy },
  {
    method: "delete",
    path: "/sessions/{id}",
    tags: ["Operations"],
    summary: "End a session",
    description: "The client is told 57P01 `terminating connection due to administrator command`; a running statement is cancelled.",
    request: { params: z.object({ id: z.string().openapi({ example: "9f2c41d07ab3" }) }) },
    responses: { 200: answer(200, "Ended", { id: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    if (!(await operationsOf(c).endSession(c.var.access.projectId, id))) throw notFound("Session", id);
    return ok(c, { id, message: `Session '${id}' ended` });
  },
);

const Ban = z.object({ ip: z.string().openapi({ example: "192.0.2.17" }), retry_after_s: z.number().int().openapi({ example: 47 }) }).openapi("Ban");

const bans = endpoint(
  { policy },
  {
    method: "get",
    path: "/bans",
    tags: ["Operations"],
    summary: "Addresses banned from the database ports for wrong passwords",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Bans in force; IPv6 by /64", { bans: z.array(Ban), ...paging }) },
  },
  async (c) => {
    const { items, ...page } = pageOf(await operationsOf(c).listBans(), c.req.valid("query"), ({ address }) => address);
    return ok(c, { bans: items.map(({ address, secondsLeft }) => ({ ip: address, retry_after_s: secondsLeft })), ...page });
  },
);

const liftBan = endpoint(
  { policy },
  {
    method: "delete",
    path: "/bans/{ip}",
    tags: ["Operations"],
    summary: "Lift a ban",
    request: {
      params: z.object({ ip: z.string().openapi({ description: "An address, or the /64 as GET /bans shows it.", example: "192.0.2.17" }) }),
    },
    responses: { 200: answer(200, "Lifted", { ip: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { ip } = c.req.valid("param");
    if (!(await operationsOf(c).liftBan(ip))) throw notFound("Ban", ip);
    return ok(c, { ip, message: `Ban of '${ip}' lifted` });
  },
);

export const AuditQuery = z.strictObject({
  ...PageQuery.shape,
  ...rangeFields,
  credential: filterText(80).optional().openapi({ description: "Changes made with this key.", example: "key_5f0c2a" }),
});

const recorded = z.record(z.string(), z.unknown()).nullable();
const Change = z
  .object({
    at: Time,
    actor: z.string().openapi({ description: "Name of the key, or e-mail address of the account.", example: "ci" }),
    credential_id: z.string().nullable().openapi({ example: "key_5f0c2a" }),
    account_id: z.string().nullable().openapi({ example: null }),
    action: z.string().openapi({ example: "PATCH /workspaces/{id}/settings" }),
    target: z.string().nullable().openapi({ example: "myapp" }),
    before: recorded.openapi({ example: { max_connections: null } }),
    after: recorded.openapi({ example: { max_connections: 20 } }),
    http_status: z.number().int().openapi({ description: "500 and above: it may have happened in part.", example: 200 }),
    address: z.string().openapi({ example: "192.0.2.17" }),
    request_id: z.string().openapi({ example: "req_1f0a2b3c4d5e6f70" }),
  })
  .openapi("Change");

export const changesAnswer = answer(200, "Changes", { changes: z.array(Change), ...paging });

const audit = endpoint(
  { policy },
  {
    method: "get",
    path: "/audit",
    tags: ["Operations"],
    summary: "Who changed what over the API, when and from where; the newest first",
    description: "Secrets, statements and rows are never recorded. Requests that were refused changed nothing and are not listed.",
    request: { query: AuditQuery },
    responses: { 200: changesAnswer },
  },
  async (c) => ok(c, await pageOfChanges(c, c.var.access.projectId, c.req.valid("query"))),
);

/** @param projectId a project's id, or the operator's record. */
export async function pageOfChanges(c: ApiContext, projectId: string, query: z.output<typeof AuditQuery>) {
  const { since, until, credential, ...page } = query;
  const { items, nextCursor } = await operationsOf(c).listChanges(projectId, {
    ...readPage(page),
    ...readRange({ since, until }, c.var.api.clock.wallMs()),
    credentialId: credential,
  });
  return { changes: items.map(presentChange), count: items.length, next_cursor: nextCursor ?? null };
}

function presentChange(entry: AuditEntry) {
  return {
    at: isoTime(entry.at),
    actor: entry.actor,
    credential_id: entry.credentialId ?? null,
    account_id: entry.accountId ?? null,
    action: entry.action,
    target: entry.target ?? null,
    before: entry.before ?? null,
    after: entry.after ?? null,
    http_status: entry.status,
    address: entry.address,
    request_id: entry.requestId,
  };
}

export const operationsEndpoints = [metrics, sessions, endSession, bans, liftBan, audit] as const;
