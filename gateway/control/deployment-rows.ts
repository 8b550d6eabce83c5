/** Deployments and their results as rows. */
import { type Kysely, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { Deployment, DeploymentResult } from "../../core/model.ts";
import { toDeploymentResult, toMs } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";

export function selectDeployments(db: Kysely<Tables>) {
  return db.selectFrom("deployments as d").innerJoin("workspaces as w", "w.id", "d.workspace_id").selectAll("d").select("w.name as blueprint");
}

export type DeploymentColumns = Awaited<ReturnType<ReturnType<typeof selectDeployments>["execute"]>>[number];

/** Fills in the results, in order of tenant id. */
export async function withResults(db: Kysely<Tables>, rows: readonly DeploymentColumns[]): Promise<Deployment[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const found = await db.selectFrom("deployment_results").selectAll().where("deployment_id", "in", ids).orderBy("tenant_id").execute();
  const byDeployment = new Map<string, DeploymentResult[]>(ids.map((id) => [id, []]));
  for (const row of found) byDeployment.get(row.deployment_id)?.push(toDeploymentResult(row));
  return rows.map((row) => toDeployment(row, byDeployment.get(row.id) ?? []));
}

function toDeployment(row: DeploymentColumns, results: readonly DeploymentResult[]): Deployment {
  return {
    id: row.id,
    projectId: row.project_id,
    workspaceId: row.workspace_id,
    blueprint: row.blueprint,
    version: row.version,
    state: row.state,
    concurrency: row.concurrency,
    lockTimeoutMs: row.lock_timeout_ms,
    createdAt: toMs(row.created_at),
    startedAt: toMs(row.started_at),
    finishedAt: toMs(row.finished_at),
    results,
  };
}

export async function findDeployment(db: Kysely<Tables>, projectId: string, deploymentId: string): Promise<Deployment> {
  const rows = await selectDeployments(db).where("d.project_id", "=", projectId).where("d.id", "=", deploymentId).execute();
  const [deployment] = await withResults(db, rows);
  if (!deployment) throw deploymentNotFound(deploymentId);
  return deployment;
}

/** Records every tenant that is to be brought up; those in the trash are only named when they were asked for, and skipped. */
export async function insertResults(
  db: Kysely<Tables>,
  deployment: { id: string; projectId: string; workspaceId: string },
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
}

export function deploymentNotFound(deploymentId: string): GatewayError {
  return new GatewayError("not_found", `Deployment not found: ${deploymentId}`);
}
