/** Deployments and their results as rows. */
import { type Kysely, sql } from "kysely";
import type { Listing, ResultsPage } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Deployment, DeploymentResult, DeploymentTally } from "../../core/model.ts";
import { toDeploymentResult, toMs } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";

export function selectDeployments(db: Kysely<Tables>) {
  return db.selectFrom("deployments as d").innerJoin("workspaces as w", "w.id", "d.workspace_id").selectAll("d").select("w.name as blueprint");
}

export type DeploymentColumns = Awaited<ReturnType<ReturnType<typeof selectDeployments>["execute"]>>[number];

/** With how many tenants are where, counted by the store: a list of deployments to ten thousand tenants stays small. */
export async function withTallies(db: Kysely<Tables>, rows: readonly DeploymentColumns[]): Promise<Deployment[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const counts = await db
    .selectFrom("deployment_results")
    .select(["deployment_id", "status", sql<number>`count(*)`.as("tenants")])
    .where("deployment_id", "in", ids)
    .groupBy(["deployment_id", "status"])
    .execute();
  return rows.map((row) => {
    const own = counts.filter((count) => count.deployment_id === row.id);
    const sum = (...statuses: string[]) => own.reduce((total, { status, tenants }) => total + (statuses.includes(status) ? tenants : 0), 0);
    const tally = { total: own.reduce((total, { tenants }) => total + tenants, 0), completed: sum("done", "skipped"), failed: sum("failed") };
    return toDeployment(row, tally);
  });
}

function toDeployment(row: DeploymentColumns, tally: DeploymentTally): Deployment {
  return {
    id: row.id,
    projectId: row.project_id,
    workspaceId: row.workspace_id,
    blueprint: row.blueprint,
    version: row.version,
    state: row.state,
    concurrency: row.concurrency,
    lockTimeoutMs: row.lock_timeout_ms,
    canary: row.canary,
    canaryWatchS: row.canary_watch_s,
    onFailure: row.on_failure,
    dryRun: row.dry_run,
    heldBecause: row.held_because ?? undefined,
    createdAt: toMs(row.created_at),
    startedAt: toMs(row.started_at),
    finishedAt: toMs(row.finished_at),
    tally,
    results: [],
    nextResults: undefined,
  };
}

/** With a page of its results; without any unless told. */
export async function findDeployment(db: Kysely<Tables>, projectId: string, deploymentId: string, page?: ResultsPage): Promise<Deployment> {
  const [deployment] = await withTallies(db, [await findRow(db, projectId, deploymentId)]);
  if (page === undefined || page.shown === "none") return deployment!;
  const { items, nextCursor } = await listResults(db, deploymentId, page);
  return { ...deployment!, results: items, nextResults: nextCursor };
}

async function listResults(db: Kysely<Tables>, deploymentId: string, page: ResultsPage): Promise<Listing<DeploymentResult>> {
  let query = db
    .selectFrom("deployment_results")
    .selectAll()
    .where("deployment_id", "=", deploymentId)
    .orderBy("tenant_id")
    .limit(pageLimit(page) + 1);
  if (page.shown === "failed") query = query.where("status", "=", "failed");
  if (page.cursor !== undefined) query = query.where("tenant_id", ">", String(decodeCursor(page.cursor, ["string"])[0]));
  return toListing(await query.execute(), page, toDeploymentResult, (row) => [row.tenant_id]);
}

async function findRow(db: Kysely<Tables>, projectId: string, deploymentId: string): Promise<DeploymentColumns> {
  const row = await selectDeployments(db).where("d.project_id", "=", projectId).where("d.id", "=", deploymentId).executeTakeFirst();
  if (!row) throw deploymentNotFound(deploymentId);
  return row;
}

/** Records every tenant that is to be brought up; those in the trash are only named when they were asked for, and skipped. */
export async function insertResults(
  db: Kysely<Tables>,
  deployment: { id: string; projectId: string; workspaceId: string; canary: number },
  tenants: "all" | readonly string[],
): Promise<void> {
  const chosen = tenants === "all" ? sql`t.state in ('ready', 'suspended')` : sql`t.id = any(${[...tenants]}::text[])`;
  await sql`
    insert into tenantry.deployment_results (deployment_id, tenant_id, status, error)
    select ${deployment.id}, t.id, case when t.state = 'trash' then 'skipped' else 'pending' end,
      case when t.state = 'trash' then 'tenant is in trash' end
    from tenantry.tenant_databases td
    join tenantry.tenants t on t.project_id = td.project_id and t.id = td.tenant_id
    where td.project_id = ${deployment.projectId} and td.workspace_id = ${deployment.workspaceId} and td.state = 'ready'
      and t.state in ('ready', 'suspended', 'trash') and ${chosen}`.execute(db);
  if (deployment.canary > 0) await chooseCanaries(db, deployment.id, tenants === "all" ? [] : tenants, deployment.canary);
}

/** As they were named; otherwise in order of id. Suspended tenants have no traffic to learn from and come last. */
async function chooseCanaries(db: Kysely<Tables>, deploymentId: string, named: readonly string[], canary: number): Promise<void> {
  await sql`
    update tenantry.deployment_results set is_canary = true where deployment_id = ${deploymentId} and tenant_id in (
      select r.tenant_id from tenantry.deployment_results r
      join tenantry.deployments d on d.id = r.deployment_id
      join tenantry.tenants t on t.project_id = d.project_id and t.id = r.tenant_id
      where r.deployment_id = ${deploymentId} and r.status = 'pending'
      order by t.state = 'suspended', array_position(${[...named]}::text[], r.tenant_id), r.tenant_id limit ${canary})`.execute(db);
}

export function deploymentNotFound(deploymentId: string): GatewayError {
  return new GatewayError("not_found", `Deployment not found: ${deploymentId}`);
}
