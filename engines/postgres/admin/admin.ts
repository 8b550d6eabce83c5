/** PostgreSQL's ClusterAdmin: what the control plane does to a cluster, put together. */
import type { ClusterAdmin } from "../../../core/cluster-admin.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { NativeRole, PhysicalDatabase } from "../../../core/model.ts";
import { applyVersions, readAppliedVersion } from "./apply.ts";
import { readCapturedDdl } from "./capture.ts";
import { type AdminContext, rekeyRoles, restoreAlteredRole, restoreRole, withAdmin } from "./context.ts";
import { copyContents } from "./copy-contents.ts";
import { describeSchema } from "./describe.ts";
import { readSchemaObjects } from "./fingerprint.ts";
import { countClientSessions, openToClients } from "./move.ts";
import {
  createTemplateDatabase,
  createTenantDatabase,
  createWorkspaceDatabase,
  dropDatabase,
  prepareCluster,
  refreshWorkspaceDatabase,
  setConnectable,
} from "./provision.ts";
import { runQuery, runScript } from "./query.ts";
import { createScratchCopy } from "./scratch-copy.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

export interface PostgresAdmin extends ClusterAdmin {
  /** Closes `postgres` and `template1` to PUBLIC. Done by itself before the first database is made on a cluster. */
  prepareCluster(clusterId: string): Promise<void>;
  /** Sets back what a native role may change of itself: its password and the settings it keeps. */
  restoreRole(database: PhysicalDatabase, role: NativeRole): Promise<void>;
  /** Only where it keeps settings. */
  restoreAlteredRole(database: PhysicalDatabase, role: NativeRole): Promise<void>;
  /** Gives all roles of a database the passwords derived from the master key as it is now. */
  rekeyRoles(database: PhysicalDatabase): Promise<void>;
}

export function createPostgresAdmin(context: AdminContext): PostgresAdmin {
  const prepared = new Map<string, Promise<void>>();
  /** Once per process and cluster; tried again when it failed. */
  const prepare = (clusterId: string): Promise<void> => {
    let done = prepared.get(clusterId);
    if (!done) {
      done = prepareCluster(context, clusterId);
      prepared.set(clusterId, done);
      done.catch(() => prepared.delete(clusterId));
    }
    return done;
  };
  const onCluster = async (clusterId: string, work: () => Promise<void>): Promise<void> => {
    await guarded(async () => {
      await prepare(clusterId);
      await work();
    });
  };
  return {
    prepareCluster: (clusterId) => guarded(() => prepare(clusterId)),
    createWorkspaceDatabase: (database, mode) => onCluster(database.clusterId, () => createWorkspaceDatabase(context, database, mode)),
    refreshWorkspaceDatabase: (database, mode) => guarded(() => refreshWorkspaceDatabase(context, database, mode)),
    createTemplateDatabase: (database) => onCluster(database.clusterId, () => createTemplateDatabase(context, database)),
    createTenantDatabase: (database, template) => onCluster(database.clusterId, () => createTenantDatabase(context, database, template)),
    createScratchCopy: (database, source, versions) => onCluster(database.clusterId, () => createScratchCopy(context, database, source, versions)),
    copyContents: (source, target) => guarded(() => copyContents(context, source, target, { verify: true })),
    openToClients: (database) => guarded(() => openToClients(context, database)),
    countClientSessions: (database) => guarded(() => countClientSessions(context, database)),
    dropDatabase: (database) => guarded(() => dropDatabase(context, database)),
    setConnectable: (database, allowed) => guarded(() => setConnectable(context, database, allowed)),
    readCapturedDdl: (database, afterDdlId) => guarded(() => readCapturedDdl(context, database, afterDdlId)),
    readAppliedVersion: (database) => guarded(() => readAppliedVersion(context, database)),
    applyVersions: (database, versions, options) => guarded(() => applyVersions(context, database, versions, options)),
    describeSchema: (database) => guarded(() => describeSchema(context, database)),
    readSchemaObjects: (database) => guarded(() => readSchemaObjects(context, database)),
    runQuery: (database, role, input) => runQuery(context, database, role, input),
    runScript: (database, sql) => runScript(context, database, sql),
    restoreRole: (database, role) => guarded(() => restoreRole(context, database, role)),
    restoreAlteredRole: (database, role) => guarded(() => restoreAlteredRole(context, database, role)),
    rekeyRoles: (database) => guarded(() => rekeyRoles(context, database)),
    ping: (clusterId) => ping(context, clusterId),
  };
}

/** Connection failures leave as `backend_unreachable`; other errors of our own SQL are faults and leave as they are. */
async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const refusal = asSqlError(error) ? toGatewayError(error) : error;
    throw refusal instanceof GatewayError && ["backend_unreachable", "no_backend_slot"].includes(refusal.kind) ? refusal : error;
  }
}

async function ping(context: AdminContext, clusterId: string): Promise<boolean> {
  try {
    await withAdmin(context, clusterId, undefined, (connection) => connection.query("SELECT 1"));
    return true;
  } catch (error) {
    context.log.write("warn", "cluster does not answer", { cluster: clusterId, reason: (error as Error).message });
    return false;
  }
}
