/** One statement for the administrator in one tenant's database, or in those of a whole fleet. */
import { z } from "@hono/zod-openapi";
import type { TenantAnswer } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import { callerOf } from "../caller.ts";
import type { ApiContext } from "../context.ts";
import { endpoint, queryBodyBytes } from "../endpoint.ts";
import { answer, ok } from "../envelope.ts";
import { presentAnswer } from "../present.ts";
import { integer, queryAnswerFields, queryFields, TenantId, WorkspaceName } from "../schema.ts";
import { streamLines } from "../stream.ts";

/** Rows of all tenants together that one JSON answer holds; lines have no such end. */
const maxRows = 100_000;

const AdminQuery = z
  .strictObject({
    blueprint: WorkspaceName,
    ...queryFields,
    tenant_id: TenantId.optional(),
    all_tenants: z.boolean("must be true or false").optional().openapi({ description: "Every tenant of the blueprint.", example: true }),
    concurrency: integer(1, 32).default(4).openapi({ description: "Tenants asked at a time.", example: 4 }),
  })
  .refine((body) => (body.all_tenants === true) !== (body.tenant_id !== undefined), {
    path: ["all_tenants"],
    message: "name exactly one of all_tenants: true and tenant_id",
  })
  .openapi("AdminQuery", { example: { blueprint: "myapp", query: "SELECT count(*) FROM accounts", params: [], all_tenants: true, concurrency: 4 } });

const TenantResult = z
  .object({
    tenant_id: z.string(),
    code: z.string().openapi({ description: "`ok`, or why it failed." }),
    error: z.string().nullable(),
    sqlstate: z.string().nullable(),
    ...z.object(queryAnswerFields).partial().shape,
  })
  .openapi("TenantResult", {
    example: {
      tenant_id: "wayne",
      code: "ok",
      error: null,
      sqlstate: null,
      columns: [{ name: "count", type: "int8" }],
      rows: [["7"]],
      row_count: 1,
      execution_time_ms: 1.2,
      truncated: false,
      command: "SELECT",
    },
  });

const resultFields = {
  tenants_ok: z.number().int().openapi({ example: 1 }),
  tenants_failed: z.number().int().openapi({ example: 0 }),
  results: z.array(TenantResult),
};

const query = endpoint(
  { policy: { who: "P", role: "admin" }, maxBodyBytes: queryBodyBytes },
  {
    method: "post",
    path: "/admin/query",
    tags: ["Operations"],
    summary: "Run one statement in a tenant's database, or in every tenant's of a blueprint",
    description:
      "As role admin; DDL is refused, and one tenant's failure is its own result. With `Accept: application/x-ndjson` each tenant is a line of JSON, in the order they end; a client that leaves cancels what runs.",
    request: { body: { required: true, content: { "application/json": { schema: AdminQuery } } } },
    responses: {
      200: {
        description: "Results by tenant",
        content: { ...answer(200, "", resultFields).content, "application/x-ndjson": { schema: z.string() } },
      },
    },
  },
  async (c) => {
    const { blueprint, query: sql, params, tenant_id, concurrency } = c.req.valid("json");
    const { control } = c.var.api;
    const { projectId } = c.var.access;
    const { name } = await control.getBlueprint(projectId, blueprint);
    if (tenant_id !== undefined) await control.getTenant(projectId, tenant_id);
    const input = {
      blueprint: name,
      tenants: tenant_id === undefined ? ("all" as const) : [tenant_id],
      request: { query: sql, params, caller: callerOf(c) },
      concurrency,
    };
    const ask = (signal: AbortSignal) => control.queryTenants(projectId, input, signal);
    if (wantsLines(c)) return streamLines(c, ask, presentTenant) as never;
    return ok(c, await gather(c, ask(c.req.raw.signal)));
  },
);

function wantsLines(c: ApiContext): boolean {
  return /\bapplication\/x-ndjson\b/i.test(c.req.header("accept") ?? "");
}

async function gather(c: ApiContext, answers: AsyncIterable<TenantAnswer>) {
  const results: ReturnType<typeof presentTenant>[] = [];
  let rows = 0;
  for await (const each of answers) {
    rows += each.answer?.rows.length ?? 0;
    if (rows > maxRows) {
      c.set("hasActed", true); // the statement ran for every tenant up to here
      throw new GatewayError("payload_too_large", `the tenants' answers have more than ${maxRows} rows together`, {
        hint: "Ask with Accept: application/x-ndjson, which has no such limit.",
      });
    }
    results.push(presentTenant(each));
  }
  const failed = results.filter((result) => result.error !== null).length;
  results.sort((a, b) => (a.tenant_id < b.tenant_id ? -1 : 1));
  return { tenants_ok: results.length - failed, tenants_failed: failed, results };
}

function presentTenant({ tenantId, answer: found, error }: TenantAnswer) {
  if (found) return { tenant_id: tenantId, code: "ok", error: null, sqlstate: null, ...presentAnswer(found) };
  return { tenant_id: tenantId, code: error?.refusal.code ?? "internal_error", error: error?.message ?? "", sqlstate: error?.sqlstate ?? null };
}

export const adminEndpoints = [query] as const;
