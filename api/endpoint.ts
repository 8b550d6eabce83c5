/** One endpoint: its documented shape, its policy, its handler. There is no other way to add a route. */
import type { RouteConfig, RouteHandler } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { GatewayError } from "../core/errors.ts";
import { recordChanges } from "./audit.ts";
import type { ApiEnv } from "./context.ts";
import { ErrorAnswer } from "./envelope.ts";
import { answerOnce, idempotencyKeyParameter } from "./idempotency.ts";
import { enforce, type Policy } from "./policy.ts";

export interface EndpointOptions {
  readonly policy: Policy;
  /** Bytes of request body; 1 MiB unless told. */
  readonly maxBodyBytes?: number;
}

export interface PolicyRow {
  readonly method: string;
  /** As Hono writes it: `/tenants/:id`. */
  readonly path: string;
  readonly policy: Policy;
}

const policies = new WeakMap<object, Policy>();

/** Statements and their parameters may be larger than other bodies. */
export const queryBodyBytes = 10 * 1024 * 1024;

/** Checks run in this order: authentication and policy, body size, Idempotency-Key, input, handler; then the change is recorded. */
export function endpoint<P extends string, R extends Omit<RouteConfig, "path" | "middleware"> & { path: P }>(
  options: EndpointOptions,
  route: R,
  handler: RouteHandler<R, ApiEnv>,
): { route: R; handler: RouteHandler<R, ApiEnv> } {
  // Whoever is not known has no secret to seal an answer with.
  const isRepeatable = route.method === "post" && !["open", "operator", "metrics"].includes(options.policy.who);
  const documented = {
    ...route,
    security: securityOf(options.policy),
    responses: { ...route.responses, default: errorResponse },
    ...(isRepeatable && { parameters: [idempotencyKeyParameter, ...(route.parameters ?? [])] }),
    middleware: [
      enforce(options.policy),
      recordChanges(route, options.policy),
      limitBody(options.maxBodyBytes ?? 1024 * 1024),
      ...(isRepeatable ? [answerOnce()] : []),
    ],
  };
  policies.set(documented, options.policy);
  return { route: documented, handler };
}

/** Names of the security schemes in the OpenAPI document. */
function securityOf({ who }: Policy): Record<string, string[]>[] {
  if (who === "open") return [];
  if (who === "operator") return [{ operator_token: [] }];
  return who === "metrics" ? [{ metrics_token: [] }] : [{ api_key: [] }];
}

const errorResponse = {
  description: "Refused; `code` says why. GET /errors lists the codes.",
  content: { "application/json": { schema: ErrorAnswer } },
};

function limitBody(maxSize: number) {
  return bodyLimit({
    maxSize,
    onError: () => {
      throw new GatewayError("payload_too_large", `the request body is larger than ${maxSize} bytes`);
    },
  });
}

/** The policy table, read off the endpoints themselves. */
export function policyTable(endpoints: readonly { readonly route: { method: string; path: string } }[]): readonly PolicyRow[] {
  return endpoints.map(({ route }) => {
    const policy = policies.get(route);
    if (!policy) throw new Error(`route ${route.method.toUpperCase()} ${route.path} declares no policy`);
    return { method: route.method.toUpperCase(), path: route.path.replaceAll(/\{(\w+)\}/g, ":$1"), policy };
  });
}

/** @throws {Error} when an application has a route that the policy table does not know; called at start-up. */
export function assertEveryRouteHasPolicy(routes: readonly { method: string; path: string }[], table: readonly PolicyRow[]): void {
  const known = new Set(table.map((row) => `${row.method} ${row.path}`));
  for (const { method, path } of routes) {
    if (method !== "ALL" && !known.has(`${method} ${path}`)) throw new Error(`route ${method} ${path} declares no policy`);
  }
}
