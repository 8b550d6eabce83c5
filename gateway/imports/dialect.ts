/** The little SQL that differs between sources. */
import { quoteIdentifier, quoteLiteral } from "../../core/sql.ts";
import type { SourceTable } from "./catalog.ts";

export interface Dialect {
  identifier(name: string): string;
  literal(value: string): string;
  /** The table alone, without those that inherit from it. */
  from(table: SourceTable): string;
  /** The value as text, two values equal only when they are the same. */
  asText(expression: string): string;
  /** True when the text of `expression` is exactly `value`; an index on the column can be used. */
  equals(expression: string, value: string): string;
  isBlank(expression: string): string;
}

export const postgresDialect: Dialect = {
  identifier: quoteIdentifier,
  literal: quoteLiteral,
  from: (table) => `${table.partitioned ? "" : "ONLY "}${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`,
  asText: (expression) => `${expression}::pg_catalog.text`,
  // Compared as the column's own type, so that an index serves.
  equals: (expression, value) => `${expression} = ${quoteLiteral(value)}`,
  isBlank: (expression) => `pg_catalog.btrim(${expression}::pg_catalog.text) = ''`,
};

const quoteMysql = (name: string) => `\`${name.replaceAll("`", "``")}\``;
/** Without NO_BACKSLASH_ESCAPES, which the session sets off. */
const literalMysql = (value: string) => `'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

export const mysqlDialect: Dialect = {
  identifier: quoteMysql,
  literal: literalMysql,
  from: (table) => quoteMysql(table.name),
  asText: (expression) => `CAST(CAST(${expression} AS CHAR) AS BINARY)`,
  // The collation's own comparison for the index, the bytes for exactness: it may call 'Acme' and 'ACME' the same.
  equals: (expression, value) =>
    `(${expression} = ${literalMysql(value)} AND CAST(CAST(${expression} AS CHAR) AS BINARY) = CAST(${literalMysql(value)} AS BINARY))`,
  isBlank: (expression) => `TRIM(CAST(${expression} AS CHAR)) = ''`,
};
