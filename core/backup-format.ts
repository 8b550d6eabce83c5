/**
 * The backup file, before compression: a script for psql that is read back by its markers. Lines that begin with `--:` are markers, a word
 * and JSON; a marker with `bytes` is followed by exactly that many; `--:table` is followed by a COPY statement and its data up to `\.`. Other
 * lines are for psql only. docs/backups.md describes it for people.
 */
import type { BlueprintVersion } from "./model.ts";
import { quoteIdentifier, quoteLiteral } from "./sql.ts";

export const backupFormat = 1;

export interface BackupHeader {
  readonly format: number;
  readonly project: string;
  readonly tenant: string;
  readonly blueprint: string;
  /** Blueprint version of the database. */
  readonly version: number;
  /** ISO 8601, by the database server's clock: everything committed before is in it. */
  readonly snapshotAt: string;
  readonly serverVersion: string;
}

export interface BackupColumn {
  readonly name: string;
  /** As format_type writes it. */
  readonly type: string;
}

/** What the rows of a data section are: a table's, the list of large objects, their pages as the server keeps them, or pieces of what they hold. */
export type BackupTableKind = "table" | "large objects" | "large object pages" | "large object contents";

export interface BackupTable {
  readonly kind: BackupTableKind;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly BackupColumn[];
}

/** What was written of one table, to be compared with what comes back. */
export interface BackupCount {
  readonly rows: number;
  readonly bytes: number;
  /** Of the data as it stands in the file. */
  readonly sha256: string;
  /** The same whatever the order of the rows. */
  readonly content: string;
}

export interface BackupSequence {
  readonly schema: string;
  readonly name: string;
  /** As text: it may be beyond 2^53. */
  readonly lastValue: string;
  readonly isCalled: boolean;
}

/** What of a backup is in an archive of pg_dump beside the file that describes it. */
export interface ArchivedTables {
  /** Major version of the pg_dump that made the archive: an older pg_restore does not read it. */
  readonly toolVersion: number;
  /** Each is in the archive once. */
  readonly tables: readonly BackupTable[];
  /** Extensions' own tables, whose rows pg_dump keeps and a restore leaves to the extension. */
  readonly extensionTables: readonly Pick<BackupTable, "schema" | "name">[];
}

/** The last line: without it the file is cut short. */
export interface BackupManifest {
  readonly tables: readonly (Pick<BackupTable, "kind" | "schema" | "name"> & BackupCount)[];
  readonly sequences: number;
  /** Owners and grants by object, roles by their purpose; compared after a restore. */
  readonly objects: Readonly<Record<string, string>>;
}

export type BackupPart =
  | { readonly type: "header"; readonly header: BackupHeader }
  | { readonly type: "version"; readonly version: BlueprintVersion }
  /** `data` is to be read to its end before the next part is asked for. */
  | { readonly type: "table"; readonly table: BackupTable; readonly data: AsyncIterable<Uint8Array> }
  | { readonly type: "archived"; readonly archived: ArchivedTables }
  | { readonly type: "sequences"; readonly sequences: readonly BackupSequence[] }
  /** Materialized views that held data, in order of creation. */
  | { readonly type: "views"; readonly views: readonly { readonly schema: string; readonly name: string }[] }
  | { readonly type: "manifest"; readonly manifest: BackupManifest };

const encoder = new TextEncoder();

export function formatStart(header: BackupHeader): string {
  return `-- Tenantry backup of tenant ${header.tenant}, blueprint ${header.blueprint} version ${header.version}, ${header.snapshotAt}.
-- It is a script for psql, to be run by a superuser in an empty database: gunzip -c FILE | psql -X DATABASE
-- Statements that name roles of the tenant's own database need those roles, or fail without harm to the rest.
--:header ${JSON.stringify(header)}
SET client_encoding = 'UTF8';
SET session_replication_role = replica;
SET check_function_bodies = off;
`;
}

/** The file beside an archive: this one's markers, with what only the restore needs. No script. */
export function formatContentsStart(header: BackupHeader): string {
  return `-- What the archive of the same name holds, for restores by Tenantry; pg_restore does not need it.\n--:header ${JSON.stringify(header)}\n`;
}

export function formatArchived(archived: ArchivedTables): string {
  return `--:archived ${JSON.stringify(archived)}\n`;
}

/** What was skipped is a version without text: nothing is run for it, by psql either. */
export function formatVersion(version: BlueprintVersion): string {
  const { sql: text, ...rest } = version;
  const sql = version.skippedAt === undefined ? text : "";
  const marker = `--:version ${JSON.stringify({ ...rest, bytes: encoder.encode(sql).length })}\n`;
  const settings = Object.entries({ ...version.settings, search_path: version.searchPath });
  const calls = settings.map(([name, value]) => `pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false)`);
  return `SELECT ${calls.join(", ")};\n${marker}${sql}\n;\n`;
}

/** Rows that the schema's own statements may have made (CREATE TABLE AS) give way to the backup's. */
export function formatDataStart(tables: readonly BackupTable[]): string {
  const reset = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);\n";
  return tables.length === 0 ? reset : `${reset}TRUNCATE ONLY ${tables.map(tableName).join(", ")};\n`;
}

export const largeObjectList: BackupTable = {
  kind: "large objects",
  schema: "pg_temp",
  name: "tdb_large_objects",
  columns: [
    { name: "oid", type: "oid" },
    { name: "owner", type: "text" },
    { name: "grants", type: "text[]" },
  ],
};
export const largeObjectPages: BackupTable = {
  kind: "large object pages",
  schema: "pg_temp",
  name: "tdb_large_object_pages",
  columns: [
    { name: "oid", type: "oid" },
    { name: "position", type: "bigint" },
    { name: "data", type: "bytea" },
  ],
};

/** The same by content: pg_dump reads objects and not their pages, so that a hole comes back as zeros. */
export const largeObjectContents: BackupTable = { ...largeObjectPages, kind: "large object contents" };

/** Before and after the data of large objects, which come through temporary tables. */
export function createLargeObjectTable(table: BackupTable): string {
  const columns = table.columns.map((column) => `${quoteIdentifier(column.name)} ${column.type}`).join(", ");
  return `CREATE TEMPORARY TABLE ${quoteIdentifier(table.name)} (${columns});\n`;
}
const writePages =
  "SELECT pg_catalog.count(pg_catalog.lo_put(oid, position, data)::pg_catalog.text) FROM (SELECT * FROM pg_temp.tdb_large_object_pages ORDER BY oid, position) AS pages;\n";
export const loadLargeObjects: Record<Exclude<BackupTableKind, "table">, string> = {
  "large objects": "SELECT pg_catalog.count(pg_catalog.lo_create(oid)) FROM pg_temp.tdb_large_objects;\n",
  "large object pages": writePages,
  "large object contents": writePages,
};

export function formatTableStart(table: BackupTable): string {
  const create = table.kind === "table" ? "" : createLargeObjectTable(table);
  return `${create}--:table ${JSON.stringify(table)}\n${copyFrom(table)};\n`;
}

export function formatTableEnd(table: BackupTable): string {
  return `\\.\n${table.kind === "table" ? "" : loadLargeObjects[table.kind]}`;
}

export function tableName(table: Pick<BackupTable, "schema" | "name">): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
}

/** Columns by name; none at all for a table without columns that are stored. */
export function columnList(table: { readonly columns: readonly Pick<BackupColumn, "name">[] }): string {
  return table.columns.length === 0 ? "" : ` (${table.columns.map((column) => quoteIdentifier(column.name)).join(", ")})`;
}

export function copyFrom(table: BackupTable): string {
  return `COPY ${tableName(table)}${columnList(table)} FROM STDIN`;
}

export function setSequence(sequence: BackupSequence): string {
  return `SELECT pg_catalog.setval(${quoteLiteral(tableName(sequence))}::pg_catalog.regclass, ${quoteLiteral(sequence.lastValue)}::bigint, ${sequence.isCalled})`;
}

export function formatSequences(sequences: readonly BackupSequence[]): string {
  return `--:sequences ${JSON.stringify(sequences)}\n${sequences.map((each) => `${setSequence(each)};\n`).join("")}`;
}

export function formatViews(views: readonly { readonly schema: string; readonly name: string }[]): string {
  return `--:views ${JSON.stringify(views)}\n${views.map((view) => `REFRESH MATERIALIZED VIEW ${tableName(view)};\n`).join("")}`;
}

export function formatManifest(manifest: BackupManifest): string {
  return `RESET session_replication_role;\nANALYZE;\n--:manifest ${JSON.stringify(manifest)}\n`;
}

/** Counts rows of COPY text and sums them up so that their order does not matter. */
export class RowSum {
  rows = 0;
  bytes = 0;
  #a = 0;
  #b = 0;
  #lineA = 0x811c9dc5;
  #lineB = 0x2545f491;

  add(chunk: Uint8Array): void {
    let lineA = this.#lineA;
    let lineB = this.#lineB;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      lineA = Math.imul(lineA ^ byte, 0x01000193);
      lineB = Math.imul(lineB + byte, 0x5bd1e995) ^ (lineB >>> 15);
      if (byte !== 0x0a) continue;
      this.#a = (this.#a + mix(lineA)) | 0;
      this.#b = (this.#b + mix(lineB)) | 0;
      this.rows++;
      lineA = 0x811c9dc5;
      lineB = 0x2545f491;
    }
    this.#lineA = lineA;
    this.#lineB = lineB;
    this.bytes += chunk.length;
  }

  get content(): string {
    const hex = (value: number) => (value >>> 0).toString(16).padStart(8, "0");
    return hex(this.#a) + hex(this.#b);
  }
}

function mix(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
