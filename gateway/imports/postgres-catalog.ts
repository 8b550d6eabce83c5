/** Tables, columns, keys and indexes of a PostgreSQL database, read from its catalogs; of a source as of a blueprint's own database. */
import type { SourceCatalog, SourceColumn, SourceForeignKey, SourceTable } from "./catalog.ts";

export type RunQuery = (text: string) => Promise<readonly Record<string, unknown>[]>;

/** Types are named in full. Our own SQL names everything in full anyway. */
export const settleSessionSql = `
SET search_path TO pg_catalog, pg_temp;
SET datestyle TO 'ISO, MDY';
SET intervalstyle TO 'postgres';
SET timezone TO 'UTC';
SET bytea_output TO 'hex';
SET extra_float_digits TO 1;
SET client_encoding TO 'UTF8';
SET statement_timeout TO 0;
SET lock_timeout TO 0;
SET idle_in_transaction_session_timeout TO 0;
SET row_security TO off;
`;

// Columns that older servers do not have are read through to_jsonb: NULL there.
const tablesSql = `
SELECT c.oid::bigint::text AS oid, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned,
       greatest(c.reltuples, 0)::bigint::text AS estimated_rows, pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND coalesce(to_jsonb(c)->>'relispartition', 'false') = 'false'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tdb') AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
 ORDER BY n.nspname, c.relname`;

const columnsSql = `
SELECT a.attrelid::bigint::text AS oid, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, NOT a.attnotnull AS nullable,
       coalesce(to_jsonb(a)->>'attgenerated', '') <> '' AS generated,
       a.atthasdef OR coalesce(to_jsonb(a)->>'attidentity', '') <> '' AS has_default
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum`;

const namesOf = (table: string, numbers: string) => `
(SELECT json_agg(a.attname ORDER BY part.place) FROM unnest(${numbers}) WITH ORDINALITY AS part (number, place)
   JOIN pg_attribute a ON a.attrelid = ${table} AND a.attnum = part.number)`;

const keysSql = `
SELECT k.conrelid::bigint::text AS oid, k.confrelid::bigint::text AS target, k.conname AS name, k.contype::text AS kind,
       ${namesOf("k.conrelid", "k.conkey")} AS columns, ${namesOf("k.confrelid", "k.confkey")} AS target_columns
  FROM pg_constraint k
 WHERE k.contype IN ('p', 'f') AND coalesce(to_jsonb(k)->>'conparentid', '0') = '0'
 ORDER BY k.conrelid, k.conname`;

const indexesSql = `
SELECT i.indrelid::bigint::text AS oid, ${namesOf("i.indrelid", "i.indkey::int2[]")} AS columns
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND c.relnamespace <> 'pg_catalog'::regnamespace`;

const otherSql = `
SELECT count(*) FILTER (WHERE c.relkind = 'f')::int AS foreign_tables,
       (SELECT count(*)::int FROM (SELECT FROM pg_largeobject_metadata LIMIT 1) l) AS large_objects
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg\\_%'`;

export async function readPostgresCatalog(query: RunQuery): Promise<SourceCatalog> {
  const [version] = await query("SELECT current_setting('server_version') AS version");
  const tables = await query(tablesSql);
  const columns = groupByOid(await query(columnsSql));
  const keys = groupByOid(await query(keysSql));
  const indexes = groupByOid(await query(indexesSql));
  const [other] = await query(otherSql);
  const keyOf = new Map(tables.map((row) => [String(row.oid), tableKey(String(row.schema), String(row.name))]));
  const warnings = tables.filter((row) => row.readable !== true).map((row) => `table ${keyOf.get(String(row.oid))} cannot be read by this user`);
  if (Number(other?.foreign_tables) > 0) warnings.push("foreign tables are not imported");
  if (Number(other?.large_objects) > 0) warnings.push("large objects are not imported");
  return {
    serverVersion: String(version?.version),
    tables: tables.map((row) => toTable(row, columns, keys, indexes, keyOf)),
    warnings,
  };
}

export function tableKey(schema: string, name: string): string {
  return schema === "public" ? name : `${schema}.${name}`;
}

type Rows = readonly Record<string, unknown>[];

function groupByOid(rows: Rows): Map<string, Record<string, unknown>[]> {
  const groups = new Map<string, Record<string, unknown>[]>();
  for (const row of rows) {
    const known = groups.get(String(row.oid));
    if (known) known.push(row);
    else groups.set(String(row.oid), [row]);
  }
  return groups;
}

function toTable(
  row: Record<string, unknown>,
  columns: ReadonlyMap<string, Rows>,
  keys: ReadonlyMap<string, Rows>,
  indexes: ReadonlyMap<string, Rows>,
  keyOf: ReadonlyMap<string, string>,
): SourceTable {
  const oid = String(row.oid);
  const own = keys.get(oid) ?? [];
  return {
    key: tableKey(String(row.schema), String(row.name)),
    schema: String(row.schema),
    name: String(row.name),
    partitioned: row.partitioned === true,
    columns: (columns.get(oid) ?? []).map(toColumn),
    primaryKey: strings(own.find((key) => key.kind === "p")?.columns),
    foreignKeys: own.filter((key) => key.kind === "f" && keyOf.has(String(key.target))).map((key) => toForeignKey(key, keyOf)),
    indexes: (indexes.get(oid) ?? []).map((index) => strings(index.columns)),
    estimatedRows: Number(row.estimated_rows),
  };
}

function toColumn(row: Record<string, unknown>): SourceColumn {
  return {
    name: String(row.name),
    type: String(row.type),
    nullable: row.nullable === true,
    generated: row.generated === true,
    hasDefault: row.has_default === true,
  };
}

function toForeignKey(row: Record<string, unknown>, keyOf: ReadonlyMap<string, string>): SourceForeignKey {
  return {
    name: String(row.name),
    columns: strings(row.columns),
    target: keyOf.get(String(row.target))!,
    targetColumns: strings(row.target_columns),
  };
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
