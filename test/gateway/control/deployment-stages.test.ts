/** Deployments in stages: canaries first, held on failure, tried out on copies, followed event by event. */
import { describe, expect, test } from "vitest";
import type { DeploymentEvent } from "../../../core/control-plane.ts";
import type { Deployment } from "../../../core/model.ts";
import { Partitions } from "../../../gateway/query-log/tables.ts";
import { eventually } from "../store/control-database.ts";
import { everyResult, type Instance, makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const all = { blueprint: "myapp", tenants: "all" as const, concurrency: 1, lockTimeoutMs: 1000 };
const ids = ["t1", "t2", "t3", "t4", "t5"];

async function ended(plane: Instance, deployment: Deployment): Promise<Deployment> {
  await plane.waitForDeployment(deployment.projectId, deployment.id, new AbortController().signal);
  return await plane.getDeployment(deployment.projectId, deployment.id, everyResult);
}

const statuses = (deployment: Deployment) => deployment.results.map((result) => result.status).join(" ");

/** Five tenants at version 1 of a blueprint that is at version 2. */
async function fiveTenants() {
  const plane = await world().start();
  const { project } = await makeProject(plane);
  const workspace = await makeWorkspace(world(), plane, project.id, "myapp", 1);
  const physical = new Map<string, string>();
  for (const id of ids) physical.set(id, (await makeTenant(plane, project.id, id, "myapp")).tenant.databases[0]!.database!.name);
  world().admin.runDdl(workspace, "alter table t1 add c int");
  await plane.getBlueprint(project.id, "myapp");
  await plane.settled();
  return { plane, projectId: project.id, physical };
}

describe("deployments: canaries", () => {
  test("go first; the rest follows when they are well", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    await plane.suspendTenant(projectId, "t1");
    const done = await ended(plane, await plane.createDeployment(projectId, { ...all, canary: 2 }));
    expect([done.state, done.canary, done.heldBecause]).toEqual(["done", 2, undefined]);
    expect(done.results.filter((result) => result.isCanary).map((result) => result.tenantId)).toEqual(["t2", "t3"]); // t1 has no traffic
    const applied = world()
      .admin.calls.filter((call) => call.startsWith("applyVersions"))
      .map((call) => call.split(" ")[1]);
    const order = ["t2", "t3", "t1", "t4", "t5"].map((id) => physical.get(id));
    expect(applied.filter((name) => order.includes(name))).toEqual(order);
  });

  test("that fail hold the rest, and a retry goes on from there", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    world().admin.brokenIn.set(physical.get("t5")!, "no");
    const request = { ...all, tenants: ["t5", "t1", "t2"], canary: 1 };
    const held = await ended(plane, await plane.createDeployment(projectId, request));
    expect([held.state, held.heldBecause, statuses(held)]).toEqual(["failed", "it failed on canary 't5'", "cancelled cancelled failed"]);
    expect(held.tally).toEqual({ total: 3, completed: 0, failed: 1 });
    world().admin.brokenIn.clear();
    const retried = await ended(plane, await plane.retryDeployment(projectId, held.id));
    expect([retried.state, retried.heldBecause, statuses(retried)]).toEqual(["done", undefined, "done done done"]);
  });
});

describe("deployments: canaries that are watched", () => {
  /** As the gateways write what they counted. */
  async function countStatements(projectId: string, tenantId: string, statements: number, errors: number): Promise<void> {
    const now = new Date();
    await new Partitions((await world().control.open()).db).ensure([now.getTime()]);
    await world().control.query(
      `insert into tenantry.query_usage (at, project_id, workspace_id, tenant_id, database_name, statements, errors, slow, rows, bytes_received,
         bytes_sent, duration_ms, dropped, latencies)
       select $1, $2, id, $3, md5(random()::text), $4, $5, 0, 0, 0, 0, 0, 0, '{}' from tenantry.workspaces where project_id = $2`,
      [now, projectId, tenantId, statements, errors],
    );
  }
  const watching = (id: string) =>
    eventually(async () => {
      const [row] = await world().control.query("select canary_baseline from tenantry.deployments where id = $1", [id]);
      return row?.canary_baseline ?? undefined;
    });

  test("hold the rest when their statements fail more often, also for the instance that takes over", async () => {
    const { plane, projectId } = await fiveTenants();
    await countStatements(projectId, "t1", 1000, 10);
    const deployment = await plane.createDeployment(projectId, { ...all, canary: 2, canaryWatchS: 3600 });
    expect(await watching(deployment.id)).toMatchObject({ counts: { t1: [1000, 10], t2: [0, 0] } });
    await world().kill(plane);
    await countStatements(projectId, "t1", 40, 10);
    const heir = await world().start();
    const held = await ended(heir, deployment);
    expect([held.state, statuses(held)]).toEqual(["failed", "done done cancelled cancelled cancelled"]);
    expect(held.heldBecause).toBe("statements of canary 't1' fail more often: 25.0% of 40 since it was deployed, 1.0% before");
    const retried = await heir.retryDeployment(projectId, held.id);
    expect(await ended(heir, retried)).toMatchObject({ state: "done", heldBecause: undefined });
  });

  test("let it go on when they fail as often as before, and can be cancelled meanwhile", async () => {
    const { plane, projectId } = await fiveTenants();
    const deployment = await plane.createDeployment(projectId, { ...all, canary: 1, canaryWatchS: 3600 });
    await watching(deployment.id);
    await countStatements(projectId, "t1", 1000, 4);
    await plane.cancelDeployment(projectId, deployment.id);
    expect(statuses(await ended(plane, deployment))).toBe("done cancelled cancelled cancelled cancelled");
    const short = await ended(plane, await plane.createDeployment(projectId, { ...all, canary: 1, canaryWatchS: 1 }));
    expect([short.state, statuses(short)]).toEqual(["done", "done done done done done"]);
  });
});

describe("deployments: held on failure", () => {
  test("tenants before the failure are done, those behind it are left, a retry finishes", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    world().admin.brokenIn.set(physical.get("t3")!, "no");
    const held = await ended(plane, await plane.createDeployment(projectId, { ...all, onFailure: "hold" }));
    expect([held.state, held.heldBecause, statuses(held)]).toEqual(["failed", "it failed on tenant 't3'", "done done failed cancelled cancelled"]);
    world().admin.brokenIn.clear();
    const retried = await ended(plane, await plane.retryDeployment(projectId, held.id));
    expect([retried.state, statuses(retried)]).toEqual(["done", "done done done done done"]);
  });

  test("a failure of the last tenant holds nobody", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    world().admin.brokenIn.set(physical.get("t5")!, "no");
    const failed = await ended(plane, await plane.createDeployment(projectId, { ...all, onFailure: "hold" }));
    expect([failed.state, failed.heldBecause, statuses(failed)]).toEqual(["failed", undefined, "done done done done failed"]);
  });
});

describe("deployments: dry runs", () => {
  test("work on a copy, change no tenant and leave nothing", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    const before = [...world().admin.databases.keys()].sort();
    const done = await ended(plane, await plane.createDeployment(projectId, { ...all, tenants: ["t2"], dryRun: true }));
    expect([done.state, done.dryRun]).toEqual(["done", true]);
    expect(done.results).toMatchObject([{ tenantId: "t2", status: "done", fromVersion: 1, toVersion: 2, statements: [] }]);
    expect(world().admin.databases.get(physical.get("t2")!)!.version).toBe(1);
    expect((await plane.getTenant(projectId, "t2")).databases[0]!.version).toBe(1);
    expect([...world().admin.databases.keys()].sort()).toEqual(before);
    expect(await world().control.query("select name from tenantry.databases where kind = 'copy'")).toEqual([]);
  });

  test("of a killed instance: another tries again, and the sweep drops the copy left over", async () => {
    const { plane, projectId } = await fiveTenants();
    let left = "";
    let reached: () => void = () => undefined;
    const isReached = new Promise<void>((resolve) => {
      reached = resolve;
    });
    world().admin.trapNext("createScratchCopy", (database) => {
      left = database.name;
      reached();
      return new Promise(() => undefined);
    });
    const deployment = await plane.createDeployment(projectId, { ...all, tenants: ["t2"], dryRun: true });
    await isReached;
    await world().kill(plane);
    expect(await world().control.query("select name from tenantry.databases where kind = 'copy'")).toEqual([{ name: left }]);
    const heir = await world().start();
    expect((await ended(heir, deployment)).state).toBe("done");
    await heir.sweep();
    expect(world().admin.calls).toContain(`dropDatabase ${left}`);
    expect(await world().control.query("select name from tenantry.databases where kind = 'copy'")).toEqual([]);
  });

  test("need named tenants, few of them, and no canaries", async () => {
    const { plane, projectId } = await fiveTenants();
    const attempt = (request: object) => refusalOf(plane.createDeployment(projectId, { ...all, dryRun: true, ...request }));
    expect(await attempt({})).toMatchObject({ kind: "bad_request", message: expect.stringContaining("name 1 to 10 tenants") });
    expect(await attempt({ tenants: ["t1"], canary: 1 })).toMatchObject({ kind: "bad_request" });
  });
});

describe("deployments: followed", () => {
  test("tell every result and then the end, to those who come late as well", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    world().admin.brokenIn.set(physical.get("t3")!, "no");
    const deployment = await plane.createDeployment(projectId, all);
    const follow = async () => {
      const events: DeploymentEvent[] = [];
      for await (const event of plane.followDeployment(projectId, deployment.id, new AbortController().signal)) events.push(event);
      return events;
    };
    for (const events of [await follow(), await follow()]) {
      const results = events.flatMap((event) => (event.type === "result" ? [`${event.result.tenantId} ${event.result.status}`] : []));
      expect(results.sort()).toEqual(["t1 done", "t2 done", "t3 failed", "t4 done", "t5 done"]);
      expect(events.at(-1)).toMatchObject({
        type: "end",
        deployment: { state: "failed", tally: { total: 5, completed: 4, failed: 1 }, results: [] },
      });
    }
  });

  test("from one tenant's side, newest first, in pages", async () => {
    const { plane, projectId } = await fiveTenants();
    const made: string[] = [];
    for (const tenants of [["t1"], ["t1", "t2"], ["t2"]])
      made.push((await ended(plane, await plane.createDeployment(projectId, { ...all, tenants }))).id);
    const first = await plane.listTenantDeployments(projectId, "t1", { limit: 1 });
    expect(first.items).toMatchObject([
      { deployment: { id: made[1], tally: { total: 2 } }, result: { tenantId: "t1", status: "done", toVersion: 2 } },
    ]);
    const second = await plane.listTenantDeployments(projectId, "t1", { limit: 1, cursor: first.nextCursor });
    expect([second.items.map(({ deployment }) => deployment.id), second.nextCursor]).toEqual([[made[0]], undefined]);
    expect((await plane.listTenantDeployments(projectId, "t1", { limit: 9, workspaces: ["other"] })).items).toEqual([]);
    expect(await refusalOf(plane.listTenantDeployments(projectId, "nobody", { limit: 9 }))).toMatchObject({ kind: "not_found" });
  });
});
