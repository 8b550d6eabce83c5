/** Fleet truth: how many tenants are where, and what somebody changed in one of them by hand. */
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { makeProject, makeTenant, makeWorkspace, useWorld } from "./world.ts";

const world = useWorld();
const page = { limit: 10 };
const all = { blueprint: "myapp", tenants: "all" as const, concurrency: 4, lockTimeoutMs: 2000 };

async function run(database: PhysicalDatabase, role: "admin" | "superuser", sql: string): Promise<void> {
  const { dialer } = world().server;
  const connection = await (role === "admin" ? dialer.asRole(database, "admin") : dialer.asAdmin(database.clusterId, database.name));
  await connection.query(sql);
  await connection.close();
}

const ddl = `
  create type mood as enum ('sad', 'happy');
  create domain code as text check (value <> '');
  create table accounts (id serial primary key, name text not null default 'x', feeling mood, code code, unique (name, code));
  create index accounts_feeling on accounts (feeling) where feeling = 'happy';
  create view happy as select * from accounts where feeling = 'happy';
  create function twice(i int) returns int language sql immutable as $$ select i * 2 $$;
  create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
  create trigger touched before update on accounts for each row execute function touch();
  alter table accounts enable row level security;
  create policy everybody on accounts using (true);
  create table parts (id int, at date) partition by range (at);
  create table parts_1 partition of parts for values from ('2026-01-01') to ('2027-01-01');
  revoke execute on function twice(int) from public;
  grant select on parts to public`;

describe("a fleet on a real cluster", () => {
  test("of copied, spare and deployed tenants shows no drift; what a superuser did by hand is shown, and gone when undone", async () => {
    const { server } = world();
    const admin = createPostgresAdmin({ dialer: server.dialer, secrets: server.secrets, log: silentLog, clock: systemClock });
    const plane = await world().start({ admin, config: { spareDatabases: 1, driftCheckIntervalS: 3600 } });
    const { project } = await makeProject(plane);
    const input = { name: "myapp", engine: "PostgreSQL" as const, mode: "tenant" as const, redirectTo: undefined };
    const workspace = (await plane.createWorkspace(project.id, input)).database!;
    await run(workspace, "admin", ddl);
    const made = new Map<string, PhysicalDatabase>();
    for (const id of ["copied", "spare", "behind"]) {
      made.set(id, (await makeTenant(plane, project.id, id, "myapp")).tenant.databases[0]!.database!);
      await plane.settled();
    }
    await run(workspace, "admin", "alter table accounts add note text; create index on accounts (note)");
    const deployed = await plane.createDeployment(project.id, { ...all, tenants: ["copied", "spare"] });
    await plane.waitForDeployment(project.id, deployed.id, new AbortController().signal);
    await plane.settled();
    expect(await plane.getFleet(project.id, "myapp")).toMatchObject({ tenants: 3, current: 2, drifted: 0, unchecked: 3 });
    expect(await plane.checkDrift(10)).toBe(3);
    expect((await plane.listDrift(project.id, "myapp", page)).items).toEqual([]);
    expect(await plane.getFleet(project.id, "myapp")).toMatchObject({ drifted: 0, unchecked: 0, oldestCheckAt: expect.any(Number) });
    expect(await plane.checkDrift(10)).toBe(0);

    await run(
      made.get("spare")!,
      "superuser",
      "create index by_hand on public.accounts (name); alter table public.accounts alter name drop not null",
    );
    await run(made.get("spare")!, "superuser", "drop view public.happy");
    await world().control.query("update tenantry.schema_checks set checked_at = now() - interval '2 hours'");
    expect(await plane.checkDrift(10)).toBe(3);
    const { items } = await plane.listDrift(project.id, "myapp", page);
    expect(items).toMatchObject([{ tenantId: "spare" }]);
    const told = items[0]!.differences.map(({ kind, name, change }) => `${change} ${kind} ${name}`);
    expect(told).toEqual(
      expect.arrayContaining(["unexpected index public.by_hand", "changed column public.accounts.name", "missing view public.happy"]),
    );
    expect(told).toContain("missing constraint public.accounts accounts_name_not_null");
    expect(told).toHaveLength(4);
    expect(await plane.getFleet(project.id, "myapp")).toMatchObject({ drifted: 1, unchecked: 0 });

    await run(made.get("spare")!, "superuser", "drop index public.by_hand; alter table public.accounts alter name set not null");
    await run(
      made.get("spare")!,
      "superuser",
      "set search_path to public; create view happy as select id, name, feeling, code from accounts where feeling = 'happy'",
    );
    await world().control.query("update tenantry.schema_checks set checked_at = now() - interval '2 hours'");
    await plane.checkDrift(10);
    // Made by a superuser, the view is not the owner's: that is a difference too.
    const left = (await plane.listDrift(project.id, "myapp", page)).items[0]!.differences;
    expect(left).toMatchObject([{ kind: "view", name: "public.happy", change: "changed" }]);
    expect(await world().control.query("select count(*)::int as n from tenantry.databases where kind = 'copy'")).toEqual([{ n: 0 }]);
  });
});

describe("a fleet of ten thousand rows", () => {
  test("is counted from indexes, and the look for who is due is bounded", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 2);
    const { version } = await plane.getBlueprint(project.id, "myapp");
    const workspace = await plane.getWorkspace(project.id, "myapp");
    await world().control.query(
      `insert into tenantry.tenants (project_id, id, state, created_at) select $1, 't' || i, 'ready', now() from generate_series(1, 10000) i`,
      [project.id],
    );
    await world().control.query(
      `insert into tenantry.tenant_databases (project_id, tenant_id, workspace_id, engine, isolation_level, version, state)
       select $1, 't' || i, $2, 'PostgreSQL', 1, case when i % 10 = 0 then 1 else 2 end, 'ready' from generate_series(1, 10000) i`,
      [project.id, workspace.id],
    );
    await world().control.query(
      `insert into tenantry.schema_checks (project_id, tenant_id, workspace_id, version, drifted, difference, checked_at)
       select project_id, tenant_id, workspace_id, version, tenant_id in ('t7', 't9'), case when tenant_id in ('t7', 't9') then '[]'::jsonb end, now()
       from tenantry.tenant_databases where tenant_id <> 't1'`,
    );
    await world().control.query("analyze tenantry.tenants, tenantry.tenant_databases, tenantry.schema_checks");
    expect(version).toBe(2);
    expect(await plane.getFleet(project.id, "myapp")).toMatchObject({ tenants: 10_000, current: 9000, drifted: 2, unchecked: 1 });
    expect((await plane.listDrift(project.id, "myapp", page)).items.map(({ tenantId }) => tenantId)).toEqual(["t7", "t9"]);
    const plan = await world().control.query<{ "QUERY PLAN": string }>(
      `explain select tenant_id from tenantry.schema_checks where workspace_id = $1 and drifted order by tenant_id limit 11`,
      [workspace.id],
    );
    expect(plan.map((row) => row["QUERY PLAN"]).join("\n")).toContain("schema_checks_drifted");
  });
});
