/** Tenants: one database of their own each, per blueprint. */
import { z } from "@hono/zod-openapi";
import type { NewTenant } from "../../core/control-plane.ts";
import { callerOf } from "../caller.ts";
import type { ApiContext } from "../context.ts";
import { endpoint, queryBodyBytes } from "../endpoint.ts";
import { answer, created, ok, paging } from "../envelope.ts";
import { assertCoversBlueprint, coversBlueprint } from "../policy.ts";
import { isoTime, presentAnswer, presentConnection, presentDeployment, presentResult, presentTenant, readPage } from "../present.ts";
import {
  ClusterName,
  Deployment,
  DeploymentResult,
  IsolationLevel,
  newTenantFields,
  PageQuery,
  queryAnswerFields,
  queryFields,
  Tenant,
  TenantId,
  TenantParams,
  tenantFields,
  WorkspaceName,
} from "../schema.ts";
import { chooseBlueprint } from "./choose-blueprint.ts";

const tags = ["Tenants"];
const params = TenantParams;
const reads = { who: "T", role: "read", target: "tenant" } as const;

const list = endpoint(
  { policy: { who: "W", role: "read" } },
  {
    method: "get",
    path: "/tenants",
    tags,
    summary: "The project's tenants; for a workspace-scoped key, those of its blueprints",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Tenants", { tenants: z.array(Tenant), ...paging }) },
  },
  async (c) => {
    const { projectId, scope } = c.var.access;
    const page = { ...readPage(c.req.valid("query")), ...(scope.type === "workspace" && { workspaces: scope.values }) };
    const { items, nextCursor } = await c.var.api.control.listTenants(projectId, page);
    const tenants = items.map((item) => presentTenant(c.var.api.info, item, (blueprint) => coversBlueprint(scope, blueprint)));
    return ok(c, { tenants, count: tenants.length, next_cursor: nextCursor ?? null });
  },
);

const CreateBody = z
  .strictObject({
    tenant_id: TenantId,
    databases: z
      .array(z.strictObject({ blueprint: WorkspaceName, isolation_level: IsolationLevel.optional(), cluster: ClusterName.optional() }))
      .min(1, "must name at least one blueprint")
      .max(20, "must name at most 20 blueprints"),
  })
  .openapi("NewTenant");

const create = endpoint(
  { policy: { who: "W", role: "admin" } },
  {
    method: "post",
    path: "/tenants",
    tags,
    summary: "Make a tenant, or give one that exists databases of further blueprints",
    description: "The connection strings hold the tenant's own password: keep them, it is shown once.",
    request: { body: { required: true, content: { "application/json": { schema: CreateBody } } } },
    responses: {
      201: answer(201, "The tenant, ready to connect to", newTenantFields),
    },
  },
  async (c) => {
    const { tenant_id, databases } = c.req.valid("json");
    for (const { blueprint } of databases) assertCoversBlueprint(c.var.access.scope, blueprint);
    const made = await c.var.api.control.createTenant(c.var.access.projectId, {
      tenantId: tenant_id,
      databases: databases.map(({ blueprint, isolation_level, cluster }) => ({
        blueprint,
        isolationLevel: isolation_level ?? levelOf(cluster),
        cluster,
      })),
    });
    return created(c, presentNewTenant(c, made));
  },
);

/** The first cluster, whose name is the same everywhere, is the shared one. */
function levelOf(cluster: string | undefined): 1 | 2 {
  return cluster === undefined || cluster === "main" ? 1 : 2;
}

export function presentNewTenant(c: ApiContext, { tenant, databases, credential }: NewTenant) {
  return {
    tenant_id: tenant.id,
    status: tenant.state,
    created_at: isoTime(tenant.createdAt),
    databases: databases.map(({ blueprint, engine, isolationLevel, version }) => {
      const name = { kind: "tenant", workspace: blueprint, tenant: tenant.id } as const;
      const connection = presentConnection(c.var.api.info, engine, tenant.projectId, name, credential?.proxyPassword);
      return { blueprint, database_type: engine, isolation_level: isolationLevel, version, ...connection };
    }),
    proxy_password: credential?.proxyPassword ?? null,
    api_key: credential?.apiKey ?? null,
  };
}

const get = endpoint(
  { policy: reads },
  {
    method: "get",
    path: "/tenants/{id}",
    tags,
    summary: "One tenant",
    request: { params },
    responses: { 200: answer(200, "The tenant", tenantFields) },
  },
  async (c) => {
    const { tenant, access, api } = c.var;
    return ok(
      c,
      presentTenant(api.info, tenant, (blueprint) => coversBlueprint(access.scope, blueprint)),
    );
  },
);

const remove = endpoint(
  { policy: { who: "W", role: "admin", target: "tenant", whole: true } },
  {
    method: "delete",
    path: "/tenants/{id}",
    tags,
    summary: "Put a tenant in the trash for 7 days, or delete it at once",
    request: {
      params,
      query: z.strictObject({
        hard: z.enum(["true", "false"], "must be true or false").optional().openapi({ description: "true: its databases are gone at once." }),
      }),
    },
    responses: { 200: answer(200, "Done", { tenant_id: z.string(), status: z.enum(["trash", "deleted"]), message: z.string() }) },
  },
  async (c) => {
    const { id } = c.var.tenant;
    const hard = c.req.valid("query").hard === "true";
    await c.var.api.control.deleteTenant(c.var.access.projectId, id, hard);
    if (hard) return ok(c, { tenant_id: id, status: "deleted" as const, message: `Tenant '${id}' deleted` });
    return ok(c, {
      tenant_id: id,
      status: "trash" as const,
      message: `Tenant '${id}' moved to trash; POST /tenants/${id}/restore brings it back within 7 days`,
    });
  },
);

/** Restore, suspend and resume differ in one word. */
function stateChange<V extends "restore" | "suspend" | "resume">(verb: V, summary: string) {
  return endpoint(
    { policy: { who: "W", role: "admin", target: "tenant", whole: true } },
    {
      method: "post",
      path: `/tenants/{id}/${verb}` as const,
      tags,
      summary,
      request: { params },
      responses: { 200: answer(200, "The tenant", tenantFields) },
    },
    async (c) => {
      const { control, info } = c.var.api;
      const change = { restore: control.restoreTenant, suspend: control.suspendTenant, resume: control.resumeTenant }[verb];
      const tenant = await change.call(control, c.var.access.projectId, c.var.tenant.id);
      return ok(
        c,
        presentTenant(info, tenant, () => true),
      );
    },
  );
}

const restore = stateChange("restore", "Take a tenant out of the trash");
const suspend = stateChange("suspend", "Refuse connections; open sessions are closed within 2 seconds");
const resume = stateChange("resume", "Let a suspended tenant connect again");

const QueryBody = z
  .strictObject({ ...queryFields, blueprint: WorkspaceName.optional().openapi({ description: "Needed when the tenant has several." }) })
  .openapi("TenantQuery");

const query = endpoint(
  { policy: reads, maxBodyBytes: queryBodyBytes },
  {
    method: "post",
    path: "/tenants/{id}/query",
    tags,
    summary: "Run one statement in a tenant's database",
    description: "It runs as the key's role: the database decides what it may do. DDL is refused.",
    request: { params, body: { required: true, content: { "application/json": { schema: QueryBody } } } },
    responses: { 200: answer(200, "The result", queryAnswerFields) },
  },
  async (c) => {
    const { tenant, access, api } = c.var;
    const { query: sql, params: values, blueprint } = c.req.valid("json");
    const request = { query: sql, params: values, caller: callerOf(c), blueprint: chooseBlueprint(tenant, access.scope, blueprint) };
    return ok(c, presentAnswer(await api.control.queryTenant(access.projectId, tenant.id, access.role, request)));
  },
);

const deployments = endpoint(
  { policy: reads },
  {
    method: "get",
    path: "/tenants/{id}/deployments",
    tags,
    summary: "Deployments that included a tenant, and how they went for it",
    description: "The newest first.",
    request: { params, query: PageQuery },
    responses: {
      200: answer(200, "Deployments", { tenant_id: z.string(), deployments: z.array(Deployment.extend({ result: DeploymentResult })), ...paging }),
    },
  },
  async (c) => {
    const { tenant, access, api } = c.var;
    const page = { ...readPage(c.req.valid("query")), workspaces: access.scope.type === "workspace" ? access.scope.values : undefined };
    const { items, nextCursor } = await api.control.listTenantDeployments(access.projectId, tenant.id, page);
    const found = items.map(({ deployment, result }) => ({ ...presentDeployment(deployment), result: presentResult(result) }));
    return ok(c, { tenant_id: tenant.id, deployments: found, count: found.length, next_cursor: nextCursor ?? null });
  },
);

export const tenantEndpoints = [list, create, get, remove, restore, suspend, resume, query, deployments] as const;
