/** A shared database as the import reads it: one snapshot, seen by every reader, and nothing written. */
import { GatewayError } from "../../core/errors.ts";
import { RowTooLong, SourceFault } from "../outbound/source-guard.ts";
import type { SourceCatalog } from "./catalog.ts";
import type { Dialect } from "./dialect.ts";

export interface ImportSource {
  readonly engine: "PostgreSQL" | "MySQL";
  readonly dialect: Dialect;
  /** Wall clock: what was committed until then is seen. */
  readonly snapshotAt: number;
  /** Readers that can be open at the same time. */
  readonly maxReaders: number;
  readCatalog(): Promise<SourceCatalog>;
  /** Rows as objects of strings. */
  query(text: string): Promise<readonly Record<string, unknown>[]>;
  openReader(): Promise<SourceReader>;
  /** Ends the snapshot; readers still open see it to their end. */
  close(): Promise<void>;
}

/** What is read of one column: `as` says how its text is written for PostgreSQL. */
export interface ReadColumn {
  readonly name: string;
  readonly as: "text" | "boolean" | "bytea" | "date" | "bits" | "set";
  /** Of `bits`. */
  readonly width?: number;
}

export interface SourceReader {
  /** Rows of `columns` that fulfil `condition` over alias t, as COPY text cut anywhere. Left before its end, the reader is of no more use. */
  readRows(from: string, columns: readonly ReadColumn[], condition: string | undefined): AsyncIterable<Uint8Array>;
  /** At once, also in the middle of rows. */
  close(): Promise<void>;
}

/** The source is gone or does not let us in: nothing wrong with rows or tenants. */
export class SourceLost extends Error {
  constructor(cause: unknown) {
    super(`the connection to the source was lost: ${describeConnectionError(cause)}`, { cause });
    this.name = "SourceLost";
  }
}

/** Whoever asked is still there to be told; a job connects again. */
export function lostWhileAsked({ message, cause }: SourceLost): GatewayError {
  return new GatewayError("bad_request", message, { issues: [{ path: "connection", message }], cause });
}

/** @returns a row too long as the failure of its tenant, anything else a server is cut off for as a source that is lost; undefined for no fault. */
export function asSourceFault(error: unknown, table = "it"): Error | undefined {
  if (error instanceof RowTooLong) {
    return new GatewayError("query_failed", `the source cannot be read: a row of ${table} ${error.message}`, { sqlstate: "54000", cause: error });
  }
  return error instanceof SourceFault ? new SourceLost(error) : undefined;
}

/** @returns the refusal of a source that cannot be connected to, in words without secrets. */
export function cannotConnect(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  const reason = describeConnectionError(error);
  const wayOut = /does not support (SSL|secure) connection/i.test(reason)
    ? "; sslmode=disable in its URL connects in clear, for a network you trust"
    : "";
  const message = `cannot connect to the source: ${reason}${wayOut}`;
  return new GatewayError("bad_request", message, { issues: [{ path: "connection", message }], cause: error });
}

export function isCannotConnect(error: unknown): boolean {
  return error instanceof GatewayError && error.details.issues?.[0]?.path === "connection";
}

export function describeConnectionError(error: unknown): string {
  if (error instanceof AggregateError) return describeConnectionError(error.errors[0]);
  const message = error instanceof Error ? error.message : String(error);
  return message === "" ? String((error as { code?: unknown }).code ?? "no answer") : message;
}
