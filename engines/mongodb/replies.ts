/** Refusals as MongoDB's error documents, with codes that drivers show at once and neither retry nor act on. */
import type { Document } from "bson";
import { GatewayError, type RefusalKind } from "../../core/errors.ts";

const codeNames = { 13: "Unauthorized", 18: "AuthenticationFailed", 334: "MechanismUnavailable", 8000: "AtlasError" } as const;
export type ErrorCode = keyof typeof codeNames;

/** Where the client is told: while it logs in, or on a command. */
export type Step = "login" | "command";

/** What the client may not have. The rest, where to go and when to come back, is 8000, which hosted MongoDB proxies use for their own. */
const deniedKinds: readonly RefusalKind[] = ["scope_denied", "no_such_database", "revoked"];
/** Who comes in at all: a failed login where there is one. */
const doorKinds: readonly RefusalKind[] = [
  "auth_failed",
  "tls_required",
  "client_certificate_required",
  "ip_banned",
  "ip_connections",
  "ip_rate",
  "protocol_violation",
];

export function failure(code: ErrorCode, errmsg: string): Document {
  return { ok: 0, errmsg, code, codeName: codeNames[code] };
}

export function refuse(error: GatewayError, step: Step): Document {
  return failure(codeOf(error.kind, step), error.message);
}

function codeOf(kind: RefusalKind, step: Step): ErrorCode {
  if (kind === "unsupported") return 334;
  if (doorKinds.includes(kind)) return step === "login" ? 18 : 13;
  return deniedKinds.includes(kind) ? 13 : 8000;
}

/** What is no GatewayError is told as an id only. */
export function toGatewayError(error: unknown, visitId: string): GatewayError {
  return error instanceof GatewayError ? error : new GatewayError("internal_error", `internal error (id ${visitId})`);
}

/** Client text in a message: no control or formatting characters, at most 63. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
}
