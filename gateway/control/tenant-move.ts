/**
 * Moves a tenant's database to another cluster: a new database of the same version is made there, clients' sessions leave between transactions, the
 * contents are copied and compared, and one commit lets the new one take over. Whatever breaks off before leaves the tenant where it was.
 */
import { sql } from "kysely";
import type { MoveRequest } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase, Tenant, TenantDatabase } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import { toPhysical } from "../store/rows.ts";
import type { ControlContext } from "./context.ts";
import { compare } from "./drift.ts";
import { insertDatabase, logLeftOver, makeDatabaseName, placeDatabase } from "./physical.ts";
import { discardCopy } from "./scratch-copies.ts";
import { chooseDatabase } from "./settings.ts";
import { findTenant, lockTenant, stateConflict } from "./tenant-rows.ts";
import { tenantSubject } from "./tenants.ts";
import { loadVersions } from "./versions.ts";

/** For transactions that are open to end, before their sessions are ended. */
const graceMs = 5_000;
const lookMs = 50;

interface Move {
  readonly projectId: string;
  readonly tenantId: string;
  readonly workspaceId: string;
  readonly version: number;
  readonly isolationLevel: 1 | 2;
  readonly from: PhysicalDatabase;
  readonly to: PhysicalDatabase;
}

export async function moveTenant(context: ControlContext, projectId: string, tenantId: string, request: MoveRequest): Promise<Tenant> {
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  const entry = chooseDatabase(tenant, request.blueprint);
  const from = requireDatabase(entry);
  const isolationLevel = request.isolationLevel ?? levelOf(context, request.cluster) ?? entry.isolationLevel;
  const clusterId = await placeDatabase(context, isolationLevel, request.cluster);
  if (clusterId === from.clusterId) {
    throw new GatewayError("conflict", `Tenant '${tenantId}' is on cluster '${clusterId}' already, with isolation_level ${entry.isolationLevel}`);
  }
  const name = makeDatabaseName(context);
  const about = { projectId, workspaceId: entry.workspaceId };
  await context.claims.hold(name, () =>
    context.claims.hold(tenantSubject(projectId, tenantId), async () => {
      const to = await insertDatabase(context, context.store.db, { ...about, name, clusterId, kind: "copy" });
      const move = { ...about, tenantId, version: entry.version, isolationLevel, from, to };
      try {
        await prepare(context, move);
        await transfer(context, move);
      } catch (error) {
        if (await hasTakenOver(context, move)) return; // only the answer to the commit was lost
        await giveUp(context, move);
        throw error;
      }
    }),
  );
  context.log.write("info", "tenant moved", { project: projectId, tenant: tenantId, cluster: clusterId });
  return await findTenant(context.store.db, projectId, tenantId);
}

function requireDatabase(entry: TenantDatabase): PhysicalDatabase {
  if (entry.engine !== "PostgreSQL") {
    throw new GatewayError("bad_request", `blueprint "${entry.blueprint}" is ${entry.engine}; only PostgreSQL databases can be moved`);
  }
  if (entry.state !== "ready" || !entry.database) throw new GatewayError("conflict", "the tenant's database is still being created");
  return entry.database;
}

function levelOf(context: ControlContext, cluster: string | undefined): 1 | 2 | undefined {
  return cluster === undefined ? undefined : cluster === context.clusters.list()[0]?.name ? 1 : 2;
}

/** Nobody waits yet: an empty database of the tenant's version, which must come out the same as the tenant's own. */
async function prepare(context: ControlContext, { workspaceId, version, from, to }: Move): Promise<void> {
  await context.admin.createTemplateDatabase(to);
  const versions = await loadVersions(context.store.db, workspaceId, version);
  if (versions.length > 0) await context.admin.applyVersions(to, versions, { lockTimeoutMs: 10_000, attempts: 1 });
  const differences = compare(await context.admin.readSchemaObjects(to), await context.admin.readSchemaObjects(from));
  if (differences.length === 0) return;
  const shown = differences.slice(0, 3).map(({ change, kind, name }) => `${change} ${kind} ${name}`);
  throw new GatewayError("conflict", `Cannot move the tenant: its schema is not that of its version ${version} (${shown.join(", ")})`, {
    hint: "GET /blueprints/{name}/drift has the differences; undo them first.",
  });
}

async function transfer(context: ControlContext, move: Move): Promise<void> {
  const { from, to } = move;
  await hold(context, move);
  const untilMs = context.clock.nowMs() + graceMs;
  while (context.clock.nowMs() < untilMs && (await context.admin.countClientSessions(from)) > 0) await context.clock.sleep(lookMs);
  await context.admin.setConnectable(from, false);
  await context.admin.copyContents(from, to);
  if ((await context.admin.readAppliedVersion(from)) !== move.version) throw overtaken(move);
  await context.admin.openToClients(to);
  await commit(context, move);
}

/** From now on sessions leave between transactions, and new ones wait. */
async function hold(context: ControlContext, move: Move): Promise<void> {
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, move.projectId, move.tenantId);
    if (row.state !== "ready" && row.state !== "suspended") throw stateConflict(move.tenantId, row.state);
    const busy = await sql`
      select from tenantry.deployment_results r join tenantry.deployments d on d.id = r.deployment_id
      where d.workspace_id = ${move.workspaceId} and d.state in ('queued', 'running') and not d.dry_run
        and r.tenant_id = ${move.tenantId} and r.status in ('pending', 'running')`.execute(trx);
    if (busy.rows.length > 0)
      throw new GatewayError("conflict", `Cannot move tenant '${move.tenantId}' while a deployment has it in hand; try again when it has ended`);
    const held = await trx
      .updateTable("tenant_databases")
      .set({ held: true, claimed_by: context.claims.key })
      .where("project_id", "=", move.projectId)
      .where("tenant_id", "=", move.tenantId)
      .where("workspace_id", "=", move.workspaceId)
      .where("database_name", "=", move.from.name)
      .where("version", "=", move.version)
      .where("held", "=", false)
      .executeTakeFirst();
    if (held.numUpdatedRows !== 1n) throw overtaken(move);
    await notifyChange(trx, { projectId: move.projectId, tenantId: move.tenantId, workspaceId: move.workspaceId, schemaChanged: true });
  });
}

async function commit(context: ControlContext, move: Move): Promise<void> {
  await context.store.transaction(async (trx) => {
    const tenant = await lockTenant(trx, move.projectId, move.tenantId);
    const done = await trx
      .updateTable("tenant_databases")
      .set({ database_name: move.to.name, isolation_level: move.isolationLevel, held: false, claimed_by: null })
      .where("project_id", "=", move.projectId)
      .where("tenant_id", "=", move.tenantId)
      .where("workspace_id", "=", move.workspaceId)
      .where("database_name", "=", move.from.name)
      .where("version", "=", move.version)
      .where("claimed_by", "=", context.claims.key)
      .executeTakeFirst();
    if (done.numUpdatedRows !== 1n) throw overtaken(move);
    await trx.updateTable("databases").set({ state: "deleting", claimed_by: null }).where("name", "=", move.from.name).execute();
    // Opened a moment ago; the sweep shuts it where the tenant is suspended.
    await trx
      .updateTable("databases")
      .set({ kind: "tenant", state: "ready", claimed_by: null, version: move.version, connectable: true })
      .where("name", "=", move.to.name)
      .execute();
    await notifyChange(trx, { projectId: tenant.project_id, tenantId: move.tenantId, workspaceId: move.workspaceId });
  });
}

function overtaken({ tenantId }: Move): GatewayError {
  return new GatewayError("conflict", `Tenant '${tenantId}' was changed while it was being moved; try again`);
}

async function hasTakenOver(context: ControlContext, { to }: Move): Promise<boolean> {
  const row = await context.store.db
    .selectFrom("databases")
    .select("kind")
    .where("name", "=", to.name)
    .executeTakeFirst()
    .catch(() => undefined); // the store is away: the sweep finds out, and drops nothing that is a tenant's
  return row?.kind === "tenant";
}

/** What cannot be taken back now is the sweep's. */
async function giveUp(context: ControlContext, move: Move): Promise<void> {
  try {
    await letBackIn(context, { ...move, database: move.from });
  } catch (error) {
    logLeftOver(context, "move of a tenant", error);
  }
  await discardCopy(context, move.to);
}

/** Clients come in again, to the database they had. */
async function letBackIn(
  context: ControlContext,
  held: { projectId: string; tenantId: string; workspaceId: string; database: PhysicalDatabase },
): Promise<void> {
  const { projectId, tenantId, workspaceId, database } = held;
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state === "ready") await context.admin.setConnectable(database, true);
  await context.store.transaction(async (trx) => {
    const released = await trx
      .updateTable("tenant_databases")
      .set({ held: false, claimed_by: null })
      .where("project_id", "=", projectId)
      .where("tenant_id", "=", tenantId)
      .where("workspace_id", "=", workspaceId)
      .where("database_name", "=", database.name)
      .where("claimed_by", "is not", null)
      .executeTakeFirst();
    if (released.numUpdatedRows > 0n) await notifyChange(trx, { projectId, tenantId, workspaceId });
  });
}

/** Tenants whose mover died before the commit. Rollbacks hold databases too, under claims of their own. */
export async function releaseMoves(context: ControlContext): Promise<void> {
  const rows = await context.store.db
    .selectFrom("tenant_databases as td")
    .innerJoin("databases as d", "d.name", "td.database_name")
    .select(["td.project_id", "td.tenant_id", "td.workspace_id", "td.database_name", "d.cluster_id", "d.password_generation"])
    .where("td.state", "=", "ready")
    .where("td.held", "=", true)
    .where("td.claimed_by", "is not", null)
    .where(context.claims.orphaned("td.claimed_by", sql`td.project_id || '/' || td.tenant_id`))
    .execute();
  for (const row of rows) {
    const database = toPhysical(row);
    const { project_id: projectId, tenant_id: tenantId, workspace_id: workspaceId } = row;
    if (!database || context.claims.holds(tenantSubject(projectId, tenantId))) continue;
    await letBackIn(context, { projectId, tenantId, workspaceId, database });
  }
}
