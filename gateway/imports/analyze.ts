/** What an import would do, told before it does it: whose each table is, which tenants there are, what is left over. */
import type { ImportAnalysis, ImportOptions } from "../../core/imports.ts";
import type { KnownWorkspace } from "../control/workspace-rows.ts";
import type { ImportsContext } from "./context.ts";
import { countTables, readRoutingValues, sumUnowned } from "./count.ts";
import { prepareFor } from "./prepare-for.ts";
import type { ImportSource } from "./source.ts";
import { nameTenants } from "./tenant-names.ts";

const tenantsShown = 1000;

export async function analyzeSource(
  context: ImportsContext,
  source: ImportSource,
  workspace: KnownWorkspace,
  options: ImportOptions,
  kind: "data" | "full",
): Promise<ImportAnalysis> {
  const { catalog, preparation } = await prepareFor(context, source, workspace, options, kind);
  const tables = await countTables(source, preparation);
  const named = nameTenants(await readRoutingValues(source, preparation), options.tenantIds);
  const existing = await findExisting(context, workspace, named.slice(0, tenantsShown));
  return {
    engine: source.engine,
    serverVersion: catalog.serverVersion,
    routingField: options.routingField,
    tables,
    tenants: named.slice(0, tenantsShown).map((tenant) => ({ ...tenant, exists: existing.has(tenant.tenantId) })),
    tenantCount: named.length,
    rows: tables.reduce((sum, table) => sum + table.rows, 0),
    unownedRows: sumUnowned(tables),
    warnings: preparation.warnings,
    problems: preparation.problems,
  };
}

async function findExisting(
  context: ImportsContext,
  workspace: KnownWorkspace,
  named: readonly { tenantId: string }[],
): Promise<ReadonlySet<string>> {
  if (named.length === 0) return new Set();
  const ids = named.map(({ tenantId }) => tenantId);
  const rows = await context.store.db
    .selectFrom("tenants")
    .select("id")
    .where("project_id", "=", workspace.projectId)
    .where("id", "in", ids)
    .execute();
  return new Set(rows.map(({ id }) => id));
}
