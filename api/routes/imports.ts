/** Imports: a shared database split into tenants' own. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import type { Imports } from "../../core/imports.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { accepted, answer, ok } from "../envelope.ts";
import { analysisFields, ImportBody, presentAnalysis, presentImport, statusFields, toRequest } from "../import-shapes.ts";
import { shownField, WorkspaceParams } from "../schema.ts";

const tags = ["Imports"];
const policy = { who: "W", role: "admin", target: "workspace" } as const;
const params = WorkspaceParams;
const body = { required: true, content: { "application/json": { schema: ImportBody } } };
const ImportId = z
  .string()
  .regex(/^imp_[0-9a-f]{1,64}$/, "must be an import_id")
  .openapi({ example: "imp_41c09e5b7d20f3a8" });
const chooseBody = { required: true, content: { "application/json": { schema: z.strictObject({ import_id: ImportId }).openapi("ImportChoice") } } };

function importsOf(c: ApiContext): Imports {
  const { imports } = c.var.api;
  if (!imports) throw new GatewayError("forbidden", "this API runs without a gateway; nothing can be imported");
  return imports;
}

const analyze = endpoint(
  { policy },
  {
    method: "post",
    path: "/workspaces/{id}/import-data/analyze",
    tags,
    summary: "Look at a shared database before an import: whose each table is, which tenants there are, what is left over",
    description:
      "Reads the source in one snapshot and changes nothing, there or here. `?full=true`: as for import-full, without comparing with the blueprint.",
    request: { params, query: z.strictObject({ full: z.enum(["true", "false"], "must be true or false").optional() }), body },
    responses: { 200: answer(200, "What an import would do", analysisFields) },
  },
  async (c) => {
    const kind = c.req.valid("query").full === "true" ? "full" : "data";
    return ok(c, presentAnalysis(await importsOf(c).analyze(c.var.access.projectId, c.var.workspace.id, toRequest(c.req.valid("json")), kind)));
  },
);

const importData = endpoint(
  { policy },
  {
    method: "post",
    path: "/workspaces/{id}/import-data",
    tags,
    summary: "Split a shared database into tenants of this blueprint",
    description:
      "Rows go to the tenant their routing field names; tables without it follow their foreign keys. A job: its progress is at import-data/status. Each tenant is written in one transaction and checked.",
    request: { params, body },
    responses: { 202: answer(202, "Started", statusFields) },
  },
  async (c) =>
    accepted(c, presentImport(await importsOf(c).startImport(c.var.access.projectId, c.var.workspace.id, toRequest(c.req.valid("json")), "data"))),
);

const importFull = endpoint(
  { policy },
  {
    method: "post",
    path: "/workspaces/{id}/import-full",
    tags,
    summary: "Load the structure of a shared database into an empty workspace, then split its rows into tenants",
    request: { params, body },
    responses: { 202: answer(202, "Started", statusFields) },
  },
  async (c) =>
    accepted(c, presentImport(await importsOf(c).startImport(c.var.access.projectId, c.var.workspace.id, toRequest(c.req.valid("json")), "full"))),
);

const StatusQuery = z.strictObject({
  import_id: ImportId.optional().openapi({ description: "The newest unless told." }),
  tenants: shownField("an import"),
});

const status = endpoint(
  { policy: { who: "W", role: "read", target: "workspace" } },
  {
    method: "get",
    path: "/workspaces/{id}/import-data/status",
    tags,
    summary: "How far an import is, tenant by tenant",
    request: { params, query: StatusQuery },
    responses: { 200: answer(200, "The import", statusFields) },
  },
  async (c) => {
    const { import_id, tenants } = c.req.valid("query");
    return ok(c, presentImport(await importsOf(c).getImport(c.var.access.projectId, c.var.workspace.id, import_id, tenants)));
  },
);

const cancel = endpoint(
  { policy },
  {
    method: "post",
    path: "/workspaces/{id}/import-data/cancel",
    tags,
    summary: "Stop an import: tenants in progress are taken back, those done stay",
    request: { params, body: chooseBody },
    responses: { 200: answer(200, "The import", statusFields) },
  },
  async (c) => ok(c, presentImport(await importsOf(c).cancelImport(c.var.access.projectId, c.var.workspace.id, c.req.valid("json").import_id))),
);

const retry = endpoint(
  { policy },
  {
    method: "post",
    path: "/workspaces/{id}/import-data/retry",
    tags,
    summary: "Go on with the tenants of an import that are not done",
    request: { params, body: chooseBody },
    responses: { 202: answer(202, "Started", statusFields) },
  },
  async (c) => accepted(c, presentImport(await importsOf(c).retryImport(c.var.access.projectId, c.var.workspace.id, c.req.valid("json").import_id))),
);

export const importEndpoints = [analyze, importData, importFull, status, cancel, retry] as const;
