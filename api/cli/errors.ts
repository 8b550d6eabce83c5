/** How a failed command ends: what went wrong, what to do next, and the exit code. */
import { ApiError, UnreachableError } from "../client.ts";
import { formatJson, sanitize } from "./print.ts";

/** The command was not used as it can be; exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/** The command did what it could and the outcome is a failure; exit code 1. */
export class CommandFailure extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CommandFailure";
  }
}

const nextSteps: Record<string, string> = {
  auth_required: "Log in with `tdb login`, or give a key: `tdb config set --api-key …`, TDB_API_KEY, --api-key.",
  unauthorized: "See which key is used with `tdb config show`; log in again with `tdb login`.",
  role_required: "Use a key with a higher role: `tdb apikeys create --role admin`.",
  scope_denied: "Use a key whose scope covers it: `tdb apikeys create --scope-type … --scope-values …`.",
  permission_denied: "The key's role does not allow this statement; use a key with role write or admin.",
  rate_limited: "Wait the seconds named, then try again.",
  backend_unavailable: "Try again shortly; the gateway's log says which database server does not answer.",
  internal_error: "The gateway's log has the details under this id.",
};

/** @returns lines for standard error. */
export function describeError(error: unknown, options: { json: boolean; verbose: boolean; apiUrl: string }): string {
  if (options.json) return `${formatJson(toJson(error))}\n`;
  const lines = [`✗ ${sanitize(messageOf(error))}`];
  if (error instanceof ApiError) {
    const issues = Array.isArray(error.body.issues) ? error.body.issues : [];
    if (issues.length > 1) for (const issue of issues) lines.push(`  - ${sanitize(`${issue.path || "body"}: ${issue.message}`)}`);
    for (const field of ["detail", "hint"]) if (typeof error.body[field] === "string") lines.push(`  ${field}: ${sanitize(error.body[field])}`);
    const next = nextSteps[error.code];
    if (next) lines.push(`  ${next}`);
  }
  if (error instanceof UnreachableError) {
    lines.push(`  Tried ${sanitize(options.apiUrl)}. Start a gateway with \`tdb up\`, or name another with --api-url or TDB_API_URL.`);
  }
  if (options.verbose && error instanceof Error)
    lines.push(sanitize(error.stack ?? ""), ...(error.cause ? [`cause: ${sanitize(String(error.cause))}`] : []));
  return `${lines.join("\n")}\n`;
}

export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? 2 : 1;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function toJson(error: unknown): unknown {
  if (error instanceof ApiError) return error.body;
  const code = error instanceof UsageError ? "usage" : error instanceof UnreachableError ? "unreachable" : "failed";
  return { success: false, code, error: messageOf(error) };
}
