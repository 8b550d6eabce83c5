/** The control plane on a real PostgreSQL, from DDL in a workspace to tenants at its newest version. */
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { everyResult, makeGate, makeProject, makeTenant, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const all = { blueprint: "myapp", tenants: "all" as const, concurrency: 2, lockTimeoutMs: 2000 };
const input = { name: "myapp", engine: "PostgreSQL" as const, mode: "tenant" as const, redirectTo: undefined };

async function asWorkspaceAdmin(database: PhysicalDatabase, ...statements: string[]): Promise<void> {
  const connection = await world().server.dialer.asRole(database, "admin");
  for (const statement of statements) await connection.query(statement);
  await connection.close();
}

async function asSuperuser(database: PhysicalDatabase, statement: string) {
  const connection = await world().server.dialer.asAdmin(database.clusterId, database.name);
  const result = await connection.query(statement);
  await connection.close();
  return result.rows;
}

async function startReal(spareDatabases: number) {
  const { server } = world();
  const admin = createPostgresAdmin({ dialer: server.dialer, secrets: server.secrets, log: silentLog, clock: systemClock });
  const plane = await world().start({ admin, config: { spareDatabases } });
  const { project } = await makeProject(plane);
  const workspace = await plane.createWorkspace(project.id, input);
  return { plane, admin, projectId: project.id, workspace: workspace.database! };
}

const databasesOnCluster = async () => {
  const connection = await world().server.dialer.asAdmin("cluster_test");
  const { rows } = await connection.query("select datname from pg_database where datname ~ '^tdb_'");
  const roles = await connection.query("select rolname from pg_roles where rolname ~ '^tdb_'");
  await connection.close();
  return { databases: rows.length, roles: roles.rows.length };
};

describe("a real cluster", () => {
  test("captures DDL, makes tenants of it with and without spares, and queries them", async () => {
    const { plane, projectId, workspace } = await startReal(1);
    await asWorkspaceAdmin(
      workspace,
      "create table accounts (id int primary key, name text); create index on accounts (name)",
      "insert into accounts values (1, 'in the workspace')",
    );
    expect((await plane.getBlueprint(projectId, "myapp")).version).toBe(2);
    for (const id of ["copied", "spare"]) {
      expect((await makeTenant(plane, projectId, id, "myapp")).databases[0]!.version).toBe(2);
      await plane.settled();
    }
    for (const id of ["copied", "spare"]) {
      const insert = { query: "insert into accounts values ($1, $2) returning name", params: [7, id] };
      expect((await plane.queryTenant(projectId, id, "write", insert)).rows).toEqual([[id]]);
      expect((await plane.queryTenant(projectId, id, "read", { query: "select count(*)::int as n from accounts", params: [] })).rows).toEqual([[1]]);
      expect(await refusalOf(plane.queryTenant(projectId, id, "read", insert))).toMatchObject({ kind: "permission_denied" });
      expect(await refusalOf(plane.queryTenant(projectId, id, "admin", { query: "drop table accounts", params: [] }))).toMatchObject({
        kind: "ddl_denied",
      });
    }
    const detail = await plane.describeWorkspace(projectId, "myapp");
    expect(detail).toMatchObject({ version: 2, undeployedChanges: [], schema: [{ name: "accounts" }] });
    await plane.deleteProject(projectId);
    expect(await databasesOnCluster()).toEqual({ databases: 0, roles: 0 });
  });

  test("deploys to all but the tenant that cannot take it, then to that one, suspended ones too", async () => {
    const { plane, projectId, workspace } = await startReal(1);
    await asWorkspaceAdmin(workspace, "create table accounts (id int primary key)");
    const physical = new Map<string, PhysicalDatabase>();
    for (const id of ["t1", "t2", "t3", "t4", "t5"])
      physical.set(id, (await makeTenant(plane, projectId, id, "myapp")).tenant.databases[0]!.database!);
    await plane.suspendTenant(projectId, "t2");
    await asSuperuser(physical.get("t3")!, "create table public.orders (planted int)");
    await asWorkspaceAdmin(
      workspace,
      "create table orders (id int)",
      "create index concurrently on orders (id)",
      "alter table accounts add email text",
    );
    const wait = async (id: string) => {
      await plane.waitForDeployment(projectId, id, new AbortController().signal);
      return await plane.getDeployment(projectId, id, everyResult);
    };
    const failed = await wait((await plane.createDeployment(projectId, all)).id);
    expect(failed.results.map((r) => [r.tenantId, r.status, r.fromVersion, r.toVersion])).toEqual([
      ["t1", "done", 1, 4],
      ["t2", "done", 1, 4],
      ["t3", "failed", 1, 1],
      ["t4", "done", 1, 4],
      ["t5", "done", 1, 4],
    ]);
    expect(failed.results[2]).toMatchObject({ sqlstate: "42P07", error: expect.stringContaining('relation "orders" already exists') });
    await asSuperuser(physical.get("t3")!, "drop table public.orders");
    expect((await wait((await plane.retryDeployment(projectId, failed.id)).id)).state).toBe("done");
    await plane.settled();
    expect((await plane.getBlueprint(projectId, "myapp")).tenantsPerVersion).toEqual([{ version: 4, tenants: 5 }]);
    expect(await world().control.query("select kind, version from tenantry.databases where kind in ('template', 'spare') order by kind")).toEqual([
      { kind: "spare", version: 4 },
      { kind: "template", version: 4 },
    ]);
    for (const database of physical.values()) {
      expect(
        await asSuperuser(database, "select column_name::text from information_schema.columns where table_name = 'accounts' order by 1"),
      ).toEqual([{ column_name: "email" }, { column_name: "id" }]);
    }
  });

  test("suspension ends what is open and shuts the door, the trash too; resumed, all is there", async () => {
    const { plane, projectId, workspace } = await startReal(0);
    await asWorkspaceAdmin(workspace, "create table accounts (id int)");
    const database = (await makeTenant(plane, projectId, "acme", "myapp")).tenant.databases[0]!.database!;
    const open = await world().server.dialer.asRole(database, "write");
    await open.query("insert into accounts values (1)");
    await plane.suspendTenant(projectId, "acme");
    await expect(open.query("select 1")).rejects.toThrow();
    await expect(world().server.dialer.asRole(database, "write")).rejects.toThrow();
    await plane.deleteTenant(projectId, "acme", false);
    await plane.restoreTenant(projectId, "acme");
    expect((await plane.resumeTenant(projectId, "acme")).state).toBe("ready");
    expect((await plane.queryTenant(projectId, "acme", "read", { query: "select id from accounts", params: [] })).rows).toEqual([[1]]);
    await open.close();
  });

  test("names the version of a blueprint that cannot be replayed, and the statement", async () => {
    const { plane, projectId, workspace } = await startReal(0);
    await asWorkspaceAdmin(workspace, "create table accounts (id int)");
    await asSuperuser(workspace, "create table public.planted (id int); grant all on public.planted to public");
    await asWorkspaceAdmin(workspace, "create view v as select * from planted");
    expect(await refusalOf(makeTenant(plane, projectId, "acme", "myapp"))).toMatchObject({
      kind: "conflict",
      message: expect.stringMatching(/version 2 of blueprint 'myapp'.*relation "planted" does not exist.*create view v/s),
    });
    expect((await plane.listTenants(projectId, { limit: 10 })).items).toEqual([]);
  });

  test("a deployment in the middle of a statement is finished by the next instance after a kill", async () => {
    const { plane: victim, admin, projectId, workspace } = await startReal(0);
    await asWorkspaceAdmin(workspace, "create table accounts (id int)");
    const databases: PhysicalDatabase[] = [];
    for (const id of ["t1", "t2", "t3"]) databases.push((await makeTenant(victim, projectId, id, "myapp")).tenant.databases[0]!.database!);
    await asWorkspaceAdmin(workspace, "alter table accounts add email text");
    const blocker = await world().server.dialer.asAdmin("cluster_test", databases[1]!.name);
    await blocker.query("begin; lock table public.accounts");
    const deployment = await victim.createDeployment(projectId, { ...all, concurrency: 1, lockTimeoutMs: 60_000 });
    const running = makeGate();
    const off = victim.store.onDeployment(async () => {
      const now = await victim.getDeployment(projectId, deployment.id, everyResult).catch(() => undefined);
      if (now?.results[1]?.status === "running") running.open();
    });
    await running.opened;
    off();
    await world().kill(victim);
    await blocker.query("rollback");
    await blocker.close();
    const heir = await world().start({ admin });
    await heir.waitForDeployment(projectId, deployment.id, new AbortController().signal);
    const done = await heir.getDeployment(projectId, deployment.id, everyResult);
    expect(done.results.map((r) => [r.tenantId, r.status, r.toVersion])).toEqual([
      ["t1", "done", 2],
      ["t2", "done", 2],
      ["t3", "done", 2],
    ]);
  });
});
