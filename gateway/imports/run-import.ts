/** Runs an import: claimed, the source opened, tenants worked on by several readers of one snapshot, ended or let go. */
import { sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection, ImportOptions } from "../../core/imports.ts";
import { findWorkspaceById, type KnownWorkspace } from "../control/workspace-rows.ts";
import { translateStoreError } from "../store/store-errors.ts";
import { type ImportsContext, nowDate } from "./context.ts";
import { countTables, readRoutingValues, sumRows } from "./count.ts";
import { finishImport, releaseImport } from "./finish-import.ts";
import type { KnownImport } from "./import-rows.ts";
import { loadStructure } from "./load-structure.ts";
import { openSource } from "./open-source.ts";
import { prepareFor } from "./prepare-for.ts";
import { type Job, LostClaim, runTenant } from "./run-tenant.ts";
import { openConnection } from "./sealed.ts";
import { isCannotConnect, SourceLost, type SourceReader } from "./source.ts";
import { nameTenants } from "./tenant-names.ts";

export async function runImport(context: ImportsContext, importId: string, stopping: AbortSignal): Promise<void> {
  if (context.claims.holds(importId)) return;
  await context.claims.hold(importId, async () => {
    const claimed = await claim(context, importId);
    if (!claimed) return;
    const workspace = await findWorkspaceById(context.store.db, claimed.workspace_id);
    if (!workspace) return; // being deleted, and the import with it
    const cancelled = new AbortController();
    const stopWatching = watchCancellation(context, importId, cancelled);
    try {
      const signal = AbortSignal.any([stopping, cancelled.signal]);
      const failure = await attempt(context, claimed, workspace, signal);
      if (stopping.aborted && !cancelled.signal.aborted) await releaseImport(context, importId);
      else await finishImport(context, claimed, failure);
    } finally {
      stopWatching();
    }
  });
}

async function claim(context: ImportsContext, importId: string): Promise<KnownImport | undefined> {
  return await context.store.transaction(async (trx) => {
    const free = await trx
      .selectFrom("imports")
      .select(context.claims.orphaned("claimed_by", sql.ref("id")).as("free"))
      .select("claimed_by")
      .where("id", "=", importId)
      .where("state", "in", ["queued", "running"])
      .forUpdate()
      .executeTakeFirst();
    // Held here for this very claim: what carries our own key and is not at work is as free as what carries none.
    if (!free || !(free.free || free.claimed_by === context.claims.key)) return undefined;
    await trx
      .updateTable("import_tenants")
      .set({ state: "pending", rows: 0 })
      .where("import_id", "=", importId)
      .where("state", "=", "running")
      .execute();
    return await trx
      .updateTable("imports")
      .set({ state: "running", claimed_by: context.claims.key, started_at: sql`coalesce(started_at, ${nowDate(context)})`, error: null })
      .where("id", "=", importId)
      .returningAll()
      .executeTakeFirstOrThrow();
  });
}

/** The request may come in at any instance; the row tells it to the one at work. */
function watchCancellation(context: ImportsContext, importId: string, cancelled: AbortController): () => void {
  return context.clock.every(context.config.progressMs, () =>
    context.background.runOnce(`cancellation of ${importId}`, async () => {
      const row = await context.store.db.selectFrom("imports").select("cancel_requested").where("id", "=", importId).executeTakeFirst();
      if (row?.cancel_requested !== false) cancelled.abort(new Error("the import was cancelled"));
    }),
  );
}

/** @returns what keeps the import from being done; undefined when every tenant has been tried. A source that is lost is tried again. */
async function attempt(context: ImportsContext, row: KnownImport, workspace: KnownWorkspace, signal: AbortSignal): Promise<string | undefined> {
  for (let lost = 0; ; ) {
    try {
      await workOnce(context, row, workspace, signal);
      return undefined;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof SourceLost || isCannotConnect(error)) {
        if (++lost >= context.config.sourceAttempts)
          return `${(error as Error).message}. Tenants done stay; retry the import to go on with the others`;
        context.log.write("warn", "source of an import lost, connecting again", { import: row.id, attempt: lost });
        await context.clock.sleep(context.config.firstWaitMs * 2 ** (lost - 1), signal).catch(() => undefined);
        continue;
      }
      return failureOf(context, row, error);
    }
  }
}

/** @returns what the user is told. @throws where the store or a cluster is away, or the import another instance's: then it is carried on later. */
function failureOf(context: ImportsContext, row: KnownImport, thrown: unknown): string {
  const error = translateStoreError(thrown, "backend_unreachable");
  if (error instanceof LostClaim) throw error;
  if (error instanceof GatewayError) {
    if (error.refusal.http === 503) throw error;
    if (error.kind !== "internal_error") return error.message;
  }
  context.log.write("error", "import failed", { import: row.id, reason: String(error) });
  return "internal error, see the gateway's log";
}

async function workOnce(context: ImportsContext, row: KnownImport, workspace: KnownWorkspace, signal: AbortSignal): Promise<void> {
  if (row.connection === null) throw new GatewayError("conflict", "the connection to the source is no longer kept: start a new import");
  const connection = await openConnection(context.secrets, row.id, row.connection);
  const lost = await runStructure(context, row, workspace, connection);
  const source = await openSource(context, connection);
  const stopProgress = { stop: () => {} };
  // Its answers may be long in coming.
  const leave = () => void source.close();
  signal.addEventListener("abort", leave);
  try {
    const options = row.options as ImportOptions;
    const { preparation, version } = await prepareFor(context, source, workspace, options, "data");
    if (preparation.problems.length > 0) throw new GatewayError("conflict", preparation.problems.join("; "));
    const named = nameTenants(await readRoutingValues(source, preparation), options.tenantIds);
    const tables = await countTables(source, preparation);
    await recordPlan(context, row.id, { named, tables, warnings: [...lost, ...preparation.warnings] });
    const job: Job = {
      importId: row.id,
      projectId: row.project_id,
      blueprint: workspace.name,
      version,
      options,
      source,
      preparation,
      progress: new Map(),
      signal,
    };
    stopProgress.stop = context.clock.every(context.config.progressMs, () =>
      context.background.runOnce(`progress of ${row.id}`, () => writeProgress(context, job)),
    );
    await runTenants(context, job);
  } finally {
    signal.removeEventListener("abort", leave);
    stopProgress.stop();
    await source.close();
  }
}

/** Once: what it could not load is kept with the import. */
async function runStructure(
  context: ImportsContext,
  row: KnownImport,
  workspace: KnownWorkspace,
  connection: ImportConnection,
): Promise<readonly string[]> {
  const { db } = context.store;
  const now = await db.selectFrom("imports").select(["phase", "warnings"]).where("id", "=", row.id).executeTakeFirstOrThrow();
  if (now.phase === "data") return (now.warnings as readonly string[]).filter((warning) => warning.startsWith("not loaded: "));
  const lost = await loadStructure(context, row, workspace, connection);
  await db
    .updateTable("imports")
    .set({ phase: "data", warnings: JSON.stringify(lost) })
    .where("id", "=", row.id)
    .execute();
  return lost;
}

async function recordPlan(
  context: ImportsContext,
  importId: string,
  plan: { named: ReturnType<typeof nameTenants>; tables: Awaited<ReturnType<typeof countTables>>; warnings: readonly string[] },
): Promise<void> {
  await context.store.transaction(async (trx) => {
    for (let at = 0; at < plan.named.length; at += 1000) {
      const rows = plan.named.slice(at, at + 1000).map(({ value, tenantId }) => ({
        import_id: importId,
        tenant_id: tenantId,
        value,
        state: "pending" as const,
        tables: "[]",
      }));
      await trx
        .insertInto("import_tenants")
        .values(rows)
        .onConflict((oc) => oc.columns(["import_id", "tenant_id"]).doNothing())
        .execute();
    }
    const set = { tables: JSON.stringify(plan.tables), warnings: JSON.stringify(plan.warnings), rows_total: sumRows(plan.tables, plan.named.length) };
    await trx
      .updateTable("imports")
      .set({ ...set, snapshots: sql`snapshots + 1` })
      .where("id", "=", importId)
      .execute();
  });
}

/** Readers take the next tenant that is open until none is. */
async function runTenants(context: ImportsContext, job: Job): Promise<void> {
  const open = await context.store.db
    .selectFrom("import_tenants")
    .select(["value", "tenant_id"])
    .where("import_id", "=", job.importId)
    .where("state", "=", "pending")
    .orderBy("tenant_id")
    .execute();
  const rest = open.map((row) => ({ value: row.value, tenantId: row.tenant_id })).values();
  const failed = new AbortController();
  const own: Job = { ...job, signal: AbortSignal.any([job.signal, failed.signal]) };
  const worker = async () => {
    let reader: SourceReader | undefined;
    try {
      for (const tenant of rest) {
        own.signal.throwIfAborted();
        reader ??= await job.source.openReader();
        reader = await runWith(context, own, reader, tenant);
      }
    } catch (error) {
      failed.abort(error); // the others stop as well, and this is the error that is told
      throw error;
    } finally {
      await reader?.close();
    }
  };
  const readers = Math.min(job.options.concurrency, job.source.maxReaders, Math.max(open.length, 1));
  const ends = await Promise.allSettled(Array.from({ length: readers }, worker));
  if (failed.signal.aborted) throw failed.signal.reason;
  const rejected = ends.find((end) => end.status === "rejected");
  if (rejected) throw rejected.reason;
}

/** A failed tenant may leave its reader in the middle of rows: then another is opened for the next. */
async function runWith(
  context: ImportsContext,
  job: Job,
  reader: SourceReader,
  tenant: { value: string; tenantId: string },
): Promise<SourceReader | undefined> {
  if (await runTenant(context, job, reader, tenant)) return reader;
  await reader.close();
  return undefined;
}

async function writeProgress(context: ImportsContext, job: Job): Promise<void> {
  for (const [tenantId, rows] of job.progress) {
    await context.store.db
      .updateTable("import_tenants")
      .set({ rows })
      .where("import_id", "=", job.importId)
      .where("tenant_id", "=", tenantId)
      .where("state", "=", "running")
      .execute();
  }
}
