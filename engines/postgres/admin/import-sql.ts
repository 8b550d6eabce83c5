/** SQL of an import inside a tenant database: its record, its foreign keys and triggers out of the way and back, its sequences. */
import { nativeRoleName } from "../../../core/model.ts";
import { quoteIdentifier, quoteLiteral } from "../../../core/sql.ts";

/**
 * The record that an import was written, which commits with its rows. Through a function that looks at session_user, as the applied version is:
 * nobody but the control plane writes it. Run by the administrator, any number of times.
 */
export function importRecordSql(databaseName: string): string {
  const owner = quoteIdentifier(nativeRoleName(databaseName, "owner"));
  return `
BEGIN;
CREATE TABLE IF NOT EXISTS tdb.imports (
  import_id text PRIMARY KEY,
  result jsonb,
  finished_at timestamptz NOT NULL DEFAULT now()
);
CREATE OR REPLACE FUNCTION tdb.record_import(id text, result jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  PERFORM tdb.require_control_plane();
  INSERT INTO tdb.imports AS i (import_id, result) VALUES (id, record_import.result)
    ON CONFLICT (import_id) DO UPDATE SET result = excluded.result WHERE i.result IS NULL;
END $tdb$;
REVOKE EXECUTE ON FUNCTION tdb.record_import(text, jsonb) FROM PUBLIC;
GRANT SELECT ON tdb.imports TO ${owner};
GRANT EXECUTE ON FUNCTION tdb.record_import(text, jsonb) TO ${owner};
COMMIT;
`;
}

export const findImportRecordSql = "SELECT result FROM tdb.imports WHERE import_id = $1";

/** `schema.table` pairs as a relation `wanted (schema, name)`. */
function wantedTables(tables: readonly { readonly schema: string; readonly name: string }[]): string {
  return `(VALUES ${tables.map(({ schema, name }) => `(${quoteLiteral(schema)}, ${quoteLiteral(name)})`).join(", ")}) AS wanted (schema, name)`;
}

type Tables = readonly { readonly schema: string; readonly name: string }[];

/** Foreign keys from or to the tables, with the statements that take them away and put them back; those of partitions follow their parent's. */
export function foreignKeysSql(tables: Tables): string {
  return `
SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::pg_catalog.regclass, k.conname) AS drop,
       pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::pg_catalog.regclass, k.conname, pg_catalog.pg_get_constraintdef(k.oid)) AS add,
       CASE WHEN pg_catalog.obj_description(k.oid, 'pg_constraint') IS NOT NULL THEN pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.conrelid::pg_catalog.regclass, pg_catalog.obj_description(k.oid, 'pg_constraint')) END AS describe
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f' AND k.conparentid = 0 AND EXISTS (
   SELECT FROM ${wantedTables(tables)} JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    WHERE c.oid IN (k.conrelid, k.confrelid))
 ORDER BY k.oid`;
}

/** User triggers of the tables that would fire, with the statements that silence them and restore each as it was. */
export function triggersSql(tables: Tables): string {
  return `
SELECT pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname) AS drop,
       pg_catalog.format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.tgrelid::pg_catalog.regclass,
         CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, t.tgname) AS add,
       NULL AS describe
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN ${wantedTables(tables)} ON wanted.schema = n.nspname AND wanted.name = c.relname
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
 ORDER BY t.oid`;
}

/** Sequences that fill columns of the tables: owned ones, identities, and others that a default names. */
export function sequencesSql(tables: Tables): string {
  return `
SELECT DISTINCT s.oid::pg_catalog.regclass::text AS sequence, c.oid::pg_catalog.regclass::text AS table, a.attname AS column, q.seqincrement > 0 AS ascending
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_class s ON s.relkind = 'S'
  JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
  LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid
  JOIN pg_catalog.pg_attribute a ON (a.attrelid, a.attnum) = (coalesce(f.adrelid, d.refobjid), coalesce(f.adnum::integer, d.refobjsubid))
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN ${wantedTables(tables)} ON wanted.schema = n.nspname AND wanted.name = c.relname
 WHERE (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass)
    OR (f.oid IS NOT NULL AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = s.oid)
 ORDER BY 1`;
}

/** Moves a sequence behind the column's last value; never back, as several columns may take from it. Names come quoted from PostgreSQL. */
export function advanceSequenceSql(row: { sequence: string; table: string; column: string; ascending: boolean }): string {
  const [extreme, beyond] = row.ascending ? ["max", ">="] : ["min", "<="];
  return `
SELECT pg_catalog.setval(${quoteLiteral(row.sequence)}::pg_catalog.regclass, used.last::bigint)
  FROM (SELECT pg_catalog.${extreme}(${quoteIdentifier(row.column)}) AS last FROM ${row.table}) used, ${row.sequence} s,
       pg_catalog.pg_sequence q
 WHERE q.seqrelid = ${quoteLiteral(row.sequence)}::pg_catalog.regclass AND used.last BETWEEN q.seqmin AND q.seqmax AND used.last ${beyond} s.last_value`;
}
