/** Reads a restored database back and compares it with what the backup says was in it. */
import { type BackupManifest, type BackupSequence, type BackupTable, RowSum, tableName } from "../../../core/backup-format.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";
import { withAdmin } from "./context.ts";
import { type DumpContext, largeObjectContentsQuery, largeObjectPagesQuery, largeObjectsQuery, tableSource } from "./dump.ts";
import { readObjects, readSequences, sessionSql } from "./dump-catalog.ts";

/** What came out of the backup, as far as it is needed afterwards. */
export interface Loaded {
  readonly manifest: BackupManifest;
  readonly tables: readonly BackupTable[];
  readonly sequences: readonly BackupSequence[];
  readonly views: readonly { readonly schema: string; readonly name: string }[];
  readonly warnings: readonly string[];
}

/** Most differences of owners and grants told one by one. */
const maxTold = 20;

/** @throws {GatewayError} backup_unusable when rows or sequences differ. @returns differences of objects, for people */
export async function verifyRestored(
  context: DumpContext,
  database: PhysicalDatabase,
  loaded: Loaded,
  signal: AbortSignal,
): Promise<readonly string[]> {
  return await withAdmin(context, database.clusterId, database.name, async (connection) => {
    await connection.query(sessionSql);
    await requireNoSettings(connection);
    await compareTables(connection, database, loaded, signal);
    await compareSequences(connection, loaded);
    return compareObjects(loaded.manifest.objects, await readObjects(connection, database.name));
  });
}

/** The setting that let rows come in any order must be gone: it would switch off every trigger and foreign key. */
async function requireNoSettings(connection: SqlConnection): Promise<void> {
  const { rowCount } = await connection.query(
    "SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()",
  );
  if (rowCount > 0) throw new Error("a restored database keeps settings of its restore");
}

async function compareTables(connection: SqlConnection, database: PhysicalDatabase, loaded: Loaded, signal: AbortSignal): Promise<void> {
  const { tables } = loaded.manifest;
  const keyOf = (table: Pick<BackupTable, "kind" | "schema" | "name">) => `${table.kind} ${tableName(table)}`;
  const byKey = new Map(loaded.tables.map((table) => [keyOf(table), table]));
  if (byKey.size !== loaded.tables.length || byKey.size !== tables.length) throw differs("the number of tables");
  for (const expected of tables) {
    const table = byKey.get(keyOf(expected));
    if (!table) throw differs("the names of tables");
    byKey.delete(keyOf(expected));
    const place = table.kind === "table" ? `table ${table.schema}.${table.name}` : table.kind;
    const found = new RowSum();
    for await (const chunk of connection.copyOut(`COPY ${sourceOf(table, database.name)} TO STDOUT`)) {
      signal.throwIfAborted();
      found.add(chunk);
    }
    if (found.rows !== expected.rows) throw differs(`${place}: ${found.rows} rows instead of ${expected.rows}`);
    if (found.content !== expected.content || found.bytes !== expected.bytes) throw differs(`${place}: its content`);
  }
}

function sourceOf(table: BackupTable, database: string): string {
  if (table.kind === "large objects") return largeObjectsQuery(database);
  if (table.kind === "large object contents") return largeObjectContentsQuery;
  return table.kind === "table" ? tableSource(table) : largeObjectPagesQuery;
}

async function compareSequences(connection: SqlConnection, loaded: Loaded): Promise<void> {
  const found = new Map((await readSequences(connection)).map((each) => [tableName(each), each]));
  if (loaded.sequences.length !== loaded.manifest.sequences) throw differs("the number of sequences");
  for (const expected of loaded.sequences) {
    const now = found.get(tableName(expected));
    if (now && (now.lastValue !== expected.lastValue || now.isCalled !== expected.isCalled)) {
      throw differs(`sequence ${expected.schema}.${expected.name}`);
    }
  }
}

function differs(what: string): GatewayError {
  return new GatewayError("backup_unusable", `What was restored is not what the backup says: ${what}`, {
    hint: "The database was not replaced. Use another backup.",
  });
}

/** Somebody changed the database by hand before the backup: said, not brought back. */
function compareObjects(expected: Readonly<Record<string, string>>, found: Readonly<Record<string, string>>): readonly string[] {
  const told: string[] = [];
  for (const name of [...new Set([...Object.keys(expected), ...Object.keys(found)])].sort()) {
    const [before, now] = [expected[name], found[name]];
    if (before === now) continue;
    if (now === undefined) told.push(`${name} was in the backup and is not part of the blueprint; it is missing`);
    else if (before === undefined) told.push(`${name} was not in the backup and is part of the blueprint; it is back`);
    else told.push(`${name} is as the blueprint has it (${now}), and was ${before} in the backup`);
  }
  return told.length <= maxTold ? told : [...told.slice(0, maxTold), `and ${told.length - maxTold} more differences`];
}
