/** What of a tenant's database goes into a backup, from its catalogs: tables, sequences, views that hold data, who owns and may use what. */
import type { BackupColumn, BackupSequence, BackupTable } from "../../../core/backup-format.ts";
import { tableName } from "../../../core/backup-format.ts";
import { quoteLiteral, type SqlConnection } from "../../../core/sql.ts";

/** Settings that decide how values are written, the same for every dump and every check. Sequential scans begin at the first page. */
export const sessionSql = `
SET DateStyle TO ISO;
SET IntervalStyle TO postgres;
SET TimeZone TO 'UTC';
SET extra_float_digits TO 3;
SET bytea_output TO hex;
SET xmloption TO content;
SET synchronize_seqscans TO off;
SET statement_timeout TO 0;
SET idle_in_transaction_session_timeout TO 0;
SET row_security TO off;
SET client_encoding TO 'UTF8';
`;

/** Of the blueprint: neither the server's, nor ours, nor an extension's. */
const isUsers = (relation: string) => `
       n.nspname NOT IN ('pg_catalog', 'information_schema', 'tdb') AND n.nspname NOT LIKE 'pg\\_%' AND ${relation}.relpersistence <> 't'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = ${relation}.oid AND e.deptype = 'e')`;

const tablesSql = `
SELECT n.nspname AS schema, c.relname AS name,
       coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
                FILTER (WHERE a.attname IS NOT NULL), '[]')::text AS columns
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relkind = 'r' AND ${isUsers("c")}
 GROUP BY n.nspname, c.relname
 ORDER BY n.nspname, c.relname`;

/** Tables with rows of their own: partitioned ones have none, their partitions do. Generated columns are left out. */
export async function listTables(connection: SqlConnection): Promise<readonly BackupTable[]> {
  const { rows } = await connection.query(tablesSql);
  return rows.map((row) => ({
    kind: "table",
    schema: String(row.schema),
    name: String(row.name),
    columns: JSON.parse(String(row.columns)) as BackupColumn[],
  }));
}

/** Tables of extensions whose rows pg_dump keeps, since the extension says that users write them. */
export async function listExtensionTables(connection: SqlConnection): Promise<readonly { schema: string; name: string }[]> {
  const { rows } = await connection.query(
    `SELECT DISTINCT n.nspname AS schema, c.relname AS name FROM pg_extension x CROSS JOIN unnest(x.extconfig) AS t (oid)
       JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1, 2`,
  );
  return rows.map((row) => ({ schema: String(row.schema), name: String(row.name) }));
}

const sequencesSql = `
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND ${isUsers("c")} ORDER BY 1, 2`;

/** Sequences asked in one statement. */
const sequencesAtOnce = 100;

/** Their state now: sequences know no snapshot, and are never behind one. */
export async function readSequences(connection: SqlConnection): Promise<readonly BackupSequence[]> {
  const names = (await connection.query(sequencesSql)).rows.map((row) => ({ schema: String(row.schema), name: String(row.name) }));
  const found: BackupSequence[] = [];
  for (let from = 0; from < names.length; from += sequencesAtOnce) {
    const some = names.slice(from, from + sequencesAtOnce);
    const parts = some.map((each, at) => `SELECT ${at} AS at, last_value::text AS last, is_called AS called FROM ${tableName(each)}`);
    const { rows } = await connection.query(`${parts.join(" UNION ALL ")} ORDER BY 1`);
    for (const row of rows) found.push({ ...some[Number(row.at)]!, lastValue: String(row.last), isCalled: row.called === true });
  }
  return found;
}

const viewsSql = `
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm' AND c.relispopulated AND ${isUsers("c")} ORDER BY c.oid`;

export async function listFilledViews(connection: SqlConnection): Promise<readonly { schema: string; name: string }[]> {
  const { rows } = await connection.query(viewsSql);
  return rows.map((row) => ({ schema: String(row.schema), name: String(row.name) }));
}

/** Roles by what they are for: `tdb_…_read` of this database is `read`. */
const roleOf = (database: string, oid: string) =>
  `CASE WHEN ${oid} = 0 THEN 'PUBLIC' ELSE regexp_replace(pg_get_userbyid(${oid})::text, ${quoteLiteral(`^${database}_`)}, '') END`;

/** One line per object: `table public.accounts` → owner and grants. Two databases of a blueprint's version have the same. */
export async function readObjects(connection: SqlConnection, database: string): Promise<Readonly<Record<string, string>>> {
  const grants = (acl: string) =>
    `(SELECT coalesce(string_agg(grantee || '=' || privileges, ' ' ORDER BY grantee), '') FROM (
        SELECT ${roleOf(database, "x.grantee")} AS grantee, string_agg(x.privilege_type, ',' ORDER BY x.privilege_type) AS privileges
          FROM aclexplode(${acl}) x GROUP BY x.grantee) g)`;
  const { rows } = await connection.query(`
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index'
            WHEN 'I' THEN 'index' WHEN 'f' THEN 'foreign table' ELSE 'table' END || ' ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS object,
       ${roleOf(database, "c.relowner")} || ' ' || ${grants("c.relacl")} || CASE WHEN c.relrowsecurity THEN ' row security' ELSE '' END
         || CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END AS state
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 'f') AND ${isUsers("c")}
UNION ALL
SELECT 'schema ' || quote_ident(n.nspname), ${roleOf(database, "n.nspowner")} || ' ' || ${grants("n.nspacl")}
  FROM pg_namespace n WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
UNION ALL
SELECT 'function ' || p.oid::regprocedure::text, ${roleOf(database, "p.proowner")} || ' ' || ${grants("p.proacl")}
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'tdb') AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
UNION ALL
SELECT 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass::text, t.tgenabled::text FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND ${isUsers("c")}
UNION ALL
SELECT 'constraint ' || quote_ident(k.conname) || ' on ' || k.conrelid::regclass::text, pg_get_constraintdef(k.oid) FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${isUsers("c")}
UNION ALL
SELECT 'policy ' || quote_ident(p.polname) || ' on ' || p.polrelid::regclass::text,
       p.polcmd::text || ' ' || (SELECT string_agg(${roleOf(database, "m")}, ',' ORDER BY ${roleOf(database, "m")}) FROM unnest(p.polroles) m) FROM pg_policy p
 ORDER BY 1`);
  return Object.fromEntries(rows.map((row) => [String(row.object), String(row.state).trim()]));
}
