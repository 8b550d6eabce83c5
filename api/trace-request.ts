/** One span for each request: method, route and outcome; never what was asked or answered. */
import type { MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { ApiEnv } from "./context.ts";

/** Asked every few seconds by machines. */
const probes = new Set(["/health", "/ready", "/metrics"]);

export const traceRequest: MiddlewareHandler<ApiEnv> = async (c, next) => {
  const { tracer } = c.var.api;
  if (!tracer || probes.has(c.req.path)) return await next();
  const { method } = c.req;
  const span = tracer.begin(method, { "http.request.method": method, "tenantry.request_id": c.var.requestId }, c.req.header("traceparent"));
  await next();
  const { status } = c.res;
  const access = c.var.access as ApiEnv["Variables"]["access"] | undefined; // only of routes about a project
  span.set({ "http.route": `${routePath(c, -1)}`, "http.response.status_code": status, "tenantry.project_id": access?.projectId });
  span.end(status >= 500 ? String(status) : undefined);
};
