/** Backups in memory: wayne of the first project has one backup and one rollback, myapp a schedule once it is set. */
import type { Backup, BackupSchedule, Backups, Rollback, RollbackRequest, WantedFormat } from "../../../core/backups.ts";
import type { Page } from "../../../core/control-plane.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { FakeControl } from "./fake-control.ts";

const at = Date.UTC(2026, 0, 15, 3);
const file = new TextEncoder().encode("a file");

export class FakeBackups implements Backups {
  readonly #control: FakeControl;
  readonly requests: RollbackRequest[] = [];
  readonly pages: Page[] = [];
  readonly formats: (WantedFormat | undefined)[] = [];
  schedule: BackupSchedule | undefined;
  readonly backup: Backup = {
    id: "bak_0001",
    tenantId: "wayne",
    blueprint: "myapp",
    trigger: "manual",
    state: "ready",
    version: 3,
    tables: 2,
    rows: 10,
    sizeBytes: file.length,
    sha256: "00",
    storage: "directory",
    format: "own",
    error: undefined,
    createdAt: at,
    snapshotAt: at,
    finishedAt: at,
  };
  readonly rollback: Rollback = {
    id: "rbk_0001",
    tenantId: "wayne",
    backupId: "bak_0001",
    undoes: undefined,
    upgrade: false,
    state: "done",
    version: 3,
    warnings: ["table x was made anew"],
    error: undefined,
    undoUntil: undefined,
    createdAt: at,
    startedAt: at,
    finishedAt: at,
  };

  constructor(control: FakeControl) {
    this.#control = control;
  }

  async createBackup(projectId: string, tenantId: string, format?: WantedFormat): Promise<Backup> {
    this.formats.push(format);
    await this.#control.getTenant(projectId, tenantId);
    return { ...this.backup, tenantId, state: "queued", finishedAt: undefined };
  }

  async listBackups(_projectId: string, tenantId: string, page: Page) {
    this.pages.push(page);
    return { items: tenantId === "wayne" ? [this.backup] : [], nextCursor: undefined };
  }

  async getBackup(_projectId: string, tenantId: string, backupId: string): Promise<Backup> {
    if (tenantId !== "wayne" || backupId !== this.backup.id) throw new GatewayError("not_found", `Backup not found: ${backupId}`);
    return this.backup;
  }

  waitForBackup = this.getBackup;

  async deleteBackup(projectId: string, tenantId: string, backupId: string): Promise<void> {
    await this.getBackup(projectId, tenantId, backupId);
  }

  async readBackupFile(projectId: string, tenantId: string, backupId: string) {
    const backup = await this.getBackup(projectId, tenantId, backupId);
    const data = async function* () {
      yield file.subarray(0, 2);
      yield file.subarray(2);
    };
    return { backup, data: data() };
  }

  async startRollback(_projectId: string, tenantId: string, request: RollbackRequest): Promise<Rollback> {
    this.requests.push(request);
    return { ...this.rollback, tenantId, state: "queued", finishedAt: undefined };
  }

  async undoRollback(projectId: string, tenantId: string, rollbackId: string): Promise<Rollback> {
    return { ...(await this.getRollback(projectId, tenantId, rollbackId)), backupId: undefined, undoes: rollbackId };
  }

  async listRollbacks(_projectId: string, _tenantId: string, page: Page) {
    this.pages.push(page);
    return { items: [this.rollback], nextCursor: undefined };
  }

  async getRollback(_projectId: string, tenantId: string, rollbackId: string): Promise<Rollback> {
    if (tenantId !== "wayne" || rollbackId !== this.rollback.id) throw new GatewayError("not_found", `Rollback not found: ${rollbackId}`);
    return this.rollback;
  }

  waitForRollback = this.getRollback;

  async restoreAsTenant(projectId: string, _tenantId: string, _backupId: string, request: { newTenantId: string; upgrade: boolean }) {
    return await this.cloneTenant(projectId, "", request.newTenantId);
  }

  async cloneTenant(projectId: string, _tenantId: string, newTenantId: string) {
    const databases = [{ blueprint: "myapp", isolationLevel: 1 as const }];
    return { tenant: await this.#control.createTenant(projectId, { tenantId: newTenantId, databases }), warnings: [] };
  }

  async getSchedule() {
    return this.schedule;
  }

  async setSchedule(_projectId: string, _workspace: string, schedule: Pick<BackupSchedule, "cron" | "timeZone" | "keepCount" | "keepDays">) {
    this.schedule = { ...schedule, nextRunAt: at, lastRunAt: undefined };
    return this.schedule;
  }

  async removeSchedule() {
    const had = this.schedule !== undefined;
    this.schedule = undefined;
    return had;
  }
}
