/** Deployments as those see them who wait: until the end, event by event, or from one tenant's side. */
import type { DeploymentEvent, Listing, Page, TenantDeployment } from "../../core/control-plane.ts";
import type { Deployment } from "../../core/model.ts";
import { toDeploymentResult, toMs } from "../store/rows.ts";
import type { ControlContext } from "./context.ts";
import { findDeployment, selectDeployments, withTallies } from "./deployment-rows.ts";
import { ended } from "./deployments.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { findTenant } from "./tenant-rows.ts";

/** How often a deployment is looked at while it is waited for, should a notification be lost. */
const lookAgainMs = 1_000;
/** Events are gathered for this long: a large deployment ends many tenants a second. */
const gatherMs = 200;

export async function waitForDeployment(context: ControlContext, projectId: string, deploymentId: string, signal: AbortSignal): Promise<Deployment> {
  for await (const { state } of looks(context, projectId, deploymentId, signal)) if (ended.includes(state)) break;
  return await findDeployment(context.store.db, projectId, deploymentId);
}

export async function* followDeployment(
  context: ControlContext,
  projectId: string,
  deploymentId: string,
  signal: AbortSignal,
): AsyncGenerator<DeploymentEvent> {
  const told = new Map<string, number>();
  let last = "";
  for await (const deployment of looks(context, projectId, deploymentId, signal)) {
    yield* newResults(context, deploymentId, told);
    const isOver = ended.includes(deployment.state);
    const shown = JSON.stringify([deployment.state, deployment.tally]);
    if (isOver) yield { type: "end", deployment };
    else if (shown !== last) yield { type: "progress", deployment };
    if (isOver) return;
    last = shown;
    await context.clock.sleep(gatherMs, signal).catch(() => undefined); // aborted: `looks` ends by itself
  }
}

/** Those that ended since the last look. `told` has when each was told of; a retry ends a tenant a second time. */
async function* newResults(context: ControlContext, deploymentId: string, told: Map<string, number>): AsyncGenerator<DeploymentEvent> {
  const latest = Math.max(0, ...[...told.values()].slice(-1_000));
  const rows = await context.store.db
    .selectFrom("deployment_results")
    .selectAll()
    .where("deployment_id", "=", deploymentId)
    .where("status", "in", ["done", "failed", "skipped"])
    // Results are committed a little after the time they carry, and instances' clocks differ.
    .where("finished_at", ">=", new Date(latest - 60_000))
    .orderBy("finished_at")
    .execute();
  for (const row of rows) {
    const at = toMs(row.finished_at) ?? 0;
    if (told.get(row.tenant_id) === at) continue;
    told.delete(row.tenant_id); // to the end of the map
    told.set(row.tenant_id, at);
    yield { type: "result", result: toDeploymentResult(row) };
  }
}

/** Its state now, and again whenever something is said of it; now and then in case nothing was heard. Ends when `signal` aborts. */
async function* looks(context: ControlContext, projectId: string, deploymentId: string, signal: AbortSignal): AsyncGenerator<Deployment> {
  let hear: () => void = () => undefined;
  let heard = Promise.resolve();
  const listenAgain = () => {
    heard = new Promise((resolve) => {
      hear = resolve;
    });
  };
  const unsubscribe = context.store.onDeployment((id) => {
    if (id === undefined || id === deploymentId) hear();
  });
  const onAbort = () => hear();
  signal.addEventListener("abort", onAbort);
  try {
    for (;;) {
      listenAgain();
      yield await findDeployment(context.store.db, projectId, deploymentId);
      if (signal.aborted) return;
      await waitForWord(context, heard);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    unsubscribe();
  }
}

async function waitForWord(context: ControlContext, heard: Promise<void>): Promise<void> {
  const timer = new AbortController();
  const pause = context.clock.sleep(lookAgainMs, timer.signal).catch(() => undefined); // aborted below, when it is no longer needed
  await Promise.race([heard, pause]);
  timer.abort(new Error("no longer waited for"));
}

export async function listTenantDeployments(
  context: ControlContext,
  projectId: string,
  tenantId: string,
  page: Page & { workspaces?: readonly string[] | undefined },
): Promise<Listing<TenantDeployment>> {
  await findTenant(context.store.db, projectId, tenantId);
  let query = selectDeployments(context.store.db)
    .innerJoin("deployment_results as r", "r.deployment_id", "d.id")
    .where("d.project_id", "=", projectId)
    .where("r.tenant_id", "=", tenantId)
    .orderBy("d.position", "desc")
    .limit(pageLimit(page) + 1);
  if (page.workspaces !== undefined) query = query.where("w.name", "in", [...page.workspaces]);
  if (page.cursor !== undefined) query = query.where("d.position", "<", Number(decodeCursor(page.cursor, ["number"])[0]));
  const rows = await query.execute();
  const ids = rows.map((row) => row.id);
  const deployments = await withTallies(context.store.db, rows);
  const own = context.store.db.selectFrom("deployment_results").selectAll().where("tenant_id", "=", tenantId);
  const results = ids.length === 0 ? [] : (await own.where("deployment_id", "in", ids).execute()).map((row) => [row.deployment_id, row] as const);
  const byDeployment = new Map(results);
  return toListing(
    rows,
    page,
    (row) => ({ deployment: deployments.find(({ id }) => id === row.id)!, result: toDeploymentResult(byDeployment.get(row.id)!) }),
    (row) => [row.position],
  );
}
