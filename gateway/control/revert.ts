/** A captured change undone in its workspace: its inverse is run there, and is a version like any other. */
import { GatewayError } from "../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../core/model.ts";
import type { Reverted } from "../../core/schema-design.ts";
import { syncBlueprint } from "./blueprints.ts";
import type { ControlContext } from "./context.ts";
import { findChange, findDesigned, skipVersions } from "./pending.ts";
import { insertDatabase, makeDatabaseName } from "./physical.ts";
import { discardCopy } from "./scratch-copies.ts";
import { countBehind, loadVersions } from "./versions.ts";
import type { KnownWorkspace } from "./workspace-rows.ts";

export async function revertChange(context: ControlContext, projectId: string, nameOrId: string, ddlId: number): Promise<Reverted> {
  const workspace = await findDesigned(context, projectId, nameOrId);
  const newest = await syncBlueprint(context, workspace);
  const change = await findChange(context.store.db, workspace, ddlId);
  if (change.skippedAt !== undefined) throw new GatewayError("conflict", `Version ${change.version} is skipped: no tenant gets it`);
  const database = workspace.database;
  if (!database) throw new GatewayError("conflict", `Workspace '${workspace.name}' has no database`);
  const statements = await withVersion(context, workspace, change.version - 1, (before) => context.design.invertDdl(database, change, before));
  await context.design.runStatements(database, statements, { searchPath: change.searchPath, transactional: change.transactional });
  const version = await syncBlueprint(context, { ...workspace, version: newest });
  const later = await loadVersions(context.store.db, workspace.id, version, newest + 1);
  const undoneBy = later.filter((each) => statements.includes(each.sql));
  const skipped = await skipBoth(context, workspace, change, undoneBy, later);
  return { reverted: await findChange(context.store.db, workspace, ddlId), undoneBy, skipped };
}

/** Where no tenant has the change and nothing was built on it since, none needs to see it come and go. */
async function skipBoth(
  context: ControlContext,
  workspace: KnownWorkspace,
  change: BlueprintVersion,
  undoneBy: readonly BlueprintVersion[],
  later: readonly BlueprintVersion[],
): Promise<boolean> {
  const after = await loadVersions(context.store.db, workspace.id, (later[0]?.version ?? change.version + 1) - 1, change.version + 1);
  if (undoneBy.length !== later.length || after.some((version) => version.skippedAt === undefined)) return false;
  const behind = await countBehind(context.store.db, workspace.id);
  if (behind.some((row) => row.version >= change.version)) return false;
  try {
    await skipVersions(
      context,
      workspace,
      [change, ...undoneBy].map((version) => version.version),
    );
    return true;
  } catch (error) {
    // A tenant got it just now, or is about to: then both are versions like others, and end at the same schema.
    if (error instanceof GatewayError && error.kind === "conflict") return false;
    throw error;
  }
}

/** A database at a version of the past, made when it is first asked for and dropped in the end. */
async function withVersion<T>(
  context: ControlContext,
  workspace: KnownWorkspace,
  version: number,
  work: (database: () => Promise<PhysicalDatabase>) => Promise<T>,
): Promise<T> {
  const name = makeDatabaseName(context);
  let made: Promise<PhysicalDatabase> | undefined;
  return await context.claims.hold(name, async () => {
    try {
      return await work(() => {
        made ??= makeVersion(context, workspace, version, name);
        return made;
      });
    } finally {
      const clusterId = workspace.database?.clusterId ?? "";
      if (made) await discardCopy(context, { name, clusterId, passwordGeneration: 1 });
    }
  });
}

async function makeVersion(context: ControlContext, workspace: KnownWorkspace, version: number, name: string): Promise<PhysicalDatabase> {
  const clusterId = workspace.database?.clusterId ?? "";
  const database = await insertDatabase(context, context.store.db, {
    name,
    projectId: workspace.projectId,
    workspaceId: workspace.id,
    clusterId,
    kind: "copy",
  });
  await context.admin.createTemplateDatabase(database);
  const versions = await loadVersions(context.store.db, workspace.id, version);
  if (versions.length > 0) await context.admin.applyVersions(database, versions, { lockTimeoutMs: 10_000, attempts: 1 });
  return database;
}
