/** The record of changes: one middleware on every route that changes something, after it has. */
import type { MiddlewareHandler } from "hono";
import { type AuditEntry, operatorsRecord } from "../core/operations.ts";
import type { ApiContext, ApiEnv } from "./context.ts";
import type { Policy } from "./policy.ts";

const safeMethods = new Set(["get", "head", "options"]);

/** Fields of request bodies that go into the record. All others are left out: what is not named here may be a secret or somebody's data. */
const recordedFields = [
  "name",
  "role",
  "scope_type",
  "scope_values",
  "expires_at",
  "grace_s",
  "database",
  "mode",
  "redirect_to",
  "tenant_id",
  "databases",
  "blueprint",
  "blueprint_name",
  "version",
  "deploy_all",
  "tenant_ids",
  "concurrency",
  "lock_timeout_ms",
  "canary",
  "canary_watch_s",
  "on_failure",
  "dry_run",
  "isolation_level",
  "cluster",
  "max_rows_per_query",
  "query_timeout_ms",
  "max_connections",
  "allow_copy",
  "pool_mode",
  "slow_query_ms",
  "routing_field",
  "create_tenants",
  "drop_routing_column",
  "shared_tables",
  "import_id",
  "backup_id",
  "date",
  "upgrade",
  "cron",
  "time_zone",
  "keep_count",
  "keep_days",
  "source",
  "template",
  "deploy_data",
] as const;

/** Statements that only read are the query log's business. */
const readingCommands = new Set(["SELECT", "SHOW", "EXPLAIN", "FETCH"]);

/**
 * Records what succeeded, and what failed and may have happened in part; what was refused at once changed nothing and is in the log.
 * The answer waits for the record, but is not lost with it: a failure goes to the log with everything the record would have said.
 */
export function recordChanges(route: { readonly method: string; readonly path: string }, { who }: Policy): MiddlewareHandler<ApiEnv> {
  const action = `${route.method.toUpperCase()} ${route.path}`;
  const isOperators = who === "operator";
  const isChange = !safeMethods.has(route.method.toLowerCase());
  return async (c, next) => {
    await next();
    const { operations, log } = c.var.api;
    const isRefused = c.res.status >= 400 && c.res.status < 500 && !c.var.hasActed;
    if (!isChange || !operations || c.var.isReplay || isRefused) return;
    const entry = await describeChange(c, action, isOperators);
    if (!entry) return;
    await operations
      .recordChange(entry)
      .catch((error: unknown) => log.write("error", "change not recorded", { ...logged(entry), error: String(error) }));
  };
}

async function describeChange(c: ApiContext, action: string, isOperators: boolean): Promise<AuditEntry | undefined> {
  const sent = await readSent(c);
  const answered = c.var.answered ?? {};
  const projectId = isOperators ? operatorsRecord : (c.var.access?.projectId ?? text(answered.project_id) ?? c.req.param("id"));
  const command = text(answered.command);
  if (projectId === undefined || (command !== undefined && readingCommands.has(command))) return undefined;
  const after = {
    ...pick(sent, recordedFields),
    ...pick(c.req.query(), ["hard", "blueprint"]),
    ...(command !== undefined && { command }),
    ...(isOperators && pick(answered, ["server"])), // where it stands; how it is logged in to is a secret
    ...c.var.after,
  };
  return {
    projectId,
    at: c.var.api.clock.wallMs(),
    ...(isOperators ? operator : describeActor(c, sent)),
    action,
    target: c.req.param("id") ?? c.req.param("ip") ?? firstText(answered, ["id", "tenant_id", "project_id", "name"]),
    before: c.var.before ?? stateBefore(c, after),
    after: Object.keys(after).length === 0 ? undefined : after,
    status: c.res.status,
    address: c.env?.remoteAddress ?? "",
    requestId: c.var.requestId,
  };
}

/** Whoever has the configuration's token: it names nobody. */
const operator = { credentialId: undefined, accountId: undefined, actor: "operator" };

function describeActor(c: ApiContext, sent: Readonly<Record<string, unknown>>): Pick<AuditEntry, "credentialId" | "accountId" | "actor"> {
  const principal = c.var.principal as ApiEnv["Variables"]["principal"] | undefined; // signing up needs none
  if (!principal) return { credentialId: undefined, accountId: undefined, actor: text(sent.email) ?? "" };
  if (principal.type === "session") return { credentialId: undefined, accountId: principal.account.id, actor: principal.account.email };
  return { credentialId: principal.credential.id, accountId: undefined, actor: principal.credential.name };
}

/** Where the route does not tell: what the policy looked up anyway, a workspace's or tenant's own settings, a tenant's state. */
function stateBefore(c: ApiContext, after: Readonly<Record<string, unknown>>): AuditEntry["before"] {
  const tenant = c.var.tenant as ApiEnv["Variables"]["tenant"] | undefined;
  const workspace = c.var.workspace as ApiEnv["Variables"]["workspace"] | undefined;
  if (!c.req.path.endsWith("/settings")) return tenant && after.command === undefined ? { status: tenant.state } : undefined;
  const asked = tenant?.databases.find((database) => after.blueprint === undefined || database.blueprint === after.blueprint);
  const settings = (asked?.settings ?? workspace?.settings ?? {}) as Readonly<Record<string, unknown>>;
  const changed = Object.keys(after).filter((name) => name !== "blueprint");
  return Object.fromEntries(changed.map((name) => [name, settings[name] ?? null]));
}

/** The body as the route's validator read it. */
async function readSent(c: ApiContext): Promise<Readonly<Record<string, unknown>>> {
  if (!c.req.header("content-type")?.includes("json")) return {};
  const body: unknown = await c.req.json().catch(() => undefined);
  return typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
}

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => Object.hasOwn(from, name)).map((name) => [name, from[name]]));
}

function firstText(from: Readonly<Record<string, unknown>>, names: readonly string[]): string | undefined {
  return names.map((name) => text(from[name])).find((value) => value !== undefined);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function logged({ projectId, actor, action, target, status, address, requestId }: AuditEntry) {
  return { project: projectId, actor, action, target, status, address, request_id: requestId };
}
