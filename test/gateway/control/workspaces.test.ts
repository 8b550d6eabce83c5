/** Workspaces, blueprints, settings and queries. */
import { describe, expect, test } from "vitest";
import { defaultDatabaseSettings } from "../../../core/model.ts";
import { eventually } from "../store/control-database.ts";
import { makeGate, makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const page = { limit: 100 };
const input = { name: "myapp", engine: "PostgreSQL" as const, mode: "tenant" as const, redirectTo: undefined };
const crash = () => {
  throw new Error("the cable was pulled");
};

describe("workspaces", () => {
  test("of PostgreSQL get a database, of other engines none; found by name or id", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    const made = await plane.createWorkspace(project.id, input);
    expect(made).toMatchObject({ state: "ready", database: { clusterId: "cluster_test", name: expect.stringMatching(/^tdb_[0-9a-f]{16}$/) } });
    expect(await plane.getWorkspace(project.id, made.id)).toEqual(await plane.getWorkspace(project.id, "myapp"));
    const other = await plane.createWorkspace(project.id, { ...input, name: "shop", engine: "MySQL", redirectTo: "db.example:3306" });
    expect(other).toMatchObject({ state: "ready", database: undefined, redirectTo: "db.example:3306" });
    expect((await plane.listWorkspaces(project.id, page)).items.map((w) => w.name)).toEqual(["myapp", "shop"]);
  });

  test("refuse bad and taken names; another project may have the same one", async () => {
    const plane = await world().start();
    const [a, b] = [await makeProject(plane), await makeProject(plane)];
    await plane.createWorkspace(a.project.id, input);
    expect(await refusalOf(plane.createWorkspace(a.project.id, input))).toEqual({ kind: "conflict", message: "Workspace 'myapp' already exists" });
    for (const name of ["", "1app", "my__app", "my_workspace", "My", "a_"]) {
      expect(await refusalOf(plane.createWorkspace(a.project.id, { ...input, name })), name).toMatchObject({ kind: "bad_request" });
    }
    expect((await plane.createWorkspace(b.project.id, input)).state).toBe("ready");
    expect(await refusalOf(plane.createWorkspace("tdb_00000000", input))).toMatchObject({ kind: "not_found" });
  });

  test("that cannot be made leave nothing", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    world().admin.trapNext("createWorkspaceDatabase", crash);
    await expect(plane.createWorkspace(project.id, input)).rejects.toThrow("the cable was pulled");
    expect((await plane.listWorkspaces(project.id, page)).items).toEqual([]);
    expect((await plane.createWorkspace(project.id, input)).state).toBe("ready");
  });

  test("left half made by a killed instance are finished by the next", async () => {
    const victim = await world().start();
    const { project } = await makeProject(victim);
    const reached = makeGate();
    world().admin.trapNext("createWorkspaceDatabase", () => {
      reached.open();
      return new Promise(() => undefined);
    });
    void victim.createWorkspace(project.id, input).catch(() => undefined); // never ends
    await reached.opened;
    await world().kill(victim);
    const heir = await world().start();
    const finished = await eventually(async () => {
      await heir.sweep();
      const workspace = await heir.getWorkspace(project.id, "myapp");
      return workspace.state === "ready" ? workspace : undefined;
    });
    expect(world().admin.databases.get(finished.database!.name)?.kind).toBe("workspace");
  });

  test("are deleted with template and spares, but not while a tenant is left", async () => {
    const plane = await world().start({ config: { spareDatabases: 2 } });
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const scoped = await plane.createCredential(project.id, {
      name: "w",
      role: "read",
      scope: { type: "workspace", values: ["myapp"] },
      expiresAt: undefined,
    });
    await makeTenant(plane, project.id, "acme", "myapp");
    await plane.deleteTenant(project.id, "acme", false);
    expect(await refusalOf(plane.deleteWorkspace(project.id, "myapp"))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("1 tenant has"),
    });
    await plane.settled();
    await plane.deleteTenant(project.id, "acme", true);
    await plane.deleteWorkspace(project.id, "myapp");
    expect(world().admin.databases.size).toBe(0);
    expect(await refusalOf(plane.getWorkspace(project.id, "myapp"))).toMatchObject({ kind: "not_found" });
    expect(await plane.authenticateKey(scoped.apiKey)).toBeUndefined();
    expect((await plane.createWorkspace(project.id, input)).state).toBe("ready");
  });
});

describe("blueprints", () => {
  test("number captured DDL from 1, once, whoever asks and however many at once", async () => {
    const [a, b] = await Promise.all([world().start(), world().start()]);
    const { project } = await makeProject(a);
    const workspace = await makeWorkspace(world(), a, project.id, "myapp", 3);
    const asked = await Promise.all([a, b, a, b].map((plane) => plane.getBlueprint(project.id, "myapp")));
    expect(asked.map((s) => s.version)).toEqual([3, 3, 3, 3]);
    world().admin.runDdl(workspace, "create table u (id int)");
    const versions = await b.listBlueprintVersions(project.id, "myapp", page);
    expect(versions.items.map((v) => [v.version, v.sql])).toEqual([
      [1, "create table t1 (id int)"],
      [2, "create table t2 (id int)"],
      [3, "create table t3 (id int)"],
      [4, "create table u (id int)"],
    ]);
    const second = await b.listBlueprintVersions(project.id, "myapp", {
      limit: 2,
      cursor: (await b.listBlueprintVersions(project.id, "myapp", { limit: 2 })).nextCursor,
    });
    expect(second.items.map((v) => v.version)).toEqual([3, 4]);
    expect((await a.getBlueprintVersion(project.id, "myapp", 2)).sql).toBe("create table t2 (id int)");
    expect(await refusalOf(a.getBlueprintVersion(project.id, "myapp", 5))).toMatchObject({ kind: "not_found" });
  });

  test("list tenant-mode workspaces only, with tenants per version", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    const workspace = await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await plane.createWorkspace(project.id, { ...input, name: "plain", mode: "control" });
    await makeTenant(plane, project.id, "old", "myapp");
    world().admin.runDdl(workspace, "create table u (id int)");
    await makeTenant(plane, project.id, "new", "myapp");
    const { items } = await plane.listBlueprints(project.id, page);
    expect(items).toMatchObject([
      {
        name: "myapp",
        version: 2,
        tenants: 2,
        tenantsPerVersion: [
          { version: 1, tenants: 1 },
          { version: 2, tenants: 1 },
        ],
      },
    ]);
    expect((await plane.describeWorkspace(project.id, "myapp")).undeployedChanges.map((v) => v.version)).toEqual([2]);
    expect(await refusalOf(plane.getBlueprint(project.id, "plain"))).toMatchObject({
      kind: "bad_request",
      message: expect.stringContaining("control mode"),
    });
  });
});

describe("settings", () => {
  test("of the workspace hold for its tenants, a tenant's own come before them, null gives them back", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "myapp");
    expect(await plane.getTenantSettings(project.id, "acme")).toEqual(defaultDatabaseSettings);
    await plane.updateWorkspaceSettings(project.id, "myapp", { max_rows_per_query: 50, allow_copy: true });
    const own = await plane.updateTenantSettings(project.id, "acme", { max_rows_per_query: 5 });
    expect(own).toEqual({ ...defaultDatabaseSettings, max_rows_per_query: 5, allow_copy: true });
    const route = await plane.store.routes.findRoute(project.id, "myapp__acme");
    expect(route.target?.settings).toEqual(own);
    await plane.updateTenantSettings(project.id, "acme", { max_rows_per_query: null });
    expect((await plane.getTenantSettings(project.id, "acme", "myapp")).max_rows_per_query).toBe(50);
    expect(await plane.getWorkspaceSettings(project.id, "myapp")).toEqual({ ...defaultDatabaseSettings, max_rows_per_query: 50, allow_copy: true });
  });

  test("are checked field by field", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const patch = { max_connections: 0, pool_mode: "both", nonsense: 1 } as never;
    await expect(plane.updateWorkspaceSettings(project.id, "myapp", patch)).rejects.toMatchObject({
      kind: "bad_request",
      details: {
        issues: [
          { path: "max_connections", message: "must be a whole number from 1 to 10000" },
          { path: "pool_mode", message: "must be session or transaction" },
          { path: "nonsense", message: "is not a setting" },
        ],
      },
    });
    expect(await plane.getWorkspaceSettings(project.id, "myapp")).toEqual(defaultDatabaseSettings);
  });
});

describe("queries", () => {
  const query = { query: "select 1", params: [] };

  test("run as the key's role with the settings' timeout, DDL refused on tenants only", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "myapp");
    await plane.updateTenantSettings(project.id, "acme", { query_timeout_ms: 1234 });
    expect((await plane.queryTenant(project.id, "acme", "write", query)).rows).toEqual([["write"]]);
    expect(world().admin.lastQuery).toMatchObject({ timeoutMs: 1234, maxRows: 10_000, refuseDdl: true });
    await plane.queryWorkspace(project.id, "myapp", "admin", query);
    expect(world().admin.lastQuery).toMatchObject({ timeoutMs: 30_000, refuseDdl: false });
  });

  test("answer with more rows than allowed are refused, unless they wrote", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await plane.updateWorkspaceSettings(project.id, "myapp", { max_rows_per_query: 2 });
    world().admin.answer = { rows: [[1], [2], [3]] };
    expect(await refusalOf(plane.queryWorkspace(project.id, "myapp", "read", query))).toEqual({
      kind: "too_many_rows",
      message: "query exceeded max_rows_per_query (2)",
    });
    world().admin.answer = { rows: [[1], [2], [3]], command: "INSERT" };
    expect((await plane.queryWorkspace(project.id, "myapp", "write", query)).rows).toHaveLength(3);
    world().admin.answer = { rows: [[1], [2]], truncated: true };
    expect(await refusalOf(plane.queryWorkspace(project.id, "myapp", "read", query))).toMatchObject({ kind: "too_many_rows" });
    await plane.updateWorkspaceSettings(project.id, "myapp", { max_rows_per_query: 0 });
    expect((await plane.queryWorkspace(project.id, "myapp", "read", query)).truncated).toBe(true);
  });

  test("name the blueprint where it is not clear", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    for (const [name, engine] of [
      ["cache", "Redis"],
      ["docs", "MongoDB"],
    ] as const)
      await plane.createWorkspace(project.id, { ...input, name, engine });
    await makeTenant(plane, project.id, "acme", "myapp", "cache");
    await makeTenant(plane, project.id, "wayne", "docs", "cache");
    expect((await plane.queryTenant(project.id, "acme", "read", query)).row_count).toBe(1);
    expect(await refusalOf(plane.queryTenant(project.id, "wayne", "read", query))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(plane.queryTenant(project.id, "acme", "read", { ...query, blueprint: "cache" }))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(plane.queryTenant(project.id, "acme", "read", { ...query, blueprint: "docs" }))).toMatchObject({ kind: "not_found" });
  });
});

describe("readiness and a store that is away", () => {
  test("every check is named", async () => {
    const plane = await world().start();
    expect(await plane.checkReady()).toEqual({ ready: true, checks: { store: "ok", "cluster test": "ok" } });
    world().admin.ping = async () => false;
    expect(await plane.checkReady()).toEqual({ ready: false, checks: { store: "ok", "cluster test": "does not answer" } });
  });

  test("the API hears that the store is not reachable, the data path that credentials cannot be looked up", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await world().kill(plane);
    expect(await refusalOf(plane.getProject(project.id))).toMatchObject({ kind: "backend_unreachable" });
    expect(await refusalOf(plane.store.routes.findRoute(project.id, "x"))).toMatchObject({ kind: "store_unavailable" });
    expect((await plane.checkReady()).checks.store).toBe("does not answer");
  });
});
