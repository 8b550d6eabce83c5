/** Spares: finished tenant databases that wait for their tenant, so that creating one is a few rows. */
import type { PhysicalDatabase } from "../../core/model.ts";
import { physicalOf } from "../store/rows.ts";
import type { ControlContext } from "./context.ts";
import { dropDatabases, insertDatabase, makeDatabaseName, markDatabaseReady, markDatabasesDeleting } from "./physical.ts";
import { copyTemplate, ensureTemplate } from "./templates.ts";
import { loadVersions } from "./versions.ts";
import { findWorkspaceById, type KnownWorkspace } from "./workspace-rows.ts";

const applyOptions = { lockTimeoutMs: 10_000, attempts: 2 };

/** Brings the template and the blueprint's spares to the newest version and number, in the background, one run at a time per blueprint. */
export function refreshSpares(context: ControlContext, workspaceId: string): void {
  context.background.runOnce(`spares:${workspaceId}`, () => refresh(context, workspaceId));
}

async function refresh(context: ControlContext, workspaceId: string): Promise<void> {
  const blueprint = await findWorkspaceById(context.store.db, workspaceId);
  if (blueprint?.state !== "ready" || blueprint.engine !== "PostgreSQL" || !(await hasTenant(context, workspaceId))) return;
  await ensureTemplate(context, blueprint, context.clusters.list()[0]!.id, blueprint.version);
  await upgradeStale(context, blueprint);
  for (;;) {
    if (context.background.stopped) return;
    const name = makeDatabaseName(context);
    const made = await context.claims.hold(name, async () => {
      const database = await recordSpare(context, blueprint, name);
      if (database) await makeSpare(context, blueprint, database);
      return database !== undefined;
    });
    if (!made) return;
  }
}

async function hasTenant(context: ControlContext, workspaceId: string): Promise<boolean> {
  const row = await context.store.db
    .selectFrom("tenant_databases")
    .select("tenant_id")
    .where("workspace_id", "=", workspaceId)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** The workspace's row lock makes counting and adding one step, so that instances together do not make too many. */
async function recordSpare(context: ControlContext, blueprint: KnownWorkspace, name: string): Promise<PhysicalDatabase | undefined> {
  return await context.store.transaction(async (trx) => {
    const row = await trx.selectFrom("workspaces").select("state").where("id", "=", blueprint.id).forUpdate().executeTakeFirst();
    if (row?.state !== "ready") return undefined;
    const known = await trx
      .selectFrom("databases")
      .select((eb) => eb.fn.countAll<number>().as("count"))
      .where("workspace_id", "=", blueprint.id)
      .where("kind", "=", "spare")
      .where("state", "<>", "deleting")
      .executeTakeFirstOrThrow();
    if (known.count >= context.config.spareDatabases) return undefined;
    const clusterId = context.clusters.list()[0]!.id;
    return await insertDatabase(context, trx, { name, projectId: blueprint.projectId, workspaceId: blueprint.id, clusterId, kind: "spare" });
  });
}

async function makeSpare(context: ControlContext, blueprint: KnownWorkspace, database: PhysicalDatabase): Promise<void> {
  try {
    const version = await copyTemplate(context, blueprint, blueprint.version, database);
    if (!(await markDatabaseReady(context, context.store.db, database.name, version))) await discard(context, database);
  } catch (error) {
    await discard(context, database);
    throw error;
  }
}

/** Takes each stale spare out of the offer, applies what it lacks, and offers it again; one that cannot be brought up is dropped. */
async function upgradeStale(context: ControlContext, blueprint: KnownWorkspace): Promise<void> {
  const stale = await context.store.db
    .selectFrom("databases")
    .selectAll()
    .where("workspace_id", "=", blueprint.id)
    .where("kind", "=", "spare")
    .where("state", "=", "ready")
    .where("version", "<", blueprint.version)
    .execute();
  for (const row of stale) {
    if (context.background.stopped) return;
    await context.claims.hold(row.name, () => upgrade(context, blueprint, physicalOf(row)));
  }
}

async function upgrade(context: ControlContext, blueprint: KnownWorkspace, database: PhysicalDatabase): Promise<void> {
  if (!(await claimStale(context, database.name))) return; // taken by a tenant, or by another instance
  try {
    const versions = await loadVersions(context.store.db, blueprint.id, blueprint.version);
    const { toVersion } = await context.admin.applyVersions(database, versions, applyOptions);
    if (!(await markDatabaseReady(context, context.store.db, database.name, toVersion))) await discard(context, database);
  } catch (error) {
    context.log.write("info", "spare dropped", { workspace: blueprint.name, reason: error instanceof Error ? error.message : String(error) });
    await discard(context, database);
  }
}

async function claimStale(context: ControlContext, name: string): Promise<boolean> {
  const claimed = await context.store.db
    .updateTable("databases")
    .set({ state: "creating", claimed_by: context.claims.key })
    .where("name", "=", name)
    .where("kind", "=", "spare")
    .where("state", "=", "ready")
    .executeTakeFirst();
  return claimed.numUpdatedRows === 1n;
}

async function discard(context: ControlContext, database: PhysicalDatabase): Promise<void> {
  await markDatabasesDeleting(context.store.db, [database.name]);
  await dropDatabases(context, [database]);
}
