/** One statement in every tenant's database, on a real cluster: answers, failures one by one, and the end when nobody reads on. */
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import type { TenantAnswer } from "../../../core/control-plane.ts";
import { silentLog } from "../../../core/log.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { eventually } from "../store/control-database.ts";
import { makeProject, makeTenant, refusalOf, useWorld } from "./world.ts";

const world = useWorld();

async function threeTenants() {
  const { server } = world();
  const admin = createPostgresAdmin({ dialer: server.dialer, secrets: server.secrets, log: silentLog, clock: systemClock });
  const plane = await world().start({ admin });
  const { project } = await makeProject(plane);
  const input = { name: "myapp", engine: "PostgreSQL" as const, mode: "tenant" as const, redirectTo: undefined };
  const workspace = (await plane.createWorkspace(project.id, input)).database!;
  const connection = await server.dialer.asRole(workspace, "admin");
  await connection.query("create table accounts (id int primary key, name text)");
  await connection.close();
  for (const id of ["t1", "t2", "t3"]) await makeTenant(plane, project.id, id, "myapp");
  const ask = (query: string, tenants: "all" | string[] = "all", signal = new AbortController().signal) =>
    plane.queryTenants(project.id, { blueprint: "myapp", tenants, request: { query, params: [] }, concurrency: 2 }, signal);
  return { plane, projectId: project.id, ask };
}

async function all(answers: AsyncIterable<TenantAnswer>): Promise<[string, unknown][]> {
  const found: [string, unknown][] = [];
  for await (const { tenantId, answer, error } of answers) found.push([tenantId, answer?.rows ?? error?.message]);
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

describe("a statement for a fleet", () => {
  test("runs in each database; those that fail say why, the others answer", async () => {
    const { plane, projectId, ask } = await threeTenants();
    await plane.queryTenant(projectId, "t2", "admin", { query: "insert into accounts values (0, 'zero')", params: [] });
    await plane.suspendTenant(projectId, "t3");
    expect(await all(ask("select count(*)::int, (select 1 / id from accounts) from accounts"))).toEqual([
      ["t1", [[0, null]]],
      ["t2", "division by zero"],
      ["t3", 'tenant "t3" is suspended'],
    ]);
    expect(await all(ask("select name from accounts", ["t2"]))).toEqual([["t2", [["zero"]]]]);
    expect(await all(ask("drop table accounts", ["t1"]))).toEqual([["t1", "DDL not allowed on tenant databases. Deploy schema through blueprints."]]);
    expect(
      await refusalOf(
        all(
          plane.queryTenants(
            projectId,
            { blueprint: "no", tenants: "all", request: { query: "select 1", params: [] }, concurrency: 2 },
            new AbortController().signal,
          ),
        ),
      ),
    ).toMatchObject({ kind: "not_found" });
  });

  test("is cancelled in the databases when nobody reads the answers any more", async () => {
    const { ask } = await threeTenants();
    const sleepers = async () => {
      const connection = await world().server.dialer.asAdmin("cluster_test");
      const { rows } = await connection.query(
        "select count(*)::int as n from pg_stat_activity where query like 'select pg_sleep(600%' and state = 'active'",
      );
      await connection.close();
      return rows[0]?.n as number;
    };
    const left = new AbortController();
    const reading = all(ask("select pg_sleep(600)", "all", left.signal));
    await eventually(async () => ((await sleepers()) === 2 ? true : undefined));
    left.abort(new Error("the client left"));
    await reading;
    await eventually(async () => ((await sleepers()) === 0 ? true : undefined));
  });
});
