/** Deployments: jobs that bring tenants to a blueprint version. */
import { z } from "@hono/zod-openapi";
import type { DeploymentEvent, ResultsPage, ResultsShown } from "../../core/control-plane.ts";
import type { Deployment as DeploymentModel } from "../../core/model.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { accepted, answer, ok, paging } from "../envelope.ts";
import { assertCoversBlueprint, coversBlueprint, notFound } from "../policy.ts";
import { presentDeployment, presentDetail, presentResult, readPage } from "../present.ts";
import { Deployment, deploymentDetailFields, integer, PageQuery, ResultsQuery, TenantId, WorkspaceName } from "../schema.ts";
import { streamEvents } from "../stream.ts";

const tags = ["Deployments"];
const reads = { who: "W", role: "read" } as const;
const acts = { who: "W", role: "admin" } as const;
const params = z.object({ id: z.string().openapi({ example: "dep_41c09e" }) });
// Longer than proxies keep a silent request open helps nobody; the job goes on without its caller.
const maxWaitMs = 10 * 60_000;

const list = endpoint(
  { policy: reads },
  {
    method: "get",
    path: "/deployments",
    tags,
    summary: "The project's deployments; for a workspace-scoped key, those of its blueprints",
    description: "A page may hold fewer than `limit`; `next_cursor` tells whether there is more.",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Deployments", { deployments: z.array(Deployment), ...paging }) },
  },
  async (c) => {
    const { items, nextCursor } = await c.var.api.control.listDeployments(c.var.access.projectId, readPage(c.req.valid("query")));
    const found = items.filter((item) => coversBlueprint(c.var.access.scope, item.blueprint)).map(presentDeployment);
    return ok(c, { deployments: found, count: found.length, next_cursor: nextCursor ?? null });
  },
);

const CreateBody = z
  .strictObject({
    blueprint_name: WorkspaceName,
    version: integer(1, 2_147_483_647).optional().openapi({ description: "The newest unless told.", example: 3 }),
    deploy_all: z.boolean("must be true or false").optional().openapi({ description: "Every tenant of the blueprint.", example: true }),
    tenant_ids: z.array(TenantId).min(1, "must name at least one tenant").max(10_000, "must name at most 10000 tenants").optional(),
    concurrency: integer(1, 64).default(8).openapi({ description: "Tenants worked on at a time, on each cluster.", example: 8 }),
    lock_timeout_ms: integer(1, 600_000).default(5000).openapi({ description: "How long one try waits for a lock.", example: 5000 }),
    canary: integer(0, 1000).default(0).openapi({
      description: "This many tenants go first. The rest is held when one of them fails, or when their statements fail more often.",
      example: 1,
    }),
    canary_watch_s: integer(0, 86_400)
      .default(30)
      .openapi({ description: "How long the canaries' statements are watched before the rest follows.", example: 30 }),
    on_failure: z
      .enum(["continue", "hold"], "must be continue or hold")
      .default("continue")
      .openapi({ description: "`hold`: no further tenant is begun once one has failed." }),
    dry_run: z
      .boolean("must be true or false")
      .default(false)
      .openapi({ description: "Tries it on copies of the databases of `tenant_ids`, tells time and locks by statement, and changes no tenant." }),
    wait: z
      .boolean("must be true or false")
      .default(false)
      .openapi({ description: "Answer when the deployment has ended, with its results.", example: false }),
  })
  .refine((body) => (body.deploy_all === true) !== (body.tenant_ids !== undefined), {
    path: ["deploy_all"],
    message: "name exactly one of deploy_all: true and tenant_ids",
  })
  .openapi("NewDeployment");

const create = endpoint(
  { policy: acts },
  {
    method: "post",
    path: "/deployments",
    tags,
    summary: "Bring tenants to a blueprint version",
    description: "202 when the job was started; 200 with `wait: true` once it has ended. Whether it went well is in `status` and `results`.",
    request: { query: ResultsQuery, body: { required: true, content: { "application/json": { schema: CreateBody } } } },
    responses: {
      200: answer(200, "Ended", deploymentDetailFields),
      202: answer(202, "Started", deploymentDetailFields),
    },
  },
  async (c) => {
    const body = c.req.valid("json");
    assertCoversBlueprint(c.var.access.scope, body.blueprint_name);
    const started = await c.var.api.control.createDeployment(c.var.access.projectId, {
      blueprint: body.blueprint_name,
      version: body.version,
      tenants: body.tenant_ids === undefined ? "all" : [...new Set(body.tenant_ids)],
      concurrency: body.concurrency,
      lockTimeoutMs: body.lock_timeout_ms,
      canary: body.canary,
      canaryWatchS: body.canary_watch_s,
      onFailure: body.on_failure,
      dryRun: body.dry_run,
    });
    const { id } = started;
    const results = readResults(c.req.valid("query"));
    if (!body.wait) return accepted(c, await detail(c, id, results));
    const enough = new AbortController();
    const timer = setTimeout(() => enough.abort(), maxWaitMs);
    const signal = AbortSignal.any([c.req.raw.signal, enough.signal]);
    const waiting = c.var.api.control.waitForDeployment(c.var.access.projectId, id, signal);
    const ended = await waiting.finally(() => clearTimeout(timer)); // a timer left behind would keep the process alive
    return ended.finishedAt === undefined ? accepted(c, await detail(c, id, results)) : ok(c, await detail(c, id, results));
  },
);

/** Whatever a deployment's answer is to, it holds a page of results at most. */
function readResults(query: { results?: ResultsShown | undefined; limit?: string | undefined; cursor?: string | undefined }): ResultsPage {
  return { ...readPage({ ...query, limit: query.limit ?? "1000" }), shown: query.results ?? "all" };
}

async function detail(c: ApiContext, id: string, results: ResultsPage) {
  return presentDetail(await c.var.api.control.getDeployment(c.var.access.projectId, id, results));
}

const get = endpoint(
  { policy: reads },
  {
    method: "get",
    path: "/deployments/{id}",
    tags,
    summary: "One deployment, tenant by tenant",
    description: "The counts are of all tenants, whichever results come with them.",
    request: { params, query: ResultsQuery.extend({ cursor: PageQuery.shape.cursor }) },
    responses: { 200: answer(200, "The deployment", deploymentDetailFields) },
  },
  async (c) => ok(c, presentDetail(await reachDeployment(c, readResults(c.req.valid("query"))))),
);

async function reachDeployment(c: ApiContext, results?: ResultsPage): Promise<DeploymentModel> {
  const id = c.req.param("id") ?? "";
  if (!/^dep_[0-9a-f]{1,64}$/.test(id)) throw notFound("Deployment", id);
  const deployment = await c.var.api.control.getDeployment(c.var.access.projectId, id, results);
  assertCoversBlueprint(c.var.access.scope, deployment.blueprint);
  return deployment;
}

const events = endpoint(
  { policy: reads },
  {
    method: "get",
    path: "/deployments/{id}/events",
    tags,
    summary: "A deployment as server-sent events: `progress`, `result` for each tenant that ended, `end`",
    description: "What is so already comes first. The stream closes after `end`; the data of each event is JSON.",
    request: { params },
    responses: { 200: { description: "Events", content: { "text/event-stream": { schema: z.string() } } } },
  },
  async (c) => {
    const { id } = await reachDeployment(c);
    const follow = (signal: AbortSignal) => c.var.api.control.followDeployment(c.var.access.projectId, id, signal);
    return streamEvents(c, follow, presentEvent) as never;
  },
);

function presentEvent(event: DeploymentEvent): { event: string; data: unknown } {
  return { event: event.type, data: event.type === "result" ? presentResult(event.result) : presentDeployment(event.deployment) };
}

const cancel = endpoint(
  { policy: acts },
  {
    method: "post",
    path: "/deployments/{id}/cancel",
    tags,
    summary: "Stop a deployment after the tenants being worked on",
    request: { params, query: ResultsQuery },
    responses: { 200: answer(200, "The deployment", deploymentDetailFields) },
  },
  async (c) => {
    const { id, state } = await reachDeployment(c);
    c.set("before", { status: state });
    await c.var.api.control.cancelDeployment(c.var.access.projectId, id);
    return ok(c, await detail(c, id, readResults(c.req.valid("query"))));
  },
);

const retry = endpoint(
  { policy: acts },
  {
    method: "post",
    path: "/deployments/{id}/retry",
    tags,
    summary: "Try the failed and cancelled tenants again",
    request: { params, query: ResultsQuery },
    responses: { 202: answer(202, "Started", deploymentDetailFields) },
  },
  async (c) => {
    const { id, state } = await reachDeployment(c);
    c.set("before", { status: state });
    await c.var.api.control.retryDeployment(c.var.access.projectId, id);
    return accepted(c, await detail(c, id, readResults(c.req.valid("query"))));
  },
);

export const deploymentEndpoints = [list, create, get, events, cancel, retry] as const;
