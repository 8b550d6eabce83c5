/** Changes not deployed everywhere: listed, and passed over where nobody has them. */
import { type Kysely, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion } from "../../core/model.ts";
import type { Pending } from "../../core/schema-design.ts";
import { physicalOf, toBlueprintVersion } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { syncBlueprint } from "./blueprints.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { dropDatabases, logLeftOver } from "./physical.ts";
import { refreshSpares } from "./spares.ts";
import { countBehind, loadUndeployed } from "./versions.ts";
import { findBlueprint, findWorkspace, type KnownWorkspace } from "./workspace-rows.ts";

/** @throws {GatewayError} not_found; bad_request in control mode, where nothing is captured. */
export async function findDesigned(context: ControlContext, projectId: string, nameOrId: string): Promise<KnownWorkspace> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  return await findBlueprint(context.store.db, projectId, workspace.name);
}

export async function listPending(context: ControlContext, projectId: string, nameOrId: string): Promise<Pending> {
  const workspace = await findDesigned(context, projectId, nameOrId);
  const version = await syncBlueprint(context, workspace);
  const [changes, behind] = await Promise.all([loadUndeployed(context.store.db, workspace.id), countBehind(context.store.db, workspace.id)]);
  const tenants = behind.reduce((sum, row) => sum + row.tenants, 0);
  return {
    version,
    tenants,
    changes: changes.map((change) => ({
      ...change,
      tenantsBehind: behind.reduce((sum, row) => sum + (row.version < change.version ? row.tenants : 0), 0),
    })),
  };
}

/** By the log row's id, as the diff shows it. */
export async function findChange(db: Kysely<Tables>, workspace: KnownWorkspace, ddlId: number): Promise<BlueprintVersion> {
  const row = await db
    .selectFrom("blueprint_versions")
    .selectAll()
    .where("workspace_id", "=", workspace.id)
    .where("ddl_id", "=", ddlId)
    .executeTakeFirst();
  if (!row) throw new GatewayError("not_found", `Change not found: ${ddlId}`);
  return toBlueprintVersion(row);
}

export async function skipChange(context: ControlContext, projectId: string, nameOrId: string, ddlId: number): Promise<BlueprintVersion> {
  const workspace = await findDesigned(context, projectId, nameOrId);
  await syncBlueprint(context, workspace);
  const change = await findChange(context.store.db, workspace, ddlId);
  if (change.skippedAt !== undefined) throw new GatewayError("conflict", `Version ${change.version} is skipped already`);
  await skipVersions(context, workspace, [change.version]);
  return await findChange(context.store.db, workspace, ddlId);
}

/**
 * Under the blueprint's row lock no tenant is finished and no deployment begins. Templates and spares that may have run one of the versions
 * are given up; they are made again without it.
 * @throws {GatewayError} conflict when a tenant has one of them, or is about to.
 */
export async function skipVersions(context: ControlContext, workspace: KnownWorkspace, versions: readonly number[]): Promise<void> {
  const least = Math.min(...versions);
  const stale = await context.store.transaction(async (trx) => {
    await trx.selectFrom("workspaces").select("id").where("id", "=", workspace.id).forUpdate().execute();
    await refuseUsed(trx, workspace, least);
    await trx
      .updateTable("blueprint_versions")
      .set({ skipped_at: nowDate(context) })
      .where("workspace_id", "=", workspace.id)
      .where("version", "in", [...versions])
      .execute();
    await trx.deleteFrom("version_schemas").where("workspace_id", "=", workspace.id).where("version", ">=", least).execute();
    return await trx
      .updateTable("databases")
      .set({ state: "deleting", claimed_by: null })
      .where("workspace_id", "=", workspace.id)
      .where("kind", "in", ["template", "spare"])
      .where((eb) => eb.or([eb("version", ">=", least), eb("state", "=", "creating")]))
      .returningAll()
      .execute();
  });
  await dropDatabases(context, stale.map(physicalOf)).catch((error: unknown) => logLeftOver(context, "template", error));
  refreshSpares(context, workspace.id);
}

async function refuseUsed(trx: Kysely<Tables>, workspace: KnownWorkspace, version: number): Promise<void> {
  const { has, all, creating } = await trx
    .selectFrom("tenant_databases")
    .select([
      sql<number>`count(*) filter (where version >= ${version})`.as("has"),
      sql<number>`count(*)`.as("all"),
      sql<number>`count(*) filter (where state = 'creating')`.as("creating"),
    ])
    .where("workspace_id", "=", workspace.id)
    .executeTakeFirstOrThrow();
  if (Number(has) > 0) {
    throw new GatewayError(
      "conflict",
      `Cannot skip version ${version}: ${has} of ${all} tenants have it. Revert it instead: tdb workspaces diff-revert`,
    );
  }
  if (Number(creating) > 0)
    throw new GatewayError("conflict", `Cannot skip version ${version}: a tenant is just being created. Try again in a moment`);
  const deployment = await trx
    .selectFrom("deployments")
    .select("id")
    .where("workspace_id", "=", workspace.id)
    .where("state", "in", ["queued", "running"])
    .where("version", ">=", version)
    .executeTakeFirst();
  if (deployment)
    throw new GatewayError("conflict", `Cannot skip version ${version}: deployment ${deployment.id} is bringing it to tenants. Cancel it first`);
}
