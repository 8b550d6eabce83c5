/** Runs deployments: per blueprint one at a time in order, tenant by tenant, resumed where a dead worker left off. */
import { type Selectable, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion } from "../../core/model.ts";
import type { Span } from "../../core/tracing.ts";
import { notifyDeployment } from "../store/changes.ts";
import type { DeploymentRow } from "../store/schema.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { watchCanaries } from "./deployment-canary.ts";
import { type DeployTask, deployTenant } from "./deployment-tenant.ts";
import { cancelPending } from "./deployments.ts";
import { refreshSpares } from "./spares.ts";
import { loadVersions } from "./versions.ts";

type Claimed = Selectable<DeploymentRow>;
type Traced = Claimed & { readonly span: Span | undefined };

/** Runs what is open for a blueprint until nothing is, or until another instance is found at work on it. */
export async function runBlueprint(context: ControlContext, workspaceId: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const next = await claimNext(context, workspaceId);
    if (!next) return;
    try {
      await runDeployment(context, next.claimed, signal);
    } finally {
      next.release();
    }
  }
}

/** The oldest open deployment, unless somebody alive has it: those behind it wait, whoever looks. */
async function claimNext(context: ControlContext, workspaceId: string): Promise<{ claimed: Claimed; release: () => void } | undefined> {
  let release: (() => void) | undefined;
  try {
    const claimed = await context.store.transaction(async (trx) => {
      const oldest = await trx
        .selectFrom("deployments")
        .select(["id", "started_at"])
        .select(context.claims.orphaned("claimed_by", sql.ref("id")).as("free"))
        .where("workspace_id", "=", workspaceId)
        .where("state", "in", ["queued", "running"])
        .orderBy("position")
        .limit(1)
        .forUpdate()
        .executeTakeFirst();
      if (!oldest?.free || context.claims.holds(oldest.id)) return undefined;
      release = context.claims.take(oldest.id);
      await notifyDeployment(trx, oldest.id);
      return await trx
        .updateTable("deployments")
        .set({ state: "running", claimed_by: context.claims.key, started_at: oldest.started_at ?? nowDate(context) })
        .where("id", "=", oldest.id)
        .returningAll()
        .executeTakeFirstOrThrow();
    });
    return claimed && release && { claimed, release };
  } catch (error) {
    release?.();
    throw error;
  }
}

async function runDeployment(context: ControlContext, claimed: Claimed, signal: AbortSignal): Promise<void> {
  context.log.write("info", "deployment running", { deployment: claimed.id, version: claimed.version, dry_run: claimed.dry_run });
  const span = context.tracer?.begin("deployment", {
    ...{ "tenantry.project_id": claimed.project_id, "tenantry.deployment_id": claimed.id },
    ...{ "tenantry.version": claimed.version, "tenantry.dry_run": claimed.dry_run },
  });
  try {
    const versions = await loadVersions(context.store.db, claimed.workspace_id, claimed.version);
    const held = await runStages(context, { ...claimed, span }, versions, signal);
    if (signal.aborted) await release(context, claimed);
    else await finish(context, claimed, held);
    span?.end(held === undefined ? undefined : "held");
  } finally {
    span?.end("broken_off");
  }
  refreshSpares(context, claimed.workspace_id);
}

/** The canaries, a look at how they fare, then the others. @returns why it stopped before the last tenant. */
async function runStages(
  context: ControlContext,
  claimed: Traced,
  versions: readonly BlueprintVersion[],
  signal: AbortSignal,
): Promise<string | undefined> {
  if (claimed.canary > 0) {
    await runTenants(context, claimed, versions, { canaries: true }, signal);
    const held = signal.aborted ? undefined : ((await failedCanary(context, claimed)) ?? (await watchCanaries(context, claimed, signal)));
    if (held !== undefined || signal.aborted) return held;
  }
  return await runTenants(context, claimed, versions, { canaries: false }, signal);
}

async function failedCanary(context: ControlContext, claimed: Claimed): Promise<string | undefined> {
  const failed = await context.store.db
    .selectFrom("deployment_results")
    .select("tenant_id")
    .where("deployment_id", "=", claimed.id)
    .where("is_canary", "=", true)
    .where("status", "=", "failed")
    .orderBy("tenant_id")
    .executeTakeFirst();
  return failed && `it failed on canary '${failed.tenant_id}'`;
}

/**
 * Each cluster has as many tenants in progress as the deployment's concurrency says.
 * @returns why it stopped: with `hold`, nobody begins another tenant once one has failed.
 */
async function runTenants(
  context: ControlContext,
  claimed: Traced,
  versions: readonly BlueprintVersion[],
  stage: { canaries: boolean },
  signal: AbortSignal,
): Promise<string | undefined> {
  const byCluster = await loadOpenTenants(context, claimed, stage.canaries);
  const workers: Promise<void>[] = [];
  let held: string | undefined;
  for (const tenantIds of byCluster.values()) {
    const rest = tenantIds.values();
    const worker = async () => {
      for (const tenantId of rest) {
        if (signal.aborted || held !== undefined) return;
        const end = await deployTenant(context, taskOf(claimed, versions, tenantId, signal));
        if (end === "stop") return;
        if (end === "failed" && claimed.on_failure === "hold") held ??= `it failed on tenant '${tenantId}'`;
      }
    };
    for (let i = 0; i < Math.min(claimed.concurrency, tenantIds.length); i++) workers.push(worker());
  }
  const ends = await Promise.allSettled(workers);
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
  return held;
}

function taskOf(claimed: Traced, versions: readonly BlueprintVersion[], tenantId: string, signal: AbortSignal): DeployTask {
  return {
    deploymentId: claimed.id,
    projectId: claimed.project_id,
    workspaceId: claimed.workspace_id,
    version: claimed.version,
    lockTimeoutMs: claimed.lock_timeout_ms,
    dryRun: claimed.dry_run,
    versions,
    tenantId,
    span: claimed.span?.begin("deploy to tenant", { "tenantry.tenant_id": tenantId }),
    signal,
  };
}

/** Those not ended yet. One found `running` was in a dead worker's hands; its database knows how far it came. */
async function loadOpenTenants(context: ControlContext, claimed: Claimed, canaries: boolean): Promise<Map<string, string[]>> {
  let query = context.store.db
    .selectFrom("deployment_results as r")
    .leftJoin("tenant_databases as td", (join) =>
      join.onRef("td.tenant_id", "=", "r.tenant_id").on("td.project_id", "=", claimed.project_id).on("td.workspace_id", "=", claimed.workspace_id),
    )
    .leftJoin("databases as d", "d.name", "td.database_name")
    .select(["r.tenant_id", "d.cluster_id"])
    .where("r.deployment_id", "=", claimed.id)
    .where("r.status", "in", ["pending", "running"])
    .orderBy("r.tenant_id");
  if (canaries) query = query.where("r.is_canary", "=", true);
  const rows = await query.execute();
  const byCluster = new Map<string, string[]>();
  for (const row of rows) {
    const known = byCluster.get(row.cluster_id ?? "");
    if (known) known.push(row.tenant_id);
    else byCluster.set(row.cluster_id ?? "", [row.tenant_id]);
  }
  return byCluster;
}

/** A stopping instance lets go, so that another may carry on at once. */
async function release(context: ControlContext, claimed: Claimed): Promise<void> {
  await context.store.db
    .updateTable("deployments")
    .set({ claimed_by: null })
    .where("id", "=", claimed.id)
    .where("claimed_by", "=", context.claims.key)
    .execute();
}

/** A deployment that was held has its other tenants cancelled, as if somebody had; a retry takes them up. */
async function finish(context: ControlContext, claimed: Claimed, held: string | undefined): Promise<void> {
  await context.store.transaction(async (trx) => {
    const row = await trx.selectFrom("deployments").selectAll().where("id", "=", claimed.id).forUpdate().executeTakeFirst();
    if (row?.claimed_by !== context.claims.key || row.state !== "running") return; // somebody else has it by now
    if (row.cancel_requested || held !== undefined) await cancelPending(trx, claimed.id);
    const left = await trx.selectFrom("deployment_results").select("status").distinct().where("deployment_id", "=", claimed.id).execute();
    const statuses = left.map((r) => r.status);
    if (statuses.includes("pending") || statuses.includes("running")) {
      throw new GatewayError("internal_error", `deployment ${claimed.id} has tenants left that nobody worked on`);
    }
    const isHeld = held !== undefined && statuses.includes("cancelled");
    const state = row.cancel_requested ? "cancelled" : isHeld || statuses.includes("failed") ? "failed" : "done";
    await trx
      .updateTable("deployments")
      .set({ state, held_because: isHeld ? held : null, finished_at: nowDate(context), claimed_by: null })
      .where("id", "=", claimed.id)
      .execute();
    await notifyDeployment(trx, claimed.id);
    context.log.write("info", "deployment ended", { deployment: claimed.id, state, held });
  });
}
