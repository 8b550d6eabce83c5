/**
 * A new database out of a backup. The schema comes from the blueprint's own statements, run by the database's owner as a deployment runs them;
 * rows are copied by the owner too, since defaults, checks and generated columns are the customer's code. Nothing here is seen by clients.
 */
import type { BackupHeader, BackupManifest, BackupPart, BackupSequence, BackupTable } from "../../../core/backup-format.ts";
import { setSequence, tableName } from "../../../core/backup-format.ts";
import { damaged } from "../../../core/byte-source.ts";
import type { RestoreResult } from "../../../core/dumper.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";
import { applyVersions } from "./apply.ts";
import { withAdmin, withRole } from "./context.ts";
import type { DumpContext } from "./dump.ts";
import { listTables, sessionSql } from "./dump-catalog.ts";
import { createRestoreDatabase } from "./provision.ts";
import { withQuietOwner } from "./quiet-tables.ts";
import { addMissing } from "./restore-drift.ts";
import { loadTable, restoreLargeObjects } from "./restore-load.ts";
import { type Loaded, verifyRestored } from "./restore-verify.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

const applyOptions = { lockTimeoutMs: 10_000, attempts: 3 };

export async function restore(
  context: DumpContext,
  database: PhysicalDatabase,
  parts: AsyncIterable<BackupPart>,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const reader = parts[Symbol.asyncIterator]();
  try {
    await createRestoreDatabase(context, database);
    const { header, next } = await rebuildSchema(context, database, reader, signal);
    const loaded = await loadEverything(context, database, reader, next, signal);
    await finish(context, database, loaded.views);
    const warnings = await verifyRestored(context, database, loaded, signal);
    return { header, warnings: [...loaded.warnings, ...warnings] };
  } catch (error) {
    throw asSqlError(error) ? toGatewayError(error) : error;
  } finally {
    await reader.return?.();
  }
}

/** Header and versions; the versions are held in memory, as a deployment holds them. @returns the first part after them */
async function rebuildSchema(
  context: DumpContext,
  database: PhysicalDatabase,
  reader: AsyncIterator<BackupPart>,
  signal: AbortSignal,
): Promise<{ header: BackupHeader; next: BackupPart }> {
  let header: BackupHeader | undefined;
  const versions: BlueprintVersion[] = [];
  for (;;) {
    const part = await nextPart(reader);
    if (part.type === "header") header = part.header;
    else if (part.type === "version") versions.push(part.version);
    else {
      if (!header || versions.length !== header.version) throw damaged("its versions are not complete");
      if (versions.length > 0) await applyVersions(context, database, versions, { ...applyOptions, signal });
      return { header, next: part };
    }
  }
}

async function nextPart(reader: AsyncIterator<BackupPart>): Promise<BackupPart> {
  const { done, value } = await reader.next();
  if (done) throw damaged("it ends before its last line");
  return value;
}

/** Rows come in any order. A database whose restore fails is dropped, with the setting that lets them. */
async function loadEverything(
  context: DumpContext,
  database: PhysicalDatabase,
  reader: AsyncIterator<BackupPart>,
  first: BackupPart,
  signal: AbortSignal,
): Promise<Loaded> {
  return await withAdmin(context, database.clusterId, database.name, (superuser) =>
    withQuietOwner(context, database, async (owner) => {
      await superuser.query(sessionSql);
      await owner.query(sessionSql);
      return await loadParts({ context, database, superuser, owner, signal }, reader, first);
    }),
  );
}

export interface Loading {
  readonly context: DumpContext;
  readonly database: PhysicalDatabase;
  /** Reads catalogs and handles large objects; never touches what could run the customer's code. */
  readonly superuser: SqlConnection;
  readonly owner: SqlConnection;
  readonly signal: AbortSignal;
}

async function loadParts(loading: Loading, reader: AsyncIterator<BackupPart>, first: BackupPart): Promise<Loaded> {
  const rebuilt = await listTables(loading.superuser);
  await emptyTables(loading.owner, rebuilt);
  const known = new Map(rebuilt.map((table) => [tableName(table), table]));
  const tables: BackupTable[] = [];
  const warnings: string[] = [];
  let sequences: readonly BackupSequence[] = [];
  let views: Loaded["views"] = [];
  for (let part = first; ; part = await nextPart(reader)) {
    loading.signal.throwIfAborted();
    if (part.type === "table") {
      if (part.table.kind === "table") warnings.push(...(await addMissing(loading.owner, part.table, known.get(tableName(part.table)))));
      await loadTable(loading, part.table, part.data);
      tables.push(part.table);
    } else if (part.type === "sequences") sequences = part.sequences;
    else if (part.type === "views") views = part.views;
    else if (part.type === "manifest") {
      await restoreLargeObjects(loading, tables);
      warnings.push(...(await setSequences(loading.owner, sequences)));
      return { manifest: part.manifest satisfies BackupManifest, tables, sequences, views, warnings };
    } else throw damaged("its sections are out of order");
  }
}

async function emptyTables(owner: SqlConnection, tables: readonly BackupTable[]): Promise<void> {
  if (tables.length > 0) await owner.query(`TRUNCATE ONLY ${tables.map(tableName).join(", ONLY ")}`);
}

async function setSequences(owner: SqlConnection, sequences: readonly BackupSequence[]): Promise<readonly string[]> {
  const warnings: string[] = [];
  for (const sequence of sequences) {
    try {
      await owner.query(setSequence(sequence));
    } catch (error) {
      if (asSqlError(error)?.code !== "42P01") throw error;
      warnings.push(`sequence ${sequence.schema}.${sequence.name} is not part of the blueprint and was left out`);
    }
  }
  return warnings;
}

/** With triggers and the database's own settings as clients will find them. */
async function finish(context: DumpContext, database: PhysicalDatabase, views: Loaded["views"]): Promise<void> {
  await withRole(context, database, "owner", async (owner) => {
    for (const view of views) await owner.query(`REFRESH MATERIALIZED VIEW ${tableName(view)}`);
    await owner.query("ANALYZE");
  });
}
