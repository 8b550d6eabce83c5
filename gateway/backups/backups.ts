/** Backups put together: the verbs of core/backups.ts, and the worker behind them. */
import type { Backups } from "../../core/backups.ts";
import type { Dumper, StreamHash } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ControlContext } from "../control/context.ts";
import { translateStoreError } from "../store/store-errors.ts";
import type { ClientTools } from "./client-tools.ts";
import type { BackupConfig, BackupDeps } from "./deps.ts";
import { createDirectoryStorage } from "./directory-storage.ts";
import { createBackup } from "./make-backup.ts";
import { cloneTenant, restoreAsTenant } from "./new-tenants.ts";
import { openBackup } from "./read-backup.ts";
import { startRollback, undoRollback } from "./rollbacks.ts";
import { findBackup, findReadyBackup, findRollback, pageBackups, pageRollbacks, toBackup, toRollback } from "./rows.ts";
import { createS3Storage } from "./s3-storage.ts";
import { getSchedule, removeSchedule, setSchedule } from "./schedules.ts";
import type { BackupStorage, StorageConfig, Storages } from "./storage.ts";
import { Worker } from "./worker.ts";

/** How often what is waited for is looked at. */
const lookAgainMs = 150;

export interface BackupsOptions {
  readonly context: ControlContext;
  readonly dumper: Dumper;
  readonly storages: Storages;
  readonly tools: ClientTools;
  readonly config: () => BackupConfig;
  makeHash(): StreamHash;
}

export interface RunningBackups extends Backups {
  start(): void;
  /** Breaks off what runs here; it is begun anew by whoever comes next. To be called before the control plane is stopped, which waits for it. */
  stop(): void;
  /** What the clock does now and then, now. */
  upkeep(): Promise<void>;
}

export function createBackups(options: BackupsOptions): RunningBackups {
  const stopping = new AbortController();
  let worker: Worker | undefined;
  const deps: BackupDeps = { ...options, stopping: stopping.signal, wake: () => worker?.wake() };
  worker = new Worker(deps);
  const running = worker;
  return {
    ...bindVerbs(deps),
    start: () => running.start(),
    stop() {
      running.stop();
      stopping.abort(new GatewayError("shutdown", "the gateway is stopping"));
    },
    upkeep: () => running.upkeep(),
  };
}

function bindVerbs(deps: BackupDeps): Backups {
  const { db } = deps.context.store;
  const verb =
    <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      try {
        return await work(...args);
      } catch (error) {
        throw translateStoreError(error, "backend_unreachable");
      }
    };
  const withDeps =
    <A extends unknown[], R>(work: (deps: BackupDeps, ...args: A) => Promise<R>) =>
    (...args: A) =>
      verb(work)(deps, ...args);
  const getBackup = verb(async (projectId: string, tenantId: string, id: string) => toBackup(await findBackup(db, projectId, tenantId, id)));
  const getRollback = verb(async (projectId: string, tenantId: string, id: string) => toRollback(await findRollback(db, projectId, tenantId, id)));
  return {
    createBackup: withDeps(createBackup),
    listBackups: verb((projectId, tenantId, page) => pageBackups(db, projectId, tenantId, page)),
    getBackup,
    waitForBackup: (projectId, tenantId, id, signal) =>
      waitFor(
        deps,
        () => getBackup(projectId, tenantId, id),
        (backup) => backup.state !== "queued" && backup.state !== "running",
        signal,
      ),
    deleteBackup: withDeps(deleteBackup),
    readBackupFile: verb(async (projectId, tenantId, id) => {
      const row = await findReadyBackup(db, projectId, tenantId, id);
      return { backup: toBackup(row), data: await openBackup(deps, row) };
    }),
    startRollback: withDeps(startRollback),
    undoRollback: withDeps(undoRollback),
    listRollbacks: verb((projectId, tenantId, page) => pageRollbacks(db, projectId, tenantId, page)),
    getRollback,
    waitForRollback: (projectId, tenantId, id, signal) =>
      waitFor(
        deps,
        () => getRollback(projectId, tenantId, id),
        (rollback) => rollback.state === "done" || rollback.state === "failed",
        signal,
      ),
    restoreAsTenant: withDeps(restoreAsTenant),
    cloneTenant: withDeps(cloneTenant),
    getSchedule: withDeps(getSchedule),
    setSchedule: withDeps(setSchedule),
    removeSchedule: withDeps(removeSchedule),
  };
}

async function waitFor<T>(deps: BackupDeps, look: () => Promise<T>, isOver: (item: T) => boolean, signal: AbortSignal): Promise<T> {
  for (;;) {
    const item = await look();
    if (isOver(item) || signal.aborted) return item;
    await deps.context.clock.sleep(lookAgainMs, signal).catch(() => undefined); // looked at once more
  }
}

/** Out of the list at once; the file goes in the background. */
async function deleteBackup(deps: BackupDeps, projectId: string, tenantId: string, backupId: string): Promise<void> {
  const { db } = deps.context.store;
  await findBackup(db, projectId, tenantId, backupId);
  const done = await db
    .updateTable("backups")
    .set({ state: "deleting" })
    .where("id", "=", backupId)
    .where("state", "in", ["queued", "ready", "failed"])
    .executeTakeFirst();
  if (done.numUpdatedRows === 0n) throw new GatewayError("conflict", `Backup '${backupId}' is being made; delete it when it is ready`);
}

/** The directory is always there; new backups go into the bucket where one is configured. */
export function createStorages(config: StorageConfig, log: BackupsOptions["context"]["log"]): Storages {
  const directory = createDirectoryStorage(config.directory);
  const bucket: BackupStorage | undefined = config.s3 && createS3Storage({ ...config.s3, log });
  return { current: bucket ?? directory, find: (kind) => (kind === "s3" ? bucket : directory) };
}
