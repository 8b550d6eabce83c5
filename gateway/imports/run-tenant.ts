/** One tenant of an import: found or made, written, and what came of it recorded. */
import { sql } from "kysely";
import type { NewTenant } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ImportOptions } from "../../core/imports.ts";
import type { PhysicalDatabase, Tenant } from "../../core/model.ts";
import type { ImportsContext } from "./context.ts";
import { ownedBy } from "./owner-sql.ts";
import type { Preparation } from "./prepare.ts";
import { type ImportSource, SourceLost, type SourceReader } from "./source.ts";
import { describeSqlFailure } from "./sql-failure.ts";
import { type TableTask, writeTenant } from "./write-tenant.ts";

export interface Job {
  readonly importId: string;
  readonly projectId: string;
  readonly blueprint: string;
  /** The blueprint's newest version, which the columns were compared with. */
  readonly version: number;
  readonly options: ImportOptions;
  readonly source: ImportSource;
  readonly preparation: Preparation;
  readonly progress: Map<string, number>;
  readonly signal: AbortSignal;
}

/**
 * @returns whether it went well; if not, the reader may have been left in the middle of rows.
 * @throws {SourceLost}, or the signal's reason; the tenant is then as it was. Everything else is the tenant's own failure and recorded.
 */
export async function runTenant(
  context: ImportsContext,
  job: Job,
  reader: SourceReader,
  tenant: { value: string; tenantId: string },
): Promise<boolean> {
  const startedMs = context.clock.nowMs();
  await record(context, job, tenant.tenantId, { state: "running", error: null, sqlstate: null });
  try {
    const tables = await retryCluster(context, job, async () => {
      job.progress.set(tenant.tenantId, 0);
      const database = await ensureDatabase(context, job, tenant.tenantId);
      return await writeTenant(context.dialer, reader, {
        importId: job.importId,
        database,
        tables: tableTasks(job, tenant.value),
        verify: job.options.verify,
        onRows: (rows) => void job.progress.set(tenant.tenantId, (job.progress.get(tenant.tenantId) ?? 0) + rows),
        signal: job.signal,
      });
    });
    await record(context, job, tenant.tenantId, {
      state: "done",
      rows: tables.reduce((sum, table) => sum + table.rows, 0),
      tables: JSON.stringify(tables),
      duration_ms: Math.round(context.clock.nowMs() - startedMs),
      snapshot_at: new Date(job.source.snapshotAt),
    });
    return true;
  } catch (error) {
    if (error instanceof LostClaim) throw error;
    if (error instanceof SourceLost || job.signal.aborted) {
      await record(context, job, tenant.tenantId, { state: "pending", rows: 0 });
      throw error;
    }
    const { message, sqlstate } = describeSqlFailure(error);
    if (!(error instanceof GatewayError) && sqlstate === undefined) {
      context.log.write("error", "import of a tenant failed", { import: job.importId, tenant: tenant.tenantId, reason: String(error) });
    }
    const failed = { state: "failed" as const, rows: 0, error: message, sqlstate: sqlstate ?? null };
    await record(context, job, tenant.tenantId, { ...failed, duration_ms: Math.round(context.clock.nowMs() - startedMs) });
    return false;
  } finally {
    job.progress.delete(tenant.tenantId);
  }
}

/** A cluster that does not answer is asked again; what it refuses is not. */
async function retryCluster<T>(context: ImportsContext, job: Job, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const isAway = error instanceof GatewayError && ["backend_unreachable", "no_backend_slot"].includes(error.kind);
      if (!isAway || attempt >= context.config.clusterAttempts || job.signal.aborted) throw error;
      await context.clock.sleep(context.config.firstWaitMs * 2 ** attempt, job.signal);
    }
  }
}

type Patch = Partial<{
  state: "pending" | "running" | "done" | "failed";
  rows: number;
  tables: string;
  created: boolean;
  duration_ms: number;
  error: string | null;
  sqlstate: string | null;
  snapshot_at: Date;
}>;

/** Only while the import is this instance's: another may have taken it over after a lost connection. */
async function record(context: ImportsContext, job: Job, tenantId: string, patch: Patch): Promise<void> {
  const done = await context.store.db
    .updateTable("import_tenants")
    .set(patch)
    .where("import_id", "=", job.importId)
    .where("tenant_id", "=", tenantId)
    .where(sql<boolean>`exists (select 1 from tenantry.imports i where i.id = ${job.importId} and i.claimed_by = ${context.claims.key})`)
    .executeTakeFirst();
  if (done.numUpdatedRows === 0n) throw new LostClaim(job.importId);
}

/** Another instance carries on with the import, or it was removed. */
export class LostClaim extends Error {
  constructor(importId: string) {
    super(`import ${importId} is no longer this instance's`);
    this.name = "LostClaim";
  }
}

/** @throws {GatewayError} saying what is missing and the way out. */
async function ensureDatabase(context: ImportsContext, job: Job, tenantId: string): Promise<PhysicalDatabase> {
  const known = await findTenant(context, job, tenantId);
  const found = known && databaseOf(known, job);
  if (found) return found;
  if (!job.options.createTenants) {
    const what = known ? `has no database of blueprint '${job.blueprint}'` : "does not exist";
    throw new GatewayError("not_found", `tenant '${tenantId}' ${what}: create it, or set create_tenants to true`);
  }
  if (!known) await record(context, job, tenantId, { created: true }); // before it is made, so that it is known whoever finds it made
  const made = await createTenant(context, job, tenantId);
  const database = databaseOf(made.tenant, job);
  if (!database) throw new GatewayError("conflict", `tenant '${tenantId}' was removed while it was being imported`);
  return database;
}

/** What a crash left of the tenant may be in the hands of the sweep, which is waited for. */
async function createTenant(context: ImportsContext, job: Job, tenantId: string): Promise<NewTenant> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await context.control.createTenant(job.projectId, { tenantId, databases: [{ blueprint: job.blueprint, isolationLevel: 1 }] });
    } catch (error) {
      const isConflict = error instanceof GatewayError && error.kind === "conflict";
      if (!isConflict || attempt >= context.config.settleAttempts || !(await isPassing(context, job, tenantId))) throw error;
      await context.clock.sleep(context.config.firstWaitMs, job.signal);
    }
  }
}

/** Neither there nor gone for good: being made, being removed, or removed this very moment. */
async function isPassing(context: ImportsContext, job: Job, tenantId: string): Promise<boolean> {
  try {
    const { state } = await context.control.getTenant(job.projectId, tenantId);
    return state === "creating" || state === "deleting";
  } catch (error) {
    return error instanceof GatewayError && error.kind === "not_found";
  }
}

async function findTenant(context: ImportsContext, job: Job, tenantId: string): Promise<Tenant | undefined> {
  try {
    const tenant = await context.control.getTenant(job.projectId, tenantId);
    if (tenant.state === "creating" || tenant.state === "deleting") return undefined;
    if (tenant.state === "trash") {
      throw new GatewayError("conflict", `tenant '${tenantId}' is in trash: restore it, or delete it for good`);
    }
    return tenant;
  } catch (error) {
    if (error instanceof GatewayError && error.kind === "not_found") return undefined;
    throw error;
  }
}

function databaseOf(tenant: Tenant, job: Job): PhysicalDatabase | undefined {
  const entry = tenant.databases.find((database) => database.blueprint === job.blueprint && database.state === "ready");
  if (entry && entry.version < job.version) {
    const at = `version ${entry.version} of blueprint '${job.blueprint}', the newest is ${job.version}`;
    throw new GatewayError("conflict", `tenant '${tenant.id}' is at ${at}: deploy first, then retry the import`);
  }
  return entry?.database;
}

function tableTasks(job: Job, value: string): TableTask[] {
  const { plan, routed, copied, matched } = job.preparation;
  const { dialect } = job.source;
  const own = routed.map(({ table }) => ({ table, condition: ownedBy(dialect, plan, table.key, { value }) }));
  const all = [...copied.map((table) => ({ table, condition: undefined })), ...own];
  return all.flatMap(({ table, condition }) => {
    const match = matched.get(table.key);
    return match && match.columns.length > 0 ? [{ matched: match, from: dialect.from(table), condition }] : [];
  });
}
