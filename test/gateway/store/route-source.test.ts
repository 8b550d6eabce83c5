/** What the data path is told of a database name: what it is, and whose credentials are worth trying. */
import { describe, expect, test } from "vitest";
import type { Route } from "../../../core/directory.ts";
import type { Scope } from "../../../core/scope.ts";
import { type Instance, makeProject, makeTenant, makeWorkspace, useWorld } from "../control/world.ts";

const world = useWorld();

function namesOf(list: Route["candidates"]): string[] {
  return list.map((credential) => credential.name).sort();
}

async function addKey(plane: Instance, projectId: string, name: string, scope: Scope) {
  return await plane.createCredential(projectId, { name, role: "read", scope, expiresAt: undefined });
}

async function shop() {
  const plane = await world().start();
  const { project } = await makeProject(plane);
  await makeWorkspace(world(), plane, project.id, "myapp", 1);
  await makeWorkspace(world(), plane, project.id, "other", 1);
  for (const id of ["acme", "wayne"]) await makeTenant(plane, project.id, id, "myapp");
  await addKey(plane, project.id, "myapp key", { type: "workspace", values: ["myapp"] });
  await addKey(plane, project.id, "other key", { type: "workspace", values: ["other"] });
  await addKey(plane, project.id, "both tenants", { type: "tenant", values: ["acme", "wayne"] });
  return { plane, id: project.id, routes: plane.store.routes };
}

describe("routes", () => {
  test("of a tenant try its own, every workspace's and the project's credentials, and others' last", async () => {
    const { id, routes } = await shop();
    const route = await routes.findRoute(id, "myapp__acme");
    expect(route.target).toMatchObject({ workspace: "myapp", engine: "PostgreSQL", mode: "tenant", tenant: { id: "acme", state: "ready" } });
    expect(route.target?.database?.name).toMatch(/^tdb_[0-9a-f]{16}$/);
    expect(namesOf(route.candidates)).toEqual(["both tenants", "myapp key", "other key", "project key", "tenant acme"]);
    expect(namesOf(route.others)).toEqual(["tenant wayne"]);
    for (const credential of [...route.candidates, ...route.others]) expect(credential.verifiers).toHaveLength(2);
  });

  test("of a workspace try workspace and project credentials, tenants' last", async () => {
    const { id, routes } = await shop();
    const route = await routes.findRoute(id, "myapp_workspace");
    expect(route.target).toMatchObject({ workspace: "myapp", tenant: undefined, workspaceState: "ready" });
    expect(namesOf(route.candidates)).toEqual(["myapp key", "other key", "project key"]);
    expect(namesOf(route.others)).toEqual(["both tenants", "tenant acme", "tenant wayne"]);
  });

  test.each(["myapp__nobody", "nowhere__acme", "other__acme", "nowhere_workspace", "postgres", "", "x".repeat(5000)])(
    "of what does not exist have no target: %s",
    async (name) => {
      const { id, routes } = await shop();
      const route = await routes.findRoute(id, name);
      expect(route).toMatchObject({ projectId: id, databaseName: name, target: undefined });
      expect(namesOf(route.candidates)).toEqual(["myapp key", "other key", "project key"]);
      expect(namesOf(route.others)).toEqual(["both tenants", "tenant acme", "tenant wayne"]);
    },
  );

  test("of a project that does not exist are empty", async () => {
    const { routes } = await shop();
    expect(await routes.findProjectKeys("tdb_00000000")).toBeUndefined();
    expect(await routes.findRoute("tdb_00000000", "myapp__acme")).toMatchObject({ target: undefined, candidates: [], others: [] });
  });

  test("show the state a tenant is in, and none of one being deleted", async () => {
    const { plane, id, routes } = await shop();
    await plane.suspendTenant(id, "acme");
    expect((await routes.findRoute(id, "myapp__acme")).target?.tenant?.state).toBe("suspended");
    await plane.deleteTenant(id, "acme", false);
    expect((await routes.findRoute(id, "myapp__acme")).target?.tenant?.state).toBe("trash");
    world().admin.trapNext("dropDatabase", () => {
      throw new Error("the cable was pulled");
    });
    await expect(plane.deleteTenant(id, "acme", true)).rejects.toThrow();
    expect((await routes.findRoute(id, "myapp__acme")).target).toBeUndefined();
  });

  test("stay bounded however many tenants there are", async () => {
    const { plane, id, routes } = await shop();
    await world().control.query(
      `with made as (
         insert into tenantry.credentials (id, project_id, name, role, scope_type, scope_values, prefix, created_at)
         select 'key_' || n, $1, 'many', 'read', 'tenant', array['t' || n], 'x', now() from generate_series(1, 500) n returning id)
       insert into tenantry.verifiers (lookup_hash, credential_id, use, stored_key, server_key) select id, id, 'key', '\\x00', '\\x00' from made`,
      [id],
    );
    const route = await routes.findRoute(id, "myapp__acme");
    expect(namesOf(route.candidates)).toContain("tenant acme");
    expect(route.others).toHaveLength(32);
    expect((await routes.findRoute(id, "nothing")).others).toHaveLength(32);
    await plane.settled();
  });
});
