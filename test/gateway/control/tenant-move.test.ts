/** Tenants moved between two real clusters: whole, with their roles, or not at all. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import type { ClusterAdmin } from "../../../core/cluster-admin.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { createSqlDialer, type PooledDialer } from "../../../gateway/sql-dialer.ts";
import { startTestPostgres, type TestPostgres } from "../../support/postgres.ts";
import { makeGate, makeProject, makeTenant, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
let second: TestPostgres;
let dialer: PooledDialer;

beforeAll(async () => {
  second = await startTestPostgres();
});
afterAll(async () => {
  await dialer?.close();
  await second?.stop();
});

const clusters = [
  { id: "cluster_test", name: "main" },
  { id: "dedicated", name: "dedicated" },
];

async function startPair(spoil: (admin: ClusterAdmin) => Partial<ClusterAdmin> = () => ({})) {
  const { server } = world();
  const targets = new Map([
    ["cluster_test", server.target],
    ["dedicated", second.target],
  ]);
  dialer = createSqlDialer({ clusters: targets, secrets: server.secrets });
  const sound = createPostgresAdmin({ dialer, secrets: server.secrets, log: silentLog, clock: systemClock });
  const admin: ClusterAdmin = { ...sound, ...spoil(sound) };
  const plane = await world().start({ admin, config: { clusters } });
  const { project } = await makeProject(plane);
  const workspace = (await plane.createWorkspace(project.id, { name: "myapp", engine: "PostgreSQL", mode: "tenant", redirectTo: undefined }))
    .database!;
  await run(
    workspace,
    "admin",
    "create table accounts (id serial primary key, name text); create function f() returns int language sql as 'select 1'",
  );
  const databaseOf = async (id: string) => (await plane.getTenant(project.id, id)).databases[0]!.database!;
  const rows = async (id: string) =>
    (await plane.queryTenant(project.id, id, "read", { query: "select name from accounts order by id", params: [] })).rows;
  return { plane, sound, projectId: project.id, workspace, databaseOf, rows };
}

async function run(database: PhysicalDatabase, role: "admin" | "write", query: string) {
  const connection = await dialer.asRole(database, role);
  try {
    return (await connection.query(query)).rows;
  } finally {
    await connection.close();
  }
}

const there = async (database: PhysicalDatabase) => {
  const connection = await dialer.asAdmin(database.clusterId);
  const { rowCount } = await connection.query("select from pg_database where datname = $1", [database.name]);
  await connection.close();
  return rowCount === 1;
};

describe("moving a tenant", () => {
  test("takes rows, sequences and roles along, there and back, and leaves nothing behind", async () => {
    const { plane, projectId, databaseOf, rows } = await startPair();
    await makeTenant(plane, projectId, "acme", "myapp");
    const from = await databaseOf("acme");
    await run(from, "write", "insert into accounts (name) select 'n' || i from generate_series(1, 3) i");
    const moved = await plane.moveTenant(projectId, "acme", { isolationLevel: 2 });
    expect(moved.databases[0]).toMatchObject({ isolationLevel: 2, database: { clusterId: "dedicated" }, version: 2 });
    const to = await databaseOf("acme");
    await run(to, "write", "insert into accounts (name) values ('later')");
    expect(await rows("acme")).toEqual([["n1"], ["n2"], ["n3"], ["later"]]);
    await expect(run(to, "write", "create table no ()")).rejects.toThrow(/permission denied|DDL not allowed/);
    await plane.sweep();
    expect(await there(from)).toBe(false);
    expect(await refusalOf(plane.moveTenant(projectId, "acme", { cluster: "dedicated" }))).toMatchObject({ kind: "conflict" });
    await plane.moveTenant(projectId, "acme", { cluster: "main" });
    expect((await rows("acme")).length).toBe(4);
    await plane.sweep();
    expect([(await databaseOf("acme")).clusterId, await there(to)]).toEqual(["cluster_test", false]);
    await plane.deleteProject(projectId);
  });

  test("made on a named cluster, deployed there, and refused for names that are none", async () => {
    const { plane, projectId, workspace, databaseOf } = await startPair();
    const made = (cluster: string, isolationLevel: 1 | 2 = 2) =>
      plane.createTenant(projectId, { tenantId: `on_${cluster}`, databases: [{ blueprint: "myapp", isolationLevel, cluster }] });
    await made("dedicated");
    expect((await databaseOf("on_dedicated")).clusterId).toBe("dedicated");
    expect(await refusalOf(made("nowhere"))).toMatchObject({
      kind: "bad_request",
      message: expect.stringContaining("there is no cluster 'nowhere'"),
    });
    expect(await refusalOf(made("main"))).toMatchObject({ kind: "bad_request" });
    await run(workspace, "admin", "alter table accounts add note text");
    const deployment = await plane.createDeployment(projectId, { blueprint: "myapp", tenants: "all", concurrency: 2, lockTimeoutMs: 1000 });
    expect(await plane.waitForDeployment(projectId, deployment.id, new AbortController().signal)).toMatchObject({ state: "done" });
    expect(await refusalOf(plane.moveTenant(projectId, "nobody", { isolationLevel: 2 }))).toMatchObject({ kind: "not_found" });
    await plane.deleteProject(projectId);
  });

  test("that fails half way leaves the tenant where it was, open to its clients", async () => {
    const { plane, projectId, databaseOf, rows } = await startPair((admin) => ({
      async copyContents(source, target) {
        await admin.copyContents(source, target);
        throw new Error("the network is gone");
      },
    }));
    await makeTenant(plane, projectId, "acme", "myapp");
    const from = await databaseOf("acme");
    await run(from, "write", "insert into accounts (name) values ('here')");
    await expect(plane.moveTenant(projectId, "acme", { isolationLevel: 2 })).rejects.toThrow("the network is gone");
    expect([await databaseOf("acme"), await rows("acme")]).toEqual([from, [["here"]]]);
    expect(await world().control.query("select held, claimed_by from tenantry.tenant_databases")).toEqual([{ held: false, claimed_by: null }]);
    expect(await world().control.query("select name from tenantry.databases where kind = 'copy'")).toEqual([]);
    await plane.deleteProject(projectId);
  });

  test("whose mover is killed is undone by the next instance", async () => {
    const copying = makeGate();
    const { plane, sound, projectId, databaseOf, rows } = await startPair(() => ({
      copyContents() {
        copying.open();
        return new Promise(() => undefined);
      },
    }));
    await makeTenant(plane, projectId, "acme", "myapp");
    const from = await databaseOf("acme");
    await run(from, "write", "insert into accounts (name) values ('here')");
    void plane.moveTenant(projectId, "acme", { isolationLevel: 2 }).catch(() => undefined);
    await copying.opened;
    await expect(run(from, "write", "select 1")).rejects.toThrow();
    await world().kill(plane);
    const heir = await world().start({ admin: sound, config: { clusters } });
    await heir.sweep();
    await heir.sweep();
    expect(await run(from, "write", "select name from accounts")).toEqual([{ name: "here" }]);
    expect(await world().control.query("select held, claimed_by, database_name from tenantry.tenant_databases")).toEqual([
      { held: false, claimed_by: null, database_name: from.name },
    ]);
    expect(await world().control.query("select name from tenantry.databases where kind = 'copy'")).toEqual([]);
    expect((await heir.queryTenant(projectId, "acme", "read", { query: "select name from accounts", params: [] })).rows).toEqual([["here"]]);
    void rows;
    await heir.deleteProject(projectId);
  });

  test("is refused where its schema is not its version's", async () => {
    const { plane, projectId, databaseOf } = await startPair();
    await makeTenant(plane, projectId, "acme", "myapp");
    const from = await databaseOf("acme");
    const superuser = await dialer.asAdmin(from.clusterId, from.name);
    await superuser.query("create index by_hand on public.accounts (name)");
    await superuser.close();
    expect(await refusalOf(plane.moveTenant(projectId, "acme", { isolationLevel: 2 }))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("unexpected index public.by_hand"),
    });
    expect(await databaseOf("acme")).toEqual(from);
    await plane.deleteProject(projectId);
  });
});
