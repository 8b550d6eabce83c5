/** What a request for a tenant means: every blueprint looked up and checked before anything is made. */
import { isTenantId } from "../../core/scope.ts";
import { syncBlueprint } from "./blueprints.ts";
import type { ControlContext } from "./context.ts";
import { badRequest } from "./inputs.ts";
import { placeDatabase } from "./physical.ts";
import { findBlueprint, type KnownWorkspace } from "./workspace-rows.ts";

export interface TenantRequest {
  readonly tenantId: string;
  readonly databases: readonly { readonly blueprint: string; readonly isolationLevel: 1 | 2; readonly cluster?: string | undefined }[];
}

export interface PlannedDatabase {
  readonly workspace: KnownWorkspace;
  readonly isolationLevel: 1 | 2;
  /** Newest version of the blueprint when it was asked for. */
  readonly version: number;
  /** Undefined for engines that are only redirected. */
  readonly clusterId: string | undefined;
}

/** @throws {GatewayError} bad_request, not_found, forbidden, conflict */
export async function checkRequest(context: ControlContext, projectId: string, request: TenantRequest): Promise<readonly PlannedDatabase[]> {
  if (!isTenantId(request.tenantId)) throw badRequest("tenant_id must be 1 to 40 of a-z, 0-9 and _, without __", "tenant_id");
  if (request.databases.length === 0) throw badRequest("databases must name at least one blueprint", "databases");
  const workspaces = await Promise.all(request.databases.map((entry) => findBlueprint(context.store.db, projectId, entry.blueprint)));
  refuseSameEngine(workspaces);
  return await Promise.all(request.databases.map((entry, i) => planDatabase(context, workspaces[i]!, entry)));
}

function refuseSameEngine(workspaces: readonly KnownWorkspace[]): void {
  workspaces.forEach((workspace, i) => {
    const other = workspaces.slice(0, i).find((earlier) => earlier.engine === workspace.engine);
    if (!other) return;
    const message = `Blueprints '${other.name}' and '${workspace.name}' are both ${workspace.engine}; a tenant has one blueprint per engine`;
    throw badRequest(message, `databases.${i}.blueprint`);
  });
}

async function planDatabase(context: ControlContext, workspace: KnownWorkspace, entry: TenantRequest["databases"][number]): Promise<PlannedDatabase> {
  const { isolationLevel, cluster } = entry;
  if (workspace.engine !== "PostgreSQL") return { workspace, isolationLevel, version: 0, clusterId: undefined };
  const [version, clusterId] = await Promise.all([syncBlueprint(context, workspace), placeDatabase(context, isolationLevel, cluster)]);
  return { workspace, isolationLevel, version, clusterId };
}
