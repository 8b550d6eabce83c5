/** Limits and pooling: per workspace for all tenants of its blueprint, per tenant where one differs. */
import { z } from "@hono/zod-openapi";
import type { DatabaseSettings } from "../../core/model.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, ok } from "../envelope.ts";
import { etagOf, ifMatch, ifMatchParameter } from "../etag.ts";
import { presentSettings } from "../present.ts";
import { SettingsPatch, settingFields, TenantParams, TenantSettingsPatch, WorkspaceName, WorkspaceParams } from "../schema.ts";
import { chooseBlueprint } from "./choose-blueprint.ts";

const tags = ["Settings"];
const etag = { headers: z.object({ etag: z.string().openapi({ description: "For If-Match.", example: '"6f1c2a90d37be4a1"' }) }) };
const workspaceAnswer = {
  ...answer(200, "The settings in force", { workspace: z.string().openapi({ example: "myapp" }), ...settingFields }),
  ...etag,
};
const workspaceBody = { required: true, content: { "application/json": { schema: SettingsPatch } } };
const inForce = "A change is in force for new statements on open connections within 2 seconds.";

const getWorkspace = endpoint(
  { policy: { who: "W", role: "read", target: "workspace" } },
  {
    method: "get",
    path: "/workspaces/{id}/settings",
    tags,
    summary: "Settings of a workspace",
    request: { params: WorkspaceParams },
    responses: { 200: workspaceAnswer },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    return ok(c, { workspace: workspace.name, ...(await tagged(c, await api.control.getWorkspaceSettings(access.projectId, workspace.id))) });
  },
);

const patchWorkspace = endpoint(
  { policy: { who: "W", role: "admin", target: "workspace" } },
  {
    method: "patch",
    path: "/workspaces/{id}/settings",
    tags,
    parameters: [ifMatchParameter],
    summary: "Change settings of a workspace",
    description: inForce,
    request: { params: WorkspaceParams, body: workspaceBody },
    responses: { 200: workspaceAnswer },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const patch = withoutUndefined(c.req.valid("json"));
    const check = checkOf(c, `the settings of workspace '${workspace.name}'`);
    const changed = await api.control.updateWorkspaceSettings(access.projectId, workspace.id, patch, check);
    return ok(c, { workspace: workspace.name, ...(await tagged(c, changed)) });
  },
);

const postWorkspace = endpoint(
  { policy: { who: "W", role: "admin", target: "workspace" } },
  {
    method: "post",
    path: "/workspaces/{id}/settings",
    tags,
    parameters: [ifMatchParameter],
    summary: "The same as PATCH",
    request: { params: WorkspaceParams, body: workspaceBody },
    responses: { 200: workspaceAnswer },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const patch = withoutUndefined(c.req.valid("json"));
    const check = checkOf(c, `the settings of workspace '${workspace.name}'`);
    const changed = await api.control.updateWorkspaceSettings(access.projectId, workspace.id, patch, check);
    return ok(c, { workspace: workspace.name, ...(await tagged(c, changed)) });
  },
);

const tenantQuery = z.strictObject({ blueprint: WorkspaceName.optional().openapi({ description: "Needed when the tenant has several." }) });
const tenantAnswer = { ...answer(200, "The settings in force", { tenant_id: z.string().openapi({ example: "wayne" }), ...settingFields }), ...etag };

const getTenant = endpoint(
  { policy: { who: "W", role: "read", target: "tenant" } },
  {
    method: "get",
    path: "/tenants/{id}/settings",
    tags,
    summary: "Settings of a tenant's database",
    request: { params: TenantParams, query: tenantQuery },
    responses: { 200: tenantAnswer },
  },
  async (c) => {
    const { tenant, access, api } = c.var;
    const blueprint = chooseBlueprint(tenant, access.scope, c.req.valid("query").blueprint);
    return ok(c, { tenant_id: tenant.id, ...(await tagged(c, await api.control.getTenantSettings(access.projectId, tenant.id, blueprint))) });
  },
);

const patchTenant = endpoint(
  { policy: { who: "W", role: "admin", target: "tenant" } },
  {
    method: "patch",
    path: "/tenants/{id}/settings",
    tags,
    parameters: [ifMatchParameter],
    summary: "Give a tenant its own values; null takes them back",
    description: inForce,
    request: {
      params: TenantParams,
      query: tenantQuery,
      body: { required: true, content: { "application/json": { schema: TenantSettingsPatch } } },
    },
    responses: { 200: tenantAnswer },
  },
  async (c) => {
    const { tenant, access, api } = c.var;
    const blueprint = chooseBlueprint(tenant, access.scope, c.req.valid("query").blueprint);
    const patch = withoutUndefined(c.req.valid("json"));
    const check = checkOf(c, `the settings of tenant '${tenant.id}'`);
    const changed = await api.control.updateTenantSettings(access.projectId, tenant.id, patch, blueprint, check);
    return ok(c, { tenant_id: tenant.id, ...(await tagged(c, changed)) });
  },
);

/** The settings as they are shown, their ETag in the answer's headers. */
async function tagged(c: ApiContext, settings: DatabaseSettings) {
  const shown = presentSettings(settings);
  c.header("ETag", await etagOf(shown));
  return shown;
}

function checkOf(c: ApiContext, what: string) {
  const check = ifMatch(c.req.header("if-match"), what);
  return check && ((current: DatabaseSettings) => check(presentSettings(current)));
}

/** Leaves out what was not sent, so that a patch holds exactly what the caller named. */
function withoutUndefined<T extends { [K in keyof DatabaseSettings]?: unknown }>(patch: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

export const settingEndpoints = [getWorkspace, patchWorkspace, postWorkspace, getTenant, patchTenant] as const;
