/** Open routes: what this service is, whether it lives and is ready, the catalogue of errors. */
import { z } from "@hono/zod-openapi";
import { type RefusalKind, refusals } from "../../core/errors.ts";
import { endpoint } from "../endpoint.ts";
import { answer, ErrorAnswer, ok, paging } from "../envelope.ts";

const tags = ["Service"];
const policy = { who: "open" } as const;

const root = endpoint(
  { policy },
  {
    method: "get",
    path: "/",
    tags,
    summary: "What this service is",
    responses: { 200: answer(200, "The service", { service: z.string(), version: z.string(), documentation: z.string(), openapi: z.string() }) },
  },
  (c) => ok(c, { service: "Tenantry API", version: c.var.api.info.version, documentation: "/docs", openapi: "/openapi.json" }),
);

const health = endpoint(
  { policy },
  {
    method: "get",
    path: "/health",
    tags,
    summary: "Liveness: the process answers",
    responses: { 200: answer(200, "Alive", { status: z.literal("healthy") }) },
  },
  (c) => ok(c, { status: "healthy" as const }),
);

const Check = z.enum(["ok", "failing"]);

const ready = endpoint(
  { policy },
  {
    method: "get",
    path: "/ready",
    tags,
    summary: "Readiness: the control store and every cluster answer",
    responses: {
      200: answer(200, "Ready", {
        ready: z.literal(true),
        checks: z.record(z.string(), Check),
        warnings: z.array(z.string()).openapi({ description: "What works but should not stay as it is." }),
      }),
      503: {
        description: "Not ready",
        content: { "application/json": { schema: ErrorAnswer.extend({ ready: z.literal(false), checks: z.record(z.string(), Check) }) } },
      },
    },
  },
  async (c) => {
    const { ready: isReady, checks: found } = await c.var.api.control.checkReady();
    // What exactly a check said may name hosts; that is for the log.
    const checks: Record<string, "ok" | "failing"> = {};
    for (const [name, state] of Object.entries(found)) {
      checks[name] = state === "ok" ? "ok" : "failing";
      if (state !== "ok") c.var.api.log.write("warn", "readiness check failed", { check: name, state });
    }
    if (isReady) return ok(c, { ready: true as const, checks, warnings: [...(c.var.api.operations?.listWarnings() ?? [])] });
    const failing = Object.keys(checks).filter((name) => checks[name] === "failing");
    const error = `not ready: ${failing.join(", ")}`;
    return c.json({ success: false as const, http_status: 503, code: "backend_unavailable", error, ready: false as const, checks }, 503);
  },
);

const errors = endpoint(
  { policy },
  {
    method: "get",
    path: "/errors",
    tags,
    summary: "Every code of the API and every error on the wire",
    responses: {
      200: answer(200, "The catalogue", {
        errors: z.array(
          z.object({
            kind: z.string(),
            code: z.string(),
            http_status: z.number().int(),
            sqlstate: z.string(),
            severity: z.string(),
            help: z.string(),
          }),
        ),
        ...paging,
      }),
    },
  },
  (c) => {
    const rows = (Object.keys(refusals) as RefusalKind[]).map((kind) => {
      const { code, http, sqlstate, severity, help } = refusals[kind];
      return { kind, code, http_status: http, sqlstate, severity, help };
    });
    return ok(c, { errors: rows, count: rows.length, next_cursor: null });
  },
);

export const serviceEndpoints = [root, health, ready, errors] as const;
