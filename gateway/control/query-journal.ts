/** Statements sent over the API go into the query log like those of the wire: masked, sampled, within the same bounds. */
import type { QueryAnswer } from "../../core/cluster-admin.ts";
import type { QueryRequest } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { maxStatementBytes, type StatementText } from "../../core/query-log.ts";
import type { ControlContext } from "./context.ts";

/** Whose database it is. */
export interface JournalPlace {
  readonly projectId: string;
  readonly workspaceId: string;
  /** Undefined in a workspace. */
  readonly tenantId: string | undefined;
  readonly database: PhysicalDatabase;
  readonly slowMs: number;
}

const encoder = new TextEncoder();

/** Runs `work` and tells the log how it went. Without a caller, as for the control plane's own statements, nothing is told. */
export async function journaled(
  context: ControlContext,
  place: JournalPlace,
  { query, params, caller }: QueryRequest,
  work: () => Promise<QueryAnswer>,
): Promise<QueryAnswer> {
  const { queries, clock } = context;
  if (!queries || !caller) return await work();
  const { projectId, workspaceId, tenantId, slowMs } = place;
  const origin = { projectId, workspaceId, tenantId, database: place.database.name, credentialId: caller.credentialId, address: caller.address };
  const journal = queries.open({ ...origin, sessionId: caller.requestId }, () => ({ slow_query_ms: slowMs }));
  const bytes = encoder.encode(query);
  const text = journal.wantsText ? textOf(bytes) : undefined;
  const bytesReceived = bytes.length + sizeOf(params);
  const begunMs = clock.nowMs();
  const tell = (startedMs: number, rows: number, bytesSent: number, sqlstate: string | undefined) =>
    journal.ended({ startedMs, endedMs: clock.nowMs(), rows, bytesReceived, bytesSent, sqlstate, hasText: text !== undefined, text, transaction: 1 });
  try {
    const answer = await work();
    tell(clock.nowMs() - answer.execution_time_ms, answer.row_count, answer.bytes, undefined);
    return answer;
  } catch (error) {
    tell(begunMs, 0, 0, error instanceof GatewayError ? error.sqlstate : "XX000");
    throw error;
  } finally {
    journal.close();
  }
}

function textOf(bytes: Uint8Array): StatementText {
  return { bytes: bytes.slice(0, maxStatementBytes), isCut: bytes.length > maxStatementBytes, backslashes: false };
}

/** Parameters are counted, never kept. */
function sizeOf(params: readonly unknown[]): number {
  return params.reduce(
    (sum: number, value) => sum + (value === null ? 0 : encoder.encode(typeof value === "string" ? value : JSON.stringify(value)).length),
    0,
  );
}
