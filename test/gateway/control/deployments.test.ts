/** Deployments: recorded first, done tenant by tenant, in order per blueprint, resumed after a crash, cancelled, tried again. */
import { describe, expect, test } from "vitest";
import type { Change } from "../../../core/directory.ts";
import type { Deployment } from "../../../core/model.ts";
import { eventually } from "../store/control-database.ts";
import { everyResult, type Instance, makeGate, makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const all = { blueprint: "myapp", tenants: "all" as const, concurrency: 1, lockTimeoutMs: 1000 };
const ids = ["t1", "t2", "t3", "t4", "t5"];

async function ended(plane: Instance, deployment: Deployment): Promise<Deployment> {
  await plane.waitForDeployment(deployment.projectId, deployment.id, new AbortController().signal);
  return await plane.getDeployment(deployment.projectId, deployment.id, everyResult);
}

function statuses(deployment: Deployment): Record<string, string> {
  return Object.fromEntries(deployment.results.map((result) => [result.tenantId, result.status]));
}

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
  return { plane, projectId: project.id, workspace, physical };
}

describe("deployments: running", () => {
  test("bring every tenant to the newest version and tell the data path whose schema changed", async () => {
    const { plane, projectId } = await fiveTenants();
    const heard: (Change | undefined)[] = [];
    plane.store.routes.onChange((change) => heard.push(change));
    const recorded = await plane.createDeployment(projectId, { ...all, concurrency: 3 });
    expect(recorded).toMatchObject({ blueprint: "myapp", version: 2, concurrency: 3 });
    expect(recorded).toMatchObject({ tally: { total: 5 }, results: [] });
    const done = await ended(plane, recorded);
    expect(done.results.map((r) => r.tenantId)).toEqual(ids);
    expect(done).toMatchObject({ state: "done", startedAt: expect.any(Number), finishedAt: expect.any(Number) });
    for (const result of done.results) {
      expect(result).toMatchObject({ status: "done", fromVersion: 1, toVersion: 2, durationMs: expect.any(Number), error: undefined, attempts: 1 });
    }
    expect((await plane.getBlueprint(projectId, "myapp")).tenantsPerVersion).toEqual([{ version: 2, tenants: 5 }]);
    await eventually(async () => (heard.filter((c) => c?.schemaChanged).length === 5 ? true : undefined));
    expect((await plane.describeWorkspace(projectId, "myapp")).undeployedChanges).toEqual([]);
  });

  test("one tenant failing does not stop the others, and a retry takes only that one", async () => {
    const { plane, projectId, physical } = await fiveTenants();
    world().admin.brokenIn.set(physical.get("t3")!, 'column "c" of relation "t1" already exists');
    const failed = await ended(plane, await plane.createDeployment(projectId, all));
    expect(failed.state).toBe("failed");
    expect(statuses(failed)).toEqual({ t1: "done", t2: "done", t3: "failed", t4: "done", t5: "done" });
    expect(failed.results[2]).toMatchObject({ error: 'column "c" of relation "t1" already exists', sqlstate: "42P07", fromVersion: 1, toVersion: 1 });
    const page = (shown: "all" | "failed" | "none", limit: number, cursor?: string) =>
      plane.getDeployment(projectId, failed.id, { shown, limit, cursor });
    expect(await page("failed", 1)).toEqual({ ...failed, results: [failed.results[2]] });
    expect(await page("none", 1)).toEqual({ ...failed, results: [] });
    expect(await plane.getDeployment(projectId, failed.id)).toEqual({ ...failed, results: [] });
    const first = await page("all", 3);
    expect(first).toEqual({ ...failed, results: failed.results.slice(0, 3), nextResults: expect.any(String) });
    expect(await page("all", 3, first.nextResults)).toEqual({ ...failed, results: failed.results.slice(3) });
    expect(await refusalOf(page("all", 3, "made up"))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(page("all", 1001))).toMatchObject({ kind: "bad_request" });
    expect((await plane.describeWorkspace(projectId, "myapp")).undeployedChanges.map((v) => v.version)).toEqual([2]);
    world().admin.brokenIn.clear();
    const applied = () => world().admin.calls.filter((call) => call.startsWith("applyVersions")).length;
    const before = applied();
    const retried = await ended(plane, await plane.retryDeployment(projectId, failed.id));
    expect(retried.state).toBe("done");
    expect(retried.results[2]).toMatchObject({ status: "done", attempts: 2, error: undefined });
    await plane.settled();
    expect(applied() - before).toBe(1);
    expect(await refusalOf(plane.retryDeployment(projectId, failed.id))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("nothing to retry"),
    });
  });

  test("to an older version, of named tenants; those beyond it are skipped", async () => {
    const { plane, projectId, workspace } = await fiveTenants();
    world().admin.runDdl(workspace, "alter table t1 add d int");
    await ended(plane, await plane.createDeployment(projectId, { ...all, tenants: ["t2"] }));
    const older = await ended(plane, await plane.createDeployment(projectId, { ...all, version: 2, tenants: ["t1", "t2"] }));
    expect(older.results).toMatchObject([
      { tenantId: "t1", status: "done", fromVersion: 1, toVersion: 2 },
      { tenantId: "t2", status: "skipped", error: "already at version 3" },
    ]);
    expect(older.state).toBe("done");
  });

  test("reach suspended tenants, skip those in the trash", async () => {
    const { plane, projectId } = await fiveTenants();
    await plane.suspendTenant(projectId, "t1");
    await plane.deleteTenant(projectId, "t2", false);
    const everybody = await ended(plane, await plane.createDeployment(projectId, all));
    expect(statuses(everybody)).toEqual({ t1: "done", t3: "done", t4: "done", t5: "done" });
    const named = await ended(plane, await plane.createDeployment(projectId, { ...all, tenants: ["t2"] }));
    expect(named.results).toMatchObject([{ tenantId: "t2", status: "skipped", error: "tenant is in trash" }]);
    await plane.restoreTenant(projectId, "t2");
    expect(statuses(await ended(plane, await plane.retryDeployment(projectId, named.id)))).toEqual({ t2: "done" });
  });

  test("refuse what does not exist", async () => {
    const { plane, projectId } = await fiveTenants();
    const attempt = (request: object) => refusalOf(plane.createDeployment(projectId, { ...all, ...request }));
    expect(await attempt({ version: 9 })).toEqual({ kind: "bad_request", message: "Blueprint 'myapp' has no version 9; the newest is 2" });
    expect(await attempt({ tenants: ["t1", "nobody", "noone"] })).toEqual({
      kind: "not_found",
      message: "Tenants not found for blueprint 'myapp': nobody, noone",
    });
    expect(await attempt({ blueprint: "nowhere" })).toEqual({ kind: "not_found", message: "Blueprint not found: nowhere" });
    expect(await attempt({ concurrency: 0 })).toMatchObject({ kind: "bad_request" });
    expect((await plane.listDeployments(projectId, { limit: 10 })).items).toEqual([]);
    expect(await refusalOf(plane.getDeployment(projectId, "dep_nothing"))).toEqual({
      kind: "not_found",
      message: "Deployment not found: dep_nothing",
    });
    const other = await makeProject(plane);
    const mine = await plane.createDeployment(projectId, all);
    expect(await refusalOf(plane.getDeployment(other.project.id, mine.id, everyResult))).toMatchObject({ kind: "not_found" });
    expect(await refusalOf(plane.cancelDeployment(other.project.id, mine.id))).toMatchObject({ kind: "not_found" });
    await ended(plane, mine);
  });

  test("of one blueprint run one at a time in order, whichever instance takes them", async () => {
    const { plane, projectId, workspace } = await fiveTenants();
    const second = await world().start();
    await second.settled(); // spare databases are brought up by the same call
    const [gate, reached] = [makeGate(), makeGate()];
    world().admin.trapNext("applyVersions", () => {
      reached.open();
      return gate.opened;
    });
    const first = await plane.createDeployment(projectId, { ...all, tenants: ["t1", "t2"] });
    await reached.opened;
    world().admin.runDdl(workspace, "alter table t1 add d int");
    const next = await second.createDeployment(projectId, { ...all, tenants: ["t1"] });
    expect((await plane.getDeployment(projectId, first.id, everyResult)).state).toBe("running");
    expect((await plane.getDeployment(projectId, next.id, everyResult)).state).toBe("queued");
    gate.open();
    const [a, b] = [await ended(second, first), await ended(plane, next)];
    expect([a.state, b.state]).toEqual(["done", "done"]);
    expect(b.startedAt!).toBeGreaterThanOrEqual(a.finishedAt!);
    expect(b.results).toMatchObject([{ fromVersion: 2, toVersion: 3 }]);
  });

  test("never leave out a tenant made meanwhile", async () => {
    const { plane, projectId, workspace } = await fiveTenants();
    const gate = makeGate();
    const reached = makeGate();
    world().admin.trapNext("createTenantDatabase", () => {
      reached.open();
      return gate.opened;
    });
    const made = makeTenant(plane, projectId, "late", "myapp");
    await reached.opened;
    world().admin.runDdl(workspace, "alter table t1 add d int");
    const deployment = await plane.createDeployment(projectId, all);
    expect(deployment.results.map((r) => r.tenantId)).not.toContain("late");
    gate.open();
    expect((await made).databases[0]!.version).toBe(3);
    await ended(plane, deployment);
    expect((await plane.getBlueprint(projectId, "myapp")).tenantsPerVersion).toEqual([{ version: 3, tenants: 6 }]);
  });
});

describe("deployments: stopping and resuming", () => {
  test("cancelled while running: tenants in progress end, the rest are cancelled, and a retry takes those", async () => {
    const { plane, projectId } = await fiveTenants();
    const gate = makeGate();
    const reached = makeGate();
    world().admin.trapNext("applyVersions", () => {
      reached.open();
      return gate.opened;
    });
    const deployment = await plane.createDeployment(projectId, all);
    await reached.opened;
    await plane.cancelDeployment(projectId, deployment.id);
    gate.open();
    const cancelled = await ended(plane, deployment);
    expect(cancelled.state).toBe("cancelled");
    expect(statuses(cancelled)).toEqual({ t1: "done", t2: "cancelled", t3: "cancelled", t4: "cancelled", t5: "cancelled" });
    expect(await refusalOf(plane.cancelDeployment(projectId, deployment.id))).toMatchObject({ kind: "conflict" });
    const retried = await ended(plane, await plane.retryDeployment(projectId, deployment.id));
    expect(Object.values(statuses(retried))).toEqual(Array(5).fill("done"));
  });

  test("cancelled while queued, end at once", async () => {
    const { plane, projectId } = await fiveTenants();
    const gate = makeGate();
    world().admin.trapNext("applyVersions", () => gate.opened);
    const first = await plane.createDeployment(projectId, all);
    const queued = await plane.createDeployment(projectId, all);
    expect((await plane.cancelDeployment(projectId, queued.id)).state).toBe("cancelled");
    gate.open();
    expect((await ended(plane, first)).state).toBe("done");
    expect(Object.values(statuses(await plane.getDeployment(projectId, queued.id, everyResult)))).toEqual(Array(5).fill("cancelled"));
  });

  test("of a killed instance are resumed by another, tenants already done left alone", async () => {
    const { plane: victim, projectId } = await fiveTenants();
    const reached = makeGate();
    let calls = 0;
    world().admin.trapNext("applyVersions", () => void calls++);
    world().admin.trapNext("applyVersions", () => {
      reached.open();
      return new Promise(() => undefined);
    });
    const deployment = await victim.createDeployment(projectId, all);
    await reached.opened;
    expect(statuses(await victim.getDeployment(projectId, deployment.id, everyResult))).toMatchObject({ t1: "done", t2: "running", t3: "pending" });
    await world().kill(victim);
    const heir = await world().start();
    const resumed = eventually(async () => {
      await heir.sweep();
      const now = await heir.getDeployment(projectId, deployment.id, everyResult);
      return now.state === "done" ? now : undefined;
    });
    expect((await resumed).results.map((r) => [r.tenantId, r.status, r.fromVersion, r.toVersion, r.attempts])).toEqual(
      ids.map((id) => [id, "done", 1, 2, 1]),
    );
    expect(calls).toBe(1);
  });

  test("of an instance that stops are handed over, the tenant in progress included", async () => {
    const { plane, projectId } = await fiveTenants();
    const reached = makeGate();
    world().admin.trapNext("applyVersions", () => {
      reached.open();
      return new Promise(() => undefined);
    });
    const deployment = await plane.createDeployment(projectId, all);
    await reached.opened;
    await plane.stop();
    expect(await world().control.query("select state, claimed_by from tenantry.deployments")).toEqual([{ state: "running", claimed_by: null }]);
    const heir = await world().start();
    const done = await ended(heir, deployment);
    expect([done.state, Object.values(statuses(done))]).toEqual(["done", Array(5).fill("done")]);
  });

  test("waited for with a signal, answer with the present state when it aborts", async () => {
    const { plane, projectId } = await fiveTenants();
    const gate = makeGate();
    const reached = makeGate();
    world().admin.trapNext("applyVersions", () => {
      reached.open();
      return gate.opened;
    });
    const deployment = await plane.createDeployment(projectId, all);
    await reached.opened;
    const abort = new AbortController();
    const waiting = plane.waitForDeployment(projectId, deployment.id, abort.signal);
    abort.abort();
    expect((await waiting).state).toBe("running");
    gate.open();
    expect((await ended(plane, deployment)).state).toBe("done");
  });

  test("listed newest first, in pages", async () => {
    const { plane, projectId } = await fiveTenants();
    const made = [];
    for (const id of ids) made.push((await ended(plane, await plane.createDeployment(projectId, { ...all, tenants: [id] }))).id);
    const first = await plane.listDeployments(projectId, { limit: 3 });
    const second = await plane.listDeployments(projectId, { limit: 3, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((d) => d.id)).toEqual(made.reverse());
    expect(second.nextCursor).toBeUndefined();
  });
});
