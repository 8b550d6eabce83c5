/**
 * Puts one database in the place of another under a tenant's name. Clients' sessions leave between transactions, new ones wait, and the change is
 * one commit: whatever breaks off before it leaves the old database in its place.
 */
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { nowDate } from "../control/context.ts";
import { lockTenant, stateConflict } from "../control/tenant-rows.ts";
import { notifyChange } from "../store/changes.ts";
import type { BackupDeps } from "./deps.ts";
import type { KnownRollback } from "./rows.ts";

/** Most of the time clients wait may go by while others leave; those who stay longer in a transaction are ended. */
const longestGraceMs = 5_000;
const lookMs = 50;

export interface Switch {
  readonly rollback: KnownRollback;
  readonly from: PhysicalDatabase;
  readonly to: PhysicalDatabase;
  /** Blueprint version of the database that takes over. */
  readonly version: number;
  readonly warnings: readonly string[];
}

/** Clients could not be let in again; whoever finds the rollback unfinished has to. */
export class StillHeldError extends Error {}

export async function switchDatabases(deps: BackupDeps, change: Switch): Promise<void> {
  try {
    await hold(deps, change);
    await letClientsLeave(deps, change.from);
    await deps.context.admin.setConnectable(change.from, false);
    await commit(deps, change);
  } catch (error) {
    try {
      const state = await stateOf(deps, change.rollback.id);
      if (state === "done") return; // only the answer to the commit was lost
      if (state === "switching") await release(deps, change.rollback, change.from);
    } catch (failure) {
      throw new StillHeldError(`${String(failure)}, after ${String(error)}`, { cause: error });
    }
    throw error;
  }
}

function whichDatabase(row: KnownRollback) {
  return { projectId: row.project_id, tenantId: row.tenant_id, workspaceId: row.workspace_id };
}

async function hold(deps: BackupDeps, { rollback, from, to }: Switch): Promise<void> {
  const { context } = deps;
  // A deployment at work on the old database ends first, before anybody waits.
  const tenant = await context.store.db
    .selectFrom("tenants")
    .select("state")
    .where("project_id", "=", rollback.project_id)
    .where("id", "=", rollback.tenant_id)
    .executeTakeFirst();
  await context.admin.setConnectable(from, tenant?.state === "ready");
  await context.admin.setConnectable(to, tenant?.state === "ready");
  await context.store.transaction(async (trx) => {
    const row = await lockTenant(trx, rollback.project_id, rollback.tenant_id);
    if (row.state !== "ready" && row.state !== "suspended") throw stateConflict(rollback.tenant_id, row.state);
    const held = await trx
      .updateTable("tenant_databases")
      .set({ held: true })
      .where("project_id", "=", rollback.project_id)
      .where("tenant_id", "=", rollback.tenant_id)
      .where("workspace_id", "=", rollback.workspace_id)
      .where("database_name", "=", from.name)
      .where("held", "=", false)
      .executeTakeFirst();
    const marked = await trx
      .updateTable("rollbacks")
      .set({ state: "switching" })
      .where("id", "=", rollback.id)
      .where("state", "=", "restoring")
      .where("claimed_by", "=", context.claims.key)
      .executeTakeFirst();
    if (marked.numUpdatedRows !== 1n) throw new Error("the rollback is another instance's by now");
    if (held.numUpdatedRows !== 1n) throw new GatewayError("conflict", "The tenant's database is being moved, or was; start the rollback again");
    // Idle backends of the old database are of no use any more.
    await notifyChange(trx, { ...whichDatabase(rollback), schemaChanged: true });
  });
}

async function letClientsLeave(deps: BackupDeps, database: PhysicalDatabase): Promise<void> {
  const { clock } = deps.context;
  const untilMs = clock.nowMs() + Math.min(longestGraceMs, deps.config().connectWaitMs / 2);
  while (clock.nowMs() < untilMs && (await deps.dumper.countClients(database)) > 0) await clock.sleep(lookMs, deps.stopping);
}

async function commit(deps: BackupDeps, { rollback, from, to, version, warnings }: Switch): Promise<void> {
  const { context } = deps;
  await context.store.transaction(async (trx) => {
    const tenant = await lockTenant(trx, rollback.project_id, rollback.tenant_id);
    const now = nowDate(context);
    const done = await trx
      .updateTable("rollbacks")
      .set({ state: "done", claimed_by: null, version, warnings: [...warnings], error: null, finished_at: now })
      .where("id", "=", rollback.id)
      .where("state", "=", "switching")
      .where("claimed_by", "=", context.claims.key)
      .executeTakeFirst();
    if (done.numUpdatedRows !== 1n) throw new Error("the rollback is another instance's by now");
    const dropAfter = new Date(now.getTime() + deps.config().keepReplacedMs);
    await trx.updateTable("databases").set({ kind: "replaced", connectable: false, drop_after: dropAfter }).where("name", "=", from.name).execute();
    await trx
      .updateTable("databases")
      .set({ kind: "tenant", state: "ready", claimed_by: null, version, connectable: tenant.state === "ready", drop_after: null })
      .where("name", "=", to.name)
      .execute();
    await trx
      .updateTable("tenant_databases")
      .set({ database_name: to.name, version, held: false })
      .where("project_id", "=", rollback.project_id)
      .where("tenant_id", "=", rollback.tenant_id)
      .where("workspace_id", "=", rollback.workspace_id)
      .where("database_name", "=", from.name)
      .execute();
    await notifyChange(trx, whichDatabase(rollback));
  });
}

async function stateOf(deps: BackupDeps, rollbackId: string): Promise<string | undefined> {
  const row = await deps.context.store.db.selectFrom("rollbacks").select("state").where("id", "=", rollbackId).executeTakeFirst();
  return row?.state;
}

/** Takes the hold back: clients come in again, to the old database. May be repeated, by any instance. */
export async function release(deps: BackupDeps, rollback: KnownRollback, from: PhysicalDatabase): Promise<void> {
  const { context } = deps;
  const tenant = await context.store.db
    .selectFrom("tenants")
    .select("state")
    .where("project_id", "=", rollback.project_id)
    .where("id", "=", rollback.tenant_id)
    .executeTakeFirst();
  if (tenant?.state === "ready") await context.admin.setConnectable(from, true);
  await context.store.transaction(async (trx) => {
    await trx
      .updateTable("tenant_databases")
      .set({ held: false })
      .where("project_id", "=", rollback.project_id)
      .where("tenant_id", "=", rollback.tenant_id)
      .where("workspace_id", "=", rollback.workspace_id)
      .where("database_name", "=", from.name)
      .execute();
    await notifyChange(trx, whichDatabase(rollback));
  });
}
