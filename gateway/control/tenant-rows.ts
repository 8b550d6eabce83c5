/** Look-ups of tenants inside a project, with their databases. */
import { type Kysely, type Selectable, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { Tenant, TenantDatabase, TenantState } from "../../core/model.ts";
import { toMs, toTenantDatabase } from "../store/rows.ts";
import type { Tables, TenantRow } from "../store/schema.ts";

function selectTenantDatabases(db: Kysely<Tables>, projectId: string) {
  return db
    .selectFrom("tenant_databases as td")
    .innerJoin("workspaces as w", "w.id", "td.workspace_id")
    .leftJoin("databases as d", "d.name", "td.database_name")
    .select([
      "td.tenant_id",
      "td.workspace_id",
      "w.name as blueprint",
      "td.engine",
      "td.isolation_level",
      "td.version",
      "td.settings",
      "td.state",
      "td.database_name",
      "d.cluster_id",
      "d.password_generation",
    ])
    .where("td.project_id", "=", projectId)
    .orderBy("w.name");
}

/** Fills in the databases of tenants of one project. */
export async function withDatabases(db: Kysely<Tables>, projectId: string, rows: readonly Selectable<TenantRow>[]): Promise<Tenant[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const found = await selectTenantDatabases(db, projectId).where("td.tenant_id", "in", ids).execute();
  const byTenant = new Map<string, TenantDatabase[]>(ids.map((id) => [id, []]));
  for (const row of found) byTenant.get(row.tenant_id)?.push(toTenantDatabase(row));
  return rows.map((row) => ({
    projectId,
    id: row.id,
    state: row.state,
    createdAt: toMs(row.created_at),
    trashedAt: toMs(row.trashed_at),
    databases: byTenant.get(row.id) ?? [],
  }));
}

/** Undefined when there is none; one that is being deleted counts. */
export async function findAnyTenant(db: Kysely<Tables>, projectId: string, tenantId: string): Promise<Tenant | undefined> {
  const rows = await db.selectFrom("tenants").selectAll().where("project_id", "=", projectId).where("id", "=", tenantId).execute();
  return (await withDatabases(db, projectId, rows))[0];
}

/** @throws {GatewayError} not_found */
export async function findTenant(db: Kysely<Tables>, projectId: string, tenantId: string): Promise<Tenant> {
  const tenant = await findAnyTenant(db, projectId, tenantId);
  if (!tenant || tenant.state === "deleting") throw tenantNotFound(tenantId);
  return tenant;
}

/** Locks a tenant's row for a change of state. @throws {GatewayError} not_found */
export async function lockTenant(db: Kysely<Tables>, projectId: string, tenantId: string): Promise<Selectable<TenantRow>> {
  const row = await db
    .selectFrom("tenants")
    .selectAll()
    .where("project_id", "=", projectId)
    .where("id", "=", tenantId)
    .where("state", "<>", "deleting")
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw tenantNotFound(tenantId);
  return row;
}

/** In order of id; `workspaces` keeps tenants with a database of one of these blueprints. */
export async function pageTenants(
  db: Kysely<Tables>,
  projectId: string,
  options: { limit: number; afterId: string | undefined; workspaces: readonly string[] | undefined },
): Promise<Selectable<TenantRow>[]> {
  let query = db
    .selectFrom("tenants as t")
    .selectAll()
    .where("t.project_id", "=", projectId)
    .where("t.state", "<>", "deleting")
    .orderBy("t.id")
    .limit(options.limit);
  if (options.afterId !== undefined) query = query.where("t.id", ">", options.afterId);
  if (options.workspaces !== undefined) {
    query = query.where(
      sql<boolean>`exists (select 1 from tenantry.tenant_databases td join tenantry.workspaces w on w.id = td.workspace_id
        where td.project_id = t.project_id and td.tenant_id = t.id and w.name = any(${[...options.workspaces]}::text[]))`,
    );
  }
  return await query.execute();
}

export function tenantNotFound(tenantId: string): GatewayError {
  return new GatewayError("not_found", `Tenant not found: ${tenantId}`);
}

/** What the API says of a tenant whose state does not allow what was asked. */
export function stateConflict(tenantId: string, state: TenantState): GatewayError {
  switch (state) {
    case "trash":
      return new GatewayError(
        "conflict",
        `Tenant '${tenantId}' is in trash. Use POST /tenants/${tenantId}/restore or DELETE /tenants/${tenantId}?hard=true`,
      );
    case "creating":
      return new GatewayError("conflict", `Tenant '${tenantId}' is still being created`);
    case "deleting":
      return new GatewayError("conflict", `Tenant '${tenantId}' is being deleted; try again shortly`);
    case "suspended":
      return new GatewayError("conflict", `Tenant '${tenantId}' is suspended. Use POST /tenants/${tenantId}/resume`);
    case "ready":
      return new GatewayError("conflict", `Tenant '${tenantId}' already exists`);
  }
}
