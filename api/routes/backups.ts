/** Backups of tenants' databases: made, listed, downloaded, rolled back to, restored as new tenants; and their schedules. */
import { z } from "@hono/zod-openapi";
import type { Backup, BackupSchedule, Backups, Rollback } from "../../core/backups.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { accepted, answer, badInput, created, ok, paging } from "../envelope.ts";
import { assertCoversBlueprint, notFound } from "../policy.ts";
import { isoTime, maybeTime, readPage } from "../present.ts";
import { integer, MaybeTime, newTenantFields, PageQuery, TenantId, TenantParams, Time, WorkspaceParams } from "../schema.ts";
import { presentNewTenant } from "./tenants.ts";

const tags = ["Backups"];
const policy = { who: "W", role: "admin", target: "tenant" } as const;
const schedulePolicy = { who: "W", role: "admin", target: "workspace" } as const;
const BackupParams = TenantParams.extend({ backup_id: z.string().openapi({ example: "bak_5f0c2a7d9e1b3c48" }) });
const RollbackParams = TenantParams.extend({ rollback_id: z.string().openapi({ example: "rbk_5f0c2a7d9e1b3c48" }) });
// As for deployments: the work goes on without its caller.
const maxWaitMs = 10 * 60_000;

const wait = z.boolean("must be true or false").default(false);
const upgrade = z.boolean("must be true or false").default(false).openapi({
  description: "Bring it to the blueprint's newest version before clients see it; else a deployment does, as for any tenant that is behind.",
});

const count = z.number().int().nullable();
const BackupShape = z
  .object({
    id: z.string(),
    tenant_id: z.string(),
    blueprint: z.string(),
    trigger: z.enum(["manual", "schedule"]),
    status: z.enum(["queued", "running", "ready", "failed", "deleting"]),
    version: count.openapi({ description: "Blueprint version of the database." }),
    tables: count,
    rows: count,
    size_bytes: count.openapi({ description: "Of the file, compressed." }),
    sha256: z.string().nullable().openapi({ description: "Of the file." }),
    storage: z.enum(["directory", "s3"]),
    format: z
      .enum(["own", "custom"])
      .nullable()
      .openapi({ description: "own: a script for psql; custom: an archive of pg_dump, for pg_restore; null until it is begun." }),
    error: z.string().nullable(),
    created_at: Time,
    snapshot_at: MaybeTime.openapi({ description: "Everything committed before is in it." }),
    finished_at: MaybeTime,
  })
  .openapi("Backup", {
    example: {
      id: "bak_5f0c2a7d9e1b3c48",
      tenant_id: "wayne",
      blueprint: "myapp",
      trigger: "manual",
      status: "ready",
      version: 3,
      tables: 2,
      rows: 1042,
      size_bytes: 20_481,
      sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
      storage: "directory",
      format: "own",
      error: null,
      created_at: "2026-01-15T03:00:00.000Z",
      snapshot_at: "2026-01-15T03:00:00.120Z",
      finished_at: "2026-01-15T03:00:01.480Z",
    },
  });
const RollbackShape = z
  .object({
    id: z.string(),
    tenant_id: z.string(),
    backup_id: z.string().nullable().openapi({ description: "Null where it undoes another rollback." }),
    undoes: z.string().nullable(),
    upgrade: z.boolean(),
    status: z.enum(["queued", "restoring", "switching", "done", "failed"]),
    version: count.openapi({ description: "Blueprint version of the tenant afterwards." }),
    warnings: z.array(z.string()).openapi({ description: "What could not be brought back exactly." }),
    error: z.string().nullable(),
    undo_until: MaybeTime.openapi({ description: "Until then it can be undone; null when it cannot." }),
    created_at: Time,
    started_at: MaybeTime,
    finished_at: MaybeTime,
  })
  .openapi("Rollback");
const ScheduleShape = z
  .object({
    cron: z.string().openapi({ example: "0 3 * * *" }),
    time_zone: z.string().openapi({ example: "Europe/Berlin" }),
    keep_count: z.number().int().openapi({ example: 14 }),
    keep_days: z.number().int().openapi({ example: 0 }),
    next_run_at: Time,
    last_run_at: MaybeTime,
  })
  .openapi("BackupSchedule");

function backupsOf(c: ApiContext): Backups {
  const { backups } = c.var.api;
  if (!backups) throw new GatewayError("forbidden", "this API runs without a gateway; there are no backups");
  return backups;
}

/** Whose database it is; a workspace-scoped key must cover the blueprint the backups are of. */
function reach(c: ApiContext): { backups: Backups; projectId: string; tenantId: string } {
  const { access, tenant } = c.var;
  for (const database of tenant.databases) if (database.engine === "PostgreSQL") assertCoversBlueprint(access.scope, database.blueprint);
  return { backups: backupsOf(c), projectId: access.projectId, tenantId: tenant.id };
}

function idOf(c: ApiContext, noun: "Backup" | "Rollback"): string {
  const id = c.req.param(noun === "Backup" ? "backup_id" : "rollback_id") ?? "";
  if (!(noun === "Backup" ? /^bak_[0-9a-f]{1,64}$/ : /^rbk_[0-9a-f]{1,64}$/).test(id)) throw notFound(noun, id);
  return id;
}

function presentBackup(backup: Backup) {
  return {
    id: backup.id,
    tenant_id: backup.tenantId,
    blueprint: backup.blueprint,
    trigger: backup.trigger,
    status: backup.state,
    version: backup.version ?? null,
    tables: backup.tables ?? null,
    rows: backup.rows ?? null,
    size_bytes: backup.sizeBytes ?? null,
    sha256: backup.sha256 ?? null,
    storage: backup.storage,
    format: backup.format ?? null,
    error: backup.error ?? null,
    created_at: isoTime(backup.createdAt),
    snapshot_at: maybeTime(backup.snapshotAt),
    finished_at: maybeTime(backup.finishedAt),
  };
}

function presentRollback(rollback: Rollback) {
  return {
    id: rollback.id,
    tenant_id: rollback.tenantId,
    backup_id: rollback.backupId ?? null,
    undoes: rollback.undoes ?? null,
    upgrade: rollback.upgrade,
    status: rollback.state,
    version: rollback.version ?? null,
    warnings: [...rollback.warnings],
    error: rollback.error ?? null,
    undo_until: maybeTime(rollback.undoUntil),
    created_at: isoTime(rollback.createdAt),
    started_at: maybeTime(rollback.startedAt),
    finished_at: maybeTime(rollback.finishedAt),
  };
}

function presentSchedule(schedule: BackupSchedule) {
  return {
    cron: schedule.cron,
    time_zone: schedule.timeZone,
    keep_count: schedule.keepCount,
    keep_days: schedule.keepDays,
    next_run_at: isoTime(schedule.nextRunAt),
    last_run_at: maybeTime(schedule.lastRunAt),
  };
}

/** Waits as long as proxies keep a request open, or until the caller leaves. */
async function waited<T>(c: ApiContext, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const enough = new AbortController();
  const timer = setTimeout(() => enough.abort(), maxWaitMs);
  return await work(AbortSignal.any([c.req.raw.signal, enough.signal])).finally(() => clearTimeout(timer));
}

const format = z.enum(["auto", "own", "custom"], "must be auto, own or custom").optional().openapi({
  description:
    "own: a script for psql; custom: an archive of pg_dump, which has to be installed and as new as the server; auto: custom where it can be. Left out: as the setting backup.format says.",
});

const create = endpoint(
  { policy },
  {
    method: "post",
    path: "/tenants/{id}/backup",
    tags,
    summary: "Back up a tenant's PostgreSQL database as it is now",
    description: "202 when it was started; 200 with `wait: true` once it has ended. Whether it went well is in `status` and `error`.",
    request: {
      params: TenantParams,
      body: { content: { "application/json": { schema: z.strictObject({ wait, format }).openapi("NewBackup") } } },
    },
    responses: { 200: answer(200, "Ended", BackupShape.shape), 202: answer(202, "Started", BackupShape.shape) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { wait: waits, format: wanted } = c.req.valid("json");
    const started = await backups.createBackup(projectId, tenantId, wanted);
    if (!waits) return accepted(c, presentBackup(started));
    const ended = await waited(c, (signal) => backups.waitForBackup(projectId, tenantId, started.id, signal));
    return ended.finishedAt === undefined ? accepted(c, presentBackup(ended)) : ok(c, presentBackup(ended));
  },
);

const list = endpoint(
  { policy },
  {
    method: "get",
    path: "/tenants/{id}/backups",
    tags,
    summary: "A tenant's backups, the newest first",
    request: { params: TenantParams, query: PageQuery },
    responses: { 200: answer(200, "Backups", { backups: z.array(BackupShape), ...paging }) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { items, nextCursor } = await backups.listBackups(projectId, tenantId, readPage(c.req.valid("query")));
    return ok(c, { backups: items.map(presentBackup), count: items.length, next_cursor: nextCursor ?? null });
  },
);

const get = endpoint(
  { policy },
  {
    method: "get",
    path: "/tenants/{id}/backups/{backup_id}",
    tags,
    summary: "One backup",
    request: { params: BackupParams },
    responses: { 200: answer(200, "The backup", BackupShape.shape) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    return ok(c, presentBackup(await backups.getBackup(projectId, tenantId, idOf(c, "Backup"))));
  },
);

const remove = endpoint(
  { policy },
  {
    method: "delete",
    path: "/tenants/{id}/backups/{backup_id}",
    tags,
    summary: "Delete a backup and its file",
    request: { params: BackupParams },
    responses: { 200: answer(200, "Deleted", { id: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const id = idOf(c, "Backup");
    await backups.deleteBackup(projectId, tenantId, id);
    return ok(c, { id, message: `Backup '${id}' deleted` });
  },
);

const download = endpoint(
  { policy },
  {
    method: "get",
    path: "/tenants/{id}/backups/{backup_id}/download",
    tags,
    summary: "A backup's file: a script for psql, compressed with gzip, or an archive of pg_dump",
    description:
      "`gunzip -c FILE | psql -X DATABASE` restores the one anywhere, `pg_restore --no-owner -d DATABASE FILE` the other (`.dump`). " +
      "`X-Content-SHA256` is the file's checksum.",
    request: { params: BackupParams },
    responses: {
      200: {
        description: "The file",
        content: {
          "application/gzip": { schema: z.string().openapi({ format: "binary" }) },
          "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) },
        },
      },
    },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { backup, data } = await backups.readBackupFile(projectId, tenantId, idOf(c, "Backup"));
    const [type, suffix] = backup.format === "custom" ? (["application/octet-stream", "dump"] as const) : (["application/gzip", "sql.gz"] as const);
    c.header("Content-Type", type);
    c.header("Content-Disposition", `attachment; filename="${tenantId}-${backup.id}.${suffix}"`);
    if (backup.sizeBytes !== undefined) c.header("Content-Length", String(backup.sizeBytes));
    if (backup.sha256 !== undefined) c.header("X-Content-SHA256", backup.sha256);
    return c.body(toStream(data)) as never;
  },
);

/** As slow as its reader; a client that leaves ends the reading. */
function toStream(data: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const chunks = data[Symbol.asyncIterator]();
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await chunks.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

const RollbackBody = z
  .strictObject({
    backup_id: z
      .string()
      .regex(/^bak_[0-9a-f]{1,64}$/, "must be a backup's id")
      .optional()
      .openapi({ example: "bak_5f0c2a7d9e1b3c48" }),
    date: z
      .string()
      .regex(/^\d{4}-\d\d-\d\d(T|$)/, "must be a time as 2027-01-31T00:00:00Z")
      .optional()
      .openapi({ description: "The newest backup from then or before.", example: "2026-01-15T09:30:00Z" }),
    upgrade,
    wait,
  })
  .refine((body) => (body.backup_id === undefined) !== (body.date === undefined), {
    path: ["backup_id"],
    message: "name exactly one of backup_id and date",
  })
  .openapi("NewRollback");

const rollback = endpoint(
  { policy },
  {
    method: "post",
    path: "/tenants/{id}/rollback",
    tags,
    summary: "Put a tenant's database back to a backup",
    description:
      "A new database is made of the backup, read back and compared, and takes the old one's place; sessions end between transactions, new ones wait. " +
      "What was written since the backup is in the old database, which is kept for a while: `…/rollbacks/{rollback_id}/undo` puts it back.",
    request: { params: TenantParams, body: { required: true, content: { "application/json": { schema: RollbackBody } } } },
    responses: { 200: answer(200, "Ended", RollbackShape.shape), 202: answer(202, "Started", RollbackShape.shape) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { backup_id, date, wait: waits, ...body } = c.req.valid("json");
    const request = { backupId: backup_id, date: date === undefined ? undefined : readDate(date), upgrade: body.upgrade };
    return await answerRollback(c, await backups.startRollback(projectId, tenantId, request), waits);
  },
);

function readDate(text: string): number {
  const at = Date.parse(text);
  if (!Number.isFinite(at)) throw badInput([{ path: "date", message: "must be a time as 2027-01-31T00:00:00Z" }]);
  return at;
}

async function answerRollback(c: ApiContext, started: Rollback, waits: boolean) {
  const { backups, projectId, tenantId } = reach(c);
  if (!waits) return accepted(c, presentRollback(started));
  const ended = await waited(c, (signal) => backups.waitForRollback(projectId, tenantId, started.id, signal));
  return ended.finishedAt === undefined ? accepted(c, presentRollback(ended)) : ok(c, presentRollback(ended));
}

const listRollbacks = endpoint(
  { policy },
  {
    method: "get",
    path: "/tenants/{id}/rollbacks",
    tags,
    summary: "A tenant's rollbacks, the newest first",
    request: { params: TenantParams, query: PageQuery },
    responses: { 200: answer(200, "Rollbacks", { rollbacks: z.array(RollbackShape), ...paging }) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { items, nextCursor } = await backups.listRollbacks(projectId, tenantId, readPage(c.req.valid("query")));
    return ok(c, { rollbacks: items.map(presentRollback), count: items.length, next_cursor: nextCursor ?? null });
  },
);

const getRollback = endpoint(
  { policy },
  {
    method: "get",
    path: "/tenants/{id}/rollbacks/{rollback_id}",
    tags,
    summary: "One rollback and how far it is",
    request: { params: RollbackParams },
    responses: { 200: answer(200, "The rollback", RollbackShape.shape) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    return ok(c, presentRollback(await backups.getRollback(projectId, tenantId, idOf(c, "Rollback"))));
  },
);

const undo = endpoint(
  { policy },
  {
    method: "post",
    path: "/tenants/{id}/rollbacks/{rollback_id}/undo",
    tags,
    summary: "Put back the database that a rollback replaced",
    request: {
      params: RollbackParams,
      body: { content: { "application/json": { schema: z.strictObject({ wait }).openapi("UndoRollback") } } },
    },
    responses: { 200: answer(200, "Ended", RollbackShape.shape), 202: answer(202, "Started", RollbackShape.shape) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    return await answerRollback(c, await backups.undoRollback(projectId, tenantId, idOf(c, "Rollback")), c.req.valid("json").wait);
  },
);

const newTenantAnswer = { ...newTenantFields, warnings: z.array(z.string()).openapi({ description: "What could not be brought over exactly." }) };

const restore = endpoint(
  { policy },
  {
    method: "post",
    path: "/tenants/{id}/backups/{backup_id}/restore",
    tags,
    summary: "Make a new tenant of a backup",
    description: "It has a credential of its own, shown once. The tenant the backup is of is left as it is; it may be in the trash.",
    request: {
      params: BackupParams,
      body: {
        required: true,
        content: { "application/json": { schema: z.strictObject({ tenant_id: TenantId, upgrade }).openapi("RestoreAsTenant") } },
      },
    },
    responses: { 201: answer(201, "The new tenant, ready to connect to", newTenantAnswer) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const { tenant_id, upgrade: upgrades } = c.req.valid("json");
    const made = await backups.restoreAsTenant(projectId, tenantId, idOf(c, "Backup"), { newTenantId: tenant_id, upgrade: upgrades });
    return created(c, { ...presentNewTenant(c, made.tenant), warnings: [...made.warnings] });
  },
);

const clone = endpoint(
  { policy },
  {
    method: "post",
    path: "/tenants/{id}/clone",
    tags,
    summary: "Make a new tenant with what this one has now",
    description: "One snapshot of its PostgreSQL database, while clients go on. The new tenant has a credential of its own, shown once.",
    request: {
      params: TenantParams,
      body: { required: true, content: { "application/json": { schema: z.strictObject({ tenant_id: TenantId }).openapi("CloneTenant") } } },
    },
    responses: { 201: answer(201, "The new tenant, ready to connect to", newTenantAnswer) },
  },
  async (c) => {
    const { backups, projectId, tenantId } = reach(c);
    const made = await backups.cloneTenant(projectId, tenantId, c.req.valid("json").tenant_id);
    return created(c, { ...presentNewTenant(c, made.tenant), warnings: [...made.warnings] });
  },
);

const getSchedule = endpoint(
  { policy: schedulePolicy },
  {
    method: "get",
    path: "/workspaces/{id}/backup-schedule",
    tags,
    summary: "When the tenants of a blueprint are backed up",
    request: { params: WorkspaceParams },
    responses: { 200: answer(200, "The schedule, null where there is none", { schedule: ScheduleShape.nullable() }) },
  },
  async (c) => {
    const found = await backupsOf(c).getSchedule(c.var.access.projectId, c.var.workspace.name);
    return ok(c, { schedule: found ? presentSchedule(found) : null });
  },
);

const ScheduleBody = z
  .strictObject({
    cron: z
      .string()
      .min(1, "must not be empty")
      .max(200, "must have at most 200 characters")
      .openapi({ description: "Five fields: minute, hour, day of month, month, day of week. At least five minutes apart.", example: "0 3 * * *" }),
    time_zone: z
      .string()
      .min(1, "must not be empty")
      .max(100, "must have at most 100 characters")
      .default("UTC")
      .openapi({ example: "Europe/Berlin" }),
    keep_count: integer(0, 10_000).default(14).openapi({ description: "Newest backups kept of each tenant; 0 = no such limit.", example: 14 }),
    keep_days: integer(0, 3650).default(0).openapi({ description: "Days they are kept; 0 = no such limit. The newest always stays.", example: 0 }),
  })
  .openapi("NewBackupSchedule");

/** For the record of changes: what a schedule was, without when it runs next. */
async function rememberSchedule(c: ApiContext): Promise<void> {
  const found = await backupsOf(c).getSchedule(c.var.access.projectId, c.var.workspace.name);
  if (!found) return;
  const { cron, time_zone, keep_count, keep_days } = presentSchedule(found);
  c.set("before", { cron, time_zone, keep_count, keep_days });
}

const setSchedule = endpoint(
  { policy: schedulePolicy },
  {
    method: "put",
    path: "/workspaces/{id}/backup-schedule",
    tags,
    summary: "Back up every tenant of a blueprint by the clock",
    description: "Retention is for scheduled backups only; those asked for stay until they are deleted.",
    request: { params: WorkspaceParams, body: { required: true, content: { "application/json": { schema: ScheduleBody } } } },
    responses: { 200: answer(200, "The schedule", { schedule: ScheduleShape }) },
  },
  async (c) => {
    const { cron, time_zone, keep_count, keep_days } = c.req.valid("json");
    const schedule = { cron, timeZone: time_zone, keepCount: keep_count, keepDays: keep_days };
    await rememberSchedule(c);
    return ok(c, { schedule: presentSchedule(await backupsOf(c).setSchedule(c.var.access.projectId, c.var.workspace.name, schedule)) });
  },
);

const removeSchedule = endpoint(
  { policy: schedulePolicy },
  {
    method: "delete",
    path: "/workspaces/{id}/backup-schedule",
    tags,
    summary: "Stop scheduled backups; those there are stay",
    request: { params: WorkspaceParams },
    responses: { 200: answer(200, "Stopped", { message: z.string() }) },
  },
  async (c) => {
    const { name } = c.var.workspace;
    await rememberSchedule(c);
    if (!(await backupsOf(c).removeSchedule(c.var.access.projectId, name))) throw notFound("Backup schedule", name);
    return ok(c, { message: `Tenants of '${name}' are not backed up by the clock any more` });
  },
);

export const backupEndpoints = [
  create,
  list,
  get,
  remove,
  download,
  rollback,
  listRollbacks,
  getRollback,
  undo,
  restore,
  clone,
  getSchedule,
  setSchedule,
  removeSchedule,
] as const;
