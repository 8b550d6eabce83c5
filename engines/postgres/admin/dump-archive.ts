/**
 * A tenant's database as an archive of pg_dump, and a file beside it with what a restore needs to know and to compare. Our own connection exports the
 * snapshot pg_dump reads under and meanwhile sums up every table under it, so that what is compared later never came from the archive.
 */
import {
  type BackupCount,
  type BackupTable,
  formatArchived,
  formatContentsStart,
  formatTableEnd,
  formatTableStart,
  formatVersion,
  largeObjectContents,
  largeObjectList,
} from "../../../core/backup-format.ts";
import { ArchiveBusyError, type ArchiveDump, type ArchiveFitness, type ArchiveRequest, type ArchiveResult } from "../../../core/dumper.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";
import { withAdmin } from "./context.ts";
import {
  closeContents,
  copyTable,
  type DumpContext,
  hasLargeObjects,
  largeObjectContentsQuery,
  largeObjectsQuery,
  readHeader,
  type Source,
  tableSource,
  takeSnapshot,
} from "./dump.ts";
import { listExtensionTables, sessionSql } from "./dump-catalog.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

/** Times pg_dump is started, when others' locks are in its way. */
const archiveTries = 5;

type Counted = ArchiveResult["manifest"]["tables"][number];

const encoder = new TextEncoder();

export async function dumpArchive<T>(context: DumpContext, request: ArchiveRequest, store: (dump: ArchiveDump) => Promise<T>): Promise<T> {
  const connection = await context.dialer.asAdmin(request.database.clusterId, request.database.name).catch((error: unknown) => {
    throw toGatewayError(error);
  });
  try {
    await connection.query(sessionSql);
    return await dumpOver(context, connection, request, store);
  } catch (error) {
    throw asSqlError(error) ? toGatewayError(error) : error;
  } finally {
    await connection.close();
  }
}

async function dumpOver<T>(
  context: DumpContext,
  connection: SqlConnection,
  request: ArchiveRequest,
  store: (dump: ArchiveDump) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const signal = AbortSignal.any([request.signal, stop.signal]);
  const { tables, first, rest } = await begin(context, connection, request, signal);
  let failed: { error: unknown } | undefined;
  const counting = countTables(context, connection, { ...request, signal }, tables);
  counting.catch((error: unknown) => {
    failed = { error };
    stop.abort(error);
  });
  try {
    return await store({
      archive: readArchive(first, rest),
      contents: async function* () {
        return yield* describe({ context, connection, request, tables }, await counting);
      },
    });
  } catch (error) {
    throw failed?.error ?? error;
  } finally {
    stop.abort(new Error("the archive is not read any more"));
    await rest.return();
    await counting.catch(() => undefined); // told already
  }
}

/** pg_dump takes its locks and reads the schema before its first byte: by then nothing can come between. The transaction is left open. */
async function begin(context: DumpContext, connection: SqlConnection, request: ArchiveRequest, signal: AbortSignal) {
  for (let tries = 1; ; tries++) {
    const tables = await takeSnapshot(context, connection, signal);
    const rest = request.tools.dump({ database: request.database, ...(await readSource(connection)) }, signal);
    try {
      return { tables, first: await rest.next(), rest };
    } catch (error) {
      await rest.return();
      if (!(error instanceof ArchiveBusyError)) throw error;
      if (tries === archiveTries) throw new GatewayError("conflict", "Other sessions' table locks kept pg_dump waiting; try again", { cause: error });
      context.log.write("info", "backup waits for other sessions' locks", { attempt: tries });
    }
    await connection.query("ROLLBACK");
    await context.clock.sleep(200 * tries, signal);
  }
}

async function* readArchive(
  first: IteratorResult<Uint8Array, void>,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (!first.done) yield first.value;
  yield* rest;
}

/**
 * Only schemas that are the blueprint's: without any named, pg_dump would keep our event triggers too, which are of no use elsewhere. A view in a
 * sequence's place would run its functions as the administrator; newer servers have a setting against it, which older pg_dumps do not make themselves.
 */
async function readSource(connection: SqlConnection) {
  const { rows } = await connection.query(`SELECT pg_export_snapshot() AS snapshot,
    (SELECT coalesce(json_agg(nspname), '[]')::text FROM (${schemasSql}) s) AS schemas,
    (SELECT coalesce(json_agg(extname), '[]')::text FROM pg_extension WHERE extname <> 'plpgsql') AS extensions,
    (SELECT count(*) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind')::int AS guarded`);
  const row = rows[0] ?? {};
  const settings = {
    lc_messages: "C", // what it says is read
    standard_conforming_strings: "on",
    ...(row.guarded === 1 && { restrict_nonsystem_relation_kind: "view,foreign-table" }),
  };
  return {
    snapshot: String(row.snapshot),
    schemas: JSON.parse(String(row.schemas)) as string[],
    extensions: JSON.parse(String(row.extensions)) as string[],
    settings,
  };
}

const schemasSql = "SELECT nspname FROM pg_namespace WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'tdb') AND nspname NOT LIKE 'pg\\_%'";

async function countTables(
  context: DumpContext,
  connection: SqlConnection,
  { database, signal }: Pick<ArchiveRequest, "database" | "signal">,
  tables: readonly BackupTable[],
): Promise<readonly Counted[]> {
  const sources = tables.map((table): Source => ({ table, query: tableSource(table) }));
  if (await hasLargeObjects(connection)) {
    sources.push({ table: largeObjectList, query: largeObjectsQuery(database.name) });
    // Objects that hold nothing are in the list only.
    const { rowCount } = await connection.query("SELECT FROM pg_largeobject WHERE length(data) > 0 LIMIT 1");
    if (rowCount > 0) sources.push({ table: largeObjectContents, query: largeObjectContentsQuery });
  }
  const counted: Counted[] = [];
  for (const { table, query } of sources) {
    const { kind, schema, name } = table;
    counted.push({ kind, schema, name, ...(await countRows(copyTable(context, connection, query, signal))) });
  }
  return counted;
}

async function countRows(rows: AsyncGenerator<Uint8Array, BackupCount, undefined>): Promise<BackupCount> {
  for (;;) {
    const { done, value } = await rows.next();
    if (done) return value;
  }
}

interface Described {
  readonly context: DumpContext;
  readonly connection: SqlConnection;
  readonly request: ArchiveRequest;
  readonly tables: readonly BackupTable[];
}

/** Read under the snapshot, but sequences, which know none and are never behind it. */
async function* describe(described: Described, counts: readonly Counted[]): AsyncGenerator<Uint8Array, ArchiveResult, undefined> {
  const { context, connection, request, tables } = described;
  const header = await readHeader(connection, request);
  yield encoder.encode(formatContentsStart(header));
  for (const version of await request.loadVersions(header.version)) yield encoder.encode(formatVersion(version));
  const archived = { toolVersion: request.tools.version, tables, extensionTables: await listExtensionTables(connection) };
  yield encoder.encode(formatArchived(archived));
  if (counts.some((each) => each.kind === largeObjectList.kind)) {
    yield encoder.encode(formatTableStart(largeObjectList));
    yield* copyTable(context, connection, largeObjectsQuery(request.database.name), request.signal);
    yield encoder.encode(formatTableEnd(largeObjectList));
  }
  return { header, manifest: yield* closeContents(connection, request, counts), archived };
}

/** Partitions by a hash of an enum: rows would go by values' numbers, which are others in another database, so pg_dump writes them elsewhere. */
const enumHashesSql = `SELECT FROM pg_partitioned_table p JOIN pg_opclass o ON o.oid = ANY (p.partclass::oid[]) JOIN pg_am a ON a.oid = o.opcmethod
 WHERE p.partstrat = 'h' AND o.opcname = 'enum_ops' AND a.amname = 'hash' LIMIT 1`;

export async function inspectForArchive(context: DumpContext, database: PhysicalDatabase): Promise<ArchiveFitness> {
  return await withAdmin(context, database.clusterId, database.name, async (connection) => {
    const { rows } = await connection.query(`SELECT current_setting('server_version_num')::int / 10000 AS version,
      EXISTS (${enumHashesSql}) AS moves, EXISTS (${schemasSql}) AS has_schemas`);
    const row = rows[0] ?? {};
    let problem: string | undefined;
    if (row.moves === true) problem = "it has a table partitioned by the hash of an enum, whose rows pg_dump does not keep by partition";
    else if (row.has_schemas !== true) problem = "it has no schema";
    return { serverVersion: Number(row.version), problem };
  });
}
