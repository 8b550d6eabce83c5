/** Projects of an account; an API key sees its own. */
import { z } from "@hono/zod-openapi";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, created, ok, paging } from "../envelope.ts";
import { pageOf } from "../page-of.ts";
import { isoTime, presentProject } from "../present.ts";
import { Name, newProjectFields, PageQuery, Project } from "../schema.ts";

const tags = ["Projects"];
const params = z.object({ id: z.string().openapi({ example: "tdb_2abf90d3" }) });
const NameBody = z.strictObject({ name: Name.openapi({ example: "Staging" }) }).openapi("ProjectName");
const body = { required: true, content: { "application/json": { schema: NameBody } } };

const list = endpoint(
  { policy: { who: "account" } },
  {
    method: "get",
    path: "/projects",
    tags,
    summary: "The account's projects; for an API key, its own",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Projects", { projects: z.array(Project), ...paging }) },
  },
  async (c) => {
    const { principal, api } = c.var;
    const found =
      principal.type === "session"
        ? await api.control.listProjects(principal.account.id)
        : [await api.control.getProject(principal.credential.projectId)];
    const { items, ...page } = pageOf(found, c.req.valid("query"), ({ createdAt, id }) => `${isoTime(createdAt)} ${id}`);
    return ok(c, { projects: items.map(presentProject), ...page });
  },
);

const create = endpoint(
  { policy: { who: "account" } },
  {
    method: "post",
    path: "/projects",
    tags,
    summary: "Make a project",
    description: "It belongs to the account of the caller. Its secrets are shown once.",
    request: { body },
    responses: { 201: answer(201, "The project", newProjectFields) },
  },
  async (c) => {
    const { project, apiKey, proxyPassword } = await c.var.api.control.createProject(await readAccountId(c), c.req.valid("json").name);
    return created(c, { ...presentProject(project), api_key: apiKey, proxy_password: proxyPassword });
  },
);

async function readAccountId(c: ApiContext): Promise<string | undefined> {
  const { principal } = c.var;
  if (principal.type === "session") return principal.account.id;
  return (await c.var.api.control.getProject(principal.credential.projectId)).accountId;
}

const get = endpoint(
  { policy: { who: "owner" } },
  {
    method: "get",
    path: "/projects/{id}",
    tags,
    summary: "One project",
    request: { params },
    responses: { 200: answer(200, "The project", Project.shape) },
  },
  async (c) => ok(c, presentProject(await c.var.api.control.getProject(c.req.valid("param").id))),
);

async function rememberName(c: ApiContext, id: string): Promise<void> {
  const { name } = await c.var.api.control.getProject(id);
  c.set("before", { name });
}

const rename = endpoint(
  { policy: { who: "owner" } },
  {
    method: "patch",
    path: "/projects/{id}",
    tags,
    summary: "Rename a project",
    request: { params, body },
    responses: { 200: answer(200, "The project", Project.shape) },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    await rememberName(c, id);
    return ok(c, presentProject(await c.var.api.control.renameProject(id, c.req.valid("json").name)));
  },
);

const remove = endpoint(
  { policy: { who: "owner" } },
  {
    method: "delete",
    path: "/projects/{id}",
    tags,
    summary: "Delete a project and everything below it, databases included",
    request: {
      params,
      query: z.strictObject({ confirm: z.string().optional().openapi({ description: "The project's id again.", example: "tdb_2abf90d3" }) }),
    },
    responses: { 200: answer(200, "Deleted", { project_id: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    if (c.req.valid("query").confirm !== id)
      throw badInput([{ path: "confirm", message: `must be the project's id: DELETE /projects/${id}?confirm=${id}` }]);
    await rememberName(c, id);
    await c.var.api.control.deleteProject(id);
    return ok(c, { project_id: id, message: `Project '${id}' deleted` });
  },
);

export const projectEndpoints = [list, create, get, rename, remove] as const;
