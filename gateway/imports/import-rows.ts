/** Imports and their tenants as rows: recorded, found, shown. */
import { type Kysely, type Selectable, sql } from "kysely";
import type { ResultsShown } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ImportOptions, ImportRequest, ImportStatus, ImportTenantResult } from "../../core/imports.ts";
import type { ImportRow, ImportTenantRow } from "../store/import-tables.ts";
import type { Tables } from "../store/schema.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import { type ImportsContext, nowDate } from "./context.ts";
import { describeConnection, sealConnection } from "./sealed.ts";

export type KnownImport = Selectable<ImportRow>;

/** Tenants one answer shows; how many there are is told beside. */
const tenantsShown = 10_000;

export async function insertImport(
  context: ImportsContext,
  trx: Kysely<Tables>,
  workspace: { readonly id: string; readonly projectId: string; readonly name: string },
  request: ImportRequest,
  kind: "data" | "full",
): Promise<string> {
  const id = `imp_${context.secrets.randomHex(8)}`;
  try {
    await trx
      .insertInto("imports")
      .values({
        id,
        project_id: workspace.projectId,
        workspace_id: workspace.id,
        kind,
        state: "queued",
        phase: kind === "full" ? "structure" : "data",
        source: describeConnection(request.connection),
        connection: await sealConnection(context.secrets, id, request.connection),
        options: JSON.stringify(request.options),
        tables: "[]",
        warnings: "[]",
        created_at: nowDate(context),
      })
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error, "imports_open")) throw error;
    throw new GatewayError("conflict", `Workspace '${workspace.name}' has an import that has not ended yet. Wait for it, or cancel it`);
  }
  return id;
}

/** @param importId undefined: the newest. @throws {GatewayError} not_found */
export async function findImport(
  db: Kysely<Tables>,
  workspace: { readonly id: string; readonly name: string },
  importId: string | undefined,
  lock = false,
): Promise<KnownImport> {
  let query = db.selectFrom("imports").selectAll().where("workspace_id", "=", workspace.id).orderBy("created_at", "desc").limit(1);
  if (importId !== undefined) query = query.where("id", "=", importId);
  const row = await (lock ? query.forUpdate() : query).executeTakeFirst();
  if (!row)
    throw new GatewayError("not_found", importId === undefined ? `Workspace '${workspace.name}' has no imports` : `Import not found: ${importId}`);
  return row;
}

export async function describeImport(
  db: Kysely<Tables>,
  workspaceName: string,
  row: KnownImport,
  shown: ResultsShown = "all",
): Promise<ImportStatus> {
  const counts = await db
    .selectFrom("import_tenants")
    .select(["state", sql<number>`count(*)`.as("tenants"), sql<number>`coalesce(sum(rows), 0)::bigint`.as("rows")])
    .where("import_id", "=", row.id)
    .groupBy("state")
    .execute();
  const tenants = shown === "none" ? [] : await findResults(db, row.id, shown);
  const credentials = await findCredentials(db, row.project_id, tenants);
  const sumOf = (states: readonly string[], field: "tenants" | "rows") =>
    counts.filter(({ state }) => states.includes(state)).reduce((sum, count) => sum + Number(count[field]), 0);
  const every = counts.map(({ state }) => state);
  return {
    id: row.id,
    projectId: row.project_id,
    workspace: workspaceName,
    kind: row.kind,
    state: row.state,
    phase: row.phase,
    source: row.source,
    routingField: (row.options as ImportOptions).routingField,
    tenantsTotal: sumOf(every, "tenants"),
    tenantsDone: sumOf(["done"], "tenants"),
    tenantsFailed: sumOf(["failed"], "tenants"),
    rowsTotal: row.rows_total,
    rowsDone: sumOf(["done", "running"], "rows"),
    tables: row.tables,
    warnings: row.warnings,
    error: row.error ?? undefined,
    createdAt: row.created_at.getTime(),
    startedAt: row.started_at?.getTime(),
    finishedAt: row.finished_at?.getTime(),
    tenants: tenants.map((tenant) => toResult(tenant, credentials)),
  };
}

async function findResults(db: Kysely<Tables>, importId: string, shown: "all" | "failed"): Promise<Selectable<ImportTenantRow>[]> {
  let query = db.selectFrom("import_tenants").selectAll().where("import_id", "=", importId).orderBy("tenant_id").limit(tenantsShown);
  if (shown === "failed") query = query.where("state", "=", "failed");
  return await query.execute();
}

/** The credentials made with tenants that the import made; nobody has seen their passwords. */
async function findCredentials(
  db: Kysely<Tables>,
  projectId: string,
  tenants: readonly Selectable<ImportTenantRow>[],
): Promise<ReadonlyMap<string, string>> {
  const made = tenants.filter((tenant) => tenant.created).map((tenant) => tenant.tenant_id);
  if (made.length === 0) return new Map();
  const rows = await db
    .selectFrom("credentials")
    .select(["id", sql<string>`scope_values[1]`.as("tenant")])
    .where("project_id", "=", projectId)
    .where("scope_type", "=", "tenant")
    .where("revoked_at", "is", null)
    .where(sql<boolean>`scope_values && ${made}::text[] and cardinality(scope_values) = 1`)
    .orderBy("created_at", "desc")
    .orderBy("id")
    .execute();
  return new Map(rows.map((row) => [row.tenant, row.id])); // the oldest comes last and stays
}

function toResult(row: Selectable<ImportTenantRow>, credentials: ReadonlyMap<string, string>): ImportTenantResult {
  return {
    value: row.value,
    tenantId: row.tenant_id,
    state: row.state,
    created: row.created,
    credentialId: row.created ? credentials.get(row.tenant_id) : undefined,
    rows: row.rows,
    durationMs: row.duration_ms ?? undefined,
    error: row.error ?? undefined,
    sqlstate: row.sqlstate ?? undefined,
    snapshotAt: row.snapshot_at?.getTime(),
    tables: row.tables,
  };
}
