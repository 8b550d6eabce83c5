/** Tables, columns, keys and indexes of a MySQL or MariaDB database, and how its columns are read for PostgreSQL's. */
import type { SourceCatalog, SourceColumn, SourceTable } from "./catalog.ts";
import type { ConvertColumn } from "./match-columns.ts";
import type { RunQuery } from "./postgres-catalog.ts";

type Row = Readonly<Record<string, unknown>>;

export async function readMysqlCatalog(query: RunQuery): Promise<SourceCatalog> {
  const [version] = await query("SELECT version() AS version");
  const tables = await query(
    "SELECT table_name AS name, engine AS engine, table_rows AS n FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE' ORDER BY table_name",
  );
  const columns = await query(
    "SELECT table_name AS t, column_name AS name, column_type AS type, is_nullable AS nullable, extra AS extra, column_default AS d FROM information_schema.columns WHERE table_schema = database() ORDER BY table_name, ordinal_position",
  );
  const keys = await query(
    "SELECT table_name AS t, constraint_name AS name, column_name AS c, referenced_table_name AS target, referenced_column_name AS target_column FROM information_schema.key_column_usage WHERE table_schema = database() AND (referenced_table_schema = database() OR constraint_name = 'PRIMARY') ORDER BY table_name, constraint_name, ordinal_position",
  );
  const indexes = await query(
    "SELECT table_name AS t, index_name AS name, column_name AS c FROM information_schema.statistics WHERE table_schema = database() ORDER BY table_name, index_name, seq_in_index",
  );
  const known = new Set(tables.map((row) => String(row.name)));
  const withoutSnapshot = tables.filter((row) => !/^innodb$/i.test(String(row.engine))).map((row) => `table ${row.name} is of engine ${row.engine}`);
  return {
    serverVersion: String(version?.version),
    tables: tables.map((row) => toTable(row, columns, keys, indexes, known)),
    warnings: withoutSnapshot.map((text) => `${text}, which has no snapshots: let nobody write to it during the import`),
  };
}

function toTable(row: Row, columns: readonly Row[], keys: readonly Row[], indexes: readonly Row[], known: ReadonlySet<string>): SourceTable {
  const name = String(row.name);
  const of = (rows: readonly Row[]) => rows.filter((each) => each.t === name);
  const own = of(keys);
  const foreign = [...groupBy(own.filter((key) => key.target !== null && known.has(String(key.target))))];
  return {
    key: name,
    schema: "public",
    name,
    partitioned: false,
    columns: of(columns).map(toColumn),
    primaryKey: own.filter((key) => key.name === "PRIMARY").map((key) => String(key.c)),
    foreignKeys: foreign.map(([constraint, parts]) => ({
      name: constraint,
      columns: parts.map((part) => String(part.c)),
      target: String(parts[0]!.target),
      targetColumns: parts.map((part) => String(part.target_column)),
    })),
    indexes: [...groupBy(of(indexes)).values()].map((parts) => parts.map((part) => String(part.c))),
    estimatedRows: Number(row.n ?? 0),
  };
}

function groupBy(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) groups.set(String(row.name), [...(groups.get(String(row.name)) ?? []), row]);
  return groups;
}

function toColumn(row: Row): SourceColumn {
  const extra = String(row.extra ?? "");
  return {
    name: String(row.name),
    type: String(row.type),
    nullable: row.nullable === "YES",
    generated: /\b(STORED|VIRTUAL|PERSISTENT)\b/i.test(extra),
    hasDefault: row.d !== null || /auto_increment/i.test(extra),
  };
}

/** The same text on both sides only where MySQL writes a value as PostgreSQL does. */
export const convertMysql: ConvertColumn = (source, target) => {
  const kind = /^\w+/.exec(source.type)?.[0] ?? "";
  const into = target.type;
  if (into === "boolean") return { as: "boolean", exact: true };
  if (into === "bytea") return { as: "bytea", exact: true };
  if (kind === "bit" && /^bit\b/.test(into)) return { as: "bits", width: Number(/\d+/.exec(source.type)?.[0] ?? 1), exact: false };
  if (kind === "set" && into.endsWith("[]")) return { as: "set", exact: false };
  if (/^(date|datetime|timestamp)$/.test(kind))
    return { as: "date", exact: into === "date" || (source.type === "datetime" && /^timestamp\b.*without/.test(into)) };
  const isInteger =
    /int$/.test(kind) && !source.type.includes("zerofill") && /^(smallint|integer|bigint|numeric\(\d+,0\)|numeric\(\d+\))$/.test(into);
  const isDecimal = kind === "decimal" && into === `numeric${/\(\d+,\d+\)/.exec(source.type)?.[0]}`;
  const isText = /(char|text|enum)$/.test(kind) && /^(text|character varying(\(\d+\))?)$/.test(into);
  return { as: "text", exact: isInteger || isDecimal || isText };
};
