/** Blueprints: the versioned schemas of tenant-mode workspaces. */
import { z } from "@hono/zod-openapi";
import type { BlueprintSummary } from "../../core/control-plane.ts";
import type { BlueprintVersion as Version } from "../../core/model.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, ok, paging } from "../envelope.ts";
import { pageOf } from "../page-of.ts";
import { presentBlueprint, presentVersion, readPage } from "../present.ts";
import { Blueprint, BlueprintParams, BlueprintVersion, blueprintFields, PageQuery } from "../schema.ts";
import { findEach } from "./find-each.ts";
import { FleetStatus, presentFleet } from "./fleet.ts";

const tags = ["Blueprints"];
const policy = { who: "W", role: "read", target: "blueprint" } as const;

const list = endpoint(
  { policy: { who: "W", role: "read" } },
  {
    method: "get",
    path: "/blueprints",
    tags,
    summary: "The project's blueprints; for a workspace-scoped key, its own",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Blueprints", { blueprints: z.array(Blueprint), ...paging }) },
  },
  async (c) => {
    const { control } = c.var.api;
    const { projectId, scope } = c.var.access;
    if (scope.type === "workspace") {
      const { items: shown, ...page } = pageOf(await listNamed(c, scope.values), c.req.valid("query"), ({ name }) => name);
      return ok(c, { blueprints: shown.map(presentBlueprint), ...page });
    }
    const { items, nextCursor } = await control.listBlueprints(projectId, readPage(c.req.valid("query")));
    return ok(c, { blueprints: items.map(presentBlueprint), count: items.length, next_cursor: nextCursor ?? null });
  },
);

/** Scopes name workspaces, and those in control mode have no blueprint. */
async function listNamed(c: ApiContext, names: readonly string[]): Promise<BlueprintSummary[]> {
  const { control } = c.var.api;
  const { projectId } = c.var.access;
  const workspaces = await findEach(names, (name) => control.getWorkspace(projectId, name));
  const designed = workspaces.filter((workspace) => workspace.mode === "tenant").map((workspace) => workspace.name);
  return findEach(designed, (name) => control.getBlueprint(projectId, name));
}

const get = endpoint(
  { policy },
  {
    method: "get",
    path: "/blueprints/{name}",
    tags,
    summary: "One blueprint: its DDL, and which tenants are at which version",
    request: { params: BlueprintParams },
    responses: {
      200: answer(200, "The blueprint", {
        ...blueprintFields,
        fleet: FleetStatus,
        schema: z.array(z.string()).openapi({
          description: "The DDL statements, in order; skipped ones left out.",
          example: ["CREATE TABLE accounts (id serial PRIMARY KEY)"],
        }),
      }),
    },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const blueprint = await api.control.getBlueprint(access.projectId, workspace.name);
    const versions = await listAllVersions(c);
    const fleet = presentFleet(await api.control.getFleet(access.projectId, workspace.name));
    return ok(c, {
      ...presentBlueprint(blueprint),
      fleet,
      schema: versions.filter((version) => version.skippedAt === undefined).map((version) => version.sql),
    });
  },
);

async function listAllVersions(c: ApiContext): Promise<Version[]> {
  const all: Version[] = [];
  let cursor: string | undefined;
  do {
    const page = await c.var.api.control.listBlueprintVersions(c.var.access.projectId, c.var.workspace.name, { limit: 1000, cursor, isSynced: true });
    all.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return all.sort((a, b) => a.version - b.version);
}

const listVersions = endpoint(
  { policy },
  {
    method: "get",
    path: "/blueprints/{name}/versions",
    tags,
    summary: "Versions of a blueprint: one per captured DDL statement",
    request: { params: BlueprintParams, query: PageQuery },
    responses: { 200: answer(200, "Versions", { versions: z.array(BlueprintVersion), ...paging }) },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const { items, nextCursor } = await api.control.listBlueprintVersions(access.projectId, workspace.name, readPage(c.req.valid("query")));
    return ok(c, { versions: items.map(presentVersion), count: items.length, next_cursor: nextCursor ?? null });
  },
);

const getVersion = endpoint(
  { policy },
  {
    method: "get",
    path: "/blueprints/{name}/versions/{version}",
    tags,
    summary: "One version of a blueprint",
    request: { params: BlueprintParams.extend({ version: z.string().openapi({ type: "integer", example: "1" }) }) },
    responses: { 200: answer(200, "The version", BlueprintVersion.shape) },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const { version } = c.req.valid("param");
    if (!/^[1-9]\d{0,8}$/.test(version)) throw badInput([{ path: "version", message: "must be an integer from 1" }]);
    return ok(c, presentVersion(await api.control.getBlueprintVersion(access.projectId, workspace.name, Number(version))));
  },
);

export const blueprintEndpoints = [list, get, listVersions, getVersion] as const;
