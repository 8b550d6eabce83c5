/** Schedules: when they come, that one instance makes each backup, what is kept; and instances that die over their work. */
import { describe, expect, test } from "vitest";
import type { Dumper } from "../../../core/dumper.ts";
import { GatewayError } from "../../../core/errors.ts";
import { nextRun } from "../../../gateway/backups/schedules.ts";
import { makeGate, makeTenant, refusalOf } from "../control/world.ts";
import { type BackupInstance, none, useBackupWorld } from "./support.ts";

const { asSuperuser, files, makeShop, start, world } = useBackupWorld();

describe("cron expressions", () => {
  test.each([
    ["0 3 * * *", "UTC", "2026-03-01T00:00:00Z", "2026-03-01T03:00:00Z"],
    ["0 3 * * *", "UTC", "2026-03-01T03:00:00Z", "2026-03-02T03:00:00Z"],
    ["30 4 1 * *", "Europe/Berlin", "2026-06-15T00:00:00Z", "2026-07-01T02:30:00Z"],
    // The hour that is left out in spring, and the one that comes twice in autumn.
    ["30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"],
    ["30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"],
    ["0 0 * * MON", "UTC", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"],
  ])("%s in %s after %s is %s", (cron, zone, after, expected) => {
    expect(nextRun(cron, zone, new Date(after)).toISOString()).toBe(new Date(expected).toISOString());
  });

  test.each([
    ["", "UTC"],
    ["every day", "UTC"],
    ["0 3 * *", "UTC"],
    ["0 0 3 * * *", "UTC"],
    ["61 3 * * *", "UTC"],
    ["0 0 31 2 *", "UTC"],
    ["* * * * *", "UTC"],
    ["0,2 * * * *", "UTC"],
    ["0 3 * * *", "Mars/Olympus"],
    ["0 3 * * *", ""],
  ])("%j in %j is refused", (cron, zone) => {
    expect(() => nextRun(cron, zone, new Date("2026-01-01T00:00:00Z"))).toThrow(GatewayError);
  });
});

async function due(): Promise<void> {
  await world().control.query("update tenantry.backup_schedules set next_run_at = now() - interval '1 minute'");
}

async function listed({ backups }: BackupInstance, projectId: string, tenantId = "wayne") {
  return (await backups.listBackups(projectId, tenantId, { limit: 100 })).items;
}

async function settled(instance: BackupInstance): Promise<void> {
  for (;;) {
    const rows = await world().control.query("select 1 from tenantry.backups where state in ('queued', 'running')");
    if (rows.length === 0) return;
    await instance.plane.settled();
    await instance.backups.upkeep();
  }
}

describe("scheduled backups", { timeout: 90_000 }, () => {
  test("come for every tenant of the blueprint, once, whoever finds them due; beyond their number they go, others stay", async () => {
    const one = await start();
    const two = await start();
    const { projectId } = await makeShop(one);
    await makeTenant(one.plane, projectId, "globex", "myapp");
    await makeTenant(one.plane, projectId, "asleep", "myapp");
    await makeTenant(one.plane, projectId, "binned", "myapp");
    await one.plane.suspendTenant(projectId, "asleep");
    await one.plane.deleteTenant(projectId, "binned", false);
    const manual = await one.backups.createBackup(projectId, "wayne");
    await one.backups.waitForBackup(projectId, "wayne", manual.id, none);
    const schedule = await one.backups.setSchedule(projectId, "myapp", { cron: "0 3 * * *", timeZone: "UTC", keepCount: 2, keepDays: 0 });
    expect(new Date(schedule.nextRunAt).toISOString()).toMatch(/T03:00:00.000Z$/);
    expect(schedule.nextRunAt).toBeGreaterThan(Date.now());
    await one.backups.upkeep();
    expect(await listed(one, projectId)).toHaveLength(1);
    for (let run = 1; run <= 3; run++) {
      await due();
      await Promise.all([one.backups.upkeep(), two.backups.upkeep(), one.backups.upkeep()]);
      await settled(one);
    }
    await one.backups.upkeep();
    for (const tenant of ["wayne", "globex", "asleep"]) {
      const scheduled = (await listed(one, projectId, tenant)).filter((each) => each.trigger === "schedule");
      expect(
        scheduled.map((each) => each.state),
        tenant,
      ).toEqual(["ready", "ready"]);
    }
    expect(await listed(one, projectId, "binned")).toEqual([]);
    expect((await listed(one, projectId)).some((each) => each.id === manual.id)).toBe(true);
    expect(await files()).toHaveLength(7);
    const after = await one.backups.getSchedule(projectId, "myapp");
    expect(after!.nextRunAt).toBeGreaterThan(Date.now());
    expect(after!.lastRunAt).toBeDefined();
    expect(await one.backups.removeSchedule(projectId, "myapp")).toBe(true);
    expect(await one.backups.removeSchedule(projectId, "myapp")).toBe(false);
    expect(await refusalOf(one.backups.getSchedule(projectId, "nope"))).toMatchObject({ kind: "not_found" });
  });

  test("too old ones go, a tenant's newest never does", async () => {
    const instance = await start();
    const { projectId } = await makeShop(instance);
    await instance.backups.setSchedule(projectId, "myapp", { cron: "0 3 * * *", timeZone: "UTC", keepCount: 0, keepDays: 7 });
    for (let run = 0; run < 2; run++) {
      await due();
      await instance.backups.upkeep();
      await settled(instance);
    }
    await world().control.query("update tenantry.backups set created_at = created_at - interval '8 days'");
    await instance.backups.upkeep();
    await instance.backups.upkeep();
    expect(await listed(instance, projectId)).toHaveLength(1);
    expect(await files()).toHaveLength(1);
  });
});

/** A dumper that stops at a gate in the middle of its work. */
function stuck(at: "dump" | "restore", isStuck: ReturnType<typeof makeGate>) {
  const forever = new Promise<never>(() => undefined);
  return (dumper: Dumper): Dumper => ({
    ...dumper,
    async *dump(request) {
      const inner = dumper.dump(request);
      for (;;) {
        const { done, value } = await inner.next();
        if (done) return value;
        yield value;
        if (at !== "dump") continue;
        isStuck.open();
        await forever;
      }
    },
    async restore(database, parts, signal) {
      const result = await dumper.restore(database, parts, signal);
      if (at === "restore") {
        isStuck.open();
        await forever;
      }
      return result;
    },
  });
}

describe("an instance that dies", { timeout: 90_000 }, () => {
  test("over a backup: another makes it, and no half file stays", async () => {
    const isStuck = makeGate();
    const victim = await start({ wrapDumper: stuck("dump", isStuck) });
    const { projectId } = await makeShop(victim);
    const { id } = await victim.backups.createBackup(projectId, "wayne");
    await isStuck.opened;
    await victim.kill();
    const heir = await start();
    await heir.backups.upkeep();
    expect(await heir.backups.waitForBackup(projectId, "wayne", id, none)).toMatchObject({ state: "ready", rows: 3 });
    expect(await files()).toEqual([`${projectId}/wayne/${id}.sql.gz`]);
  });

  test("over a rollback: another begins it anew, and the first one's database goes", async () => {
    const isStuck = makeGate();
    const victim = await start({ wrapDumper: stuck("restore", isStuck) });
    const { projectId } = await makeShop(victim);
    const backup = await victim.backups.createBackup(projectId, "wayne");
    await victim.backups.waitForBackup(projectId, "wayne", backup.id, none);
    const { id } = await victim.backups.startRollback(projectId, "wayne", { backupId: backup.id, upgrade: false });
    await isStuck.opened;
    const [half] = await world().control.query("select name from tenantry.databases where kind = 'restore'");
    await victim.kill();
    const heir = await start();
    await heir.backups.upkeep();
    expect(await heir.backups.waitForRollback(projectId, "wayne", id, none)).toMatchObject({ state: "done" });
    await heir.plane.sweep();
    expect(await asSuperuser(undefined, `select 1 from pg_database where datname = '${(half as { name: string }).name}'`)).toEqual([]);
    const answer = await heir.plane.queryTenant(projectId, "wayne", "read", { query: "select count(*)::int from accounts", params: [] });
    expect(answer.rows).toEqual([[3]]);
  });

  test("while clients wait: they are let in again, and the rollback comes to its end", async () => {
    const isStuck = makeGate();
    let isVictim = true;
    const victim = await start({
      wrapAdmin: (admin) => ({
        ...admin,
        async setConnectable(database, allowed) {
          await admin.setConnectable(database, allowed);
          if (allowed || !isVictim) return;
          isStuck.open();
          await new Promise(() => undefined);
        },
      }),
    });
    const { projectId, physical } = await makeShop(victim);
    const backup = await victim.backups.createBackup(projectId, "wayne");
    await victim.backups.waitForBackup(projectId, "wayne", backup.id, none);
    const old = await physical();
    const { id } = await victim.backups.startRollback(projectId, "wayne", { backupId: backup.id, upgrade: false });
    await isStuck.opened;
    expect(await world().control.query("select held from tenantry.tenant_databases")).toEqual([{ held: true }]);
    await expect(world().server.dialer.asRole(old, "read")).rejects.toMatchObject({ code: "42501" });
    isVictim = false;
    await victim.kill();
    const heir = await start();
    await heir.backups.upkeep();
    expect(await heir.backups.waitForRollback(projectId, "wayne", id, none)).toMatchObject({ state: "done" });
    expect(await world().control.query("select held from tenantry.tenant_databases")).toEqual([{ held: false }]);
    const now = (await heir.plane.getTenant(projectId, "wayne")).databases[0]!.database!;
    await (await world().server.dialer.asRole(now, "read")).close();
  });
});
