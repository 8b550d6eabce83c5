/** Statements on behalf of API callers, as the database's own roles; schema loading as a workspace's admin. */
import type { QueryAnswer, QueryInput } from "../../../core/cluster-admin.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import type { Role } from "../../../core/role.ts";
import type { SqlConnection, SqlField } from "../../../core/sql.ts";
import { type AdminContext, withRole } from "./context.ts";
import { maxParseBytes, ParseError, parseStatements, type Statement } from "./parser.ts";
import { asSqlError, copyDeniedMessage, ddlDeniedMessage, toGatewayError } from "./sql-errors.ts";
import { isDdl } from "./statement-kinds.ts";

/** Above this the courtesy look at the text is left out; privileges and the guard in the database still refuse. */
const maxLookBytes = 256 * 1024;

export async function runQuery(context: AdminContext, database: PhysicalDatabase, role: Role, input: QueryInput): Promise<QueryAnswer> {
  await refuseByText(input);
  try {
    return await withRole(context, database, role, async (connection) => {
      const startedAt = context.clock.nowMs();
      const { maxRows, timeoutMs, signal } = input;
      const answer = await connection.queryArrays(input.query, input.params, { maxRows, timeoutMs, signal }).catch((error: unknown) => {
        throw refuseParameters(error);
      });
      const elapsedMs = context.clock.nowMs() - startedAt;
      const types = await typeNames(connection, answer.columns);
      return {
        columns: answer.columns.map(({ name, typeOid }) => ({ name, type: types.get(typeOid) ?? "unknown" })),
        rows: answer.rows,
        row_count: answer.rowCount,
        execution_time_ms: Math.round(elapsedMs * 1000) / 1000,
        truncated: answer.truncated,
        command: answer.command,
        bytes: answer.bytes,
      };
    });
  } catch (error) {
    throw toGatewayError(error);
  }
}

/** Too few or too many parameters are a protocol violation to PostgreSQL, which elsewhere means that the server cannot be talked to. */
function refuseParameters(error: unknown): unknown {
  const sql = asSqlError(error);
  return sql?.code === "08P01" ? new GatewayError("query_failed", sql.message, { sqlstate: sql.code, cause: error }) : error;
}

async function refuseByText(input: QueryInput): Promise<void> {
  if (input.query.length > maxLookBytes) return;
  let statements: readonly Statement[];
  try {
    statements = await parseStatements(input.query);
  } catch (error) {
    // PostgreSQL says better what is wrong with it.
    if (error instanceof ParseError) return;
    throw error;
  }
  if (statements.some((statement) => statement.kind === "CopyStmt")) throw new GatewayError("copy_denied", copyDeniedMessage);
  if (input.refuseDdl && statements.some(isDdl)) throw new GatewayError("ddl_denied", ddlDeniedMessage);
}

const builtinTypes = new Map<number, string>();
/** OIDs below this are PostgreSQL's own and the same in every database. */
const firstUserOid = 16_384;

async function typeNames(connection: SqlConnection, columns: readonly SqlField[]): Promise<ReadonlyMap<number, string>> {
  const names = new Map<number, string>();
  const unknown = new Set<number>();
  for (const { typeOid } of columns) {
    const known = builtinTypes.get(typeOid);
    if (known === undefined) unknown.add(typeOid);
    else names.set(typeOid, known);
  }
  if (unknown.size === 0) return names;
  const oids = [...unknown];
  const { rows } = await connection.query(
    "SELECT t.oid::pg_catalog.int8 AS oid, pg_catalog.format_type(t.oid, NULL) AS name FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS t (oid)",
    [oids],
  );
  for (const row of rows) {
    const oid = Number(row.oid);
    names.set(oid, String(row.name));
    if (oid < firstUserOid) builtinTypes.set(oid, String(row.name));
  }
  return names;
}

/** All or nothing, unless the text itself commits. Captured like any client's DDL. */
export async function runScript(context: AdminContext, database: PhysicalDatabase, sql: string): Promise<void> {
  if (new TextEncoder().encode(sql).length > maxParseBytes) {
    throw new GatewayError("payload_too_large", `cannot load the script: it is over ${maxParseBytes} bytes; load it in parts`);
  }
  try {
    await withRole(context, database, "admin", async (connection) => {
      await connection.query(sql);
    });
  } catch (error) {
    throw toGatewayError(error);
  }
}
