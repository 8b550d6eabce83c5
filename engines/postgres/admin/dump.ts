/** A tenant's database as a backup: one snapshot, read by the administrator, who runs nothing of the customer's while doing so. */
import {
  type BackupCount,
  type BackupHeader,
  type BackupTable,
  backupFormat,
  columnList,
  formatDataStart,
  formatManifest,
  formatSequences,
  formatStart,
  formatTableEnd,
  formatTableStart,
  formatVersion,
  formatViews,
  largeObjectList,
  largeObjectPages,
  RowSum,
  tableName,
} from "../../../core/backup-format.ts";
import type { DumpRequest, DumpResult, StreamHash } from "../../../core/dumper.ts";
import { GatewayError } from "../../../core/errors.ts";
import { quoteLiteral, type SqlConnection } from "../../../core/sql.ts";
import type { AdminContext } from "./context.ts";
import { listFilledViews, listTables, readObjects, readSequences, sessionSql } from "./dump-catalog.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

export interface DumpContext extends AdminContext {
  makeHash(): StreamHash;
}

/** Tries to take the tables' locks and the snapshot while the schema is being changed. */
const snapshotTries = 10;
const lockTimeoutMs = 5_000;

const encoder = new TextEncoder();

export async function* dump(context: DumpContext, request: DumpRequest): AsyncGenerator<Uint8Array, DumpResult, undefined> {
  const connection = await context.dialer.asAdmin(request.database.clusterId, request.database.name).catch((error: unknown) => {
    throw toGatewayError(error);
  });
  try {
    await connection.query(sessionSql);
    return yield* dumpSnapshot(context, connection, request, await takeSnapshot(context, connection, request.signal));
  } catch (error) {
    throw asSqlError(error) ? toGatewayError(error) : error;
  } finally {
    await connection.close();
  }
}

async function* dumpSnapshot(
  context: DumpContext,
  connection: SqlConnection,
  request: DumpRequest,
  tables: readonly BackupTable[],
): AsyncGenerator<Uint8Array, DumpResult, undefined> {
  const header = await readHeader(connection, request);
  yield encoder.encode(formatStart(header));
  for (const version of await request.loadVersions(header.version)) yield encoder.encode(formatVersion(version));
  yield encoder.encode(formatDataStart(tables));
  const counts: DumpResult["manifest"]["tables"][number][] = [];
  for (const { table, query } of await listSources(connection, tables, request.database.name)) {
    yield encoder.encode(formatTableStart(table));
    const count = yield* copyTable(context, connection, query, request.signal);
    yield encoder.encode(formatTableEnd(table));
    counts.push({ kind: table.kind, schema: table.schema, name: table.name, ...count });
  }
  return { header, manifest: yield* closeContents(connection, request, counts) };
}

/** What follows the rows in either format. Sequences know no snapshot, and are never behind it; the transaction is over then. */
export async function* closeContents(
  connection: SqlConnection,
  request: Pick<DumpRequest, "database">,
  tables: DumpResult["manifest"]["tables"],
): AsyncGenerator<Uint8Array, DumpResult["manifest"], undefined> {
  const sequences = await readSequences(connection);
  yield encoder.encode(formatSequences(sequences));
  yield encoder.encode(formatViews(await listFilledViews(connection)));
  const objects = await readObjects(connection, request.database.name);
  await connection.query("COMMIT");
  const manifest = { tables, sequences: sequences.length, objects };
  yield encoder.encode(formatManifest(manifest));
  return manifest;
}

/**
 * Locks first, snapshot afterwards: LOCK TABLE takes none, so no table can have been rewritten between the two and look empty. A table made or
 * dropped meanwhile starts it over. @returns the tables of the snapshot; the transaction is left open
 */
export async function takeSnapshot(context: DumpContext, connection: SqlConnection, signal: AbortSignal): Promise<readonly BackupTable[]> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted();
    const wanted = await listTables(connection);
    try {
      await connection.query(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout TO ${lockTimeoutMs}`);
      if (wanted.length > 0) await connection.query(`LOCK TABLE ONLY ${wanted.map(tableName).join(", ONLY ")} IN ACCESS SHARE MODE`);
      const found = await listTables(connection);
      if (JSON.stringify(found) === JSON.stringify(wanted)) return found;
    } catch (error) {
      const state = asSqlError(error)?.code;
      // undefined_table, invalid_schema_name, lock_not_available, deadlock_detected: a deployment is at work
      if (!state || !["42P01", "3F000", "55P03", "40P01"].includes(state)) throw error;
      context.log.write("info", "backup waits for a change of the schema", { sqlstate: state, attempt: tries });
    }
    await connection.query("ROLLBACK");
    if (tries === snapshotTries) throw new GatewayError("conflict", "The database's schema is being changed; back it up when the deployment is done");
    await context.clock.sleep(200 * tries, signal);
  }
}

export async function readHeader(connection: SqlConnection, request: DumpRequest): Promise<BackupHeader> {
  const { rows } = await connection.query(
    "SELECT (SELECT version FROM tdb.applied) AS version, (extract(epoch FROM now()) * 1000)::bigint::text AS at, current_setting('server_version') AS server",
  );
  const row = rows[0] ?? {};
  const { project, tenant, blueprint } = request;
  const snapshotAt = new Date(Number(row.at)).toISOString();
  return { format: backupFormat, project, tenant, blueprint, version: Number(row.version ?? 0), snapshotAt, serverVersion: String(row.server) };
}

export interface Source {
  readonly table: BackupTable;
  /** What COPY … TO reads. */
  readonly query: string;
}

export async function hasLargeObjects(connection: SqlConnection): Promise<boolean> {
  return (await connection.query("SELECT FROM pg_largeobject_metadata LIMIT 1")).rowCount > 0;
}

async function listSources(connection: SqlConnection, tables: readonly BackupTable[], database: string): Promise<readonly Source[]> {
  const sources = tables.map((table): Source => ({ table, query: tableSource(table) }));
  if (await hasLargeObjects(connection)) {
    sources.push({ table: largeObjectList, query: largeObjectsQuery(database) }, { table: largeObjectPages, query: largeObjectPagesQuery });
  }
  return sources;
}

/** A table with generated columns only has rows all the same, and its COPY no list of columns. */
export function tableSource(table: BackupTable): string {
  return `${tableName(table)}${columnList(table)}`;
}

/** Owner and grants by the purpose of the role: `write`, `read=SELECT`. What belongs to the administrator says so with an empty name. */
export function largeObjectsQuery(database: string): string {
  const purpose = (oid: string) => `substr(pg_get_userbyid(${oid})::text, ${database.length + 2})`;
  const isOwn = (oid: string) => `starts_with(pg_get_userbyid(${oid})::text, ${quoteLiteral(`${database}_`)})`;
  return `(SELECT m.oid, CASE WHEN ${isOwn("m.lomowner")} THEN ${purpose("m.lomowner")} ELSE '' END,
    coalesce((SELECT array_agg(g.entry ORDER BY g.entry) FROM (
      SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE ${purpose("a.grantee")} END || '=' || a.privilege_type AS entry
        FROM aclexplode(m.lomacl) a WHERE a.grantee = 0 OR ${isOwn("a.grantee")}) g), '{}')
    FROM pg_largeobject_metadata m ORDER BY m.oid)`;
}

/** Pages are a quarter of a block, of which this server may have another size than the one that reads them. */
export const largeObjectPagesQuery =
  "(SELECT loid, pageno::bigint * (current_setting('block_size')::bigint / 4), data FROM pg_largeobject ORDER BY loid, pageno)";

/** Objects by what they hold: pages without the zeros at their end, and each object's length, so that a hole and zeros are the same. */
export const largeObjectContentsQuery = `(SELECT loid, pageno::bigint * (current_setting('block_size')::bigint / 4), rtrim(data, decode('00', 'hex')) FROM pg_largeobject
   WHERE length(rtrim(data, decode('00', 'hex'))) > 0
  UNION ALL
  SELECT loid, max(pageno::bigint * (current_setting('block_size')::bigint / 4) + length(data)), NULL FROM pg_largeobject GROUP BY loid)`;

/** A table's rows, counted and summed up as they pass. */
export async function* copyTable(
  context: DumpContext,
  connection: SqlConnection,
  query: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, BackupCount, undefined> {
  const hash = context.makeHash();
  const sum = new RowSum();
  for await (const chunk of connection.copyOut(`COPY ${query} TO STDOUT`)) {
    signal.throwIfAborted();
    hash.update(chunk);
    sum.add(chunk);
    yield chunk;
  }
  return { rows: sum.rows, bytes: sum.bytes, sha256: hash.digest(), content: sum.content };
}
