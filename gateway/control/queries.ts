/** Statements sent over the API: to a tenant's database or a workspace's, as the key's role, within the settings' limits. */
import type { QueryAnswer } from "../../core/cluster-admin.ts";
import type { QueryRequest } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import { type DatabaseSettings, defaultDatabaseSettings, type PhysicalDatabase } from "../../core/model.ts";
import type { Role } from "../../core/role.ts";
import type { ControlContext } from "./context.ts";
import { journaled } from "./query-journal.ts";
import { chooseDatabase, effectiveSettings } from "./settings.ts";
import { findTenant } from "./tenant-rows.ts";
import { findWorkspace } from "./workspace-rows.ts";

/** Statements whose rows are not counted against max_rows_per_query (spec section 3). */
const writes = /^(INSERT|UPDATE|DELETE|MERGE)\b/i;

export async function queryTenant(
  context: ControlContext,
  projectId: string,
  tenantId: string,
  role: Role,
  request: QueryRequest & { blueprint?: string | undefined },
  signal?: AbortSignal,
): Promise<QueryAnswer> {
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state === "suspended") throw new GatewayError("tenant_suspended", `tenant "${tenantId}" is suspended`);
  if (tenant.state === "trash") throw new GatewayError("tenant_in_trash", `tenant "${tenantId}" is in trash`);
  const entry = chooseDatabase(tenant, request.blueprint);
  if (entry.engine !== "PostgreSQL") throw otherEngine("blueprint", entry.blueprint, entry.engine);
  if (tenant.state !== "ready" || entry.state !== "ready" || !entry.database) {
    throw new GatewayError("not_ready", `tenant "${tenantId}" is still being created`);
  }
  const settings = await effectiveSettings(context.store.db, entry);
  const place = { projectId, workspaceId: entry.workspaceId, tenantId, database: entry.database, slowMs: settings.slow_query_ms };
  const { database } = entry;
  return await journaled(context, place, request, () => run(context, database, role, request, settings, true, signal));
}

export async function queryWorkspace(
  context: ControlContext,
  projectId: string,
  nameOrId: string,
  role: Role,
  request: QueryRequest,
): Promise<QueryAnswer> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  if (workspace.engine !== "PostgreSQL") throw otherEngine("workspace", workspace.name, workspace.engine);
  if (workspace.state !== "ready" || !workspace.database) {
    throw new GatewayError("not_ready", `workspace "${workspace.name}" is still being created`);
  }
  const { database } = workspace;
  const settings = { ...defaultDatabaseSettings, ...workspace.settings };
  const place = { projectId, workspaceId: workspace.id, tenantId: undefined, database, slowMs: settings.slow_query_ms };
  return await journaled(context, place, request, () => run(context, database, role, request, settings, false));
}

function otherEngine(noun: string, name: string, engine: string): GatewayError {
  return new GatewayError("bad_request", `${noun} "${name}" is ${engine}; queries over the API are for PostgreSQL`);
}

/** The answer is cut at the API's own cap; more rows than the settings allow are an error, as on the wire. */
async function run(
  context: ControlContext,
  database: PhysicalDatabase,
  role: Role,
  request: QueryRequest,
  settings: DatabaseSettings,
  refuseDdl: boolean,
  signal?: AbortSignal,
): Promise<QueryAnswer> {
  const { apiQueryTimeoutMs, maxApiRows } = context.config;
  const timeoutMs = settings.query_timeout_ms > 0 ? Math.min(settings.query_timeout_ms, apiQueryTimeoutMs) : apiQueryTimeoutMs;
  const answer = await context.admin.runQuery(database, role, {
    query: request.query,
    params: request.params,
    maxRows: maxApiRows,
    timeoutMs,
    refuseDdl,
    signal,
  });
  const limit = settings.max_rows_per_query;
  const sent = answer.rows.length + (answer.truncated ? 1 : 0);
  if (limit > 0 && sent > limit && !writes.test(answer.command)) {
    throw new GatewayError("too_many_rows", `query exceeded max_rows_per_query (${limit})`);
  }
  return answer;
}
