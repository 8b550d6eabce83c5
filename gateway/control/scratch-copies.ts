/** Copies of tenants' databases for trying things out: made, used, dropped; what a crash leaves of them is the sweep's. */
import type { BlueprintVersion, PhysicalDatabase } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import type { ControlContext } from "./context.ts";
import { dropDatabases, insertDatabase, logLeftOver, makeDatabaseName, markDatabasesDeleting } from "./physical.ts";

export interface ScratchSource {
  readonly projectId: string;
  readonly tenantId: string;
  readonly workspaceId: string;
  readonly source: PhysicalDatabase;
  /** The version it is at. */
  readonly version: number;
  /** Versions 1 … at least that one. */
  readonly versions: readonly BlueprintVersion[];
}

/** Runs `work` on a copy on the source's own cluster. */
export async function withScratchCopy<T>(context: ControlContext, of: ScratchSource, work: (copy: PhysicalDatabase) => Promise<T>): Promise<T> {
  const name = makeDatabaseName(context);
  return await context.claims.hold(name, async () => {
    const copy = await context.store.transaction(async (trx) => {
      const { projectId, tenantId, workspaceId } = of;
      // Idle backends of the tenant's are closed, so that more often nobody is connected and the copy is the quick one.
      await notifyChange(trx, { projectId, tenantId, workspaceId, schemaChanged: true });
      return await insertDatabase(context, trx, { name, projectId, workspaceId, clusterId: of.source.clusterId, kind: "copy" });
    });
    try {
      const own = of.versions.filter(({ version }) => version <= of.version);
      await context.admin.createScratchCopy(copy, of.source, own);
      return await work(copy);
    } finally {
      await discardCopy(context, copy);
    }
  });
}

/** What cannot be dropped now is marked, and dropped by the sweep. */
export async function discardCopy(context: ControlContext, copy: PhysicalDatabase): Promise<void> {
  try {
    await markDatabasesDeleting(context.store.db, [copy.name]);
    await dropDatabases(context, [copy]);
  } catch (error) {
    logLeftOver(context, "scratch database", error);
  }
}
