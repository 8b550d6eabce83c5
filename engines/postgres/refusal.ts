/** A GatewayError in PostgreSQL's own words: ErrorResponse for the client, or SQL that makes a backend raise the same. */
import type { SilenceTimeouts } from "../../core/engine.ts";
import { GatewayError } from "../../core/errors.ts";
import { encodeErrorResponse } from "./backend.ts";

export const ddlMessage = "DDL not allowed on tenant databases, use workspace mode";
export const copyMessage = "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.";

export function ddlRefusal(): GatewayError {
  return new GatewayError("ddl_denied", ddlMessage, {
    hint: "Run it in the workspace database, then deploy the blueprint: tdb deployments create --all",
  });
}

export function copyRefusal(): GatewayError {
  return new GatewayError("copy_denied", copyMessage, { hint: "The workspace setting allow_copy turns COPY on." });
}

export function queryTimeout(limitMs: number): GatewayError {
  return new GatewayError("query_timeout", `query exceeded query_timeout_ms (${limitMs})`);
}

/** What a client is told that has been silent for so long; undefined while it may be. */
export function idleTooLong(idleMs: number, isInTransaction: boolean, timeouts: SilenceTimeouts): GatewayError | undefined {
  const isOver = (limitMs = 0) => limitMs > 0 && idleMs > limitMs;
  // PostgreSQL's own words: drivers and people know them.
  if (isInTransaction && isOver(timeouts.idleInTransactionTimeoutMs))
    return new GatewayError("idle_in_transaction", "terminating connection due to idle-in-transaction timeout");
  return isOver(timeouts.clientIdleTimeoutMs) ? new GatewayError("client_idle", "terminating connection due to client_idle_timeout") : undefined;
}

export function slowReader(timeoutS: number): GatewayError {
  return new GatewayError("slow_reader", `the client accepted nothing for slow_reader_timeout_s (${timeoutS})`);
}

/** A refusal that ends the session is FATAL, whatever it would be otherwise. */
export function asFatal(error: GatewayError): GatewayError {
  return error.refusal.severity === "FATAL" ? error : new GatewayError("revoked", error.message, { ...error.details, sqlstate: error.sqlstate });
}

export function backendLost(cause?: unknown): GatewayError {
  return new GatewayError("backend_unreachable", "the connection to the database server was lost", cause === undefined ? {} : { cause });
}

/** @returns the bytes of an ErrorResponse with the refusal's severity and SQLSTATE. */
export function encodeRefusal(error: GatewayError): Uint8Array {
  return encodeErrorResponse({
    severity: error.refusal.severity,
    sqlstate: error.sqlstate,
    message: error.message,
    detail: error.details.detail,
    hint: error.details.hint,
  });
}

/**
 * A statement that fails with the refusal's SQLSTATE and message on the backend itself, so that transaction state, Sync and pipelining come out
 * as PostgreSQL would leave them. Messages are constants of ours, without quotes or dollar signs of a client's making.
 */
export function raisingSql(error: GatewayError): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  return `DO $tdb$BEGIN RAISE EXCEPTION USING ERRCODE = ${literal(error.sqlstate)}, MESSAGE = ${literal(error.message)}; END$tdb$`;
}
