/** The sweep: finishes or clears away what crashes, failures and time have left. Every step may be repeated, by any instance. */
import { type Expression, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import { physicalOf } from "../store/rows.ts";
import { type ControlContext, nowDate } from "./context.ts";
import type { JobQueue } from "./job-queue.ts";
import { dropDatabases, markDatabasesDeleting } from "./physical.ts";
import { finishDeletingProject } from "./projects.ts";
import { removeUnfinishedDatabases } from "./tenant-databases.ts";
import { releaseMoves } from "./tenant-move.ts";
import { deleteTenant, removeAbandonedTenant, setConnectable, tenantSubject } from "./tenants.ts";
import { makeWorkspaceDatabase, removeWorkspace } from "./workspaces.ts";

type Step = (context: ControlContext) => Promise<void>;

const steps: readonly (readonly [string, Step])[] = [
  ["workspaces left unfinished", finishWorkspaces],
  ["tenants left unfinished", removeTenants],
  ["additions left unfinished", removeAdditions],
  ["moves left unfinished", releaseMoves],
  ["projects left unfinished", finishProjects],
  ["databases left over", dropLeftOver],
  ["doors left open or shut", reconcileConnectable],
  ["trash", purgeTrash],
  ["expired sessions and secrets", purgeExpired],
];

/** One round. A step that fails is logged and tried again in the next; it does not keep the others from running. */
export async function sweep(context: ControlContext, queue: JobQueue): Promise<void> {
  for (const [what, step] of steps) {
    if (context.background.stopped) return;
    try {
      await step(context);
    } catch (error) {
      context.log.write("warn", "sweep failed", { what, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  await resumeDeployments(context, queue);
}

/** Puts back into the queue what is open and has no living worker. */
async function resumeDeployments(context: ControlContext, queue: JobQueue): Promise<void> {
  const rows = await context.store.db
    .selectFrom("deployments")
    .select("workspace_id")
    .distinct()
    .where("state", "in", ["queued", "running"])
    .where(context.claims.orphaned("claimed_by", sql.ref("id")))
    .execute();
  for (const row of rows) await context.store.transaction((trx) => queue.send(trx, row.workspace_id));
  if (rows.length > 0) queue.wake();
}

async function finishWorkspaces(context: ControlContext): Promise<void> {
  const rows = await context.store.db
    .selectFrom("workspaces as w")
    .leftJoin("databases as d", "d.name", "w.database_name")
    .selectAll("d")
    .select(["w.id", "w.project_id as project", "w.mode", "w.state as workspace_state"])
    .where("w.state", "<>", "ready")
    .where((eb) => eb.or([eb("w.state", "=", "deleting"), context.claims.orphaned("d.claimed_by", sql.ref("d.name"))]))
    .execute();
  for (const row of rows) {
    const workspace = { id: row.id, projectId: row.project, mode: row.mode };
    const { name, cluster_id, password_generation } = row;
    if (row.workspace_state === "deleting" || name === null || cluster_id === null || password_generation === null) {
      await removeWorkspace(context, workspace);
      continue;
    }
    if (context.claims.holds(name)) continue;
    const orphaned = context.claims.orphaned("claimed_by", sql.ref("name"));
    await context.claims.hold(name, async () => {
      const taken = await context.store.db
        .updateTable("databases")
        .set({ claimed_by: context.claims.key })
        .where("name", "=", name)
        .where("state", "=", "creating")
        .where(orphaned)
        .executeTakeFirst();
      if (taken.numUpdatedRows === 0n) return;
      await makeWorkspaceDatabase(context, workspace, physicalOf({ name, cluster_id, password_generation }));
    });
  }
}

/** Nobody ever had the credential of a tenant whose creation did not finish, so it goes. */
async function removeTenants(context: ControlContext): Promise<void> {
  const rows = await context.store.db
    .selectFrom("tenants")
    .select(["project_id", "id"])
    .where("state", "in", ["creating", "deleting"])
    .where((eb) => context.claims.orphaned("claimed_by", tenantSubjectSql(eb.ref("project_id"), eb.ref("id"))))
    .execute();
  for (const row of rows) await removeAbandonedTenant(context, row.project_id, row.id);
}

async function removeAdditions(context: ControlContext): Promise<void> {
  const rows = await context.store.db
    .selectFrom("tenant_databases as td")
    .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
    .select(["td.project_id", "td.tenant_id"])
    .distinct()
    .where("td.state", "=", "creating")
    .where("t.state", "not in", ["creating", "deleting"])
    .where((eb) => context.claims.orphaned("td.claimed_by", tenantSubjectSql(eb.ref("td.project_id"), eb.ref("td.tenant_id"))))
    .execute();
  for (const row of rows) {
    const subject = tenantSubject(row.project_id, row.tenant_id);
    if (context.claims.holds(subject)) continue;
    await context.claims.hold(subject, () => removeUnfinishedDatabases(context, row.project_id, row.tenant_id));
  }
}

/** As `tenantSubject` makes it. */
function tenantSubjectSql(projectId: Expression<string>, tenantId: Expression<string>) {
  return sql<string>`${projectId} || '/' || ${tenantId}`;
}

async function finishProjects(context: ControlContext): Promise<void> {
  const rows = await context.store.db.selectFrom("projects").select("id").where("state", "=", "deleting").execute();
  for (const row of rows) await finishDeletingProject(context, row.id);
}

/** Spares and copies nobody works on, and everything that was to be dropped. Templates stay: the next user brings them up. */
async function dropLeftOver(context: ControlContext): Promise<void> {
  const { db } = context.store;
  const spares = await db
    .selectFrom("databases")
    .select("name")
    .where("kind", "in", ["spare", "copy"])
    .where("state", "=", "creating")
    .where(context.claims.orphaned("claimed_by", sql.ref("name")))
    .execute();
  await markDatabasesDeleting(
    db,
    spares.map((row) => row.name).filter((name) => !context.claims.holds(name)),
  );
  const rows = await db.selectFrom("databases").selectAll().where("state", "=", "deleting").execute();
  await dropDatabases(context, rows.map(physicalOf));
}

/** Doors that were not as they should be at the last sweep. */
const wrongDoors = new WeakMap<ControlContext, ReadonlySet<string>>();

/**
 * Where a cluster could not be reached when a tenant was suspended, thrown away or given another database. Only what was so at the sweep before,
 * too: a tenant that is being resumed is open a moment before it is ready, and must not be shut behind its back.
 */
async function reconcileConnectable(context: ControlContext): Promise<void> {
  const rows = await findWrongDoors(context);
  const seen = wrongDoors.get(context);
  wrongDoors.set(context, new Set(rows.map((row) => row.name)));
  for (const row of rows) {
    if (!seen?.has(row.name)) continue;
    await setConnectable(context, [physicalOf(row)], !row.connectable);
    // Its tenant may have changed meanwhile.
    const now = (await findWrongDoors(context)).find((each) => each.name === row.name);
    if (now) await setConnectable(context, [physicalOf(now)], !now.connectable);
  }
}

async function findWrongDoors(context: ControlContext) {
  return await context.store.db
    .selectFrom("tenant_databases as td")
    .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
    .innerJoin("databases as d", "d.name", "td.database_name")
    .select(["d.name", "d.cluster_id", "d.password_generation", "d.connectable"])
    .where("td.state", "=", "ready")
    .where("d.state", "=", "ready")
    .where((eb) =>
      eb.or([
        eb.and([eb("t.state", "in", ["suspended", "trash"]), eb("d.connectable", "=", true)]),
        eb.and([eb("t.state", "=", "ready"), eb("d.connectable", "=", false)]),
      ]),
    )
    .execute();
}

async function purgeTrash(context: ControlContext): Promise<void> {
  const before = new Date(context.clock.wallMs() - context.config.trashDays * 86_400_000);
  const rows = await context.store.db
    .selectFrom("tenants")
    .select(["project_id", "id"])
    .where("state", "=", "trash")
    .where("trashed_at", "<=", before)
    .execute();
  for (const row of rows) {
    context.log.write("info", "tenant purged from trash", { project: row.project_id, tenant: row.id });
    try {
      await deleteTenant(context, row.project_id, row.id, true);
    } catch (error) {
      if (!(error instanceof GatewayError) || error.kind !== "not_found") throw error; // not found: another instance was faster
    }
  }
}

async function purgeExpired(context: ControlContext): Promise<void> {
  const now = nowDate(context);
  await context.store.db.deleteFrom("account_sessions").where("expires_at", "<=", now).execute();
  await context.store.db.deleteFrom("verifiers").where("valid_until", "<=", now).execute();
}
