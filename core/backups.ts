/** Backups of tenants' databases as the management API sees them: made, kept, put back. */
import type { Listing, NewTenant, Page } from "./control-plane.ts";

/** `own`: a script for psql. `custom`: an archive of pg_dump, for pg_restore. `auto`: custom where it can be made. */
export type BackupFormat = "own" | "custom";
export type WantedFormat = BackupFormat | "auto";

export interface Backup {
  /** `bak_` + hex. */
  readonly id: string;
  readonly tenantId: string;
  readonly blueprint: string;
  readonly trigger: "manual" | "schedule";
  readonly state: "queued" | "running" | "ready" | "failed" | "deleting";
  /** Blueprint version, tables and rows in it; undefined until it is ready. */
  readonly version: number | undefined;
  readonly tables: number | undefined;
  readonly rows: number | undefined;
  /** Of the file, and its SHA-256. */
  readonly sizeBytes: number | undefined;
  readonly sha256: string | undefined;
  readonly storage: "directory" | "s3";
  /** Undefined until it is begun. */
  readonly format: BackupFormat | undefined;
  readonly error: string | undefined;
  readonly createdAt: number;
  /** Everything committed before is in it. */
  readonly snapshotAt: number | undefined;
  readonly finishedAt: number | undefined;
}

export interface Rollback {
  /** `rbk_` + hex. */
  readonly id: string;
  readonly tenantId: string;
  /** Undefined where it undoes another. */
  readonly backupId: string | undefined;
  readonly undoes: string | undefined;
  readonly upgrade: boolean;
  readonly state: "queued" | "restoring" | "switching" | "done" | "failed";
  /** The blueprint version the tenant is at afterwards. */
  readonly version: number | undefined;
  /** What could not be brought back exactly. */
  readonly warnings: readonly string[];
  readonly error: string | undefined;
  /** Until then it can be undone; undefined when it cannot any more. */
  readonly undoUntil: number | undefined;
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
}

export interface BackupSchedule {
  readonly cron: string;
  readonly timeZone: string;
  /** Newest backups kept of each tenant; 0 = no such limit. */
  readonly keepCount: number;
  /** Days they are kept; 0 = no such limit. */
  readonly keepDays: number;
  readonly nextRunAt: number;
  readonly lastRunAt: number | undefined;
}

export interface RollbackRequest {
  /** One of the two: a backup, or the newest one of a moment. */
  readonly backupId?: string | undefined;
  readonly date?: number | undefined;
  /** Bring it to the blueprint's newest version before clients see it. */
  readonly upgrade: boolean;
}

/**
 * All throw {GatewayError}: not_found for what is not the tenant's, conflict where a state does not allow it, bad_request, backend_unreachable.
 * What is started goes on without the caller; `wait…` resolve at its end, or with its present state when the signal aborts.
 */
export interface Backups {
  /** `format` left out: as configured. @throws {GatewayError} conflict where custom is wanted and cannot be made. */
  createBackup(projectId: string, tenantId: string, format?: WantedFormat): Promise<Backup>;
  listBackups(projectId: string, tenantId: string, page: Page): Promise<Listing<Backup>>;
  getBackup(projectId: string, tenantId: string, backupId: string): Promise<Backup>;
  waitForBackup(projectId: string, tenantId: string, backupId: string, signal: AbortSignal): Promise<Backup>;
  deleteBackup(projectId: string, tenantId: string, backupId: string): Promise<void>;
  /** The file as it is kept. */
  readBackupFile(projectId: string, tenantId: string, backupId: string): Promise<{ backup: Backup; data: AsyncIterable<Uint8Array> }>;

  startRollback(projectId: string, tenantId: string, request: RollbackRequest): Promise<Rollback>;
  /** Puts back the database that a rollback replaced, with what was written to it until then. */
  undoRollback(projectId: string, tenantId: string, rollbackId: string): Promise<Rollback>;
  listRollbacks(projectId: string, tenantId: string, page: Page): Promise<Listing<Rollback>>;
  getRollback(projectId: string, tenantId: string, rollbackId: string): Promise<Rollback>;
  waitForRollback(projectId: string, tenantId: string, rollbackId: string, signal: AbortSignal): Promise<Rollback>;

  /** A new tenant with what the backup holds; resolves when it is ready. */
  restoreAsTenant(
    projectId: string,
    tenantId: string,
    backupId: string,
    request: { newTenantId: string; upgrade: boolean },
  ): Promise<{ tenant: NewTenant; warnings: readonly string[] }>;
  /** A new tenant with what another has now. */
  cloneTenant(projectId: string, tenantId: string, newTenantId: string): Promise<{ tenant: NewTenant; warnings: readonly string[] }>;

  getSchedule(projectId: string, workspace: string): Promise<BackupSchedule | undefined>;
  setSchedule(
    projectId: string,
    workspace: string,
    schedule: Pick<BackupSchedule, "cron" | "timeZone" | "keepCount" | "keepDays">,
  ): Promise<BackupSchedule>;
  /** @returns false when there was none. */
  removeSchedule(projectId: string, workspace: string): Promise<boolean>;
}
