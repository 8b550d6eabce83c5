/** SQL connections of the control plane to clusters, as little as it needs of a driver. Implemented in gateway/ with node-postgres. */
import type { NativeRole, PhysicalDatabase } from "./model.ts";

export interface SqlField {
  readonly name: string;
  readonly typeOid: number;
}

export interface SqlResult {
  readonly fields: readonly SqlField[];
  /** Values in text form as PostgreSQL sent them, null for NULL, when `asArrays`; objects of parsed values otherwise. */
  readonly rows: readonly Record<string, unknown>[];
  readonly rowCount: number;
}

/** PostgreSQL's own error, as the server worded it. Drivers' error classes differ; this shape is what is read. */
export interface SqlErrorShape {
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly position?: string;
}

export interface SqlConnection {
  /** One statement with parameters (extended protocol), or several without (simple protocol). @throws SqlErrorShape */
  query(text: string, values?: readonly unknown[]): Promise<SqlResult>;
  /** Rows as arrays of JSON-ready values, at most `maxRows + 1` of them fetched; the statement runs as one portal. */
  queryArrays(
    text: string,
    values: readonly unknown[],
    options: { readonly maxRows: number; readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<{
    readonly columns: readonly SqlField[];
    readonly rows: readonly (readonly unknown[])[];
    readonly rowCount: number;
    readonly truncated: boolean;
    readonly command: string;
    /** Of the values, as the server sent them. */
    readonly bytes: number;
  }>;
  /** `COPY … TO STDOUT`: the data as it comes, cut anywhere; as slow as its reader. Leaving before the end breaks the connection. */
  copyOut(text: string): AsyncIterable<Uint8Array>;
  /** `COPY … FROM STDIN`. A failing `data` fails the COPY, and leaves the connection as any failed statement does. @returns the rows copied */
  copyIn(text: string, data: AsyncIterable<Uint8Array>): Promise<number>;
  close(): Promise<void>;
}

/** Opens connections to one cluster. Passwords of native roles are derived inside. */
export interface SqlDialer {
  /** As the cluster's administrator, in `database` (default: its maintenance database). */
  asAdmin(clusterId: string, database?: string): Promise<SqlConnection>;
  /** As the database's owner or one of its roles. */
  asRole(database: PhysicalDatabase, role: NativeRole): Promise<SqlConnection>;
}

/** A SQL identifier, quoted. @throws RangeError on NUL or over 63 bytes, which PostgreSQL would silently cut. */
export function quoteIdentifier(name: string): string {
  if (name.includes("\0") || name.length === 0 || new TextEncoder().encode(name).length > 63) throw new RangeError("not a usable SQL identifier");
  return `"${name.replaceAll('"', '""')}"`;
}

/** A SQL string literal, right under either setting of standard_conforming_strings. */
export function quoteLiteral(value: string): string {
  if (value.includes("\0")) throw new RangeError("a SQL literal cannot hold NUL");
  const quoted = value.replaceAll("'", "''");
  return value.includes("\\") ? ` E'${quoted.replaceAll("\\", "\\\\")}'` : `'${quoted}'`;
}
