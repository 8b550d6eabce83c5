/** The envelope every response stands in: `success`, `http_status`, `code`, and the endpoint's own fields beside them. */
import { z } from "@hono/zod-openapi";
import type { Context, TypedResponse } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { JSONParsed } from "hono/utils/types";
import { type ErrorIssue, GatewayError } from "../core/errors.ts";
import type { ApiContext, ApiEnv } from "./context.ts";

const codes = { 200: "ok", 201: "created", 202: "accepted" } as const;
type SuccessStatus = keyof typeof codes;

/** What the typed client reads off a route: its fields with the envelope around them. */
type Success<S extends SuccessStatus, T> = Response &
  TypedResponse<JSONParsed<{ success: true; http_status: S; code: (typeof codes)[S] } & T>, S, "json">;

function succeed<S extends SuccessStatus, T extends object>(c: Context<ApiEnv>, status: S, fields: T): Success<S, T> {
  const body: object = { success: true, http_status: status, code: codes[status], ...fields };
  c.set("answered", fields as Record<string, unknown>);
  return c.json(body, status) as unknown as Success<S, T>;
}

export const ok = <T extends object>(c: Context<ApiEnv>, fields: T): Success<200, T> => succeed(c, 200, fields);
export const created = <T extends object>(c: Context<ApiEnv>, fields: T): Success<201, T> => succeed(c, 201, fields);
export const accepted = <T extends object>(c: Context<ApiEnv>, fields: T): Success<202, T> => succeed(c, 202, fields);

/** The documented response of an endpoint: the envelope around `shape`. */
export function answer<S extends keyof typeof codes, T extends z.ZodRawShape>(status: S, description: string, shape: T) {
  const schema = z.object({ success: z.literal(true), http_status: z.literal(status), code: z.literal(codes[status]), ...shape });
  return { description, content: { "application/json": { schema } } };
}

/** Lists: how many are in this answer, and where the next begins. */
export const paging = {
  count: z.number().int().openapi({ description: "Items in this answer.", example: 1 }),
  next_cursor: z.string().nullable().openapi({ description: "Send it as `cursor` to go on; null at the end.", example: null }),
};

export const Issue = z
  .object({
    path: z.string().openapi({ description: "The field, with dots.", example: "databases.0.blueprint" }),
    message: z.string().openapi({ example: "is required" }),
  })
  .openapi("Issue");

export const ErrorAnswer = z
  .object({
    success: z.literal(false),
    http_status: z.number().int().openapi({ example: 404 }),
    code: z.string().openapi({ example: "not_found" }),
    error: z.string().openapi({ example: "Tenant not found: acme" }),
    issues: z.array(Issue).optional(),
    sqlstate: z.string().optional().openapi({ description: "PostgreSQL's own code, where a statement failed.", example: "42601" }),
    detail: z.string().optional(),
    hint: z.string().optional(),
    retry_after_s: z.number().int().optional(),
    request_id: z.string().optional().openapi({ description: "Finds the record in the gateway's log; with internal_error." }),
  })
  .openapi("Error");

/** Turns anything thrown into an answer. What is not a {GatewayError} is logged in full and told as an id only. */
export function answerError(thrown: unknown, c: ApiContext): Response {
  const error = asGatewayError(thrown);
  if (!error) return answerInternalError(thrown, c);
  if (error.kind === "internal_error") return answerInternalError(error, c);
  const { http, code, log } = error.refusal;
  c.var.api.log.write(log, "api refused", { request_id: c.var.requestId, kind: error.kind, code, error: error.message });
  if (error.details.retryAfterS !== undefined) c.header("Retry-After", String(error.details.retryAfterS));
  return c.json(
    {
      success: false,
      http_status: http,
      code,
      error: error.message,
      ...(error.details.issues && { issues: error.details.issues }),
      ...(error.kind === "query_failed" || error.kind === "permission_denied" ? { sqlstate: error.sqlstate } : {}),
      ...(error.details.detail !== undefined && { detail: error.details.detail }),
      ...(error.details.hint !== undefined && { hint: error.details.hint }),
      ...(error.details.retryAfterS !== undefined && { retry_after_s: error.details.retryAfterS }),
    },
    http as ContentfulStatusCode,
  );
}

/** What the HTTP library itself refuses: malformed JSON, a content type that is not JSON. */
function asGatewayError(thrown: unknown): GatewayError | undefined {
  if (thrown instanceof GatewayError) return thrown;
  if (!(thrown instanceof HTTPException) || thrown.status >= 500) return undefined;
  if (thrown.status === 415) return badInput([{ path: "content-type", message: "must be application/json" }]);
  return badInput([{ path: "body", message: "is not valid JSON" }]);
}

function answerInternalError(thrown: unknown, c: ApiContext): Response {
  const cause = thrown instanceof GatewayError ? (thrown.details.cause ?? thrown) : thrown;
  c.var.api.log.write("error", "api failed", {
    request_id: c.var.requestId,
    method: c.req.method,
    error: cause instanceof Error ? (cause.stack ?? cause.message) : String(cause),
  });
  return c.json(
    {
      success: false,
      http_status: 500,
      code: "internal_error",
      error: `internal error; give the id ${c.var.requestId} to the operator of the gateway`,
      request_id: c.var.requestId,
    },
    500,
  );
}

/** A bad_request that names the fields at fault, in `issues` and in its text. */
export function badInput(issues: readonly ErrorIssue[]): GatewayError {
  const first = issues[0];
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
  return new GatewayError("bad_request", first ? `${first.path || "body"}: ${first.message}${more}` : "bad input", { issues });
}

/** The zod hook of every route: validation failures become {@link badInput}. */
export function refuseInvalid(result: { success: true } | { success: false; error: z.ZodError }): void {
  if (result.success) return;
  const issues = result.error.issues.flatMap(describeIssue);
  throw badInput(issues);
}

function describeIssue(issue: z.core.$ZodIssue): ErrorIssue[] {
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => ({ path: [...issue.path, key].join("."), message: "unknown field" }));
  if (issue.code === "invalid_union") {
    // Of several shapes, the faults of the one that has the value's type.
    const meant = issue.errors.find((faults) => !faults.some(({ code, path }) => code === "invalid_type" && path.length === 0));
    if (meant) return meant.flatMap((fault) => describeIssue({ ...fault, path: [...issue.path, ...fault.path] }));
  }
  return [{ path: issue.path.join("."), message: wording(issue) }];
}

function wording(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_type") return issue.message;
  return /received undefined$/.test(issue.message) ? `is required (${issue.expected})` : `must be of type ${issue.expected}`;
}
