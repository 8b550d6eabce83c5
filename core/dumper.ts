/** What backups ask of an engine: a database as bytes under one snapshot, and a new database out of such bytes. */
import type { BackupHeader, BackupManifest, BackupPart } from "./backup-format.ts";
import type { BlueprintVersion, PhysicalDatabase } from "./model.ts";

/** SHA-256 piece by piece; given by the runtime. */
export interface StreamHash {
  update(bytes: Uint8Array): void;
  /** Lower-case hex. To be called once. */
  digest(): string;
}

export interface DumpRequest {
  readonly database: PhysicalDatabase;
  readonly project: string;
  readonly tenant: string;
  readonly blueprint: string;
  /** The statements of versions 1 … `version`, as the store has them. */
  loadVersions(upTo: number): Promise<readonly BlueprintVersion[]>;
  readonly signal: AbortSignal;
}

export interface DumpResult {
  readonly header: BackupHeader;
  readonly manifest: BackupManifest;
}

export interface RestoreResult {
  readonly header: BackupHeader;
  /** What could not be brought back exactly, in sentences for people; empty as a rule. */
  readonly warnings: readonly string[];
}

export interface Dumper {
  /** The file's bytes, made as they are read; what was in it is the generator's return value. Reading stops with the signal's reason. */
  dump(request: DumpRequest): AsyncGenerator<Uint8Array, DumpResult, undefined>;
  /**
   * Makes `database` out of a backup: roles, schema by its statements, rows, sequences, large objects; then reads everything back and compares.
   * A database left by a try that failed is made anew. @throws {GatewayError} backup_unusable, query_failed, backend_unreachable
   */
  restore(database: PhysicalDatabase, parts: AsyncIterable<BackupPart>, signal: AbortSignal): Promise<RestoreResult>;
  /** How many sessions of clients' roles a database has now, idle ones included. */
  countClients(database: PhysicalDatabase): Promise<number>;
}
