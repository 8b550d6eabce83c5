/** MySQL's column types as PostgreSQL's, and what is lost on the way. */

export interface MysqlColumn {
  readonly table: string;
  readonly name: string;
  /** `int`, `varchar`, `enum` … */
  readonly dataType: string;
  /** `int(10) unsigned`, `enum('a','b')`. */
  readonly columnType: string;
  readonly length: number | null;
  readonly precision: number | null;
  readonly scale: number | null;
  readonly nullable: boolean;
  readonly default: string | null;
  /** `auto_increment`, `STORED GENERATED`, `on update current_timestamp()`. */
  readonly extra: string;
  readonly comment: string;
}

export interface MappedType {
  readonly type: string;
  /** CHECK of the column, without the word. */
  readonly check?: string | undefined;
  readonly lost?: string | undefined;
}

const plain: Readonly<Record<string, string>> = {
  ...{ tinyint: "smallint", smallint: "smallint", mediumint: "integer", int: "integer", bigint: "bigint", year: "smallint" },
  ...{ float: "real", double: "double precision", date: "date", json: "jsonb" },
  ...{ tinytext: "text", text: "text", mediumtext: "text", longtext: "text" },
  ...{ binary: "bytea", varbinary: "bytea", tinyblob: "bytea", blob: "bytea", mediumblob: "bytea", longblob: "bytea" },
  ...{ uuid: "uuid", inet4: "inet", inet6: "inet" },
};

/** One size up, so that every unsigned value fits. */
const unsigned: Readonly<Record<string, string>> = {
  tinyint: "smallint",
  smallint: "integer",
  mediumint: "integer",
  int: "bigint",
  bigint: "numeric(20,0)",
};
const spatial = new Set(["geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection"]);

/** @param quoted the column's name, for its check */
export function mapType(column: MysqlColumn, quoted: string): MappedType {
  const { dataType, columnType, length } = column;
  if (columnType.startsWith("tinyint(1)") && !columnType.includes("unsigned")) return { type: "boolean" };
  const whole = columnType.includes("unsigned") ? unsigned[dataType] : undefined;
  if (whole !== undefined) return { type: whole, check: `${quoted} >= 0` };
  switch (dataType) {
    case "decimal":
      return {
        type: `numeric(${column.precision ?? 10},${column.scale ?? 0})`,
        check: columnType.includes("unsigned") ? `${quoted} >= 0` : undefined,
      };
    case "char":
      return { type: `character(${length ?? 1})` };
    case "varchar":
      return { type: length !== null && length > 0 ? `varchar(${length})` : "text" };
    case "datetime":
      return { type: `timestamp${fraction(columnType)}` };
    case "timestamp":
      return { type: `timestamptz${fraction(columnType)}` };
    case "time":
      return { type: "interval", lost: "TIME became interval, because it holds spans beyond a day" };
    case "bit":
      return { type: columnType === "bit(1)" ? "boolean" : `bit(${/\d+/.exec(columnType)?.[0] ?? 1})` };
    case "enum":
      return { type: "text", check: `${quoted} IN (${values(columnType)})` };
    case "set":
      return { type: "text[]", check: `${quoted} <@ ARRAY[${values(columnType)}]`, lost: "SET became text[]" };
  }
  if (spatial.has(dataType)) return { type: "bytea", lost: `${dataType.toUpperCase()} became bytea; PostGIS has types for it` };
  const type = plain[dataType];
  return type === undefined ? { type: "text", lost: `${columnType} is not known and became text` } : { type };
}

function fraction(columnType: string): string {
  const digits = /\((\d)\)/.exec(columnType)?.[1];
  return digits === undefined ? "(0)" : `(${digits})`;
}

/** `enum('a','it''s')` → `'a', 'it''s'`: MySQL doubles quotes as PostgreSQL does; a backslash is escaped there and stands for itself here. */
function values(columnType: string): string {
  return [...columnType.matchAll(/'((?:[^'\\]|''|\\.)*)'/g)]
    .map((found) => `'${(found[1] ?? "").replaceAll("\\'", "''").replaceAll("\\\\", "\\")}'`)
    .join(", ");
}

/** @returns an SQL expression, undefined for none, null where MySQL's cannot be said. */
export function mapDefault(column: MysqlColumn, type: string): string | undefined | null {
  const text = column.default;
  if (text === null || text.toUpperCase() === "NULL") return undefined;
  if (/^current_timestamp/i.test(text)) return "CURRENT_TIMESTAMP";
  if (/^(?:curdate\(\)|current_date)/i.test(text)) return "CURRENT_DATE";
  if (/^uuid\(\)$/i.test(text)) return type === "uuid" ? "gen_random_uuid()" : "gen_random_uuid()::text";
  // MariaDB quotes text defaults, MySQL does not.
  const bare = /^'(.*)'$/s.exec(text)?.[1]?.replaceAll("''", "'") ?? text;
  if (type === "boolean") return /^(?:1|b'1'|true)$/i.test(text) ? "true" : /^(?:0|b'0'|false)$/i.test(text) ? "false" : null;
  if (/^(?:smallint|integer|bigint|numeric|real|double)/.test(type)) return /^-?[\d.]+(?:e-?\d+)?$/i.test(bare) ? bare : null;
  if (/^(?:date|timestamp)/.test(type)) return /^\d{4}-(?!00)\d\d-(?!00)\d\d/.test(bare) ? `'${bare}'` : null;
  if (column.extra.includes("DEFAULT_GENERATED") || type === "text[]" || /^(?:bytea|bit|interval)/.test(type)) return null;
  return `'${bare.replaceAll("'", "''")}'`;
}
