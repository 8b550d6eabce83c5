/** The wait between the canaries and the rest: their statements, as the gateways count them, must not fail more often than before. */
import { type Selectable, sql } from "kysely";
import type { DeploymentRow } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";

/** How far back "before" reaches. */
const baselineMs = 3_600_000;
/** How often the counts are looked at; instances write theirs every ten seconds. */
const lookMs = 1_000;
/** Fewer failures say nothing. */
const leastErrors = 5;
/** As a share of all statements: this much more than before is a rise. */
const rise = 0.05;

/** Statements and failed ones, by tenant, up to the end of the canaries' deployment. */
export interface CanaryBaseline {
  /** Wall clock. */
  readonly at: number;
  readonly counts: Readonly<Record<string, readonly [statements: number, errors: number]>>;
}

type Deployment = Pick<Selectable<DeploymentRow>, "id" | "project_id" | "workspace_id" | "canary_watch_s">;

/** @returns why the rest is held; undefined when it may follow, was cancelled, or `signal` aborted. */
export async function watchCanaries(context: ControlContext, deployment: Deployment, signal: AbortSignal): Promise<string | undefined> {
  if (deployment.canary_watch_s === 0) return undefined;
  const baseline = await takeBaseline(context, deployment);
  if (Object.keys(baseline.counts).length === 0) return undefined;
  const untilMs = baseline.at + deployment.canary_watch_s * 1000;
  for (;;) {
    const held = describeRise(baseline, await countStatements(context, deployment, Object.keys(baseline.counts), baseline.at));
    if (held !== undefined || signal.aborted || context.clock.wallMs() >= untilMs || (await isCancelled(context, deployment))) return held;
    await context.clock.sleep(Math.min(lookMs, untilMs - context.clock.wallMs()), signal).catch(() => undefined); // seen above
  }
}

/** Kept with the deployment, so that whoever resumes it compares with the same. */
async function takeBaseline(context: ControlContext, deployment: Deployment): Promise<CanaryBaseline> {
  const { db } = context.store;
  const row = await db.selectFrom("deployments").select("canary_baseline").where("id", "=", deployment.id).executeTakeFirst();
  if (row?.canary_baseline) return row.canary_baseline;
  const done = await db
    .selectFrom("deployment_results")
    .select("tenant_id")
    .where("deployment_id", "=", deployment.id)
    .where("is_canary", "=", true)
    .where("status", "=", "done")
    .execute();
  const at = context.clock.wallMs();
  const tenants = done.map((each) => each.tenant_id);
  const baseline: CanaryBaseline = { at, counts: Object.fromEntries(await countStatements(context, deployment, tenants, at)) };
  await db
    .updateTable("deployments")
    .set({ canary_baseline: JSON.stringify(baseline) })
    .where("id", "=", deployment.id)
    .execute();
  return baseline;
}

/** From an hour before `at` until now, on all instances. */
async function countStatements(context: ControlContext, deployment: Deployment, tenants: readonly string[], at: number) {
  const found = await sql<{ tenant_id: string; statements: number; errors: number }>`
    select t.id as tenant_id, coalesce(sum(u.statements), 0)::float8 as statements, coalesce(sum(u.errors), 0)::float8 as errors
    from unnest(${[...tenants]}::text[]) as t (id)
    left join tenantry.query_usage u on u.project_id = ${deployment.project_id} and u.tenant_id = t.id and u.workspace_id = ${deployment.workspace_id}
      and u.at >= ${new Date(at - baselineMs)}
    group by t.id`.execute(context.store.db);
  return new Map(found.rows.map((row) => [row.tenant_id, [row.statements, row.errors] as const]));
}

/** In words, for the tenant that fares worst. */
function describeRise(baseline: CanaryBaseline, now: ReadonlyMap<string, readonly [number, number]>): string | undefined {
  let worst: { by: number; text: string } | undefined;
  for (const [tenant, [statementsBefore, errorsBefore]] of Object.entries(baseline.counts)) {
    const [statements, errors] = now.get(tenant) ?? [statementsBefore, errorsBefore];
    const since = { statements: statements - statementsBefore, errors: errors - errorsBefore };
    if (since.errors < leastErrors) continue;
    const [before, after] = [errorsBefore / Math.max(1, statementsBefore), since.errors / since.statements];
    if (after - before < rise || (worst && worst.by > after - before)) continue;
    const text = `statements of canary '${tenant}' fail more often: ${percent(after)} of ${since.statements} since it was deployed, ${percent(before)} before`;
    worst = { by: after - before, text };
  }
  return worst?.text;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

async function isCancelled(context: ControlContext, deployment: Deployment): Promise<boolean> {
  const row = await context.store.db.selectFrom("deployments").select("cancel_requested").where("id", "=", deployment.id).executeTakeFirst();
  return row?.cancel_requested !== false;
}
