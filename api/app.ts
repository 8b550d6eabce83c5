/** The management API as one application without sockets: requests in, responses out. */
import { OpenAPIHono } from "@hono/zod-openapi";
import { GatewayError } from "../core/errors.ts";
import { toHex } from "../core/secrets.ts";
import type { ApiContext, ApiDeps, ApiEnv } from "./context.ts";
import { serveDocs, serveDocsFile } from "./docs.ts";
import { assertEveryRouteHasPolicy, type PolicyRow, policyTable } from "./endpoint.ts";
import { answerError, refuseInvalid } from "./envelope.ts";
import { withExamples } from "./openapi-examples.ts";
import { refuseForeignOrigin } from "./origin.ts";
import { defaultRateLimits, makeRateLimiter } from "./rate-limit.ts";
import { accountEndpoints } from "./routes/accounts.ts";
import { adminEndpoints } from "./routes/admin.ts";
import { apiKeyEndpoints } from "./routes/apikeys.ts";
import { backupEndpoints } from "./routes/backups.ts";
import { blueprintEndpoints } from "./routes/blueprints.ts";
import { clientCertificateEndpoints } from "./routes/client-certificates.ts";
import { clusterEndpoints } from "./routes/clusters.ts";
import { deploymentEndpoints } from "./routes/deployments.ts";
import { fleetEndpoints } from "./routes/fleet.ts";
import { importEndpoints } from "./routes/imports.ts";
import { isolationEndpoints } from "./routes/isolation.ts";
import { logEndpoints } from "./routes/logs.ts";
import { operationsEndpoints } from "./routes/operations.ts";
import { poolerEndpoints } from "./routes/poolers.ts";
import { projectEndpoints } from "./routes/projects.ts";
import { schemaEndpoints } from "./routes/schema.ts";
import { serviceEndpoints } from "./routes/service.ts";
import { settingEndpoints } from "./routes/settings.ts";
import { tenantEndpoints } from "./routes/tenants.ts";
import { workspaceEndpoints } from "./routes/workspaces.ts";
import { traceRequest } from "./trace-request.ts";

export type { ApiBindings, ApiDeps, ApiInfo, Endpoint } from "./context.ts";

export const endpoints = [
  ...serviceEndpoints,
  ...accountEndpoints,
  ...projectEndpoints,
  ...apiKeyEndpoints,
  ...workspaceEndpoints,
  ...schemaEndpoints,
  ...blueprintEndpoints,
  ...tenantEndpoints,
  ...settingEndpoints,
  ...clientCertificateEndpoints,
  ...backupEndpoints,
  ...deploymentEndpoints,
  ...fleetEndpoints,
  ...adminEndpoints,
  ...isolationEndpoints,
  ...operationsEndpoints,
  ...clusterEndpoints,
  ...importEndpoints,
  ...poolerEndpoints,
  ...logEndpoints,
] as const;

const open = { who: "open" } as const;
const documentRoutes: readonly PolicyRow[] = [
  { method: "GET", path: "/openapi.json", policy: open },
  { method: "GET", path: "/docs", policy: open },
  { method: "GET", path: "/docs/:file", policy: open },
];

/** Who may call what: every route there is. */
export const policies: readonly PolicyRow[] = [...policyTable(endpoints), ...documentRoutes];

/**
 * The application. The client's address is given with each request: `app.fetch(request, { remoteAddress })`.
 * @throws {Error} when a route declares no policy.
 */
export function createApi(deps: ApiDeps) {
  const base = new OpenAPIHono<ApiEnv>({ defaultHook: refuseInvalid });
  const limiter = makeRateLimiter({ ...defaultRateLimits, ...deps.rateLimits });

  base.use(async (c, next) => {
    c.set("api", deps);
    c.set("limiter", limiter);
    c.set("requestId", `req_${toHex(crypto.getRandomValues(new Uint8Array(8)))}`);
    setHeaders(c);
    const startedMs = deps.clock.nowMs();
    await next();
    logRequest(c, deps.clock.nowMs() - startedMs);
  });
  base.use(traceRequest);
  base.use(async (c, next) => {
    const retryAfterS = await limiter.takeRequest(c.env?.remoteAddress ?? "");
    if (retryAfterS !== undefined)
      throw new GatewayError("rate_limited", `too many requests from your address, retry in ${retryAfterS}s`, { retryAfterS });
    refuseForeignOrigin(c);
    await next();
  });
  base.onError(answerError);
  base.notFound((c) => answerError(new GatewayError("not_found", "no such endpoint; GET /docs lists them"), c));

  const app = base.openapiRoutes(endpoints);
  app.get("/openapi.json", (c) => c.json(describeApi(app, deps)));
  app.get("/docs", serveDocs);
  app.get("/docs/:file", serveDocsFile);
  assertEveryRouteHasPolicy(app.routes, policies);
  return app;
}

export type AppType = ReturnType<typeof createApi>;

function setHeaders(c: ApiContext): void {
  c.header("X-Request-Id", c.var.requestId);
  c.header("X-Content-Type-Options", "nosniff");
  c.header("X-Frame-Options", "DENY");
  c.header("Referrer-Policy", "no-referrer");
  c.header("Cross-Origin-Resource-Policy", "same-origin");
  c.header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  c.header("Cache-Control", "no-store");
}

function logRequest(c: ApiContext, durationMs: number): void {
  c.var.api.log.write("debug", "api request", {
    request_id: c.var.requestId,
    method: c.req.method,
    path: c.req.path,
    status: c.res.status,
    duration_ms: Math.round(durationMs),
  });
}

function describeApi(app: Pick<OpenAPIHono<ApiEnv>, "getOpenAPI31Document" | "openAPIRegistry">, deps: ApiDeps) {
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Tenantry API",
      version: deps.info.version,
      description:
        "Every answer carries `success`, `http_status` and `code`; errors add `error` and, for bad input, `issues`. Lists are paged with `limit` and `cursor`. Times are ISO 8601, UTC.",
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    servers: [{ url: deps.info.apiUrl }],
  });
  const apiKey = { type: "http" as const, scheme: "bearer", description: "An API key (`tenantsdb_sk_…`), or the token POST /login returns." };
  const operator = { type: "http" as const, scheme: "bearer", description: "`operator_token` of the gateway's configuration." };
  const metrics = { type: "http" as const, scheme: "bearer", description: "`metrics_token` of the configuration; not needed on loopback." };
  const securitySchemes = { api_key: apiKey, operator_token: operator, metrics_token: metrics };
  return withExamples({ ...document, components: { ...document.components, securitySchemes } });
}
