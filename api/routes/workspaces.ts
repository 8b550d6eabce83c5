/** Workspaces: where schemas are designed. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import { callerOf } from "../caller.ts";
import { endpoint, queryBodyBytes } from "../endpoint.ts";
import { answer, created, ok, paging } from "../envelope.ts";
import { pageOf } from "../page-of.ts";
import { presentAnswer, presentVersion, presentWorkspace, readPage } from "../present.ts";
import {
  BlueprintVersion,
  EngineField,
  ModeField,
  PageQuery,
  QueryBody,
  queryAnswerFields,
  Table,
  Workspace,
  WorkspaceName,
  WorkspaceParams,
  workspaceFields,
} from "../schema.ts";
import { findEach } from "./find-each.ts";
import { presentTables } from "./schema.ts";

const tags = ["Workspaces"];
const params = WorkspaceParams;

const list = endpoint(
  { policy: { who: "W", role: "read" } },
  {
    method: "get",
    path: "/workspaces",
    tags,
    summary: "The project's workspaces; for a workspace-scoped key, its own",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Workspaces", { workspaces: z.array(Workspace), ...paging }) },
  },
  async (c) => {
    const { control, info } = c.var.api;
    const { projectId, scope } = c.var.access;
    if (scope.type === "workspace") {
      const own = await findEach(scope.values, (name) => control.getWorkspace(projectId, name));
      const { items: shown, ...page } = pageOf(own, c.req.valid("query"), ({ name }) => name);
      return ok(c, { workspaces: shown.map((item) => presentWorkspace(info, item)), ...page });
    }
    const { items, nextCursor } = await control.listWorkspaces(projectId, readPage(c.req.valid("query")));
    return ok(c, { workspaces: items.map((item) => presentWorkspace(info, item)), count: items.length, next_cursor: nextCursor ?? null });
  },
);

const CreateBody = z
  .strictObject({
    name: WorkspaceName,
    database: EngineField.default("PostgreSQL"),
    mode: ModeField.default("tenant"),
    redirect_to: z
      .string()
      .regex(/^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):\d{1,5}$/, "must be host:port")
      .optional()
      .openapi({ description: "Where clients of an engine that is not proxied should connect.", example: "db.example:3306" }),
  })
  .openapi("NewWorkspace");

const create = endpoint(
  { policy: { who: "P", role: "admin" } },
  {
    method: "post",
    path: "/workspaces",
    tags,
    summary: "Make a workspace",
    description: "In `tenant` mode a blueprint of the same name comes with it.",
    request: { body: { required: true, content: { "application/json": { schema: CreateBody } } } },
    responses: { 201: answer(201, "The workspace", { ...workspaceFields, blueprint: z.string().nullable().openapi({ example: "myapp" }) }) },
  },
  async (c) => {
    const { name, database, mode, redirect_to } = c.req.valid("json");
    const made = await c.var.api.control.createWorkspace(c.var.access.projectId, { name, engine: database, mode, redirectTo: redirect_to });
    return created(c, { ...presentWorkspace(c.var.api.info, made), blueprint: made.mode === "tenant" ? made.name : null });
  },
);

const get = endpoint(
  { policy: { who: "W", role: "read", target: "workspace" } },
  {
    method: "get",
    path: "/workspaces/{id}",
    tags,
    summary: "One workspace: its tables, what is not deployed yet, how to connect",
    request: { params },
    responses: {
      200: answer(200, "The workspace", {
        ...workspaceFields,
        version: z.number().int().openapi({ example: 3 }),
        schema: z.object({ table_count: z.number().int(), tables: z.array(Table) }),
        undeployed_changes: z.number().int().openapi({ description: "Versions not yet on every tenant.", example: 1 }),
        undeployed_versions: z.array(BlueprintVersion),
      }),
    },
  },
  async (c) => {
    const { workspace, schema, version, undeployedChanges } = await c.var.api.control.describeWorkspace(c.var.access.projectId, c.var.workspace.id);
    const tables = await presentTables(c, schema);
    return ok(c, {
      ...presentWorkspace(c.var.api.info, workspace),
      version,
      schema: { table_count: tables.length, tables },
      undeployed_changes: undeployedChanges.length,
      undeployed_versions: undeployedChanges.map(presentVersion),
    });
  },
);

const remove = endpoint(
  { policy: { who: "W", role: "admin", target: "workspace" } },
  {
    method: "delete",
    path: "/workspaces/{id}",
    tags,
    summary: "Delete a workspace, its database and its blueprint",
    description: "Refused with `conflict` while tenants of the blueprint exist.",
    request: { params },
    responses: { 200: answer(200, "Deleted", { id: z.string(), name: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { id, name } = c.var.workspace;
    await c.var.api.control.deleteWorkspace(c.var.access.projectId, id);
    return ok(c, { id, name, message: `Workspace '${name}' deleted` });
  },
);

const query = endpoint(
  { policy: { who: "W", role: "read", target: "workspace" }, maxBodyBytes: queryBodyBytes },
  {
    method: "post",
    path: "/workspaces/{id}/queries",
    tags,
    summary: "Run one statement in a workspace",
    description: "It runs as the key's role: the database decides what it may do.",
    request: { params, body: { required: true, content: { "application/json": { schema: QueryBody } } } },
    responses: { 200: answer(200, "The result", queryAnswerFields) },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    if (workspace.engine !== "PostgreSQL")
      throw new GatewayError("bad_request", `workspace "${workspace.name}" is ${workspace.engine}; only PostgreSQL can be queried here`);
    const request = { ...c.req.valid("json"), caller: callerOf(c) };
    return ok(c, presentAnswer(await api.control.queryWorkspace(access.projectId, workspace.id, access.role, request)));
  },
);

export const workspaceEndpoints = [list, create, get, remove, query] as const;
