/** API keys: made with a role and a scope, listed without their secrets, rotated, revoked. */
import { z } from "@hono/zod-openapi";
import type { NewCredential } from "../../core/control-plane.ts";
import type { Credential } from "../../core/model.ts";
import type { Scope } from "../../core/scope.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, created, ok, paging } from "../envelope.ts";
import { notFound } from "../policy.ts";
import { presentConnection, presentCredential, readPage } from "../present.ts";
import { ApiKey, apiKeyField, apiKeyFields, integer, Name, PageQuery, proxyPasswordField, RoleField } from "../schema.ts";
import { findEach } from "./find-each.ts";

const tags = ["API keys"];
const policy = { who: "P", role: "admin" } as const;
const params = z.object({ id: z.string().openapi({ example: "key_5f0c2a" }) });
// A wide scope has more databases than anybody wants to read.
const maxConnectionStrings = 100;

const secretFields = {
  ...apiKeyFields,
  key: apiKeyField,
  proxy_password: proxyPasswordField,
  connection_strings: z.array(z.string()).openapi({
    description: `Ready to use, for the databases the key reaches now (at most ${maxConnectionStrings}).`,
    example: ["postgresql://tdb_2abf90d3:tdb_4f2c9d1ab7e8350c@localhost:5432/myapp__wayne?sslmode=require"],
  }),
};

const list = endpoint(
  { policy },
  {
    method: "get",
    path: "/apikeys",
    tags,
    summary: "The project's keys",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Keys", { api_keys: z.array(ApiKey), ...paging }) },
  },
  async (c) => {
    const { items, nextCursor } = await c.var.api.control.listCredentials(c.var.access.projectId, readPage(c.req.valid("query")));
    const now = c.var.api.clock.wallMs();
    const keys = items.map((item) => ({ ...presentCredential(item), key: shownKey(item.prefix), is_active: isActive(item, now) }));
    return ok(c, { api_keys: keys, count: keys.length, next_cursor: nextCursor ?? null });
  },
);

/** How a key is named without being told. */
const shownKey = (prefix: string) => `${prefix}…`;

function isActive(credential: Credential, now: number): boolean {
  return credential.revokedAt === undefined && (credential.expiresAt === undefined || credential.expiresAt > now);
}

const CreateBody = z
  .strictObject({
    name: Name.openapi({ example: "nightly report" }),
    role: RoleField.default("admin"),
    scope_type: z.enum(["project", "workspace", "tenant"], "must be project, workspace or tenant").default("project").openapi({ example: "tenant" }),
    scope_values: z
      .array(z.string().regex(/^[a-z0-9_-]{1,40}$/, "must be a workspace name or tenant id"))
      .max(100, "must have at most 100 values")
      .default([])
      .openapi({ example: ["wayne"] }),
    expires_at: z.iso
      .datetime({ offset: true, error: "must be an ISO 8601 time, as 2027-01-31T00:00:00Z" })
      .nullish()
      .openapi({ example: "2027-01-31T00:00:00Z" }),
  })
  .openapi("NewApiKey");

const create = endpoint(
  { policy },
  {
    method: "post",
    path: "/apikeys",
    tags,
    summary: "Make a key",
    description:
      "`scope_values` are workspace names or tenant ids. The key opens this API and the wire proxy, the proxy password the wire proxy only.",
    request: { body: { required: true, content: { "application/json": { schema: CreateBody } } } },
    responses: { 201: answer(201, "The key, shown once", secretFields) },
  },
  async (c) => {
    const input = c.req.valid("json");
    const scope = readScope(input.scope_type, input.scope_values);
    const expiresAt = readExpiry(input.expires_at, c.var.api.clock.wallMs());
    // Looked up before the key is made: a failure here must not leave a key behind that nobody has seen.
    const connect = await findConnections(c, scope);
    const made = await c.var.api.control.createCredential(c.var.access.projectId, { name: input.name, role: input.role, scope, expiresAt });
    return created(c, presentSecrets(made, connect));
  },
);

function readScope(type: Scope["type"], values: readonly string[]): Scope {
  if (type === "project") {
    if (values.length > 0) throw badInput([{ path: "scope_values", message: "must be left out for scope_type project" }]);
    return { type };
  }
  if (values.length === 0) throw badInput([{ path: "scope_values", message: `must name at least one ${type}` }]);
  return { type, values: [...new Set(values)] };
}

function readExpiry(text: string | null | undefined, now: number): number | undefined {
  if (text === null || text === undefined) return undefined;
  const at = Date.parse(text);
  if (!(at > now)) throw badInput([{ path: "expires_at", message: "must be in the future" }]);
  return at;
}

function presentSecrets(made: NewCredential, connect: (password: string) => string[]) {
  return {
    ...presentCredential(made.credential),
    key: made.apiKey,
    proxy_password: made.proxyPassword,
    connection_strings: connect(made.proxyPassword),
  };
}

/** The databases a scope reaches, as a function that puts a password into their connection strings. */
async function findConnections(c: ApiContext, scope: Scope): Promise<(password: string) => string[]> {
  const { control, info } = c.var.api;
  const { projectId } = c.var.access;
  const workspaces =
    scope.type === "tenant"
      ? []
      : scope.type === "project"
        ? (await control.listWorkspaces(projectId, { limit: maxConnectionStrings })).items
        : await findEach(scope.values, (name) => control.getWorkspace(projectId, name));
  const tenants =
    scope.type === "project"
      ? []
      : scope.type === "tenant"
        ? await findEach(scope.values, (id) => control.getTenant(projectId, id))
        : (await control.listTenants(projectId, { limit: maxConnectionStrings, workspaces: scope.values })).items;
  return (password) =>
    [
      ...workspaces.map((found) => presentConnection(info, found.engine, projectId, { kind: "workspace", workspace: found.name }, password)),
      ...tenants.flatMap((tenant) =>
        tenant.databases
          .filter((database) => scope.type !== "workspace" || scope.values.includes(database.blueprint))
          .map(({ engine, blueprint }) =>
            presentConnection(info, engine, projectId, { kind: "tenant", workspace: blueprint, tenant: tenant.id }, password),
          ),
      ),
    ]
      .flatMap(({ connection_string }) => connection_string ?? [])
      .slice(0, maxConnectionStrings);
}

const remove = endpoint(
  { policy },
  {
    method: "delete",
    path: "/apikeys/{id}",
    tags,
    summary: "Revoke a key",
    description: "Open wire sessions of the key are closed within 2 seconds.",
    request: { params },
    responses: { 200: answer(200, "Revoked", { id: z.string(), message: z.string() }) },
  },
  async (c) => {
    const id = readKeyId(c.req.valid("param").id);
    const revoked = await c.var.api.control.revokeCredential(c.var.access.projectId, id);
    const { name, role, scope_type, scope_values, expires_at } = presentCredential(revoked);
    c.set("before", { name, key: shownKey(revoked.prefix), role, scope_type, scope_values, expires_at });
    return ok(c, { id, message: `API key '${id}' revoked` });
  },
);

const RotateBody = z
  .strictObject({ grace_s: integer(0, 604_800).default(0).openapi({ description: "Seconds the old secrets go on working.", example: 3600 }) })
  .openapi("RotateApiKey");

const rotate = endpoint(
  { policy },
  {
    method: "post",
    path: "/apikeys/{id}/rotate",
    tags,
    summary: "New secrets for a key",
    request: { params, body: { content: { "application/json": { schema: RotateBody } } } },
    responses: { 200: answer(200, "The new secrets, shown once", secretFields) },
  },
  async (c) => {
    const id = readKeyId(c.req.valid("param").id);
    const made = await c.var.api.control.rotateCredential(c.var.access.projectId, id, c.req.valid("json").grace_s ?? 0);
    c.set("before", { key: shownKey(made.previousPrefix) });
    return ok(c, presentSecrets(made, await findConnections(c, made.credential.scope)));
  },
);

function readKeyId(id: string): string {
  if (!/^key_[0-9a-f]{1,64}$/.test(id)) throw notFound("API key", id);
  return id;
}

export const apiKeyEndpoints = [list, create, remove, rotate] as const;
