/** Reference data: rows of a workspace's tables copied to a tenant's by primary key. What a tenant added stays, what it changed of these rows goes back. */
import type { FoundReferenceTable } from "../../../core/cluster-design.ts";
import { GatewayError } from "../../../core/errors.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";
import { inTransaction } from "./context.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

/** Rows read and written at a time. */
const batchRows = 500;

/** Values travel as text, which is right for every type; these make the text say the same on both sides. */
const textForm =
  "SET DateStyle TO ISO; SET IntervalStyle TO postgres; SET TimeZone TO UTC; SET extra_float_digits TO 1; SET bytea_output TO hex; SET search_path TO pg_catalog, pg_temp";

const found = `
SELECT c.oid::pg_catalog.int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind::pg_catalog.text AS kind,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p') AS has_key
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'tdb') AND n.nspname !~ '^pg_'`;

export async function findTable(connection: SqlConnection, table: string): Promise<FoundReferenceTable> {
  const dot = table.indexOf(".");
  const names = [["public", table], ...(dot > 0 ? [[table.slice(0, dot), table.slice(dot + 1)]] : [])];
  for (const [schema, name] of names) {
    const row = (await connection.query(`${found} AND n.nspname = $1 AND c.relname = $2`, [schema, name])).rows[0];
    if (!row) continue;
    if (row.kind !== "r" && row.kind !== "p") throw new GatewayError("bad_request", `'${table}' is not a table: only rows of tables can travel`);
    if (row.has_key !== true) {
      throw new GatewayError("bad_request", `Table '${table}' has no primary key: rows could not be told apart in tenants. Add one, then try again`);
    }
    return toTable(row);
  }
  throw new GatewayError("not_found", `Table not found: ${table}`);
}

function toTable(row: Readonly<Record<string, unknown>>): FoundReferenceTable {
  return { oid: Number(row.oid), schema: String(row.schema), name: String(row.name) };
}

export async function findMarked(connection: SqlConnection, marked: readonly FoundReferenceTable[]): Promise<readonly FoundReferenceTable[]> {
  const { rows } = await connection.query(`${found} AND c.relkind IN ('r', 'p')`);
  return marked.flatMap((mark) => {
    const row = rows.find((each) => Number(each.oid) === mark.oid) ?? rows.find((each) => each.schema === mark.schema && each.name === mark.name);
    return row ? [toTable(row)] : [];
  });
}

interface Column {
  readonly name: string;
  readonly type: string;
  readonly key: boolean;
  /** A sequence of its own, which must not give out a key that came with the rows. */
  readonly sequence: string | null;
}

const columnsSql = `
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, coalesce(a.attnum = ANY (k.conkey), false) AS key,
       pg_catalog.pg_get_serial_sequence($1, a.attname) AS sequence
  FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
 WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum`;

async function readColumns(connection: SqlConnection, table: string): Promise<readonly Column[]> {
  return (await connection.query(columnsSql, [table])).rows as unknown as readonly Column[];
}

export async function copyReferenceData(
  from: SqlConnection,
  tables: readonly FoundReferenceTable[],
  to: SqlConnection,
  options: { readonly lockTimeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<number> {
  await from.query(textForm);
  await to.query(textForm);
  let written = 0;
  await inTransaction(from, async () => {
    // One moment of the workspace for all tables.
    await from.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const ordered = await parentsFirst(from, tables);
    await inTransaction(to, async () => {
      await to.query("SELECT pg_catalog.set_config('lock_timeout', $1, true)", [String(options.lockTimeoutMs)]);
      await to.query("SET CONSTRAINTS ALL DEFERRED");
      for (const table of ordered) {
        options.signal?.throwIfAborted();
        written += await copyTable(from, table, to).catch((error: unknown) => {
          throw dataFailed(table, error);
        });
      }
    });
  });
  return written;
}

/** Values that PostgreSQL puts into DETAIL stay out of reports. */
function dataFailed(table: FoundReferenceTable, error: unknown): unknown {
  const sql = asSqlError(error);
  const refusal = toGatewayError(error);
  if (!sql || (refusal instanceof GatewayError && refusal.kind === "backend_unreachable")) return refusal;
  return new GatewayError("query_failed", `reference data of table ${table.schema}.${table.name}: ${sql.message}`, {
    sqlstate: sql.code,
    cause: error,
  });
}

/** What others refer to comes first; in a ring the order is as given. */
async function parentsFirst(from: SqlConnection, tables: readonly FoundReferenceTable[]): Promise<readonly FoundReferenceTable[]> {
  const { rows } = await from.query(
    "SELECT k.conrelid::pg_catalog.int8 AS child, k.confrelid::pg_catalog.int8 AS parent FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid <> k.confrelid",
  );
  const ordered: FoundReferenceTable[] = [];
  const seen = new Set<number>();
  const visit = (table: FoundReferenceTable) => {
    if (seen.has(table.oid)) return;
    seen.add(table.oid);
    for (const row of rows) {
      const parent = Number(row.child) === table.oid ? tables.find((each) => each.oid === Number(row.parent)) : undefined;
      if (parent) visit(parent);
    }
    ordered.push(table);
  };
  for (const table of tables) visit(table);
  return ordered;
}

async function copyTable(from: SqlConnection, table: FoundReferenceTable, to: SqlConnection): Promise<number> {
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
  const [source, target] = [await readColumns(from, name), await readColumns(to, name)];
  const columns = target.filter((column) => source.some((each) => each.name === column.name));
  const key = columns.filter((column) => column.key);
  // A version of before this table, or of before it had this key.
  if (key.length === 0 || key.length !== target.filter((column) => column.key).length) return 0;
  let written = 0;
  await from.query(
    `DECLARE tdb_reference NO SCROLL CURSOR FOR SELECT ${columns.map((column) => `${quoteIdentifier(column.name)}::pg_catalog.text`).join(", ")} FROM ${name}`,
  );
  for (;;) {
    const { rows } = await from.queryArrays(`FETCH ${batchRows} FROM tdb_reference`, [], { maxRows: batchRows, timeoutMs: 0 });
    if (rows.length === 0) break;
    const lists = columns.map((_, index) => rows.map((row) => row[index] ?? null));
    written += (await to.query(upsertSql(name, columns), lists)).rowCount;
    if (rows.length < batchRows) break;
  }
  await from.query("CLOSE tdb_reference");
  for (const { name: column, sequence } of columns) if (sequence !== null) await raise(to, name, column, sequence);
  return written;
}

function upsertSql(table: string, columns: readonly Column[]): string {
  const names = columns.map((column) => quoteIdentifier(column.name));
  const key = columns.filter((column) => column.key).map((column) => quoteIdentifier(column.name));
  const rest = columns.filter((column) => !column.key).map((column) => quoteIdentifier(column.name));
  const values = columns.map((column, index) => `v.c${index}::${column.type}`).join(", ");
  const action =
    rest.length === 0
      ? "DO NOTHING"
      : `DO UPDATE SET ${rest.map((name) => `${name} = EXCLUDED.${name}`).join(", ")}
           WHERE (${rest.map((name) => `t.${name}::pg_catalog.text`).join(", ")}) IS DISTINCT FROM (${rest.map((name) => `EXCLUDED.${name}::pg_catalog.text`).join(", ")})`;
  return `INSERT INTO ${table} AS t (${names.join(", ")}) OVERRIDING SYSTEM VALUE
    SELECT ${values} FROM ROWS FROM (${columns.map((_, index) => `pg_catalog.unnest($${index + 1}::pg_catalog.text[])`).join(", ")}) AS v (${columns.map((_, index) => `c${index}`).join(", ")})
    ON CONFLICT (${key.join(", ")}) ${action}`;
}

/** The tenant's next own row must not meet a key that is taken. Never lowered. */
async function raise(to: SqlConnection, table: string, column: string, sequence: string): Promise<void> {
  await to.query(
    `SELECT pg_catalog.setval($1::pg_catalog.regclass, m.top) FROM (SELECT max(${quoteIdentifier(column)})::pg_catalog.int8 AS top FROM ${table}) AS m, ${sequence} AS s
      WHERE m.top IS NOT NULL AND m.top > CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END`,
    [sequence],
  );
}
