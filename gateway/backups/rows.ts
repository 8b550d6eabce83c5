/** Rows of backups and rollbacks, as the API has them and as they are looked up: always a living tenant's own. */
import { type Kysely, type Selectable, sql } from "kysely";
import type { Backup, Rollback } from "../../core/backups.ts";
import type { Listing, Page } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import { decodeCursor, pageLimit, toListing } from "../control/paging.ts";
import { findTenant } from "../control/tenant-rows.ts";
import type { BackupRow, RollbackRow } from "../store/backup-tables.ts";
import { toMs } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";

export type KnownBackup = Selectable<BackupRow>;
export type KnownRollback = Selectable<RollbackRow>;

export function toBackup(row: KnownBackup): Backup {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    blueprint: row.blueprint,
    trigger: row.trigger,
    state: row.state,
    version: row.version ?? undefined,
    tables: row.tables ?? undefined,
    rows: row.rows ?? undefined,
    sizeBytes: row.size_bytes ?? undefined,
    sha256: row.sha256 ?? undefined,
    storage: row.storage,
    format: row.format ?? undefined,
    error: row.error ?? undefined,
    createdAt: toMs(row.created_at),
    snapshotAt: toMs(row.snapshot_at),
    finishedAt: toMs(row.finished_at),
  };
}

/** `undoUntil` is the replaced database's. */
export function toRollback(row: KnownRollback & { undo_until: Date | null }): Rollback {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    backupId: row.backup_id ?? undefined,
    undoes: row.undoes ?? undefined,
    upgrade: row.upgrade,
    state: row.state,
    version: row.version ?? undefined,
    warnings: row.warnings,
    error: row.error ?? undefined,
    undoUntil: toMs(row.undo_until),
    createdAt: toMs(row.created_at),
    startedAt: toMs(row.started_at),
    finishedAt: toMs(row.finished_at),
  };
}

/** Backups of this tenant, not of an earlier one of its name. */
function selectBackups(db: Kysely<Tables>, projectId: string, tenantId: string) {
  return db
    .selectFrom("backups as b")
    .innerJoin("tenants as t", (join) =>
      join.onRef("t.project_id", "=", "b.project_id").onRef("t.id", "=", "b.tenant_id").onRef("t.created_at", "=", "b.tenant_created_at"),
    )
    .selectAll("b")
    .where("b.project_id", "=", projectId)
    .where("b.tenant_id", "=", tenantId)
    .where("b.state", "<>", "deleting");
}

/** Newest first. @throws {GatewayError} not_found for a tenant that is not there, bad_request for a foreign cursor */
export async function pageBackups(db: Kysely<Tables>, projectId: string, tenantId: string, page: Page): Promise<Listing<Backup>> {
  await findTenant(db, projectId, tenantId);
  let query = selectBackups(db, projectId, tenantId).orderBy("b.created_at", "desc").orderBy("b.id", "desc");
  if (page.cursor !== undefined) {
    const [at, id] = decodeCursor(page.cursor, ["number", "string"]);
    query = query.where(sql<boolean>`(b.created_at, b.id) < (${new Date(Number(at))}, ${String(id)})`);
  }
  const rows = await query.limit(pageLimit(page) + 1).execute();
  return toListing(rows, page, toBackup, (row) => [toMs(row.created_at), row.id]);
}

/** @throws {GatewayError} not_found */
export async function findBackup(db: Kysely<Tables>, projectId: string, tenantId: string, backupId: string): Promise<KnownBackup> {
  const row = await selectBackups(db, projectId, tenantId).where("b.id", "=", backupId).executeTakeFirst();
  if (!row) throw new GatewayError("not_found", `Backup not found: ${backupId}`);
  return row;
}

/** One that can be restored. @throws {GatewayError} not_found, conflict */
export async function findReadyBackup(db: Kysely<Tables>, projectId: string, tenantId: string, backupId: string): Promise<KnownBackup> {
  const row = await findBackup(db, projectId, tenantId, backupId);
  if (row.state !== "ready") throw new GatewayError("conflict", `Backup '${backupId}' is ${row.state}, not ready`);
  return row;
}

/** The newest whose snapshot is not after `date`. @throws {GatewayError} not_found */
export async function findBackupAt(db: Kysely<Tables>, projectId: string, tenantId: string, date: number): Promise<KnownBackup> {
  const row = await selectBackups(db, projectId, tenantId)
    .where("b.state", "=", "ready")
    .where("b.snapshot_at", "<=", new Date(date))
    .orderBy("b.snapshot_at", "desc")
    .limit(1)
    .executeTakeFirst();
  if (!row) throw new GatewayError("not_found", `Tenant '${tenantId}' has no backup from ${new Date(date).toISOString()} or before`);
  return row;
}

function selectRollbacks(db: Kysely<Tables>, projectId: string, tenantId: string) {
  return db
    .selectFrom("rollbacks as r")
    .innerJoin("tenants as t", (join) =>
      join.onRef("t.project_id", "=", "r.project_id").onRef("t.id", "=", "r.tenant_id").onRef("t.created_at", "=", "r.tenant_created_at"),
    )
    .leftJoin("databases as d", (join) => join.onRef("d.name", "=", "r.replaced_name").on("d.kind", "=", "replaced").on("d.state", "=", "ready"))
    .selectAll("r")
    .select("d.drop_after as undo_until")
    .where("r.project_id", "=", projectId)
    .where("r.tenant_id", "=", tenantId);
}

/** Newest first. @throws {GatewayError} not_found, bad_request */
export async function pageRollbacks(db: Kysely<Tables>, projectId: string, tenantId: string, page: Page): Promise<Listing<Rollback>> {
  await findTenant(db, projectId, tenantId);
  let query = selectRollbacks(db, projectId, tenantId).orderBy("r.created_at", "desc").orderBy("r.id", "desc");
  if (page.cursor !== undefined) {
    const [at, id] = decodeCursor(page.cursor, ["number", "string"]);
    query = query.where(sql<boolean>`(r.created_at, r.id) < (${new Date(Number(at))}, ${String(id)})`);
  }
  const rows = await query.limit(pageLimit(page) + 1).execute();
  return toListing(rows, page, toRollback, (row) => [toMs(row.created_at), row.id]);
}

/** @throws {GatewayError} not_found */
export async function findRollback(
  db: Kysely<Tables>,
  projectId: string,
  tenantId: string,
  rollbackId: string,
): Promise<KnownRollback & { undo_until: Date | null }> {
  const row = await selectRollbacks(db, projectId, tenantId).where("r.id", "=", rollbackId).executeTakeFirst();
  if (!row) throw new GatewayError("not_found", `Rollback not found: ${rollbackId}`);
  return row;
}
