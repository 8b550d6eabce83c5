/** Template databases: one per blueprint and cluster, kept at the newest version, copied into tenants. */
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../core/model.ts";
import { physicalOf } from "../store/rows.ts";
import type { ControlContext } from "./context.ts";
import { dropDatabases, insertDatabase, type KnownDatabase, makeDatabaseName, markDatabaseReady, markDatabasesDeleting } from "./physical.ts";
import { loadVersions } from "./versions.ts";
import type { KnownWorkspace } from "./workspace-rows.ts";

const applyOptions = { lockTimeoutMs: 10_000, attempts: 3 };

type Blueprint = Pick<KnownWorkspace, "id" | "projectId" | "name">;

function lockName(workspaceId: string, clusterId: string): string {
  return `template:${workspaceId}:${clusterId}`;
}

/** Copies the blueprint's template, brought to `version` first where it is behind. @returns the version the copy is at. */
export async function copyTemplate(context: ControlContext, blueprint: Blueprint, version: number, target: PhysicalDatabase): Promise<number> {
  for (;;) {
    await ensureTemplate(context, blueprint, target.clusterId, version);
    const copied = await context.store.withLock(lockName(blueprint.id, target.clusterId), "shared", async () => {
      const template = await findTemplate(context, blueprint.id, target.clusterId);
      if (template?.state !== "ready" || template.version < version) return undefined; // changed before the lock was had
      await context.admin.createTenantDatabase(target, physicalOf(template));
      return template.version;
    });
    if (copied !== undefined) return copied;
  }
}

/** Makes the template or brings it up. @throws {GatewayError} conflict naming the version and statement that cannot be applied. */
export async function ensureTemplate(context: ControlContext, blueprint: Blueprint, clusterId: string, version: number): Promise<void> {
  const known = await findTemplate(context, blueprint.id, clusterId);
  if (known?.state === "ready" && known.version >= version) return;
  await context.store.withLock(lockName(blueprint.id, clusterId), "exclusive", () => bringUp(context, blueprint, clusterId, version));
}

async function bringUp(context: ControlContext, blueprint: Blueprint, clusterId: string, version: number): Promise<void> {
  const known = await findTemplate(context, blueprint.id, clusterId);
  if (known?.state === "ready" && known.version >= version) return;
  const name = known?.name ?? makeDatabaseName(context);
  await context.claims.hold(name, async () => {
    const database = known ? await reclaim(context, known) : await recordTemplate(context, blueprint, clusterId, name);
    if (known?.state !== "ready") await context.admin.createTemplateDatabase(database);
    const versions = await loadVersions(context.store.db, blueprint.id, version);
    const reached = await applyOrReport(context, blueprint, database, versions);
    if (!(await markDatabaseReady(context, context.store.db, database.name, reached.version))) {
      await context.admin.dropDatabase(database); // its row went while it was being made
      throw blueprintGone(blueprint);
    }
    if (reached.error !== undefined) throw reached.error;
  });
}

/** A template's own row; whoever holds the exclusive lock may take over what a crash left. */
async function reclaim(context: ControlContext, known: KnownDatabase): Promise<PhysicalDatabase> {
  await context.store.db
    .updateTable("databases")
    .set({ state: "creating", claimed_by: context.claims.key })
    .where("name", "=", known.name)
    .where("state", "<>", "deleting")
    .execute();
  return physicalOf(known);
}

async function recordTemplate(context: ControlContext, blueprint: Blueprint, clusterId: string, name: string): Promise<PhysicalDatabase> {
  return await context.store.transaction(async (trx) => {
    const row = await trx.selectFrom("workspaces").select("state").where("id", "=", blueprint.id).forShare().executeTakeFirst();
    if (row?.state !== "ready") throw blueprintGone(blueprint);
    return await insertDatabase(context, trx, { name, projectId: blueprint.projectId, workspaceId: blueprint.id, clusterId, kind: "template" });
  });
}

function blueprintGone(blueprint: Blueprint): GatewayError {
  return new GatewayError("conflict", `Blueprint '${blueprint.name}' is being deleted`);
}

/** All versions at once; where that fails, one by one, to stop at the one at fault and keep what comes before it. */
async function applyOrReport(
  context: ControlContext,
  blueprint: Blueprint,
  database: PhysicalDatabase,
  versions: readonly BlueprintVersion[],
): Promise<{ version: number; error?: unknown }> {
  if (versions.length === 0) return { version: 0 };
  try {
    return { version: (await context.admin.applyVersions(database, versions, applyOptions)).toVersion };
  } catch (error) {
    if (!(error instanceof GatewayError) || error.kind !== "query_failed") throw error;
  }
  const from = await context.admin.readAppliedVersion(database);
  let reached = from;
  for (const version of versions.filter((v) => v.version > from)) {
    try {
      reached = (await context.admin.applyVersions(database, [version], applyOptions)).toVersion;
    } catch (error) {
      if (!(error instanceof GatewayError) || error.kind !== "query_failed") throw error;
      return { version: reached, error: versionFault(blueprint, version, error) };
    }
  }
  return { version: reached };
}

function versionFault(blueprint: Blueprint, version: BlueprintVersion, error: GatewayError): GatewayError {
  const statement = version.sql.length > 200 ? `${version.sql.slice(0, 200)}…` : version.sql;
  const reason = error.details.cause instanceof Error ? error.details.cause.message : error.message; // PostgreSQL's own words, where they are at hand
  return new GatewayError(
    "conflict",
    `Cannot apply version ${version.version} of blueprint '${blueprint.name}' to an empty database: ${reason}. Statement: ${statement}`,
    { sqlstate: error.sqlstate, hint: "Undo or skip this change in the workspace, then try again.", cause: error },
  );
}

/** Of a cluster that is about to be removed. What stands on a server that does not answer is left there. @throws the first other failure. */
export async function dropTemplates(context: ControlContext, clusterId: string): Promise<void> {
  const { db } = context.store;
  const rows = await db.selectFrom("databases").selectAll().where("cluster_id", "=", clusterId).where("kind", "=", "template").execute();
  const names = rows.map(({ name }) => name);
  await markDatabasesDeleting(db, names);
  try {
    await dropDatabases(context, rows.map(physicalOf));
  } catch (error) {
    if (!(error instanceof GatewayError) || error.kind !== "backend_unreachable") throw error;
    if (names.length > 0) await db.deleteFrom("databases").where("name", "in", names).execute();
    context.log.write("warn", "templates left on a cluster that does not answer", { cluster: clusterId, databases: names.join(" ") });
  }
}

async function findTemplate(context: ControlContext, workspaceId: string, clusterId: string): Promise<KnownDatabase | undefined> {
  return await context.store.db
    .selectFrom("databases")
    .selectAll()
    .where("workspace_id", "=", workspaceId)
    .where("cluster_id", "=", clusterId)
    .where("kind", "=", "template")
    .where("state", "<>", "deleting")
    .executeTakeFirst();
}
