/** The structure of a MySQL or MariaDB database as PostgreSQL's SQL: tables, keys, indexes, foreign keys, comments; what has no likeness is listed. */
import { createConnection } from "mysql2";
import type { Connection, RowDataPacket } from "mysql2/promise";
import type { ForeignSchema, SourceConnection } from "../../core/schema-design.ts";
import { quoteIdentifier, quoteLiteral } from "../../core/sql.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { guardMysqlClient, type SourceGuard } from "../outbound/source-guard.ts";
import { type MysqlColumn, mapDefault, mapType } from "./mysql-types.ts";

const timeoutMs = 30_000;

export async function readMysqlSchema(connection: SourceConnection, target: OutboundTarget): Promise<ForeignSchema> {
  const { client, guard } = await connect(connection, target);
  try {
    await guard.during("talk", () => client.query("SET SESSION TRANSACTION READ ONLY"));
    const source = new Source(client, guard, connection.database);
    const found = {
      tables: await source.rows(
        "SELECT table_name AS `table`, table_type AS `type`, table_comment AS `comment` FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name",
      ),
      columns: await source.columns(),
      indexes: await source.rows(
        "SELECT table_name AS `table`, index_name AS `name`, non_unique AS `multiple`, column_name AS `column`, sub_part AS `part`, index_type AS `type` FROM information_schema.statistics WHERE table_schema = ? ORDER BY table_name, index_name, seq_in_index",
      ),
      references: await source.rows(
        "SELECT k.table_name AS `table`, k.constraint_name AS `name`, k.column_name AS `column`, k.referenced_table_name AS `parent`, k.referenced_column_name AS `parent_column`, r.delete_rule AS `on_delete`, r.update_rule AS `on_update` FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name WHERE k.table_schema = ? AND k.referenced_table_schema = k.table_schema ORDER BY k.table_name, k.constraint_name, k.ordinal_position",
      ),
      others: await source.rows(
        "SELECT 'view' AS `kind`, table_name AS `name` FROM information_schema.views WHERE table_schema = ?1 UNION ALL SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = ?1 UNION ALL SELECT lower(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = ?1 UNION ALL SELECT 'event', event_name FROM information_schema.events WHERE event_schema = ?1",
      ),
    };
    return writeSchema(found);
  } finally {
    client.destroy();
  }
}

interface Session {
  readonly client: Connection;
  readonly guard: SourceGuard;
}

async function connect(source: SourceConnection, target: OutboundTarget): Promise<Session> {
  const { user, password, database, tls } = source;
  const open = async (secure: boolean): Promise<Session> => {
    const core = createConnection({
      ...{ user, password, database, host: target.address, port: target.port },
      connectTimeout: timeoutMs,
      // The server may ask for files of the client's: never.
      flags: ["-LOCAL_FILES"],
      ...(secure && { ssl: { rejectUnauthorized: tls === "verify", verifyIdentity: tls === "verify", servername: target.host } as object }),
    });
    const guard = guardMysqlClient(core, { stallMs: timeoutMs, maxRowBytes: 0 });
    core.on("error", () => undefined); // the query in progress fails and says so
    const client = core.promise();
    await client.connect().catch((error: unknown) => {
      client.destroy();
      throw guard.fault ?? error;
    });
    return { client, guard };
  };
  if (tls === "off") return await open(false);
  if (tls !== "prefer") return await open(true);
  return await open(true).catch((error: unknown) => {
    if ((error as { code?: string }).code === "HANDSHAKE_NO_SSL_SUPPORT") return open(false);
    throw error;
  });
}

type Row = Readonly<Record<string, unknown>>;

class Source {
  readonly #client: Connection;
  readonly #guard: SourceGuard;
  readonly #database: string;

  constructor(client: Connection, guard: SourceGuard, database: string) {
    this.#client = client;
    this.#guard = guard;
    this.#database = database;
  }

  /** `?` or `?1` is the database's name. */
  async rows(sql: string): Promise<readonly Row[]> {
    const values = (sql.match(/\?1?/g) ?? []).map(() => this.#database);
    const query = { sql: sql.replaceAll("?1", "?"), timeout: timeoutMs, values };
    const [rows] = await this.#guard.during("answer", () => this.#client.query<RowDataPacket[]>(query));
    return rows;
  }

  async columns(): Promise<readonly MysqlColumn[]> {
    const rows = await this.rows(
      "SELECT table_name AS `table`, column_name AS `name`, data_type AS `dataType`, column_type AS `columnType`, character_maximum_length AS `length`, numeric_precision AS `precision`, numeric_scale AS `scale`, is_nullable = 'YES' AS `nullable`, column_default AS `default`, extra AS `extra`, column_comment AS `comment` FROM information_schema.columns WHERE table_schema = ? ORDER BY table_name, ordinal_position",
    );
    const number = (value: unknown) => (value === null ? null : Number(value));
    return rows.map((row) => ({
      ...{
        table: String(row.table),
        name: String(row.name),
        dataType: String(row.dataType).toLowerCase(),
        columnType: String(row.columnType).toLowerCase(),
      },
      ...{ length: number(row.length), precision: number(row.precision), scale: number(row.scale), nullable: Number(row.nullable) === 1 },
      // Values of enums keep their case.
      ...(/^(enum|set)$/i.test(String(row.dataType)) && { columnType: String(row.columnType) }),
      ...{ default: row.default === null ? null : String(row.default), extra: String(row.extra), comment: String(row.comment) },
    }));
  }
}

interface Found {
  readonly tables: readonly Row[];
  readonly columns: readonly MysqlColumn[];
  readonly indexes: readonly Row[];
  readonly references: readonly Row[];
  readonly others: readonly Row[];
}

/** Exported for tests. */
export function writeSchema(found: Found): ForeignSchema {
  const lost: string[] = [];
  const tables = found.tables.filter((table) => String(table.type) === "BASE TABLE");
  const statements = [
    ...tables.flatMap((table) => writeTable(table, found, lost)),
    ...groupBy(found.indexes, "table", "name").flatMap((rows) => writeIndex(rows, lost)),
    ...groupBy(found.references, "table", "name").map(writeReference),
  ];
  for (const { kind, name } of found.others) lost.push(`${kind} ${name}`);
  return { sql: statements.map((sql) => `${sql};\n`).join(""), lost };
}

function writeTable(table: Row, found: Found, lost: string[]): string[] {
  const name = quote(table.table);
  const columns = found.columns.filter((column) => column.table === table.table);
  const comments = columns.flatMap((column) =>
    column.comment === "" ? [] : [`COMMENT ON COLUMN ${name}.${quote(column.name)} IS ${quoteLiteral(column.comment)}`],
  );
  if (String(table.comment) !== "") comments.unshift(`COMMENT ON TABLE ${name} IS ${quoteLiteral(String(table.comment))}`);
  return [`CREATE TABLE ${name} (\n${columns.map((column) => `  ${writeColumn(column, lost)}`).join(",\n")}\n)`, ...comments];
}

function writeColumn(column: MysqlColumn, lost: string[]): string {
  const name = quote(column.name);
  const place = `${column.table}.${column.name}`;
  const mapped = mapType(column, name);
  if (mapped.lost !== undefined) lost.push(`${place}: ${mapped.lost}`);
  const parts = [name, mapped.type];
  const isIdentity = column.extra.toLowerCase().includes("auto_increment");
  if (isIdentity) {
    if (mapped.type.startsWith("numeric")) lost.push(`${place}: unsigned BIGINT key became bigint, whose values end at 9223372036854775807`);
    parts[1] = mapped.type.startsWith("numeric") ? "bigint" : mapped.type;
    parts.push("GENERATED BY DEFAULT AS IDENTITY");
  } else {
    const value = mapDefault(column, mapped.type);
    if (value === null) lost.push(`${place}: default ${column.default}`);
    else if (value !== undefined) parts.push(`DEFAULT ${value}`);
  }
  if (!column.nullable) parts.push("NOT NULL");
  if (mapped.check !== undefined && !isIdentity) parts.push(`CHECK (${mapped.check})`);
  if (/generated/i.test(column.extra) && !/default_generated/i.test(column.extra)) lost.push(`${place}: generated column became an ordinary one`);
  if (/on update/i.test(column.extra)) lost.push(`${place}: ON UPDATE CURRENT_TIMESTAMP; a trigger can do it`);
  return parts.join(" ");
}

function writeIndex(rows: readonly Row[], lost: string[]): string[] {
  const [first] = rows as [Row];
  const [table, name] = [String(first.table), String(first.name)];
  if (rows.some((row) => row.column === null)) {
    lost.push(`index ${table}.${name}: on an expression`);
    return [];
  }
  const columns = rows.map((row) => quote(row.column)).join(", ");
  if (name === "PRIMARY") return [`ALTER TABLE ${quote(table)} ADD PRIMARY KEY (${columns})`];
  const isOrdinary = ["BTREE", "HASH"].includes(String(first.type));
  if (!isOrdinary) {
    lost.push(`index ${table}.${name}: ${first.type}`);
    return [];
  }
  if (rows.some((row) => row.part !== null)) {
    lost.push(`index ${table}.${name}: on the beginnings of values`);
    return [];
  }
  // Names of indexes are the schema's here and the table's there.
  return [`CREATE ${Number(first.multiple) === 0 ? "UNIQUE " : ""}INDEX ${quote(cut(`${table}_${name}`))} ON ${quote(table)} (${columns})`];
}

function writeReference(rows: readonly Row[]): string {
  const [first] = rows as [Row];
  const list = (field: string) => rows.map((row) => quote(row[field])).join(", ");
  const action = (on: string, rule: unknown) => (["CASCADE", "SET NULL", "SET DEFAULT"].includes(String(rule)) ? ` ON ${on} ${rule}` : "");
  return (
    `ALTER TABLE ${quote(first.table)} ADD CONSTRAINT ${quote(cut(String(first.name)))} FOREIGN KEY (${list("column")}) ` +
    `REFERENCES ${quote(first.parent)} (${list("parent_column")})${action("DELETE", first.on_delete)}${action("UPDATE", first.on_update)}`
  );
}

/** PostgreSQL's names end at 63 bytes, MySQL's at 64 letters. */
function cut(name: string): string {
  let short = name;
  while (new TextEncoder().encode(short).length > 63) short = short.slice(0, -1);
  return short;
}

function quote(name: unknown): string {
  return quoteIdentifier(cut(String(name)));
}

function groupBy(rows: readonly Row[], ...fields: readonly string[]): Row[][] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = JSON.stringify(fields.map((field) => row[field]));
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()];
}
