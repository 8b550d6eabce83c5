/** Reference data: tables of a workspace whose rows travel with deployments and new tenants. */
import type { FoundReferenceTable } from "../../core/cluster-design.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import type { ReferenceTable } from "../../core/schema-design.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { findDesigned } from "./pending.ts";
import { findWorkspace, findWorkspaceById } from "./workspace-rows.ts";

const lockTimeoutMs = 10_000;

export async function listReferenceTables(context: ControlContext, projectId: string, nameOrId: string): Promise<readonly ReferenceTable[]> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  const marked = await loadMarked(context, workspace.id);
  if (marked.length === 0 || !workspace.database) return [];
  return (await context.design.findMarked(workspace.database, marked)).map(({ schema, name }) => ({ schema, name }));
}

export async function setReferenceTable(
  context: ControlContext,
  projectId: string,
  nameOrId: string,
  table: string,
  deployData: boolean,
): Promise<ReferenceTable> {
  const workspace = await findDesigned(context, projectId, nameOrId);
  const { oid, schema, name } = await context.design.findTable(workspace.database!, table);
  await context.store.transaction(async (trx) => {
    await trx
      .deleteFrom("reference_tables")
      .where("workspace_id", "=", workspace.id)
      .where((eb) => eb.or([eb("table_oid", "=", oid), eb.and([eb("schema_name", "=", schema), eb("table_name", "=", name)])]))
      .execute();
    if (!deployData) return;
    await trx
      .insertInto("reference_tables")
      .values({ workspace_id: workspace.id, schema_name: schema, table_name: name, table_oid: oid, marked_at: nowDate(context) })
      .execute();
  });
  return { schema, name };
}

async function loadMarked(context: ControlContext, workspaceId: string): Promise<readonly FoundReferenceTable[]> {
  const rows = await context.store.db
    .selectFrom("reference_tables")
    .selectAll()
    .where("workspace_id", "=", workspaceId)
    .orderBy("marked_at")
    .execute();
  return rows.map((row) => ({ oid: Number(row.table_oid), schema: row.schema_name, name: row.table_name }));
}

/** Brings a tenant's reference data to the workspace's. Nothing to do, and nothing asked of a cluster, where no table is marked. */
export async function pushReferenceData(context: ControlContext, workspaceId: string, target: PhysicalDatabase, signal?: AbortSignal): Promise<void> {
  const marked = await loadMarked(context, workspaceId);
  if (marked.length === 0) return;
  const workspace = await findWorkspaceById(context.store.db, workspaceId);
  if (!workspace?.database) return;
  const tables = await context.design.findMarked(workspace.database, marked);
  if (tables.length > 0) await context.design.copyReferenceData(workspace.database, tables, target, { lockTimeoutMs, signal });
}
