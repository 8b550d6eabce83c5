/** New tenants with what a backup, or another tenant, holds. */

import { readBackup } from "../../core/backup-reader.ts";
import type { NewTenant } from "../../core/control-plane.ts";
import type { RestoreResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { createTenantFilled } from "../control/tenant-create.ts";
import { findTenant, stateConflict } from "../control/tenant-rows.ts";
import { loadVersions } from "../control/versions.ts";
import type { BackupDeps } from "./deps.ts";
import { dumpedDatabase, keepResult } from "./make-backup.ts";
import { restoreBackup } from "./read-backup.ts";
import { upgrade } from "./rollbacks.ts";
import { findReadyBackup } from "./rows.ts";

interface Made {
  readonly tenant: NewTenant;
  readonly warnings: readonly string[];
}

/** Backups of tenants in the trash can be restored too: the copy is a tenant of its own. */
export async function restoreAsTenant(
  deps: BackupDeps,
  projectId: string,
  tenantId: string,
  backupId: string,
  request: { newTenantId: string; upgrade: boolean },
): Promise<Made> {
  const backup = await findReadyBackup(deps.context.store.db, projectId, tenantId, backupId);
  return await make(deps, projectId, tenantId, request, (database) => restoreBackup(deps, backup, database));
}

/** From database to database, without a file in between. */
export async function cloneTenant(deps: BackupDeps, projectId: string, tenantId: string, newTenantId: string): Promise<Made> {
  const tenant = await findTenant(deps.context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  const source = dumpedDatabase(tenant);
  return await make(deps, projectId, tenantId, { newTenantId, upgrade: false }, (database) => {
    const dumped = deps.dumper.dump({
      database: source.database,
      project: projectId,
      tenant: tenantId,
      blueprint: source.blueprint,
      loadVersions: (upTo) => loadVersions(deps.context.store.db, source.workspaceId, upTo),
      signal: deps.stopping,
    });
    return deps.dumper.restore(database, readBackup(keepResult(dumped, () => undefined)), deps.stopping);
  });
}

async function make(
  deps: BackupDeps,
  projectId: string,
  tenantId: string,
  request: { newTenantId: string; upgrade: boolean },
  restore: (database: PhysicalDatabase) => Promise<RestoreResult>,
): Promise<Made> {
  if (request.newTenantId === tenantId) {
    throw new GatewayError("bad_request", "tenant_id must be a new tenant's; POST /tenants/{id}/rollback restores in place", {
      issues: [{ path: "tenant_id", message: "must be a new tenant's" }],
    });
  }
  const source = await findTenant(deps.context.store.db, projectId, tenantId);
  const { blueprint, isolationLevel } = dumpedDatabase(source);
  let warnings: readonly string[] = [];
  const tenant = await createTenantFilled(
    deps.context,
    projectId,
    { tenantId: request.newTenantId, databases: [{ blueprint, isolationLevel }] },
    async (database, planned) => {
      const result = await restore(database);
      ({ warnings } = result);
      return request.upgrade ? await upgrade(deps, planned.workspace.id, database) : result.header.version;
    },
  );
  return { tenant, warnings };
}
