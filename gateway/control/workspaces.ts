/** Workspaces: created with their database, described, deleted once no tenant needs them. */
import type { Listing, Page, WorkspaceDetail } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { EngineName, PhysicalDatabase, Workspace } from "../../core/model.ts";
import { isWorkspaceName } from "../../core/scope.ts";
import { notifyChange } from "../store/changes.ts";
import { physicalOf } from "../store/rows.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import { syncBlueprint } from "./blueprints.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { withdrawScopeValue } from "./credentials.ts";
import { badRequest } from "./inputs.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { dropDatabases, insertDatabase, logLeftOver, makeDatabaseName, markDatabaseReady, placeDatabase } from "./physical.ts";
import { getProject } from "./projects.ts";
import { loadUndeployed } from "./versions.ts";
import { findWorkspace, findWorkspaceById, pageWorkspaces, publicWorkspace } from "./workspace-rows.ts";

export interface WorkspaceInput {
  readonly name: string;
  readonly engine: EngineName;
  readonly mode: "tenant" | "control";
  readonly redirectTo: string | undefined;
}

export async function listWorkspaces(context: ControlContext, projectId: string, page: Page): Promise<Listing<Workspace>> {
  await getProject(context, projectId);
  const afterName = page.cursor === undefined ? undefined : String(decodeCursor(page.cursor, ["string"])[0]);
  const rows = await pageWorkspaces(context.store.db, projectId, { limit: pageLimit(page) + 1, afterName });
  return toListing(rows, page, publicWorkspace, (row) => [row.name]);
}

export async function getWorkspace(context: ControlContext, projectId: string, nameOrId: string): Promise<Workspace> {
  return publicWorkspace(await findWorkspace(context.store.db, projectId, nameOrId));
}

/** The row first, then the database, then ready: a crash in between is finished by the sweep, or by asking again. */
export async function createWorkspace(context: ControlContext, projectId: string, input: WorkspaceInput): Promise<Workspace> {
  checkInput(input);
  await getProject(context, projectId);
  const clusterId = await placeDatabase(context, 1);
  const id = `ws_${context.secrets.randomHex(8)}`;
  const name = makeDatabaseName(context);
  await context.claims.hold(name, async () => {
    const database = await recordWorkspace(context, { projectId, id, name, clusterId }, input);
    if (database) await makeWorkspaceDatabase(context, { id, projectId, mode: input.mode }, database);
  });
  const made = await findWorkspaceById(context.store.db, id);
  if (!made) throw new GatewayError("conflict", `Workspace '${input.name}' was deleted while it was being created`);
  return publicWorkspace(made);
}

function checkInput(input: WorkspaceInput): void {
  if (!isWorkspaceName(input.name)) {
    throw badRequest(
      "name must be 1 to 40 of a-z, 0-9, _ and -, start with a letter, have no __ and not end in _ or _workspace",
      "name",
      "is not a workspace name",
    );
  }
  if (input.engine === "PostgreSQL" && input.redirectTo !== undefined) {
    throw badRequest("redirect_to is for engines the gateway does not proxy", "redirect_to");
  }
}

async function recordWorkspace(
  context: ControlContext,
  ids: { projectId: string; id: string; name: string; clusterId: string },
  input: WorkspaceInput,
): Promise<PhysicalDatabase | undefined> {
  const { projectId, id, name, clusterId } = ids;
  const hosted = input.engine === "PostgreSQL";
  try {
    return await context.store.transaction(async (trx) => {
      await trx
        .insertInto("workspaces")
        .values({
          id,
          project_id: projectId,
          name: input.name,
          engine: input.engine,
          mode: input.mode,
          state: hosted ? "creating" : "ready",
          redirect_to: input.redirectTo ?? null,
          settings: "{}",
          created_at: nowDate(context),
        })
        .execute();
      await notifyChange(trx, { projectId, workspaceId: id });
      if (!hosted) return undefined;
      const database = await insertDatabase(context, trx, { name, projectId, workspaceId: id, clusterId, kind: "workspace" });
      await trx.updateTable("workspaces").set({ database_name: database.name }).where("id", "=", id).execute();
      return database;
    });
  } catch (error) {
    if (!isUniqueViolation(error, "workspaces_project_id_name_key")) throw error;
    throw new GatewayError("conflict", `Workspace '${input.name}' already exists`);
  }
}

/** Makes the database of a recorded workspace, or finishes it; the caller holds its name. What it could not make it takes back. */
export async function makeWorkspaceDatabase(
  context: ControlContext,
  workspace: Pick<Workspace, "id" | "projectId" | "mode">,
  database: PhysicalDatabase,
): Promise<void> {
  try {
    await context.admin.createWorkspaceDatabase(database, workspace.mode);
  } catch (error) {
    await removeWorkspace(context, workspace).catch((left: unknown) => logLeftOver(context, "workspace", left));
    throw error;
  }
  const stands = await context.store.transaction(async (trx) => {
    if (!(await markDatabaseReady(context, trx, database.name, 0))) return false;
    await trx.updateTable("workspaces").set({ state: "ready" }).where("id", "=", workspace.id).where("state", "=", "creating").execute();
    await notifyChange(trx, { projectId: workspace.projectId, workspaceId: workspace.id });
    return true;
  });
  if (!stands) await dropDatabases(context, [database]); // deleted meanwhile
}

export async function describeWorkspace(context: ControlContext, projectId: string, nameOrId: string): Promise<WorkspaceDetail> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  if (!workspace.database || workspace.state !== "ready") {
    return { workspace: publicWorkspace(workspace), schema: [], version: workspace.version, undeployedChanges: [] };
  }
  const [schema, version] = await Promise.all([context.admin.describeSchema(workspace.database), syncBlueprint(context, workspace)]);
  const undeployedChanges = await loadUndeployed(context.store.db, workspace.id);
  return { workspace: publicWorkspace(workspace), schema, version, undeployedChanges };
}

/** Refused while tenants exist, those in the trash included: their databases are restored against this blueprint. */
export async function deleteWorkspace(context: ControlContext, projectId: string, nameOrId: string): Promise<void> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  await context.store.transaction(async (trx) => {
    await trx.selectFrom("workspaces").select("id").where("id", "=", workspace.id).forUpdate().execute();
    const tenants = await trx
      .selectFrom("tenant_databases")
      .select((eb) => eb.fn.countAll<number>().as("count"))
      .where("workspace_id", "=", workspace.id)
      .executeTakeFirstOrThrow();
    if (tenants.count > 0) {
      const many = tenants.count === 1 ? "1 tenant has" : `${tenants.count} tenants have`;
      throw new GatewayError("conflict", `Cannot delete workspace '${workspace.name}': ${many} a database of it. Delete them with ?hard=true first`);
    }
    await trx.updateTable("workspaces").set({ state: "deleting" }).where("id", "=", workspace.id).execute();
    await withdrawScopeValue(trx, projectId, "workspace", workspace.name, nowDate(context));
    await notifyChange(trx, { projectId, workspaceId: workspace.id });
  });
  await removeWorkspace(context, workspace);
}

/** Drops a workspace's databases, template and spares included, then its rows. May be repeated. */
export async function removeWorkspace(context: ControlContext, workspace: Pick<Workspace, "id" | "projectId">): Promise<void> {
  await context.store.transaction(async (trx) => {
    await trx.updateTable("workspaces").set({ state: "deleting" }).where("id", "=", workspace.id).execute();
    await trx.updateTable("databases").set({ state: "deleting", claimed_by: null }).where("workspace_id", "=", workspace.id).execute();
  });
  const databases = await context.store.db.selectFrom("databases").selectAll().where("workspace_id", "=", workspace.id).execute();
  await dropDatabases(context, databases.map(physicalOf));
  await context.store.transaction(async (trx) => {
    await trx.deleteFrom("workspaces").where("id", "=", workspace.id).execute();
    await notifyChange(trx, { projectId: workspace.projectId, workspaceId: workspace.id });
  });
}
