/** Blueprints: captured DDL of a workspace, numbered into versions whenever somebody asks. */
import { type Kysely, sql } from "kysely";
import type { CapturedDdl } from "../../core/cluster-admin.ts";
import type { BlueprintSummary, Listing, Page } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../core/model.ts";
import { toBlueprintVersion } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";
import { forEachLimited } from "./limited.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { getProject } from "./projects.ts";
import { refreshSpares } from "./spares.ts";
import { loadVersions } from "./versions.ts";
import { findBlueprint, type KnownWorkspace, pageWorkspaces } from "./workspace-rows.ts";

/** Workspaces whose capture logs are read at a time, for a list. */
const readsAtOnce = 4;

/** Reads DDL captured since the last time and numbers it. @returns the newest version, 0 when there is none. */
export async function syncBlueprint(context: ControlContext, workspace: KnownWorkspace): Promise<number> {
  const database = workspace.database;
  if (!database || workspace.mode === "control" || workspace.state !== "ready") return workspace.version;
  return await context.syncs.run(workspace.id, () => readAndNumber(context, workspace, database));
}

/** `known` may be behind the store: then what it lacks is read again, and found to be numbered already. */
async function readAndNumber(context: ControlContext, known: KnownWorkspace, database: PhysicalDatabase): Promise<number> {
  const captured = await context.admin.readCapturedDdl(database, known.lastDdlId);
  if (captured.length === 0) return known.version;
  const version = await context.store.transaction((trx) => numberVersions(trx, known.id, captured));
  context.log.write("info", "blueprint versions captured", { workspace: known.name, version, statements: captured.length });
  refreshSpares(context, known.id);
  return version;
}

/** The row lock makes numbering one at a time; another instance may have numbered the same statements meanwhile. */
async function numberVersions(trx: Kysely<Tables>, workspaceId: string, captured: readonly CapturedDdl[]): Promise<number> {
  const row = await trx
    .selectFrom("workspaces")
    .select(["version", "last_ddl_id"])
    .where("id", "=", workspaceId)
    .where("state", "=", "ready")
    .forUpdate()
    .executeTakeFirst();
  if (!row) return 0;
  const fresh = captured.filter((ddl) => ddl.ddlId > row.last_ddl_id);
  const last = fresh.at(-1);
  if (!last) return row.version;
  const rows = fresh.map((ddl, i) => ({
    workspace_id: workspaceId,
    version: row.version + 1 + i,
    ddl_id: ddl.ddlId,
    sql: ddl.sql,
    command_tag: ddl.commandTag,
    search_path: ddl.searchPath,
    transactional: ddl.transactional,
    captured_at: new Date(ddl.capturedAt),
    settings: JSON.stringify(ddl.settings),
  }));
  for (let at = 0; at < rows.length; at += 1000) {
    await trx
      .insertInto("blueprint_versions")
      .values(rows.slice(at, at + 1000))
      .execute(); // a statement takes at most 65,535 parameters
  }
  const version = row.version + fresh.length;
  await trx.updateTable("workspaces").set({ version, last_ddl_id: last.ddlId }).where("id", "=", workspaceId).execute();
  return version;
}

export async function listBlueprints(context: ControlContext, projectId: string, page: Page): Promise<Listing<BlueprintSummary>> {
  await getProject(context, projectId);
  const afterName = page.cursor === undefined ? undefined : String(decodeCursor(page.cursor, ["string"])[0]);
  const rows = await pageWorkspaces(context.store.db, projectId, { limit: pageLimit(page) + 1, afterName, mode: "tenant" });
  const newest = new Map<string, number>();
  await forEachLimited(rows.slice(0, page.limit), readsAtOnce, async (row) => {
    newest.set(row.id, await syncBlueprint(context, row));
  });
  const counts = await countTenants(
    context.store.db,
    rows.map((row) => row.id),
  );
  return toListing(
    rows,
    page,
    (row) => summarise({ ...row, version: newest.get(row.id) ?? row.version }, counts),
    (row) => [row.name],
  );
}

export async function getBlueprint(context: ControlContext, projectId: string, name: string): Promise<BlueprintSummary> {
  const workspace = await findBlueprint(context.store.db, projectId, name);
  const version = await syncBlueprint(context, workspace);
  return summarise({ ...workspace, version }, await countTenants(context.store.db, [workspace.id]));
}

type TenantCount = { workspace_id: string; version: number; tenants: number };

async function countTenants(db: Kysely<Tables>, workspaceIds: readonly string[]): Promise<readonly TenantCount[]> {
  if (workspaceIds.length === 0) return [];
  return await db
    .selectFrom("tenant_databases")
    .select(["workspace_id", "version", sql<number>`count(*)`.as("tenants")])
    .where("workspace_id", "in", [...workspaceIds])
    .where("state", "=", "ready")
    .groupBy(["workspace_id", "version"])
    .orderBy("version")
    .execute();
}

function summarise(workspace: KnownWorkspace, counts: readonly TenantCount[]): BlueprintSummary {
  const own = counts.filter((row) => row.workspace_id === workspace.id);
  return {
    name: workspace.name,
    workspaceId: workspace.id,
    engine: workspace.engine,
    version: workspace.version,
    tenants: own.reduce((sum, row) => sum + row.tenants, 0),
    tenantsPerVersion: own.map((row) => ({ version: row.version, tenants: row.tenants })),
    createdAt: workspace.createdAt,
  };
}

/** Of PostgreSQL's integer. */
const lastVersion = 2 ** 31 - 1;

export async function listBlueprintVersions(
  context: ControlContext,
  projectId: string,
  name: string,
  page: Page & { isSynced?: boolean },
): Promise<Listing<BlueprintVersion>> {
  const workspace = await findBlueprint(context.store.db, projectId, name);
  if (!page.isSynced) await syncBlueprint(context, workspace);
  const after = page.cursor === undefined ? 0 : Math.min(Number(decodeCursor(page.cursor, ["number"])[0]), lastVersion);
  const rows = await context.store.db
    .selectFrom("blueprint_versions")
    .selectAll()
    .where("workspace_id", "=", workspace.id)
    .where("version", ">", after)
    .orderBy("version")
    .limit(pageLimit(page) + 1)
    .execute();
  return toListing(rows, page, toBlueprintVersion, (row) => [row.version]);
}

export async function getBlueprintVersion(context: ControlContext, projectId: string, name: string, version: number): Promise<BlueprintVersion> {
  const workspace = await findBlueprint(context.store.db, projectId, name);
  const newest = await syncBlueprint(context, workspace);
  const found = Number.isInteger(version) && version >= 1 && version <= newest;
  const [row] = found ? await loadVersions(context.store.db, workspace.id, version, version) : [];
  if (!row) throw new GatewayError("not_found", `Blueprint '${workspace.name}' has no version ${version}; the newest is ${newest}`);
  return row;
}
