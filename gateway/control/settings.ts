/** Settings of a workspace for all its tenants, and a tenant's own values over them. */
import type { Kysely } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import { type DatabaseSettings, defaultDatabaseSettings, type Tenant, type TenantDatabase } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";
import { badRequest, checkSettingsPatch, mergeSettings } from "./inputs.ts";
import { findTenant } from "./tenant-rows.ts";
import { findWorkspace } from "./workspace-rows.ts";

export type SettingsPatch = { readonly [K in keyof DatabaseSettings]?: DatabaseSettings[K] | null };

export async function getWorkspaceSettings(context: ControlContext, projectId: string, nameOrId: string): Promise<DatabaseSettings> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  return { ...defaultDatabaseSettings, ...workspace.settings };
}

export async function updateWorkspaceSettings(
  context: ControlContext,
  projectId: string,
  nameOrId: string,
  patch: Partial<DatabaseSettings>,
  check?: (current: DatabaseSettings) => Promise<void>,
): Promise<DatabaseSettings> {
  checkSettingsPatch(patch, false);
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  return await context.store.transaction(async (trx) => {
    const row = await trx.selectFrom("workspaces").select("settings").where("id", "=", workspace.id).forUpdate().executeTakeFirstOrThrow();
    await check?.({ ...defaultDatabaseSettings, ...row.settings });
    const settings = mergeSettings(row.settings, patch);
    await trx
      .updateTable("workspaces")
      .set({ settings: JSON.stringify(settings) })
      .where("id", "=", workspace.id)
      .execute();
    await notifyChange(trx, { projectId, workspaceId: workspace.id });
    return { ...defaultDatabaseSettings, ...settings };
  });
}

export async function getTenantSettings(
  context: ControlContext,
  projectId: string,
  tenantId: string,
  blueprint: string | undefined,
): Promise<DatabaseSettings> {
  const database = chooseDatabase(await findTenant(context.store.db, projectId, tenantId), blueprint);
  return await effectiveSettings(context.store.db, database);
}

export async function updateTenantSettings(
  context: ControlContext,
  projectId: string,
  tenantId: string,
  patch: SettingsPatch,
  blueprint: string | undefined,
  check?: (current: DatabaseSettings) => Promise<void>,
): Promise<DatabaseSettings> {
  checkSettingsPatch(patch, true);
  const database = chooseDatabase(await findTenant(context.store.db, projectId, tenantId), blueprint);
  return await context.store.transaction(async (trx) => {
    const own = trx
      .selectFrom("tenant_databases")
      .select("settings")
      .where("project_id", "=", projectId)
      .where("tenant_id", "=", tenantId)
      .where("workspace_id", "=", database.workspaceId);
    const held = (await own.forUpdate().executeTakeFirstOrThrow()).settings;
    await check?.(await effectiveSettings(trx, { ...database, settings: held }));
    const settings = mergeSettings(held, patch);
    await trx
      .updateTable("tenant_databases")
      .set({ settings: JSON.stringify(settings) })
      .where("project_id", "=", projectId)
      .where("tenant_id", "=", tenantId)
      .where("workspace_id", "=", database.workspaceId)
      .execute();
    await notifyChange(trx, { projectId, tenantId });
    return await effectiveSettings(trx, { ...database, settings });
  });
}

/** Defaults, the workspace's values over them, the tenant's over those. */
export async function effectiveSettings(db: Kysely<Tables>, database: TenantDatabase): Promise<DatabaseSettings> {
  const row = await db.selectFrom("workspaces").select("settings").where("id", "=", database.workspaceId).executeTakeFirst();
  return { ...defaultDatabaseSettings, ...row?.settings, ...database.settings };
}

/** The database meant: by blueprint; without one, the only PostgreSQL database, or the only one. @throws {GatewayError} */
export function chooseDatabase(tenant: Tenant, blueprint: string | undefined): TenantDatabase {
  if (blueprint !== undefined) {
    const named = tenant.databases.find((entry) => entry.blueprint === blueprint || entry.workspaceId === blueprint);
    if (named) return named;
    throw new GatewayError("not_found", `Tenant '${tenant.id}' has no database of blueprint '${blueprint}'`);
  }
  const hosted = tenant.databases.filter((entry) => entry.engine === "PostgreSQL");
  const only = hosted.length === 1 ? hosted[0] : tenant.databases.length === 1 ? tenant.databases[0] : undefined;
  if (!only) throw badRequest(`Tenant '${tenant.id}' has several databases: name the blueprint`, "blueprint");
  return only;
}
