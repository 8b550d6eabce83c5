/** What every part of the backups is given. */
import type { WantedFormat } from "../../core/backups.ts";
import type { Dumper, StreamHash } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ControlContext } from "../control/context.ts";
import type { ClientTools } from "./client-tools.ts";
import { StorageError } from "./directory-storage.ts";
import type { Storages } from "./storage.ts";

export interface BackupConfig {
  /** Backups and rollbacks one instance works on at a time. */
  readonly concurrency: number;
  /** How long a replaced database is kept. */
  readonly keepReplacedMs: number;
  /** How long new sessions of a tenant wait while its database is replaced. */
  readonly connectWaitMs: number;
  /** What new backups are kept as, unless they are asked for otherwise. */
  readonly format: WantedFormat;
}

export interface BackupDeps {
  readonly context: ControlContext;
  readonly dumper: Dumper;
  readonly storages: Storages;
  readonly tools: ClientTools;
  readonly config: () => BackupConfig;
  makeHash(): StreamHash;
  /** Aborted when this instance stops: what it is at work on is left to the next one. */
  readonly stopping: AbortSignal;
  /** Looks for work now. */
  wake(): void;
}

/** What the row of failed work says: words that may be shown; everything else is in the log only. */
export function explainFailure(deps: BackupDeps, what: string, id: string, error: unknown): string {
  if (error instanceof GatewayError && error.kind !== "internal_error") {
    const cause = error.details.cause instanceof Error ? error.details.cause.message : undefined;
    deps.context.log.write("warn", `${what} failed`, { id, reason: error.message, cause });
    return error.message;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  deps.context.log.write(error instanceof StorageError ? "warn" : "error", `${what} failed`, { id, error: text, cause: causeOf(error) });
  return error instanceof StorageError ? error.message : "internal error; see the gateway's log";
}

function causeOf(error: unknown): string | undefined {
  return error instanceof Error && error.cause instanceof Error ? `${error.cause.message} ${causeOf(error.cause) ?? ""}`.trim() : undefined;
}
