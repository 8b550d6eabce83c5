/** The imports of core/imports.ts over the store, the job queue and the clusters. */
import { sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { ImportAnalysis, ImportRequest, ImportState, ImportStatus, Imports } from "../../core/imports.ts";
import { JobQueue } from "../control/job-queue.ts";
import { findWorkspace, type KnownWorkspace } from "../control/workspace-rows.ts";
import { translateStoreError } from "../store/store-errors.ts";
import { analyzeSource } from "./analyze.ts";
import { type ImportsContext, type ImportsOptions, makeImportsContext, nowDate } from "./context.ts";
import { describeImport, findImport, insertImport } from "./import-rows.ts";
import { openSource } from "./open-source.ts";
import { prepareFor } from "./prepare-for.ts";
import { runImport } from "./run-import.ts";
import { lostWhileAsked, SourceLost } from "./source.ts";

export interface RunningImports extends Imports {
  /** Takes jobs and looks for imports a dead instance left, until `stop`. */
  start(): Promise<void>;
  /** Takes back the tenants in progress and hands imports over. */
  stop(): Promise<void>;
  /** One look for imports nobody works on, as `start` and the clock make them. */
  sweep(): Promise<void>;
}

const ended: readonly ImportState[] = ["done", "failed", "cancelled"];

export function createImports(options: ImportsOptions): RunningImports {
  const context = makeImportsContext(options);
  const stopping = new AbortController();
  const queue = new JobQueue(context, (importId) => runImport(context, importId, stopping.signal), {
    name: "imports",
    atOnce: context.config.importsAtOnce,
  });
  let stopSweeping: (() => void) | undefined;
  const bound = <A extends unknown[], R>(verb: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      try {
        return await verb(...args);
      } catch (error) {
        throw error instanceof SourceLost ? lostWhileAsked(error) : translateStoreError(error, "backend_unreachable");
      }
    };
  };
  return {
    analyze: bound((projectId, workspace, request, kind) => analyze(context, projectId, workspace, request, kind)),
    startImport: bound((projectId, workspace, request, kind) => startImport(context, queue, projectId, workspace, request, kind)),
    getImport: bound((...args) => getImport(context, ...args)),
    cancelImport: bound((projectId, workspace, importId) => cancelImport(context, queue, projectId, workspace, importId)),
    retryImport: bound((projectId, workspace, importId) => retryImport(context, queue, projectId, workspace, importId)),
    async start() {
      await queue.start();
      const sweepSoon = () => context.background.runOnce("sweep of imports", () => sweep(context, queue));
      sweepSoon();
      stopSweeping = context.clock.every(context.config.sweepMs, sweepSoon);
    },
    async stop() {
      stopSweeping?.();
      stopping.abort(new Error("the gateway is stopping"));
      await context.background.stop();
      await queue.stop();
    },
    sweep: () => sweep(context, queue),
  };
}

/** @throws {GatewayError} not_found, bad_request, conflict: only a PostgreSQL workspace in tenant mode has tenants to import into. */
async function findTarget(context: ImportsContext, projectId: string, nameOrId: string): Promise<KnownWorkspace> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  if (workspace.engine !== "PostgreSQL")
    throw new GatewayError("bad_request", `Workspace '${workspace.name}' is ${workspace.engine}; imports go into PostgreSQL`);
  if (workspace.mode === "control")
    throw new GatewayError("bad_request", `Workspace '${workspace.name}' is in control mode: it has no tenants to import into`);
  if (workspace.state !== "ready") throw new GatewayError("conflict", `Workspace '${workspace.name}' is still being created`);
  return workspace;
}

async function analyze(
  context: ImportsContext,
  projectId: string,
  nameOrId: string,
  request: ImportRequest,
  kind: "data" | "full",
): Promise<ImportAnalysis> {
  const workspace = await findTarget(context, projectId, nameOrId);
  const source = await openSource(context, request.connection);
  try {
    return await analyzeSource(context, source, workspace, request.options, kind);
  } finally {
    await source.close();
  }
}

/** What can be known without counting is told now; the rest ends the job with the same words. */
async function startImport(
  context: ImportsContext,
  queue: JobQueue,
  projectId: string,
  nameOrId: string,
  request: ImportRequest,
  kind: "data" | "full",
): Promise<ImportStatus> {
  const workspace = await findTarget(context, projectId, nameOrId);
  const source = await openSource(context, request.connection);
  try {
    const { preparation } = await prepareFor(context, source, workspace, request.options, kind);
    if (preparation.problems.length > 0) {
      const issues = preparation.problems.map((message) => ({ path: "source", message }));
      throw new GatewayError("bad_request", `Cannot import: ${preparation.problems.join("; ")}`, { issues });
    }
  } finally {
    await source.close();
  }
  const id = await context.store.transaction(async (trx) => {
    const made = await insertImport(context, trx, workspace, request, kind);
    await queue.send(trx, made);
    return made;
  });
  queue.wake();
  return await describeImport(context.store.db, workspace.name, await findImport(context.store.db, workspace, id));
}

async function getImport(
  context: ImportsContext,
  ...[projectId, nameOrId, importId, shown]: Parameters<Imports["getImport"]>
): Promise<ImportStatus> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  return await describeImport(context.store.db, workspace.name, await findImport(context.store.db, workspace, importId), shown);
}

async function cancelImport(context: ImportsContext, queue: JobQueue, projectId: string, nameOrId: string, importId: string): Promise<ImportStatus> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  await context.store.transaction(async (trx) => {
    const row = await findImport(trx, workspace, importId, true);
    if (ended.includes(row.state)) throw new GatewayError("conflict", `Import ${importId} has already ended (${row.state})`);
    const now = nowDate(context);
    const set = row.state === "queued" ? { state: "cancelled" as const, finished_at: now } : {};
    await trx
      .updateTable("imports")
      .set({ cancel_requested: true, ...set })
      .where("id", "=", importId)
      .execute();
    await queue.send(trx, importId); // should its worker be gone, another one ends it
  });
  queue.wake();
  return await getImport(context, projectId, nameOrId, importId);
}

async function retryImport(context: ImportsContext, queue: JobQueue, projectId: string, nameOrId: string, importId: string): Promise<ImportStatus> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  await context.store.transaction(async (trx) => {
    const row = await findImport(trx, workspace, importId, true);
    if (!ended.includes(row.state)) throw new GatewayError("conflict", `Import ${importId} has not ended yet (${row.state})`);
    if (row.state === "done") throw new GatewayError("conflict", `Import ${importId} has nothing to retry: every tenant is done`);
    if (row.connection === null) throw new GatewayError("conflict", `The connection of import ${importId} is no longer kept: start a new import`);
    await trx
      .updateTable("import_tenants")
      .set({ state: "pending", rows: 0, error: null, sqlstate: null })
      .where("import_id", "=", importId)
      .where("state", "in", ["failed", "cancelled", "running"])
      .execute();
    await trx
      .updateTable("imports")
      .set({ state: "queued", cancel_requested: false, error: null, finished_at: null, claimed_by: null })
      .where("id", "=", importId)
      .execute();
    await queue.send(trx, importId);
  });
  queue.wake();
  return await getImport(context, projectId, nameOrId, importId);
}

/** Puts back into the queue what is open and has no living worker; forgets connections kept long enough. */
async function sweep(context: ImportsContext, queue: JobQueue): Promise<void> {
  const rows = await context.store.db
    .selectFrom("imports")
    .select("id")
    .where("state", "in", ["queued", "running"])
    .where(context.claims.orphaned("claimed_by", sql.ref("id")))
    .execute();
  for (const row of rows) await context.store.transaction((trx) => queue.send(trx, row.id));
  if (rows.length > 0) queue.wake();
  const before = new Date(context.clock.wallMs() - context.config.keepConnectionDays * 86_400_000);
  await context.store.db
    .updateTable("imports")
    .set({ connection: null })
    .where("connection", "is not", null)
    .where("state", "in", [...ended])
    .where("finished_at", "<=", before)
    .execute();
}
