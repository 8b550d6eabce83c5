/** A database's tables as they are copied, and a checksum over a table's rows that does not depend on their order. */
import { RowSum } from "../../../core/backup-format.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";

export interface TableRef {
  readonly schema: string;
  readonly name: string;
  /** Those that hold data of their own, in order. */
  readonly columns: readonly string[];
}

/** Tables with rows of their own: partitions, not what they are partitions of. What an extension brought is the extension's. */
const tablesSql = `
SELECT n.nspname AS schema, c.relname AS name,
       (SELECT coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attname), '{}') FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$|tdb$)'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
 ORDER BY n.nspname, c.relname`;

export async function listTables(connection: SqlConnection): Promise<readonly TableRef[]> {
  const { rows } = await connection.query(tablesSql);
  return rows.map((row) => ({ schema: String(row.schema), name: String(row.name), columns: row.columns as string[] }));
}

export function tableName({ schema, name }: TableRef): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/**
 * Rows are added up as hashes of their text, so that their order does not matter and a row that is there twice counts twice. Read by COPY: a query
 * would have the planner call functions in conditions of the table's indexes, which are the customer's, and the reader may be the administrator.
 */
export async function digestTable(connection: SqlConnection, table: TableRef): Promise<{ readonly rows: number; readonly checksum: string }> {
  const columns = table.columns.length === 0 ? "" : ` (${table.columns.map(quoteIdentifier).join(", ")})`;
  const sum = new RowSum();
  for await (const chunk of connection.copyOut(`COPY ${tableName(table)}${columns} TO STDOUT`)) sum.add(chunk);
  return { rows: sum.rows, checksum: `${sum.content} ${sum.bytes}` };
}
