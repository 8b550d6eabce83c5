/** From the product's shapes to the API's: snake_case, ISO times, nothing that is not the caller's to see. */

import type { QueryAnswer } from "../core/cluster-admin.ts";
import type { BlueprintSummary, Page } from "../core/control-plane.ts";
import type {
  BlueprintVersion,
  Credential,
  DatabaseSettings,
  Deployment,
  DeploymentResult,
  EngineName,
  Project,
  Tenant,
  TenantDatabase,
  Workspace,
} from "../core/model.ts";
import type { DatabaseName } from "../core/scope.ts";
import { describeConnection, formatConnectionString } from "./connection-strings.ts";
import type { ApiInfo } from "./context.ts";

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

export function maybeTime(ms: number | undefined): string | null {
  return ms === undefined ? null : isoTime(ms);
}

export function readPage(query: { limit?: string | undefined; cursor?: string | undefined }): Page {
  return { limit: Number(query.limit ?? 100), ...(query.cursor !== undefined && { cursor: query.cursor }) };
}

export function presentProject(project: Project) {
  return { project_id: project.id, name: project.name, created_at: isoTime(project.createdAt) };
}

export function presentCredential(credential: Credential) {
  return {
    id: credential.id,
    name: credential.name,
    project_id: credential.projectId,
    role: credential.role,
    scope_type: credential.scope.type,
    scope_values: credential.scope.type === "project" ? [] : [...credential.scope.values],
    created_at: isoTime(credential.createdAt),
    expires_at: maybeTime(credential.expiresAt),
    last_used_at: maybeTime(credential.lastUsedAt),
  };
}

/** `connection` and `connection_string` of a database; the password where it is known, a placeholder where not. */
export function presentConnection(info: ApiInfo, engine: EngineName, projectId: string, name: DatabaseName, password?: string) {
  const connection = describeConnection(info, engine, projectId, name);
  if (!connection) return { connection: null, connection_string: null };
  return { connection, connection_string: formatConnectionString(engine, connection, password) };
}

export function presentWorkspace(info: ApiInfo, workspace: Workspace) {
  return {
    id: workspace.id,
    name: workspace.name,
    database: workspace.engine,
    mode: workspace.mode,
    status: workspace.state,
    redirect_to: workspace.redirectTo ?? null,
    created_at: isoTime(workspace.createdAt),
    ...presentConnection(info, workspace.engine, workspace.projectId, { kind: "workspace", workspace: workspace.name }),
  };
}

export function presentVersion(version: BlueprintVersion) {
  return {
    version: version.version,
    ddl_id: version.ddlId,
    sql: version.sql,
    command_tag: version.commandTag,
    search_path: version.searchPath,
    transactional: version.transactional,
    skipped: version.skippedAt !== undefined,
    captured_at: isoTime(version.capturedAt),
  };
}

export function presentBlueprint(blueprint: BlueprintSummary) {
  return {
    name: blueprint.name,
    workspace_id: blueprint.workspaceId,
    database: blueprint.engine,
    version: blueprint.version,
    tenant_count: blueprint.tenants,
    tenants_per_version: blueprint.tenantsPerVersion.map((row) => ({ version: row.version, tenants: row.tenants })),
    tenants_behind: blueprint.tenantsPerVersion.reduce((sum, row) => sum + (row.version < blueprint.version ? row.tenants : 0), 0),
    created_at: isoTime(blueprint.createdAt),
  };
}

/** `isVisible` leaves out the databases of blueprints outside the caller's scope. */
export function presentTenant(info: ApiInfo, tenant: Tenant, isVisible: (blueprint: string) => boolean) {
  const present = (database: TenantDatabase) => ({
    blueprint: database.blueprint,
    database_type: database.engine,
    isolation_level: database.isolationLevel,
    version: database.version,
    ...presentConnection(info, database.engine, tenant.projectId, { kind: "tenant", workspace: database.blueprint, tenant: tenant.id }),
  });
  return {
    tenant_id: tenant.id,
    status: tenant.state,
    databases: tenant.databases.filter((database) => isVisible(database.blueprint)).map(present),
    created_at: isoTime(tenant.createdAt),
    trashed_at: maybeTime(tenant.trashedAt),
  };
}

export function presentSettings(settings: DatabaseSettings) {
  const { max_rows_per_query, query_timeout_ms, max_connections, allow_copy, pool_mode, slow_query_ms } = settings;
  return { max_rows_per_query, query_timeout_ms, max_connections, allow_copy, pool_mode, slow_query_ms };
}

export function presentAnswer(answer: QueryAnswer) {
  const { row_count, execution_time_ms, truncated, command } = answer;
  return {
    columns: answer.columns.map(({ name, type }) => ({ name, type })),
    rows: answer.rows.map((row) => [...row]),
    row_count,
    execution_time_ms,
    truncated,
    command,
  };
}

export function presentDeployment(deployment: Deployment) {
  const { total, completed, failed } = deployment.tally;
  return {
    id: deployment.id,
    blueprint_name: deployment.blueprint,
    version: deployment.version,
    status: deployment.state,
    tenants_total: total,
    tenants_completed: completed,
    tenants_failed: failed,
    concurrency: deployment.concurrency,
    lock_timeout_ms: deployment.lockTimeoutMs,
    canary: deployment.canary,
    canary_watch_s: deployment.canaryWatchS,
    on_failure: deployment.onFailure,
    dry_run: deployment.dryRun,
    held_because: deployment.heldBecause ?? null,
    created_at: isoTime(deployment.createdAt),
    started_at: maybeTime(deployment.startedAt),
    finished_at: maybeTime(deployment.finishedAt),
  };
}

export function presentDetail(deployment: Deployment) {
  return { ...presentDeployment(deployment), results: deployment.results.map(presentResult), next_cursor: deployment.nextResults ?? null };
}

export function presentResult(result: DeploymentResult) {
  const statements = result.statements?.map(({ version, command, durationMs, locks, rewrites }) => {
    return { version, command, duration_ms: durationMs, locks: [...locks], rewrites: [...rewrites] };
  });
  return {
    tenant_id: result.tenantId,
    status: result.status,
    from_version: result.fromVersion ?? null,
    to_version: result.toVersion ?? null,
    duration_ms: result.durationMs ?? null,
    error: result.error ?? null,
    sqlstate: result.sqlstate ?? null,
    attempts: result.attempts,
    canary: result.isCanary,
    started_at: maybeTime(result.startedAt),
    finished_at: maybeTime(result.finishedAt),
    statements: statements ?? null,
  };
}
