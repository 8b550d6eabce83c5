/** Backups by the clock: a cron expression per workspace, whichever instance comes first, and how long they are kept. */
import { Cron } from "croner";
import { type Selectable, sql } from "kysely";
import type { BackupSchedule } from "../../core/backups.ts";
import { GatewayError } from "../../core/errors.ts";
import { nowDate } from "../control/context.ts";
import { badRequest } from "../control/inputs.ts";
import { findBlueprint } from "../control/workspace-rows.ts";
import type { BackupScheduleRow } from "../store/backup-tables.ts";
import { toMs } from "../store/rows.ts";
import type { BackupDeps } from "./deps.ts";
import { storageKey } from "./formats.ts";

/** Two runs of a schedule are this far apart at least. */
const leastIntervalMs = 300_000;
/** So many of the next ones. */
const runsLookedAt = 5;
const noTimeZone = "time_zone is not a time zone as Europe/Berlin or UTC";

type NewSchedule = Pick<BackupSchedule, "cron" | "timeZone" | "keepCount" | "keepDays">;

export async function getSchedule(deps: BackupDeps, projectId: string, workspace: string): Promise<BackupSchedule | undefined> {
  const { db } = deps.context.store;
  const { id } = await findBlueprint(db, projectId, workspace);
  const row = await db.selectFrom("backup_schedules").selectAll().where("workspace_id", "=", id).executeTakeFirst();
  return row && toSchedule(row);
}

export async function setSchedule(deps: BackupDeps, projectId: string, workspace: string, schedule: NewSchedule): Promise<BackupSchedule> {
  const { context } = deps;
  const { id, engine } = await findBlueprint(context.store.db, projectId, workspace);
  if (engine !== "PostgreSQL")
    throw new GatewayError("bad_request", `Blueprint '${workspace}' is ${engine}; only PostgreSQL databases are backed up here`);
  const { cron, timeZone: time_zone, keepCount: keep_count, keepDays: keep_days } = schedule;
  const next_run_at = nextRun(cron, time_zone, nowDate(context));
  const columns = { cron, time_zone, keep_count, keep_days, next_run_at };
  const row = await context.store.db
    .insertInto("backup_schedules")
    .values({ workspace_id: id, ...columns })
    .onConflict((oc) => oc.column("workspace_id").doUpdateSet(columns))
    .returningAll()
    .executeTakeFirstOrThrow();
  return toSchedule(row);
}

export async function removeSchedule(deps: BackupDeps, projectId: string, workspace: string): Promise<boolean> {
  const { db } = deps.context.store;
  const { id } = await findBlueprint(db, projectId, workspace);
  const done = await db.deleteFrom("backup_schedules").where("workspace_id", "=", id).executeTakeFirst();
  return done.numDeletedRows > 0n;
}

function toSchedule(row: Selectable<BackupScheduleRow>): BackupSchedule {
  return {
    cron: row.cron,
    timeZone: row.time_zone,
    keepCount: row.keep_count,
    keepDays: row.keep_days,
    nextRunAt: toMs(row.next_run_at),
    lastRunAt: toMs(row.last_run_at),
  };
}

/** @throws {GatewayError} bad_request for what is no cron expression or time zone, never comes, or comes too often. */
export function nextRun(cron: string, timeZone: string, after: Date): Date {
  let runs: Date[];
  if (timeZone === "") throw badRequest(noTimeZone, "time_zone");
  try {
    runs = new Cron(cron, { timezone: timeZone, mode: "5-part", paused: true }).nextRuns(runsLookedAt, after);
  } catch (error) {
    const isZone = /time ?zone/i.test((error as Error).message);
    throw isZone
      ? badRequest(noTimeZone, "time_zone")
      : badRequest("cron must have five fields: minute, hour, day of month, month, day of week, as 0 3 * * *", "cron");
  }
  const [first] = runs;
  if (!first) throw badRequest("cron names a time that never comes", "cron");
  const isTooOften = runs.some((run, at) => at > 0 && run.getTime() - runs[at - 1]!.getTime() < leastIntervalMs);
  if (isTooOften) throw badRequest("cron must leave at least five minutes between two backups", "cron");
  return first;
}

/** Queues the backups of every schedule whose time has come: one instance finds it due, whoever is first. */
export async function queueDue(deps: BackupDeps): Promise<void> {
  const { context } = deps;
  const now = nowDate(context);
  await context.store.transaction(async (trx) => {
    const due = await trx.selectFrom("backup_schedules").selectAll().where("next_run_at", "<=", now).forUpdate().skipLocked().execute();
    for (const schedule of due) {
      const tenants = await trx
        .selectFrom("tenant_databases as td")
        .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
        .innerJoin("workspaces as w", "w.id", "td.workspace_id")
        .select(["t.project_id", "t.id", "t.created_at", "w.name"])
        .where("td.workspace_id", "=", schedule.workspace_id)
        .where("td.state", "=", "ready")
        .where("t.state", "in", ["ready", "suspended"])
        // One that is still waiting or running is enough.
        .where((eb) =>
          eb.not(
            eb.exists(
              eb
                .selectFrom("backups as b")
                .select("b.id")
                .whereRef("b.project_id", "=", "t.project_id")
                .whereRef("b.tenant_id", "=", "t.id")
                .where("b.trigger", "=", "schedule")
                .where("b.state", "in", ["queued", "running"]),
            ),
          ),
        )
        .execute();
      for (const tenant of tenants) {
        const id = `bak_${context.secrets.randomHex(8)}`;
        await trx
          .insertInto("backups")
          .values({
            id,
            project_id: tenant.project_id,
            tenant_id: tenant.id,
            tenant_created_at: tenant.created_at,
            workspace_id: schedule.workspace_id,
            blueprint: tenant.name,
            trigger: "schedule",
            state: "queued",
            storage: deps.storages.current.kind,
            storage_key: storageKey(tenant.project_id, tenant.id, id, "own"),
            created_at: now,
          })
          .execute();
      }
      await trx
        .updateTable("backup_schedules")
        .set({ last_run_at: now, next_run_at: nextRun(schedule.cron, schedule.time_zone, now) })
        .where("workspace_id", "=", schedule.workspace_id)
        .execute();
      if (tenants.length > 0) context.log.write("info", "scheduled backups queued", { workspace: schedule.workspace_id, tenants: tenants.length });
    }
    if (due.length > 0) deps.wake();
  });
}

/** Scheduled backups beyond what their schedule keeps; a tenant's newest good one always stays. */
export async function markExpired(deps: BackupDeps): Promise<void> {
  const now = nowDate(deps.context);
  await sql`
    update tenantry.backups b set state = 'deleting'
    from (
      select b.id, b.created_at, s.keep_count, s.keep_days,
        row_number() over (partition by b.project_id, b.tenant_id, b.workspace_id order by b.created_at desc, b.id desc) as place
      from tenantry.backups b join tenantry.backup_schedules s on s.workspace_id = b.workspace_id
      where b.trigger = 'schedule' and b.state = 'ready'
    ) known
    where known.id = b.id and b.state = 'ready' and known.place > 1
      and ((known.keep_count > 0 and known.place > known.keep_count)
        or (known.keep_days > 0 and known.created_at < ${now}::timestamptz - make_interval(days => known.keep_days)))`.execute(deps.context.store.db);
}
