/** Databases of tenants as rows: spares taken, versions deployed, unfinished ones removed. */
import { type Kysely, sql } from "kysely";
import type { PhysicalDatabase } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import { physicalOf } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";
import { dropDatabases, loadDatabases, markDatabasesDeleting } from "./physical.ts";

/**
 * Gives a spare at the blueprint's newest version to a tenant. The workspace's row stays locked until the transaction ends:
 * no version is numbered and no deployment lists its tenants in between.
 */
export async function takeSpare(
  trx: Kysely<Tables>,
  workspaceId: string,
  clusterId: string,
): Promise<{ database: PhysicalDatabase; version: number } | undefined> {
  const workspace = await trx.selectFrom("workspaces").select(["state", "version"]).where("id", "=", workspaceId).forShare().executeTakeFirst();
  if (workspace?.state !== "ready") return undefined;
  const row = await trx
    .updateTable("databases")
    .set({ kind: "tenant" })
    .where("name", "=", (eb) =>
      eb
        .selectFrom("databases")
        .select("name")
        .where("workspace_id", "=", workspaceId)
        .where("cluster_id", "=", clusterId)
        .where("kind", "=", "spare")
        .where("state", "=", "ready")
        .where("version", ">=", workspace.version)
        .limit(1)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .executeTakeFirst();
  return row && { database: physicalOf(row), version: row.version };
}

/** The highest version any deployment of the blueprint was asked to bring. */
export async function deployedVersion(db: Kysely<Tables>, workspaceId: string): Promise<number> {
  const row = await db
    .selectFrom("deployments")
    .select(sql<number | null>`max(version)`.as("version"))
    .where("workspace_id", "=", workspaceId)
    .where("state", "<>", "cancelled")
    .where("dry_run", "=", false)
    .executeTakeFirst();
  return row?.version ?? 0;
}

/** Takes back databases whose addition to a tenant did not finish. May be repeated. */
export async function removeUnfinishedDatabases(context: ControlContext, projectId: string, tenantId: string): Promise<void> {
  const { db } = context.store;
  const rows = await db
    .selectFrom("tenant_databases")
    .select(["workspace_id", "database_name"])
    .where("project_id", "=", projectId)
    .where("tenant_id", "=", tenantId)
    .where("state", "=", "creating")
    .execute();
  const names = rows.flatMap((row) => row.database_name ?? []);
  await markDatabasesDeleting(db, names);
  await dropDatabases(context, await loadDatabases(db, names));
  await context.store.transaction(async (trx) => {
    for (const row of rows) {
      await trx
        .deleteFrom("tenant_databases")
        .where("project_id", "=", projectId)
        .where("tenant_id", "=", tenantId)
        .where("workspace_id", "=", row.workspace_id)
        .where("state", "=", "creating")
        .execute();
    }
    await notifyChange(trx, { projectId, tenantId });
  });
}
