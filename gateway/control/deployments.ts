/** Deployments as the API sees them: recorded, listed, waited for, cancelled, tried again. The work itself is the runner's. */
import type { Kysely } from "kysely";
import type { DeploymentRequest, Listing, Page, ResultsPage } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Deployment, DeploymentState } from "../../core/model.ts";
import { notifyDeployment } from "../store/changes.ts";
import type { Tables } from "../store/schema.ts";
import { syncBlueprint } from "./blueprints.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { deploymentNotFound, findDeployment, insertResults, selectDeployments, withTallies } from "./deployment-rows.ts";
import { badRequest } from "./inputs.ts";
import type { JobQueue } from "./job-queue.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { getProject } from "./projects.ts";
import { refreshSpares } from "./spares.ts";
import { findBlueprint, type KnownWorkspace } from "./workspace-rows.ts";

const maxDryRunTenants = 10;

export const ended: readonly DeploymentState[] = ["done", "failed", "cancelled"];

export async function createDeployment(context: ControlContext, queue: JobQueue, projectId: string, request: DeploymentRequest): Promise<Deployment> {
  checkNumbers(request);
  const workspace = await findBlueprint(context.store.db, projectId, request.blueprint);
  if (workspace.engine !== "PostgreSQL") {
    throw new GatewayError("bad_request", `Blueprint '${workspace.name}' is ${workspace.engine}; deployments are for PostgreSQL`);
  }
  const newest = await syncBlueprint(context, workspace);
  const version = chooseVersion(workspace, newest, request.version);
  const id = `dep_${context.secrets.randomHex(8)}`;
  await context.store.transaction(async (trx) => {
    await lockBlueprint(trx, workspace);
    await insertDeployment(context, trx, { id, workspace, version, request });
    await insertResults(trx, { id, projectId, workspaceId: workspace.id, canary: request.canary ?? 0 }, request.tenants);
    await refuseUnknownTenants(trx, id, request);
    await queue.send(trx, workspace.id);
    await notifyDeployment(trx, id);
  });
  queue.wake();
  refreshSpares(context, workspace.id);
  return await findDeployment(context.store.db, projectId, id);
}

function checkNumbers(request: DeploymentRequest): void {
  if (!Number.isInteger(request.concurrency) || request.concurrency < 1 || request.concurrency > 64) {
    throw badRequest("concurrency must be from 1 to 64", "concurrency");
  }
  if (!Number.isInteger(request.lockTimeoutMs) || request.lockTimeoutMs < 1 || request.lockTimeoutMs > 3_600_000) {
    throw badRequest("lock_timeout_ms must be from 1 to 3600000", "lock_timeout_ms");
  }
  if (request.tenants !== "all" && request.tenants.length === 0) throw badRequest("tenant_ids must name at least one tenant", "tenant_ids");
  const { canary = 0, canaryWatchS = 0 } = request;
  if (!Number.isInteger(canary) || canary < 0 || canary > 1_000) throw badRequest("canary must be from 0 to 1000", "canary");
  if (!Number.isInteger(canaryWatchS) || canaryWatchS < 0 || canaryWatchS > 86_400) {
    throw badRequest("canary_watch_s must be from 0 to 86400", "canary_watch_s");
  }
  if (request.dryRun) checkDryRun(request, canary);
}

/** Every tenant costs a copy of its database, so they are named and few. */
function checkDryRun(request: DeploymentRequest, canary: number): void {
  if (request.tenants === "all" || request.tenants.length > maxDryRunTenants) {
    throw badRequest(`dry_run copies databases: name 1 to ${maxDryRunTenants} tenants in tenant_ids`, "tenant_ids");
  }
  if (canary > 0) throw badRequest("dry_run changes no tenant, so it has no canaries", "canary");
}

function chooseVersion(workspace: KnownWorkspace, newest: number, asked: number | undefined): number {
  if (newest === 0) throw badRequest(`Blueprint '${workspace.name}' has no versions yet: run DDL in its workspace first`, "version");
  const version = asked ?? newest;
  if (!Number.isInteger(version) || version < 1 || version > newest) {
    throw badRequest(`Blueprint '${workspace.name}' has no version ${version}; the newest is ${newest}`, "version");
  }
  return version;
}

/** Exclusive, so that a tenant being made either is listed or sees this deployment; see tenant-create.ts. */
async function lockBlueprint(trx: Kysely<Tables>, workspace: KnownWorkspace): Promise<void> {
  const row = await trx.selectFrom("workspaces").select("state").where("id", "=", workspace.id).forUpdate().executeTakeFirst();
  if (row?.state !== "ready") throw new GatewayError("conflict", `Blueprint '${workspace.name}' is being deleted`);
}

async function insertDeployment(
  context: ControlContext,
  trx: Kysely<Tables>,
  input: { id: string; workspace: KnownWorkspace; version: number; request: DeploymentRequest },
): Promise<void> {
  await trx
    .insertInto("deployments")
    .values({
      id: input.id,
      project_id: input.workspace.projectId,
      workspace_id: input.workspace.id,
      version: input.version,
      state: "queued",
      concurrency: input.request.concurrency,
      lock_timeout_ms: input.request.lockTimeoutMs,
      canary: input.request.canary ?? 0,
      canary_watch_s: (input.request.canary ?? 0) > 0 ? (input.request.canaryWatchS ?? 0) : 0,
      on_failure: input.request.onFailure ?? "continue",
      dry_run: input.request.dryRun ?? false,
      created_at: nowDate(context),
    })
    .execute();
}

/** Inside the transaction, so that nothing is left of a deployment that names a tenant it cannot have. */
async function refuseUnknownTenants(trx: Kysely<Tables>, deploymentId: string, request: DeploymentRequest): Promise<void> {
  if (request.tenants === "all") return;
  const rows = await trx.selectFrom("deployment_results").select("tenant_id").where("deployment_id", "=", deploymentId).execute();
  const known = new Set(rows.map((row) => row.tenant_id));
  const unknown = [...new Set(request.tenants)].filter((id) => !known.has(id));
  if (unknown.length > 0) {
    throw new GatewayError("not_found", `Tenants not found for blueprint '${request.blueprint}': ${unknown.join(", ")}`);
  }
}

export async function listDeployments(context: ControlContext, projectId: string, page: Page): Promise<Listing<Deployment>> {
  await getProject(context, projectId);
  let query = selectDeployments(context.store.db)
    .where("d.project_id", "=", projectId)
    .orderBy("d.position", "desc")
    .limit(pageLimit(page) + 1);
  if (page.cursor !== undefined) query = query.where("d.position", "<", Number(decodeCursor(page.cursor, ["number"])[0]));
  const rows = await query.execute();
  const deployments = new Map((await withTallies(context.store.db, rows)).map((deployment) => [deployment.id, deployment]));
  return toListing(
    rows,
    page,
    (row) => deployments.get(row.id)!,
    (row) => [row.position],
  );
}

export function getDeployment(context: ControlContext, projectId: string, deploymentId: string, results?: ResultsPage): Promise<Deployment> {
  return findDeployment(context.store.db, projectId, deploymentId, results);
}

/** A queued one ends at once; a running one stops after the tenants in progress. */
export async function cancelDeployment(context: ControlContext, queue: JobQueue, projectId: string, deploymentId: string): Promise<Deployment> {
  await context.store.transaction(async (trx) => {
    const row = await lockDeployment(trx, projectId, deploymentId);
    if (ended.includes(row.state)) throw new GatewayError("conflict", `Deployment ${deploymentId} has already ended (${row.state})`);
    const now = nowDate(context);
    if (row.state === "running") {
      await trx.updateTable("deployments").set({ cancel_requested: true }).where("id", "=", deploymentId).execute();
      await queue.send(trx, row.workspace_id); // should its worker be gone, another one ends it
    } else {
      await trx.updateTable("deployments").set({ state: "cancelled", finished_at: now }).where("id", "=", deploymentId).execute();
      await cancelPending(trx, deploymentId);
    }
    await notifyDeployment(trx, deploymentId);
  });
  queue.wake();
  return await findDeployment(context.store.db, projectId, deploymentId);
}

export async function cancelPending(db: Kysely<Tables>, deploymentId: string): Promise<void> {
  await db
    .updateTable("deployment_results")
    .set({ status: "cancelled" })
    .where("deployment_id", "=", deploymentId)
    .where("status", "in", ["pending", "running"])
    .execute();
}

/** The failed, cancelled and skipped tenants again, behind what is queued for the blueprint by now. */
export async function retryDeployment(context: ControlContext, queue: JobQueue, projectId: string, deploymentId: string): Promise<Deployment> {
  await context.store.transaction(async (trx) => {
    const row = await lockDeployment(trx, projectId, deploymentId);
    if (!ended.includes(row.state)) throw new GatewayError("conflict", `Deployment ${deploymentId} has not ended yet (${row.state})`);
    const again = await trx
      .updateTable("deployment_results")
      .set({ status: "pending", error: null, sqlstate: null, started_at: null, finished_at: null, statements: null })
      .where("deployment_id", "=", deploymentId)
      .where("status", "in", ["failed", "cancelled", "skipped"])
      .executeTakeFirst();
    if (again.numUpdatedRows === 0n) throw new GatewayError("conflict", `Deployment ${deploymentId} has nothing to retry: every tenant is done`);
    await requeue(trx, deploymentId);
    await trustCanaries(trx, deploymentId);
    await queue.send(trx, row.workspace_id);
    await notifyDeployment(trx, deploymentId);
  });
  queue.wake();
  return await findDeployment(context.store.db, projectId, deploymentId);
}

/** Who tries again although the canaries fare badly wants it: canaries that are done are not watched a second time. */
async function trustCanaries(trx: Kysely<Tables>, deploymentId: string): Promise<void> {
  await trx
    .updateTable("deployments as d")
    .set({ canary_watch_s: 0 })
    .where("d.id", "=", deploymentId)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom("deployment_results as r")
            .select("r.tenant_id")
            .whereRef("r.deployment_id", "=", "d.id")
            .where("r.is_canary", "=", true)
            .where("r.status", "=", "pending"),
        ),
      ),
    )
    .execute();
}

async function requeue(trx: Kysely<Tables>, deploymentId: string): Promise<void> {
  const last = await trx
    .selectFrom("deployments")
    .select((eb) => eb.fn("nextval", [eb.val("tenantry.deployments_position_seq")]).as("position"))
    .where("id", "=", deploymentId)
    .executeTakeFirstOrThrow();
  await trx
    .updateTable("deployments")
    .set({
      state: "queued",
      cancel_requested: false,
      held_because: null,
      canary_baseline: null,
      finished_at: null,
      claimed_by: null,
      position: Number(last.position),
    })
    .where("id", "=", deploymentId)
    .execute();
}

async function lockDeployment(trx: Kysely<Tables>, projectId: string, deploymentId: string) {
  const row = await trx
    .selectFrom("deployments")
    .selectAll()
    .where("project_id", "=", projectId)
    .where("id", "=", deploymentId)
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw deploymentNotFound(deploymentId);
  return row;
}
