/** What backups ask of an engine: a database as bytes under one snapshot, and a new database out of such bytes. */
import type { ArchivedTables, BackupHeader, BackupManifest, BackupPart } from "./backup-format.ts";
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

export interface ArchiveResult extends DumpResult {
  readonly archived: ArchivedTables;
}

export interface RestoreResult {
  readonly header: BackupHeader;
  /** What could not be brought back exactly, in sentences for people; empty as a rule. */
  readonly warnings: readonly string[];
}

/** What pg_dump is told. */
export interface ArchiveSource {
  readonly database: PhysicalDatabase;
  /** As pg_export_snapshot named it. */
  readonly snapshot: string;
  readonly schemas: readonly string[];
  readonly extensions: readonly string[];
  /** Settings of its session. */
  readonly settings: Readonly<Record<string, string>>;
}

/** PostgreSQL's client programs; given by the runtime. */
export interface ArchiveTools {
  /** Major version of pg_dump. */
  readonly version: number;
  /** An archive in custom format, as slow as its reader. @throws {GatewayError}, {ArchiveBusyError} before the first byte */
  dump(source: ArchiveSource, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>;
}

/** Somebody waits for a lock that excludes reading, and pg_dump behind them: to be tried again under another snapshot. */
export class ArchiveBusyError extends Error {}

export interface ArchiveRequest extends DumpRequest {
  readonly tools: ArchiveTools;
}

/** Both are to be read to their end, the archive first. */
export interface ArchiveDump {
  readonly archive: AsyncIterable<Uint8Array>;
  /** The file that describes it, see core/archive-parts.ts; what was in it is the generator's return value. */
  contents(): AsyncGenerator<Uint8Array, ArchiveResult, undefined>;
}

export interface ArchiveFitness {
  /** Major version of the database's server. */
  readonly serverVersion: number;
  /** Why its rows cannot be kept in an archive, a clause for people; undefined when they can. */
  readonly problem: string | undefined;
}

export interface Dumper {
  /** The file's bytes, made as they are read; what was in it is the generator's return value. Reading stops with the signal's reason. */
  dump(request: DumpRequest): AsyncGenerator<Uint8Array, DumpResult, undefined>;
  /** The same with the rows in an archive that pg_dump makes under one snapshot with our sums. `store` keeps both files. */
  dumpArchive<T>(request: ArchiveRequest, store: (dump: ArchiveDump) => Promise<T>): Promise<T>;
  inspectForArchive(database: PhysicalDatabase): Promise<ArchiveFitness>;
  /**
   * Makes `database` out of a backup: roles, schema by its statements, rows, sequences, large objects; then reads everything back and compares.
   * A database left by a try that failed is made anew. @throws {GatewayError} backup_unusable, query_failed, backend_unreachable
   */
  restore(database: PhysicalDatabase, parts: AsyncIterable<BackupPart>, signal: AbortSignal): Promise<RestoreResult>;
  /** How many sessions of clients' roles a database has now, idle ones included. */
  countClients(database: PhysicalDatabase): Promise<number>;
}
