/** Rollbacks: asked for, carried out, and what a crash left of one. */
import type { Rollback, RollbackRequest } from "../../core/backups.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { syncBlueprint } from "../control/blueprints.ts";
import { nowDate } from "../control/context.ts";
import { badRequest } from "../control/inputs.ts";
import { dropDatabases, insertDatabase, loadDatabases, makeDatabaseName } from "../control/physical.ts";
import { findTenant, lockTenant, stateConflict } from "../control/tenant-rows.ts";
import { loadVersions } from "../control/versions.ts";
import { findWorkspaceById } from "../control/workspace-rows.ts";
import { physicalOf } from "../store/rows.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import { type BackupDeps, explainFailure } from "./deps.ts";
import { dumpedDatabase } from "./make-backup.ts";
import { restoreBackup } from "./read-backup.ts";
import { findBackupAt, findReadyBackup, findRollback, type KnownRollback, toRollback } from "./rows.ts";
import { release, StillHeldError, switchDatabases } from "./switch.ts";

const applyOptions = { lockTimeoutMs: 10_000, attempts: 3 };
/** Times a rollback is begun, when instances die over it. */
const maxAttempts = 3;

export async function startRollback(deps: BackupDeps, projectId: string, tenantId: string, request: RollbackRequest): Promise<Rollback> {
  const { db } = deps.context.store;
  const { backupId, date } = request;
  if ((backupId === undefined) === (date === undefined)) throw badRequest("name either backup_id or date", "backup_id");
  await requireReplaceable(deps, projectId, tenantId);
  const backup =
    backupId === undefined ? await findBackupAt(db, projectId, tenantId, date!) : await findReadyBackup(db, projectId, tenantId, backupId);
  return await record(deps, projectId, tenantId, { backup_id: backup.id, undoes: null, upgrade: request.upgrade });
}

export async function undoRollback(deps: BackupDeps, projectId: string, tenantId: string, rollbackId: string): Promise<Rollback> {
  const row = await findRollback(deps.context.store.db, projectId, tenantId, rollbackId);
  await requireReplaceable(deps, projectId, tenantId);
  if (row.undo_until === null) throw new GatewayError("conflict", `Rollback '${rollbackId}' cannot be undone: the database it replaced is gone`);
  return await record(deps, projectId, tenantId, { backup_id: null, undoes: row.id, upgrade: false });
}

async function requireReplaceable(deps: BackupDeps, projectId: string, tenantId: string) {
  const tenant = await findTenant(deps.context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  return { tenant, ...dumpedDatabase(tenant) };
}

async function record(
  deps: BackupDeps,
  projectId: string,
  tenantId: string,
  what: Pick<KnownRollback, "backup_id" | "undoes" | "upgrade">,
): Promise<Rollback> {
  const { context } = deps;
  const { tenant, workspaceId } = await requireReplaceable(deps, projectId, tenantId);
  try {
    const row = await context.store.db
      .insertInto("rollbacks")
      .values({
        ...what,
        id: `rbk_${context.secrets.randomHex(8)}`,
        project_id: projectId,
        tenant_id: tenantId,
        tenant_created_at: new Date(tenant.createdAt),
        workspace_id: workspaceId,
        state: "queued",
        created_at: nowDate(context),
      })
      .returningAll()
      .executeTakeFirstOrThrow();
    deps.wake();
    return toRollback({ ...row, undo_until: null });
  } catch (error) {
    if (!isUniqueViolation(error, "rollbacks_one_at_a_time")) throw error;
    throw new GatewayError("conflict", `Another rollback of tenant '${tenantId}' is going on; GET /tenants/${tenantId}/rollbacks shows it`);
  }
}

/** A rollback this instance has claimed. Failures end in its row and leave the tenant as it was. */
export async function runRollback(deps: BackupDeps, row: KnownRollback): Promise<void> {
  const { context } = deps;
  try {
    const { from, to } = await begin(deps, row);
    try {
      const { version, warnings } = await prepare(deps, row, to);
      await switchDatabases(deps, { rollback: row, from, to, version, warnings });
    } catch (error) {
      await discard(deps, row, to);
      throw error;
    }
  } catch (error) {
    // Left open with this instance's claim, the row is taken up by the sweep.
    if (error instanceof StillHeldError)
      context.log.write("error", "tenant's clients still wait after a rollback that failed", { rollback: row.id, error: error.message });
    if (deps.stopping.aborted || error instanceof StillHeldError) return;
    await fail(deps, row, explainFailure(deps, "rollback", row.id, error));
    return;
  }
  context.log.write("info", "tenant rolled back", { project: row.project_id, tenant: row.tenant_id, rollback: row.id });
}

async function fail(deps: BackupDeps, row: KnownRollback, error: string): Promise<void> {
  await deps.context.store.db
    .updateTable("rollbacks")
    .set({ state: "failed", error, claimed_by: null, finished_at: nowDate(deps.context) })
    .where("id", "=", row.id)
    .where("state", "in", ["queued", "restoring", "switching"])
    .execute();
}

/** Writes down which database takes over and which one leaves, before anything is made. */
async function begin(deps: BackupDeps, row: KnownRollback): Promise<{ from: PhysicalDatabase; to: PhysicalDatabase }> {
  const { context } = deps;
  return await context.store.transaction(async (trx) => {
    const tenant = await lockTenant(trx, row.project_id, row.tenant_id);
    if (tenant.created_at.getTime() !== row.tenant_created_at.getTime()) throw new GatewayError("not_found", `Tenant not found: ${row.tenant_id}`);
    if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(row.tenant_id, tenant.state);
    const old = await trx
      .selectFrom("tenant_databases as td")
      .innerJoin("databases as d", "d.name", "td.database_name")
      .select(["d.name", "d.cluster_id", "d.password_generation"])
      .where("td.project_id", "=", row.project_id)
      .where("td.tenant_id", "=", row.tenant_id)
      .where("td.workspace_id", "=", row.workspace_id)
      .where("td.state", "=", "ready")
      .executeTakeFirstOrThrow();
    const to = row.undoes === null ? await recordNew(deps, trx, row, old.cluster_id) : await takeReplaced(trx, row.undoes);
    await trx
      .updateTable("rollbacks")
      .set({ state: "restoring", database_name: to.name, replaced_name: old.name, started_at: nowDate(context) })
      .where("id", "=", row.id)
      .execute();
    return { from: physicalOf(old), to };
  });
}

type Transaction = Parameters<Parameters<BackupDeps["context"]["store"]["transaction"]>[0]>[0];

function recordNew(deps: BackupDeps, trx: Transaction, row: KnownRollback, clusterId: string): Promise<PhysicalDatabase> {
  const { context } = deps;
  const { project_id: projectId, workspace_id: workspaceId } = row;
  return insertDatabase(context, trx, { name: makeDatabaseName(context), projectId, workspaceId, clusterId, kind: "restore" });
}

/** The kept database leaves the list of what is dropped in time. */
async function takeReplaced(trx: Transaction, rollbackId: string): Promise<PhysicalDatabase> {
  const row = await trx
    .updateTable("databases")
    .set({ kind: "restore", drop_after: null })
    .where("kind", "=", "replaced")
    .where("state", "=", "ready")
    .where("name", "=", (eb) => eb.selectFrom("rollbacks").select("replaced_name").where("id", "=", rollbackId))
    .returningAll()
    .executeTakeFirst();
  if (!row) throw new GatewayError("conflict", `Rollback '${rollbackId}' cannot be undone: the database it replaced is gone`);
  return physicalOf(row);
}

async function prepare(deps: BackupDeps, row: KnownRollback, to: PhysicalDatabase): Promise<{ version: number; warnings: readonly string[] }> {
  const { context } = deps;
  if (row.backup_id === null) return { version: await context.admin.readAppliedVersion(to), warnings: [] };
  const backup = await findReadyBackup(context.store.db, row.project_id, row.tenant_id, row.backup_id);
  const { header, warnings } = await restoreBackup(deps, backup, to);
  return { version: row.upgrade ? await upgrade(deps, row.workspace_id, to) : header.version, warnings };
}

/** To the blueprint's newest version, as a deployment would bring it. @returns the version reached */
export async function upgrade(deps: BackupDeps, workspaceId: string, database: PhysicalDatabase): Promise<number> {
  const { context } = deps;
  const blueprint = await findWorkspaceById(context.store.db, workspaceId);
  if (!blueprint) throw new GatewayError("conflict", "The blueprint is being deleted");
  const newest = await syncBlueprint(context, blueprint);
  const versions = await loadVersions(context.store.db, workspaceId, newest);
  if (versions.length === 0) return 0;
  return (await context.admin.applyVersions(database, versions, { ...applyOptions, signal: deps.stopping })).toVersion;
}

/** What was being made goes; a database that was kept is kept again. One that has taken over already is left alone: it is no `restore` any more. */
async function discard(deps: BackupDeps, row: KnownRollback, to: PhysicalDatabase): Promise<void> {
  const { context } = deps;
  const isKept = row.undoes !== null;
  const dropAfter = new Date(context.clock.wallMs() + deps.config().keepReplacedMs);
  const marked = await context.store.db
    .updateTable("databases")
    .set(isKept ? { kind: "replaced", drop_after: dropAfter } : { state: "deleting", claimed_by: null })
    .where("name", "=", to.name)
    .where("kind", "=", "restore")
    .executeTakeFirst();
  if (marked.numUpdatedRows === 0n) return;
  try {
    if (isKept) await context.admin.setConnectable(to, false);
    else await dropDatabases(context, [to]);
  } catch (error) {
    context.log.write("warn", "unfinished work left for the sweep", { what: "rollback", reason: String(error) });
  }
}

/** A rollback whose instance died: clients are let in again, what it made goes, and it begins anew or is given up. */
export async function recoverRollback(deps: BackupDeps, row: KnownRollback): Promise<void> {
  const { db } = deps.context.store;
  if (row.state === "switching" && row.replaced_name !== null) {
    for (const from of await loadDatabases(db, [row.replaced_name])) await release(deps, row, from);
  }
  if (row.database_name !== null) for (const to of await loadDatabases(db, [row.database_name])) await discard(deps, row, to);
  if (row.attempts >= maxAttempts) return await fail(deps, row, `The gateway stopped ${row.attempts} times while it was at work on this`);
  await db
    .updateTable("rollbacks")
    .set({ state: "queued", claimed_by: null, database_name: null, replaced_name: null })
    .where("id", "=", row.id)
    .where("claimed_by", "=", deps.context.claims.key)
    .execute();
}
