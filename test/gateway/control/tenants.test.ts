/** Tenants: made wholly or not at all, out of spares or by copying, and what may be done with them in which state. */
import { describe, expect, test } from "vitest";
import { ManualClock, systemClock } from "../../../core/clock.ts";
import type { Change } from "../../../core/directory.ts";
import type { GatewayError } from "../../../core/errors.ts";
import { eventually } from "../store/control-database.ts";
import { makeGate, makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const page = { limit: 100 };
const crash = () => {
  throw new Error("the cable was pulled");
};

describe("tenants: creation", () => {
  test("copies the template at the newest version and returns a credential once", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 3);
    const made = await makeTenant(plane, project.id, "acme", "myapp");
    expect(made.databases).toEqual([{ blueprint: "myapp", engine: "PostgreSQL", databaseName: "myapp__acme", version: 3, isolationLevel: 1 }]);
    expect(made.credential?.credential).toMatchObject({ role: "admin", scope: { type: "tenant", values: ["acme"] } });
    expect(made.credential?.apiKey).toMatch(/^tenantsdb_sk_[0-9a-f]{64}$/);
    expect(made.credential?.proxyPassword).toMatch(/^tdb_[0-9a-f]{16}$/);
    expect(made.tenant).toMatchObject({ id: "acme", state: "ready", databases: [{ blueprint: "myapp", version: 3, state: "ready" }] });
    const physical = world().admin.databases.get(made.tenant.databases[0]!.database!.name);
    expect(physical).toMatchObject({ kind: "tenant", version: 3, connectable: true });
  });

  test("takes a spare where one is ready and makes another behind it", async () => {
    const plane = await world().start({ config: { spareDatabases: 2 } });
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 2);
    await makeTenant(plane, project.id, "first", "myapp");
    await plane.settled();
    const spares = () => world().control.query<{ name: string }>("select name from tenantry.databases where kind = 'spare' and state = 'ready'");
    const before = await spares();
    expect(before).toHaveLength(2);
    const copies = () => world().admin.calls.filter((call) => call.startsWith("createTenantDatabase")).length;
    const copiesBefore = copies();
    const gate = makeGate();
    world().admin.trapNext("createTenantDatabase", () => gate.opened);
    const made = await makeTenant(plane, project.id, "second", "myapp");
    expect(before.map((row) => row.name)).toContain(made.tenant.databases[0]!.database!.name);
    gate.open();
    await plane.settled();
    expect(copies()).toBe(copiesBefore + 1);
    expect(await spares()).toHaveLength(2);
  });

  test("brings stale spares to the newest version instead of giving them away", async () => {
    const plane = await world().start({ config: { spareDatabases: 1 } });
    const { project } = await makeProject(plane);
    const workspace = await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "first", "myapp");
    await plane.settled();
    world().admin.runDdl(workspace, "create table more (id int)");
    const made = await makeTenant(plane, project.id, "second", "myapp");
    expect(made.databases[0]!.version).toBe(2);
    await plane.settled();
    expect(await world().control.query("select version from tenantry.databases where kind = 'spare' and state = 'ready'")).toEqual([{ version: 2 }]);
  });

  test("of a blueprint of another engine makes no database", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await plane.createWorkspace(project.id, { name: "shop", engine: "MySQL", mode: "tenant", redirectTo: "db.example:3306" });
    const made = await makeTenant(plane, project.id, "acme", "shop");
    expect(made.tenant.databases).toMatchObject([{ engine: "MySQL", database: undefined, state: "ready" }]);
    expect(world().admin.calls).toEqual([]);
  });

  test("checks every blueprint before anything is made", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeWorkspace(world(), plane, project.id, "other", 1);
    await plane.createWorkspace(project.id, { name: "plain", engine: "PostgreSQL", mode: "control", redirectTo: undefined });
    const attempt = (...blueprints: string[]) => refusalOf(makeTenant(plane, project.id, "acme", ...blueprints));
    expect(await attempt("myapp", "nowhere")).toEqual({ kind: "not_found", message: "Blueprint not found: nowhere" });
    expect(await attempt("plain")).toEqual({ kind: "bad_request", message: "Workspace 'plain' is in control mode: it has no blueprint" });
    expect(await attempt("myapp", "other")).toMatchObject({ kind: "bad_request", message: expect.stringContaining("one blueprint per engine") });
    expect(await attempt()).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(makeTenant(plane, project.id, "not__ok", "myapp"))).toMatchObject({ kind: "bad_request" });
    const dedicated = plane.createTenant(project.id, { tenantId: "acme", databases: [{ blueprint: "myapp", isolationLevel: 2 }] });
    expect(await refusalOf(dedicated)).toMatchObject({ kind: "forbidden", message: expect.stringContaining("second cluster") });
    expect((await plane.listTenants(project.id, page)).items).toEqual([]);
  });

  test("refuses what exists, says what is in the trash, and adds another engine's database", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeWorkspace(world(), plane, project.id, "other", 1);
    await plane.createWorkspace(project.id, { name: "cache", engine: "Redis", mode: "tenant", redirectTo: undefined });
    await makeTenant(plane, project.id, "acme", "myapp");
    expect(await refusalOf(makeTenant(plane, project.id, "acme", "myapp"))).toEqual({ kind: "conflict", message: "Tenant 'acme' already exists" });
    expect(await refusalOf(makeTenant(plane, project.id, "acme", "other"))).toEqual({
      kind: "conflict",
      message: "Tenant 'acme' already has a PostgreSQL database, of blueprint 'myapp'; a tenant has one blueprint per engine",
    });
    const added = await makeTenant(plane, project.id, "acme", "cache");
    expect(added.credential).toBeUndefined();
    expect(added.databases).toMatchObject([{ blueprint: "cache", engine: "Redis" }]);
    expect(added.tenant.databases.map((entry) => entry.blueprint)).toEqual(["cache", "myapp"]);
    await plane.deleteTenant(project.id, "acme", false);
    expect(await refusalOf(makeTenant(plane, project.id, "acme", "myapp"))).toEqual({
      kind: "conflict",
      message: "Tenant 'acme' is in trash. Use POST /tenants/acme/restore or DELETE /tenants/acme?hard=true",
    });
  });

  test("asked for by many at once, succeeds for one", async () => {
    const planes = await Promise.all([world().start({ config: { spareDatabases: 1 } }), world().start()]);
    const { project } = await makeProject(planes[0]!);
    await makeWorkspace(world(), planes[0]!, project.id, "myapp", 1);
    const attempts = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => makeTenant(planes[i % 2]!, project.id, "acme", "myapp")));
    const failures = attempts.flatMap((a) => (a.status === "rejected" ? [a.reason as GatewayError] : []));
    expect(failures).toHaveLength(7);
    for (const failure of failures) expect(failure).toMatchObject({ kind: "conflict" });
    await Promise.all(planes.map((plane) => plane.settled()));
    const tenants = [...world().admin.databases.values()].filter((db) => db.kind === "tenant");
    const known = await world().control.query("select 1 from tenantry.databases where kind in ('tenant', 'spare')");
    expect(tenants).toHaveLength(known.length);
  });

  test("many at once all succeed, each with a database of its own", async () => {
    const plane = await world().start({ config: { spareDatabases: 2 } });
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 2);
    const made = await Promise.all(Array.from({ length: 25 }, (_, i) => makeTenant(plane, project.id, `t${i}`, "myapp")));
    expect(new Set(made.map((m) => m.tenant.databases[0]!.database!.name)).size).toBe(25);
    expect(new Set(made.map((m) => m.credential!.apiKey)).size).toBe(25);
  });

  test("says which version and statement cannot be applied", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 3);
    world().admin.broken.set(2, 'relation "t1" already exists');
    expect(await refusalOf(makeTenant(plane, project.id, "acme", "myapp"))).toEqual({
      kind: "conflict",
      message: `Cannot apply version 2 of blueprint 'myapp' to an empty database: relation "t1" already exists. Statement: create table t2 (id int)`,
    });
    expect(await refusalOf(plane.getTenant(project.id, "acme"))).toEqual({ kind: "not_found", message: "Tenant not found: acme" });
    world().admin.broken.clear();
    expect((await makeTenant(plane, project.id, "acme", "myapp")).databases[0]!.version).toBe(3);
  });
});

describe("tenants: crashes", () => {
  test.each(["createTemplateDatabase", "applyVersions", "createTenantDatabase"] as const)(
    "a failure in %s leaves nothing, and asking again succeeds",
    async (step) => {
      const plane = await world().start();
      const { project } = await makeProject(plane);
      await makeWorkspace(world(), plane, project.id, "myapp", 1);
      await plane.settled(); // the trap is for the tenant, not for what follows a new version in the background
      world().admin.trapNext(step, crash);
      await expect(makeTenant(plane, project.id, "acme", "myapp")).rejects.toThrow("the cable was pulled");
      expect((await plane.listTenants(project.id, page)).items).toEqual([]);
      expect((await makeTenant(plane, project.id, "acme", "myapp")).tenant.state).toBe("ready");
      expect([...world().admin.databases.values()].filter((db) => db.kind === "tenant")).toHaveLength(1);
    },
  );

  test("an instance killed half way leaves a tenant the next one clears away, its database included", async () => {
    const victim = await world().start();
    const { project } = await makeProject(victim);
    await makeWorkspace(world(), victim, project.id, "myapp", 1);
    const reached = makeGate();
    world().admin.trapNext("createTenantDatabase", (database) => {
      world().admin.databases.set(database.name, { kind: "tenant", version: 1, connectable: true, ddl: [] });
      reached.open();
      return new Promise(() => undefined);
    });
    void makeTenant(victim, project.id, "acme", "myapp").catch(() => undefined); // never ends
    await reached.opened;
    const bystander = await world().start();
    expect(await refusalOf(makeTenant(bystander, project.id, "acme", "myapp"))).toEqual({
      kind: "conflict",
      message: "Tenant 'acme' is still being created",
    });
    await world().kill(victim);
    const heir = await world().start();
    await eventually(async () => {
      await heir.sweep();
      return (await world().control.query("select 1 from tenantry.tenants")).length === 0 ? true : undefined;
    });
    expect([...world().admin.databases.values()].filter((db) => db.kind === "tenant")).toEqual([]);
    expect((await makeTenant(heir, project.id, "acme", "myapp")).tenant.state).toBe("ready");
  });

  test("asking again finishes what a killed instance began", async () => {
    const victim = await world().start();
    const other = await world().start();
    const { project } = await makeProject(victim);
    await makeWorkspace(world(), victim, project.id, "myapp", 1);
    const reached = makeGate();
    world().admin.trapNext("createTenantDatabase", () => {
      reached.open();
      return new Promise(() => undefined);
    });
    void makeTenant(victim, project.id, "acme", "myapp").catch(() => undefined); // never ends
    await reached.opened;
    await world().kill(victim);
    const made = await eventually(() => makeTenant(other, project.id, "acme", "myapp").catch(() => undefined));
    expect(made.tenant.state).toBe("ready");
  });

  test("an addition that fails leaves the tenant as it was", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await plane.createWorkspace(project.id, { name: "cache", engine: "Redis", mode: "tenant", redirectTo: undefined });
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "cache");
    world().admin.trapNext("createTenantDatabase", crash);
    await expect(makeTenant(plane, project.id, "acme", "myapp")).rejects.toThrow("the cable was pulled");
    expect((await plane.getTenant(project.id, "acme")).databases.map((entry) => entry.blueprint)).toEqual(["cache"]);
    expect((await makeTenant(plane, project.id, "acme", "myapp")).tenant.databases).toHaveLength(2);
  });

  test("a failed drop is finished by the sweep", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "myapp");
    world().admin.trapNext("dropDatabase", crash);
    await expect(plane.deleteTenant(project.id, "acme", true)).rejects.toThrow("the cable was pulled");
    expect(await refusalOf(plane.getTenant(project.id, "acme"))).toMatchObject({ kind: "not_found" });
    await plane.sweep();
    expect([...world().admin.databases.values()].filter((db) => db.kind === "tenant")).toEqual([]);
    expect(await world().control.query("select 1 from tenantry.tenants")).toEqual([]);
  });
});

describe("tenants: states", () => {
  test("suspended, resumed, thrown away and restored, with the cluster's doors and the data path told", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const made = await makeTenant(plane, project.id, "acme", "myapp");
    const { name } = made.tenant.databases[0]!.database!;
    const door = () => world().admin.databases.get(name)?.connectable;
    const heard: (Change | undefined)[] = [];
    plane.store.routes.onChange((change) => heard.push(change));
    expect((await plane.suspendTenant(project.id, "acme")).state).toBe("suspended");
    expect(door()).toBe(false);
    await eventually(async () => (heard.some((c) => c?.tenantId === "acme") ? true : undefined));
    expect(await refusalOf(plane.queryTenant(project.id, "acme", "read", { query: "select 1", params: [] }))).toEqual({
      kind: "tenant_suspended",
      message: 'tenant "acme" is suspended',
    });
    expect((await plane.resumeTenant(project.id, "acme")).state).toBe("ready");
    expect(door()).toBe(true);
    await plane.suspendTenant(project.id, "acme");
    await plane.deleteTenant(project.id, "acme", false);
    expect(await plane.getTenant(project.id, "acme")).toMatchObject({ state: "trash", trashedAt: expect.any(Number) });
    expect(await refusalOf(plane.suspendTenant(project.id, "acme"))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("is in trash"),
    });
    expect(await refusalOf(plane.deleteTenant(project.id, "acme", false))).toMatchObject({ kind: "conflict" });
    expect((await plane.restoreTenant(project.id, "acme")).state).toBe("suspended");
    expect(door()).toBe(false);
    expect(await refusalOf(plane.restoreTenant(project.id, "acme"))).toEqual({ kind: "conflict", message: "Tenant 'acme' is not in trash" });
  });

  test("a cluster that cannot be reached does not keep a tenant from being suspended; the sweep shuts it later", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const made = await makeTenant(plane, project.id, "acme", "myapp");
    const { name } = made.tenant.databases[0]!.database!;
    world().admin.trapNext("setConnectable", crash);
    expect((await plane.suspendTenant(project.id, "acme")).state).toBe("suspended");
    expect(world().admin.databases.get(name)?.connectable).toBe(true);
    await plane.sweep(); // as in the middle of a resumption, which opens before it tells: not shut behind its back
    expect(world().admin.databases.get(name)?.connectable).toBe(true);
    await plane.sweep();
    expect(world().admin.databases.get(name)?.connectable).toBe(false);
  });

  test("a door that is shut while its tenant is being resumed is opened again", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const made = await makeTenant(plane, project.id, "acme", "myapp");
    const { name } = made.tenant.databases[0]!.database!;
    await plane.suspendTenant(project.id, "acme");
    const { admin, control } = world();
    const open = admin.setConnectable.bind(admin);
    const asked: boolean[] = [];
    admin.setConnectable = (database, allowed) => {
      asked.push(allowed);
      return open(database, allowed);
    };
    // Whoever else is at it comes just before the tenant is ready.
    await control.query(`create function tenantry.shut() returns trigger language plpgsql as
      $$ begin update tenantry.databases set connectable = false where name = '${name}'; return new; end $$`);
    await control.query("create trigger shut before update on tenantry.tenants for each row execute function tenantry.shut()");
    expect((await plane.resumeTenant(project.id, "acme")).state).toBe("ready");
    expect(asked).toEqual([true, true]);
    expect(await control.query("select connectable from tenantry.databases where name = $1", [name])).toEqual([{ connectable: true }]);
    await control.query("drop function tenantry.shut cascade");
    admin.setConnectable = open;
  });

  test("trash is kept seven days and then gone", async () => {
    const clock = new ManualClock();
    clock.sleep = systemClock.sleep; // only days are moved by hand
    const plane = await world().start({ clock });
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const made = await makeTenant(plane, project.id, "acme", "myapp");
    await plane.deleteTenant(project.id, "acme", false);
    clock.jumpWall(7 * 86_400_000 - 1);
    await plane.sweep();
    expect((await plane.getTenant(project.id, "acme")).state).toBe("trash");
    clock.jumpWall(1);
    await plane.sweep();
    expect(await refusalOf(plane.getTenant(project.id, "acme"))).toMatchObject({ kind: "not_found" });
    expect(world().admin.databases.has(made.tenant.databases[0]!.database!.name)).toBe(false);
    expect(await plane.authenticateKey(made.credential!.apiKey)).toBeUndefined();
  });

  test("a hard delete takes the tenant out of every key that named it", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "myapp");
    await makeTenant(plane, project.id, "wayne", "myapp");
    const both = await plane.createCredential(project.id, {
      name: "two",
      role: "read",
      scope: { type: "tenant", values: ["acme", "wayne"] },
      expiresAt: undefined,
    });
    await plane.deleteTenant(project.id, "acme", true);
    expect((await plane.authenticateKey(both.apiKey))?.scope).toEqual({ type: "tenant", values: ["wayne"] });
    await makeTenant(plane, project.id, "acme", "myapp");
    const route = await plane.store.routes.findRoute(project.id, "myapp__acme");
    expect(route.candidates.map((c) => c.id)).not.toContain(both.credential.id);
  });

  test("listed in pages, and by blueprint", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await plane.createWorkspace(project.id, { name: "cache", engine: "Redis", mode: "tenant", redirectTo: undefined });
    for (const id of ["c", "a", "b"]) await makeTenant(plane, project.id, id, id === "b" ? "cache" : "myapp");
    const first = await plane.listTenants(project.id, { limit: 2 });
    expect(first.items.map((t) => t.id)).toEqual(["a", "b"]);
    const second = await plane.listTenants(project.id, { limit: 2, cursor: first.nextCursor });
    expect(second.items.map((t) => t.id)).toEqual(["c"]);
    expect(second.nextCursor).toBeUndefined();
    expect((await plane.listTenants(project.id, { ...page, workspaces: ["cache"] })).items.map((t) => t.id)).toEqual(["b"]);
    expect(await refusalOf(plane.listTenants(project.id, { limit: 2, cursor: "nonsense" }))).toMatchObject({ kind: "bad_request" });
  });

  test("of another project are not found, whatever is tried", async () => {
    const plane = await world().start({ clock: systemClock });
    const [mine, theirs] = [await makeProject(plane), await makeProject(plane)];
    await makeWorkspace(world(), plane, theirs.project.id, "myapp", 1);
    await makeTenant(plane, theirs.project.id, "acme", "myapp");
    const id = mine.project.id;
    const attempts = [
      () => plane.getTenant(id, "acme"),
      () => plane.deleteTenant(id, "acme", true),
      () => plane.suspendTenant(id, "acme"),
      () => plane.resumeTenant(id, "acme"),
      () => plane.restoreTenant(id, "acme"),
      () => plane.queryTenant(id, "acme", "read", { query: "select 1", params: [] }),
      () => plane.getTenantSettings(id, "acme"),
      () => plane.updateTenantSettings(id, "acme", { max_connections: 1 }),
      () => plane.getWorkspace(id, "myapp"),
      () => plane.deleteWorkspace(id, "myapp"),
      () => plane.getBlueprint(id, "myapp"),
      () => plane.createDeployment(id, { blueprint: "myapp", tenants: "all", concurrency: 1, lockTimeoutMs: 1000 }),
    ];
    for (const attempt of attempts) expect(await refusalOf(attempt())).toMatchObject({ kind: "not_found" });
    expect((await plane.getTenant(theirs.project.id, "acme")).state).toBe("ready");
  });
});
