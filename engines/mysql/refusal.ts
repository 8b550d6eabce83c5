/** Refusals as MySQL's clients know them: error number and SQLSTATE by meaning. */
import { GatewayError, type RefusalKind } from "../../core/errors.ts";
import { type ErrorReply, encodeError } from "./replies.ts";

type Numbers = readonly [code: number, state: string];

const accessDenied: Numbers = [1045, "28000"];
const badDatabase: Numbers = [1049, "42000"];
const tooManyConnections: Numbers = [1040, "08004"];
const unknownError: Numbers = [1105, "HY000"];

/** Chosen so that no connector takes them for something to retry; what a retry helps is 1105. */
const numbers: Partial<Record<RefusalKind, Numbers>> = {
  auth_failed: accessDenied,
  tls_required: accessDenied,
  client_certificate_required: accessDenied,
  revoked: accessDenied,
  scope_denied: [1044, "42000"],
  wrong_engine: badDatabase,
  not_proxied: badDatabase,
  no_such_database: badDatabase,
  tenant_suspended: badDatabase,
  tenant_in_trash: badDatabase,
  ip_banned: tooManyConnections,
  ip_connections: tooManyConnections,
  ip_rate: tooManyConnections,
  protocol_violation: [1043, "08S01"],
  login_timeout: [1159, "08S01"],
  shutdown: [1053, "08S01"],
};

export function describeRefusal(error: GatewayError): ErrorReply {
  const [code, state] = numbers[error.kind] ?? unknownError;
  return { code, state, message: error.message };
}

/** What is no refusal reaches the client as an id only. */
export function encodeRefusal(error: unknown, visitId: string): Uint8Array {
  const refusal = error instanceof GatewayError ? error : new GatewayError("internal_error", `internal error (id ${visitId})`);
  return encodeError(describeRefusal(refusal));
}
