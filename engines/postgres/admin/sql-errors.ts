/** PostgreSQL's errors as the gateway's refusals. */
import { GatewayError } from "../../../core/errors.ts";
import type { SqlErrorShape } from "../../../core/sql.ts";

/** What the guard's event trigger raises in tenant databases. */
export const guardMessage = "DDL not allowed on tenant databases, use workspace mode";
/** What the API says for the same. */
export const ddlDeniedMessage = "DDL not allowed on tenant databases. Deploy schema through blueprints.";
export const copyDeniedMessage = "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.";

/** @returns undefined for what does not come from PostgreSQL. */
export function asSqlError(error: unknown): SqlErrorShape | undefined {
  if (!(error instanceof Error) || error instanceof GatewayError) return undefined;
  const { code } = error as Partial<SqlErrorShape>;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) ? (error as Error & SqlErrorShape) : undefined;
}

/** SQLSTATE of a PostgreSQL error, also of one already turned into a refusal. */
export function sqlStateOf(error: unknown): string | undefined {
  if (error instanceof GatewayError) return error.sqlstate;
  return asSqlError(error)?.code;
}

/** Refusals pass; PostgreSQL's errors become refusals; anything else is a fault and passes too. */
export function toGatewayError(error: unknown): unknown {
  const sql = asSqlError(error);
  if (!sql) return error;
  if (isUnreachable(sql.code)) return new GatewayError("backend_unreachable", "database server is not reachable", { cause: error });
  if (sql.code === "53300") return new GatewayError("no_backend_slot", "all connections of the database server are in use", { cause: error });
  if (sql.code === "42501") {
    if (sql.message === guardMessage) return new GatewayError("ddl_denied", ddlDeniedMessage, { cause: error });
    return new GatewayError("permission_denied", sql.message, { cause: error });
  }
  return new GatewayError("query_failed", sql.message, {
    sqlstate: sql.code,
    ...(sql.detail === undefined ? {} : { detail: sql.detail }),
    ...(sql.hint === undefined ? {} : { hint: sql.hint }),
    cause: error,
  });
}

/** Connection exceptions, and a server that is stopping, crashed or starting. */
function isUnreachable(code: string): boolean {
  return code.startsWith("08") || code === "57P01" || code === "57P02" || code === "57P03";
}
