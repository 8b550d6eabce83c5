/** Tenants after their creation: listed, suspended, thrown away, brought back, removed. */
import { sql } from "kysely";
import type { Listing, Page } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase, Tenant } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { withdrawScopeValue } from "./credentials.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { dropDatabases, loadDatabases, markDatabasesDeleting } from "./physical.ts";
import { getProject } from "./projects.ts";
import { findTenant, lockTenant, pageTenants, stateConflict, withDatabases } from "./tenant-rows.ts";

export async function listTenants(
  context: ControlContext,
  projectId: string,
  page: Page & { workspaces?: readonly string[] | undefined },
): Promise<Listing<Tenant>> {
  await getProject(context, projectId);
  const afterId = page.cursor === undefined ? undefined : String(decodeCursor(page.cursor, ["string"])[0]);
  const rows = await pageTenants(context.store.db, projectId, { limit: pageLimit(page) + 1, afterId, workspaces: page.workspaces });
  const tenants = await withDatabases(context.store.db, projectId, rows);
  return toListing(
    tenants,
    page,
    (tenant) => tenant,
    (tenant) => [tenant.id],
  );
}

export function getTenant(context: ControlContext, projectId: string, tenantId: string): Promise<Tenant> {
  return findTenant(context.store.db, projectId, tenantId);
}

/**
 * Every gateway process hears of the change and looks up what it means before it ends its clients, with the reason. A cluster that is quicker would
 * have them told of an administrator's command.
 */
const noticeMs = 200;

/** The gateway refuses from the commit on; the cluster is shut after it, by the sweep where it cannot be reached now. */
export async function suspendTenant(context: ControlContext, projectId: string, tenantId: string): Promise<Tenant> {
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, projectId, tenantId);
    if (row.state === "suspended") return;
    if (row.state !== "ready") throw stateConflict(tenantId, row.state);
    await trx.updateTable("tenants").set({ state: "suspended" }).where("project_id", "=", projectId).where("id", "=", tenantId).execute();
    await notifyChange(trx, { projectId, tenantId });
  });
  return await shut(context, projectId, tenantId);
}

/** The cluster is opened before the gateway, so that nobody is let through to a closed door. */
export async function resumeTenant(context: ControlContext, projectId: string, tenantId: string): Promise<Tenant> {
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  await setConnectable(context, databasesOf(tenant), true);
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, projectId, tenantId);
    if (row.state === "ready") return;
    if (row.state !== "suspended") throw stateConflict(tenantId, row.state);
    await trx.updateTable("tenants").set({ state: "ready" }).where("project_id", "=", projectId).where("id", "=", tenantId).execute();
    await notifyChange(trx, { projectId, tenantId });
  });
  await openAgain(context, databasesOf(tenant));
  return await findTenant(context.store.db, projectId, tenantId);
}

export async function deleteTenant(context: ControlContext, projectId: string, tenantId: string, hard: boolean): Promise<void> {
  if (hard) return await removeTenant(context, projectId, tenantId);
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, projectId, tenantId);
    if (row.state !== "ready" && row.state !== "suspended") throw stateConflict(tenantId, row.state);
    await trx
      .updateTable("tenants")
      .set({ state: "trash", state_before_trash: row.state, trashed_at: nowDate(context) })
      .where("project_id", "=", projectId)
      .where("id", "=", tenantId)
      .execute();
    await notifyChange(trx, { projectId, tenantId });
  });
  await shut(context, projectId, tenantId);
}

/** Back to what it was before: a tenant suspended then is suspended again. */
export async function restoreTenant(context: ControlContext, projectId: string, tenantId: string): Promise<Tenant> {
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state !== "trash") throw notInTrash(tenantId);
  await setConnectable(context, databasesOf(tenant), true);
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, projectId, tenantId);
    if (row.state !== "trash") throw notInTrash(tenantId);
    const before = row.state_before_trash ?? "ready";
    await trx
      .updateTable("tenants")
      .set({ state: before, state_before_trash: null, trashed_at: null })
      .where("project_id", "=", projectId)
      .where("id", "=", tenantId)
      .execute();
    await notifyChange(trx, { projectId, tenantId });
  });
  const restored = await findTenant(context.store.db, projectId, tenantId);
  if (restored.state === "suspended") return await shut(context, projectId, tenantId);
  await openAgain(context, databasesOf(tenant));
  return restored;
}

function notInTrash(tenantId: string): GatewayError {
  return new GatewayError("conflict", `Tenant '${tenantId}' is not in trash`);
}

/** Gone at once: refused from the first commit on, and whatever a failure leaves is dropped by the sweep. */
async function removeTenant(context: ControlContext, projectId: string, tenantId: string): Promise<void> {
  await context.claims.hold(tenantSubject(projectId, tenantId), async () => {
    await context.store.transaction(async (trx) => {
      const row = await lockTenant(trx, projectId, tenantId);
      if (row.state === "creating") throw stateConflict(tenantId, row.state);
      await trx
        .updateTable("tenants")
        .set({ state: "deleting", claimed_by: context.claims.key })
        .where("project_id", "=", projectId)
        .where("id", "=", tenantId)
        .execute();
      await withdrawScopeValue(trx, projectId, "tenant", tenantId, nowDate(context));
      await notifyChange(trx, { projectId, tenantId });
    });
    await finishRemovingTenant(context, projectId, tenantId);
  });
}

/** Drops a tenant's databases and then its rows; the caller holds the tenant. May be repeated, and clears away a creation that failed. */
export async function finishRemovingTenant(context: ControlContext, projectId: string, tenantId: string): Promise<void> {
  const { db } = context.store;
  const rows = await db
    .selectFrom("tenant_databases")
    .select("database_name")
    .where("project_id", "=", projectId)
    .where("tenant_id", "=", tenantId)
    .execute();
  const names = rows.flatMap((row) => row.database_name ?? []);
  await markDatabasesDeleting(db, names);
  await dropDatabases(context, await loadDatabases(db, names));
  await context.store.transaction(async (trx) => {
    await trx
      .deleteFrom("tenants")
      .where("project_id", "=", projectId)
      .where("id", "=", tenantId)
      .where("state", "in", ["deleting", "creating"])
      .execute();
    await notifyChange(trx, { projectId, tenantId });
  });
}

/** Clears away a tenant whose creation or removal nobody is at work on. @returns false when somebody is. */
export async function removeAbandonedTenant(context: ControlContext, projectId: string, tenantId: string): Promise<boolean> {
  const subject = tenantSubject(projectId, tenantId);
  if (context.claims.holds(subject)) return false;
  const orphaned = context.claims.orphaned("claimed_by", sql.val(subject));
  return await context.claims.hold(subject, async () => {
    const taken = await context.store.db
      .updateTable("tenants")
      .set({ claimed_by: context.claims.key, state: "deleting" })
      .where("project_id", "=", projectId)
      .where("id", "=", tenantId)
      .where("state", "in", ["creating", "deleting"])
      .where(orphaned)
      .executeTakeFirst();
    if (taken.numUpdatedRows === 0n) return false;
    await finishRemovingTenant(context, projectId, tenantId);
    return true;
  });
}

/** What work on a tenant is held under; see claims.ts. */
export function tenantSubject(projectId: string, tenantId: string): string {
  return `${projectId}/${tenantId}`;
}

function databasesOf(tenant: Tenant): PhysicalDatabase[] {
  return tenant.databases.flatMap((entry) => entry.database ?? []);
}

async function shut(context: ControlContext, projectId: string, tenantId: string): Promise<Tenant> {
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  await context.clock.sleep(noticeMs);
  try {
    await setConnectable(context, databasesOf(tenant), false);
  } catch (error) {
    context.log.write("warn", "tenant not yet shut on its cluster; the sweep goes on trying", {
      project: projectId,
      tenant: tenantId,
      reason: error instanceof Error ? error.message : String(error),
    });
  }
  return tenant;
}

/** What whoever suspended the tenant before, or the sweep, has shut since it was opened. */
async function openAgain(context: ControlContext, databases: readonly PhysicalDatabase[]): Promise<void> {
  const names = databases.map(({ name }) => name);
  if (names.length === 0) return;
  const shut = await context.store.db.selectFrom("databases").select("name").where("name", "in", names).where("connectable", "=", false).execute();
  const isShut = new Set(shut.map(({ name }) => name));
  await setConnectable(
    context,
    databases.filter(({ name }) => isShut.has(name)),
    true,
  );
}

/** Opens or shuts databases on their cluster and remembers that it did. */
export async function setConnectable(context: ControlContext, databases: readonly PhysicalDatabase[], allowed: boolean): Promise<void> {
  for (const database of databases) {
    await context.admin.setConnectable(database, allowed);
    await context.store.db.updateTable("databases").set({ connectable: allowed }).where("name", "=", database.name).execute();
  }
}
