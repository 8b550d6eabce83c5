/** One tenant of a deployment: brought up, and the outcome recorded. Suspended tenants are deployed like others, so that they are current when they resume. */
import { type Kysely, sql } from "kysely";
import type { ApplyResult } from "../../core/cluster-admin.ts";
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion, DeploymentResultState, DryRunStatement, PhysicalDatabase } from "../../core/model.ts";
import type { Span } from "../../core/tracing.ts";
import { notifyChange, notifyDeployment } from "../store/changes.ts";
import { toPhysical } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { pushReferenceData } from "./reference-data.ts";
import { withScratchCopy } from "./scratch-copies.ts";

export interface DeployTask {
  readonly deploymentId: string;
  readonly projectId: string;
  readonly workspaceId: string;
  readonly version: number;
  readonly lockTimeoutMs: number;
  /** Versions 1 … `version`. */
  readonly versions: readonly BlueprintVersion[];
  readonly tenantId: string;
  /** On a copy of the tenant's database. */
  readonly dryRun: boolean;
  readonly span?: Span | undefined;
  /** Aborts when this instance stops: what is waiting for a lock is left to the next one. */
  readonly signal: AbortSignal;
}

interface Outcome {
  /** The database that was brought up. */
  readonly databaseName?: string;
  readonly status: DeploymentResultState;
  readonly from_version?: number;
  readonly to_version?: number;
  readonly error?: string | null;
  readonly sqlstate?: string | null;
  readonly statements?: string;
  readonly tries: number;
}

/** For open transactions to end, each try; the others wait meanwhile. */
const longestWaitMs = 1_000;

/** What PostgreSQL says when a lock was not to be had; such failures have used every try. */
const lockFailures = ["55P03", "40P01", "40001"];

/** @returns "stop" when the deployment was cancelled, is another instance's by now, or this one stops. */
export async function deployTenant(context: ControlContext, task: DeployTask): Promise<"done" | "failed" | "stop"> {
  try {
    return await deploy(context, task);
  } finally {
    task.span?.end();
  }
}

async function deploy(context: ControlContext, task: DeployTask): Promise<"done" | "failed" | "stop"> {
  if (!(await markRunning(context, task))) return "stop";
  const startedMs = context.clock.nowMs();
  for (;;) {
    const outcome = await (task.dryRun ? tryOut(context, task) : bringUp(context, task));
    if (!outcome) return "stop";
    const recorded = await record(context, task, outcome, Math.round(context.clock.nowMs() - startedMs));
    if (recorded === "again") continue;
    task.span?.set({ "tenantry.status": outcome.status, "tenantry.attempts": outcome.tries });
    if (outcome.status === "failed") task.span?.end(outcome.sqlstate ?? "failed");
    return recorded === "stop" ? "stop" : outcome.status === "failed" ? "failed" : "done";
  }
}

async function markRunning(context: ControlContext, task: DeployTask): Promise<boolean> {
  return await context.store.transaction(async (trx) => {
    if (!(await holdClaim(context, trx, task, true))) return false;
    await trx
      .updateTable("deployment_results")
      .set({ status: "running", started_at: nowDate(context) })
      .where("deployment_id", "=", task.deploymentId)
      .where("tenant_id", "=", task.tenantId)
      .execute();
    await notifyDeployment(trx, task.deploymentId);
    return true;
  });
}

/** Shared row lock: as long as the transaction lasts nobody takes the deployment over. */
async function holdClaim(context: ControlContext, trx: Kysely<Tables>, task: DeployTask, unlessCancelled: boolean): Promise<boolean> {
  const row = await trx
    .selectFrom("deployments")
    .select(["claimed_by", "cancel_requested"])
    .where("id", "=", task.deploymentId)
    .where("state", "=", "running")
    .forShare()
    .executeTakeFirst();
  return row !== undefined && row.claimed_by === context.claims.key && !(unlessCancelled && row.cancel_requested);
}

/** As `bringUp`, on a copy that nobody else enters and that is dropped at the end; after a crash the sweep drops it. */
async function tryOut(context: ControlContext, task: DeployTask): Promise<Outcome | undefined> {
  const found = await findDatabase(context, task);
  if ("skipped" in found) return { status: "skipped", error: found.skipped, tries: 0 };
  const statements: DryRunStatement[] = [];
  const told = () => ({ statements: JSON.stringify(statements) });
  try {
    return await withScratchCopy(context, { ...task, source: found.database, version: found.version }, async (copy) => {
      const options = {
        lockTimeoutMs: task.lockTimeoutMs,
        attempts: 1,
        signal: task.signal,
        onStatement: (s: DryRunStatement) => statements.push(s),
      };
      const result = await context.admin.applyVersions(copy, task.versions, options);
      await pushReferenceData(context, task.workspaceId, copy, task.signal);
      return { ...succeeded(task, result), ...told() };
    });
  } catch (error) {
    if (task.signal.aborted && error === task.signal.reason) return undefined;
    const outcome = await failed(context, found, error);
    return { ...outcome, to_version: found.version, ...told() };
  }
}

/** @returns undefined when the stop of this instance ended it; the row stays `running`, which whoever carries on takes for open. */
async function bringUp(context: ControlContext, task: DeployTask): Promise<Outcome | undefined> {
  const found = await findDatabase(context, task);
  if ("skipped" in found) return { status: "skipped", error: found.skipped, tries: 0 };
  try {
    const options = {
      lockTimeoutMs: task.lockTimeoutMs,
      attempts: context.config.deploymentAttempts,
      signal: task.signal,
      around: (attempt: () => Promise<void>, isLast: boolean) => whileClientsWait(context, task, attempt, isLast),
    };
    const result = await context.admin.applyVersions(found.database, task.versions, options);
    await pushReferenceData(context, task.workspaceId, found.database, task.signal);
    return succeeded(task, result);
  } catch (error) {
    if (task.signal.aborted && error === task.signal.reason) return undefined;
    const now = await findDatabase(context, task);
    if ("skipped" in now) return { status: "skipped", error: now.skipped, tries: 1 };
    return await failed(context, found, error);
  }
}

function succeeded(task: DeployTask, result: ApplyResult): Outcome {
  const versions = { from_version: result.fromVersion, to_version: result.toVersion, tries: result.attempts };
  if (result.fromVersion > task.version) return { ...versions, status: "skipped", error: `already at version ${result.fromVersion}` };
  return { ...versions, status: "done" };
}

/**
 * Between two of its transactions a client has seen the schema before or after, and what it has prepared is mended in between. A client
 * that is in a transaction is waited for as for a lock; with the last try the deployment goes on without.
 */
async function whileClientsWait(context: ControlContext, task: DeployTask, attempt: () => Promise<void>, isLast: boolean): Promise<void> {
  const hold = await context.holds.take(task, Math.min(task.lockTimeoutMs, longestWaitMs));
  let isChanged = false;
  try {
    if (!hold.atRest && !isLast) {
      throw new GatewayError("query_failed", "clients of the tenant are in transactions that do not end", { sqlstate: "55P03" });
    }
    await attempt();
    isChanged = true;
  } finally {
    await hold.release(isChanged);
  }
}

/** The database may have come part of the way: versions that cannot run in a transaction are committed one by one. */
async function failed(context: ControlContext, known: { database: PhysicalDatabase; version: number }, error: unknown): Promise<Outcome> {
  const expected = error instanceof GatewayError;
  if (!expected) context.log.write("error", "deployment to a tenant failed", { reason: error instanceof Error ? error.message : String(error) });
  const reached = await context.admin.readAppliedVersion(known.database).catch(() => known.version); // unreachable: what is known goes on standing
  const sqlstate = expected ? error.sqlstate : null;
  return {
    status: "failed",
    from_version: known.version,
    to_version: reached,
    error: expected ? error.message : "internal error; see the gateway's log",
    sqlstate,
    tries: sqlstate !== null && lockFailures.includes(sqlstate) ? context.config.deploymentAttempts : 1,
  };
}

async function findDatabase(
  context: ControlContext,
  task: DeployTask,
): Promise<{ database: PhysicalDatabase; version: number } | { skipped: string }> {
  const row = await context.store.db
    .selectFrom("tenant_databases as td")
    .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
    .innerJoin("databases as d", "d.name", "td.database_name")
    .select(["t.state", "td.version", "td.database_name", "d.cluster_id", "d.password_generation"])
    .where("td.project_id", "=", task.projectId)
    .where("td.tenant_id", "=", task.tenantId)
    .where("td.workspace_id", "=", task.workspaceId)
    .executeTakeFirst();
  const database = row && toPhysical(row);
  if (!row || !database || row.state === "deleting" || row.state === "creating") return { skipped: "tenant was deleted" };
  if (row.state === "trash") return { skipped: "tenant is in trash" };
  return { database, version: row.version };
}

/** The result, the tenant's version and the word to the data path, together. */
async function record(context: ControlContext, task: DeployTask, outcome: Outcome, durationMs: number): Promise<"done" | "stop" | "again"> {
  const { tries, databaseName, ...columns } = outcome;
  return await context.store.transaction(async (trx) => {
    if (!(await holdClaim(context, trx, task, false))) return "stop";
    // A database that another has replaced meanwhile is not the tenant's any more: the other one needs it too.
    if (databaseName !== undefined && (await isReplaced(trx, task, databaseName))) return "again";
    await trx
      .updateTable("deployment_results")
      .set({ ...columns, duration_ms: durationMs, finished_at: nowDate(context), attempts: sql`attempts + ${tries}` })
      .where("deployment_id", "=", task.deploymentId)
      .where("tenant_id", "=", task.tenantId)
      .execute();
    if (typeof columns.to_version === "number" && !task.dryRun) await recordVersion(trx, task, columns.to_version);
    if (!task.dryRun && (columns.to_version ?? 0) > (columns.from_version ?? 0)) {
      await notifyChange(trx, { projectId: task.projectId, tenantId: task.tenantId, workspaceId: task.workspaceId, schemaChanged: true });
    }
    await notifyDeployment(trx, task.deploymentId);
    return "done";
  });
}

async function isReplaced(trx: Kysely<Tables>, task: DeployTask, databaseName: string): Promise<boolean> {
  const row = await trx
    .selectFrom("tenant_databases")
    .select("database_name")
    .where("project_id", "=", task.projectId)
    .where("tenant_id", "=", task.tenantId)
    .where("workspace_id", "=", task.workspaceId)
    .forUpdate()
    .executeTakeFirst();
  return row !== undefined && row.database_name !== databaseName;
}

async function recordVersion(trx: Kysely<Tables>, task: DeployTask, version: number): Promise<void> {
  const row = await trx
    .updateTable("tenant_databases")
    .set({ version })
    .where("project_id", "=", task.projectId)
    .where("tenant_id", "=", task.tenantId)
    .where("workspace_id", "=", task.workspaceId)
    .returning("database_name")
    .executeTakeFirst();
  if (row?.database_name) await trx.updateTable("databases").set({ version }).where("name", "=", row.database_name).execute();
}
