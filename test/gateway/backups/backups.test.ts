/** Backups and rollbacks of tenants, on a real cluster: made, kept, restored, undone, and what goes wrong with them. */
import { chmod, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Backup } from "../../../core/backups.ts";
import { createStorages } from "../../../gateway/backups/backups.ts";
import { StorageError } from "../../../gateway/backups/directory-storage.ts";
import { refusalOf } from "../control/world.ts";
import { type BackupInstance, none, useBackupWorld } from "./support.ts";

const { asSuperuser, directory, files, makeShop, start, world } = useBackupWorld();

async function backUp({ backups }: BackupInstance, projectId: string, tenantId = "wayne"): Promise<Backup> {
  const { id } = await backups.createBackup(projectId, tenantId);
  const made = await backups.waitForBackup(projectId, tenantId, id, none);
  expect(made).toMatchObject({ state: "ready", error: undefined });
  return made;
}

async function rollBack(
  { backups }: BackupInstance,
  projectId: string,
  request: { backupId?: string; date?: number; upgrade?: boolean },
  tenantId = "wayne",
) {
  const { id } = await backups.startRollback(projectId, tenantId, { upgrade: false, ...request });
  return await backups.waitForRollback(projectId, tenantId, id, none);
}

describe("backup: kept", { timeout: 60_000 }, () => {
  test("as a file that only its owner can read, listed newest first, deleted with its file", async () => {
    const instance = await start();
    const { projectId } = await makeShop(instance);
    const first = await backUp(instance, projectId);
    const second = await backUp(instance, projectId);
    expect(first).toMatchObject({ tenantId: "wayne", blueprint: "myapp", trigger: "manual", version: 1, tables: 1, rows: 3, storage: "directory" });
    expect(await files()).toEqual([`${projectId}/wayne/${first.id}.sql.gz`, `${projectId}/wayne/${second.id}.sql.gz`].sort());
    const path = join(directory(), `${projectId}/wayne/${first.id}.sql.gz`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(path, ".."))).mode & 0o777).toBe(0o700);
    expect((await stat(path)).size).toBe(first.sizeBytes);
    const { data } = await instance.backups.readBackupFile(projectId, "wayne", first.id);
    const chunks: Uint8Array[] = [];
    for await (const chunk of data) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(await readFile(path))).toBe(true);
    const page = await instance.backups.listBackups(projectId, "wayne", { limit: 1 });
    expect(page.items.map((each) => each.id)).toEqual([second.id]);
    expect((await instance.backups.listBackups(projectId, "wayne", { limit: 1, cursor: page.nextCursor })).items.map((each) => each.id)).toEqual([
      first.id,
    ]);
    await instance.backups.deleteBackup(projectId, "wayne", first.id);
    expect(await refusalOf(instance.backups.getBackup(projectId, "wayne", first.id))).toMatchObject({ kind: "not_found" });
    await instance.backups.upkeep();
    expect(await files()).toEqual([`${projectId}/wayne/${second.id}.sql.gz`]);
  });

  test("of suspended tenants too, not of those in the trash, whose backups stay; a deleted tenant's go with it", async () => {
    const instance = await start();
    const { projectId, names } = await makeShop(instance);
    const { plane, backups } = instance;
    await plane.suspendTenant(projectId, "wayne");
    const backup = await backUp(instance, projectId);
    await plane.deleteTenant(projectId, "wayne", false);
    expect(await refusalOf(backups.createBackup(projectId, "wayne"))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("is in trash"),
    });
    expect(await refusalOf(rollBack(instance, projectId, { backupId: backup.id }))).toMatchObject({ kind: "conflict" });
    expect((await backups.restoreAsTenant(projectId, "wayne", backup.id, { newTenantId: "again", upgrade: false })).warnings).toEqual([]);
    expect(await names("again")).toEqual(["a", "b", "c"]);
    await plane.deleteTenant(projectId, "wayne", true);
    expect(await refusalOf(backups.listBackups(projectId, "wayne", { limit: 10 }))).toMatchObject({ kind: "not_found" });
    // One of the same name is somebody else.
    await plane.createTenant(projectId, { tenantId: "wayne", databases: [{ blueprint: "myapp", isolationLevel: 1 }] });
    expect((await backups.listBackups(projectId, "wayne", { limit: 10 })).items).toEqual([]);
    expect(await refusalOf(backups.getBackup(projectId, "wayne", backup.id))).toMatchObject({ kind: "not_found" });
    await backups.upkeep();
    expect(await files()).toEqual([]);
  });

  test("a full disk or a directory that cannot be written to fails the backup in plain words; earlier ones stay", async () => {
    let isFull = false;
    const real = createStorages({ directory: directory(), s3: undefined }, undefined as never);
    const full = {
      ...real.current,
      async write(key: string, data: AsyncIterable<Uint8Array>) {
        if (!isFull) return await real.current.write(key, data);
        const cut = async function* () {
          yield* data;
          throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
        };
        return await real.current.write(key, cut());
      },
    };
    const instance = await start({ storages: { current: full, find: () => full } });
    const { projectId, names } = await makeShop(instance);
    const good = await backUp(instance, projectId);
    isFull = true;
    const { id } = await instance.backups.createBackup(projectId, "wayne");
    expect(await instance.backups.waitForBackup(projectId, "wayne", id, none)).toMatchObject({
      state: "failed",
      error: "the backup directory cannot be used: no space is left on its disk",
    });
    expect(await files()).toEqual([`${projectId}/wayne/${good.id}.sql.gz`]);
    expect(await refusalOf(rollBack(instance, projectId, { backupId: id }))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("is failed, not ready"),
    });
    expect(await rollBack(instance, projectId, { backupId: good.id })).toMatchObject({ state: "done" });
    expect(await names()).toEqual(["a", "b", "c"]);
  });

  test("a directory that is none is told of", async () => {
    await writeFile(join(directory(), "file"), "");
    const { current } = createStorages({ directory: join(directory(), "file/sub"), s3: undefined }, undefined as never);
    const data = async function* () {
      yield new Uint8Array(1);
    };
    await expect(current.write("a/b.gz", data())).rejects.toBeInstanceOf(StorageError);
    if (process.getuid?.() !== 0) {
      await mkdir(join(directory(), "shut"));
      await chmod(join(directory(), "shut"), 0o500);
      const shut = createStorages({ directory: join(directory(), "shut"), s3: undefined }, undefined as never);
      await expect(shut.current.write("a/b.gz", data())).rejects.toThrow("may not write there");
    }
  });
});

describe("rollback", { timeout: 120_000 }, () => {
  test("puts back what was there, by backup or by date, and can be undone", async () => {
    const instance = await start();
    const { projectId, names, query, physical } = await makeShop(instance);
    const first = await backUp(instance, projectId);
    await query("delete from accounts where name = 'a'; ");
    const second = await backUp(instance, projectId);
    await query("insert into accounts (name) values ('late')");
    const before = await physical();
    const done = await rollBack(instance, projectId, { backupId: first.id });
    expect(done).toMatchObject({ state: "done", backupId: first.id, version: 1, warnings: [], error: undefined });
    expect(await names()).toEqual(["a", "b", "c"]);
    expect(await query("insert into accounts (name) values ('new') returning id")).toEqual([4]);
    expect((await physical()).name).not.toBe(before.name);
    // What it replaced is shut, and there.
    expect((await asSuperuser(before, "select count(*)::int as n from public.accounts"))[0]).toEqual({ n: 3 });
    await expect(world().server.dialer.asRole(before, "write")).rejects.toMatchObject({ code: "42501" });

    expect(await rollBack(instance, projectId, { date: second.snapshotAt! + 1 })).toMatchObject({ state: "done", backupId: second.id });
    expect(await names()).toEqual(["b", "c"]);
    expect(await refusalOf(rollBack(instance, projectId, { date: first.snapshotAt! - 1 }))).toMatchObject({ kind: "not_found" });

    const undone = await instance.backups.undoRollback(projectId, "wayne", done.id);
    expect(await instance.backups.waitForRollback(projectId, "wayne", undone.id, none)).toMatchObject({ state: "done", undoes: done.id });
    expect(await names()).toEqual(["b", "c", "late"]);
    expect(await refusalOf(instance.backups.undoRollback(projectId, "wayne", done.id))).toMatchObject({ kind: "conflict" });
  });

  test("to an older version of the blueprint stays there for a deployment to bring up, or is brought up on request", async () => {
    const instance = await start();
    const { plane } = instance;
    const { projectId, names, ddl, query } = await makeShop(instance);
    const old = await backUp(instance, projectId);
    await ddl("alter table accounts add email text default 'none'");
    const deploy = async () => {
      const { id } = await plane.createDeployment(projectId, { blueprint: "myapp", tenants: "all", concurrency: 1, lockTimeoutMs: 2000 });
      return await plane.waitForDeployment(projectId, id, none);
    };
    expect((await deploy()).state).toBe("done");
    expect(await rollBack(instance, projectId, { backupId: old.id })).toMatchObject({ state: "done", version: 1 });
    expect((await plane.getTenant(projectId, "wayne")).databases[0]!.version).toBe(1);
    await expect(query("select email from accounts")).rejects.toThrow("does not exist");
    expect((await deploy()).state).toBe("done");
    expect(await query("select email from accounts")).toEqual(["none", "none", "none"]);
    expect(await rollBack(instance, projectId, { backupId: old.id, upgrade: true })).toMatchObject({ state: "done", version: 2 });
    expect(await query("select email from accounts")).toEqual(["none", "none", "none"]);
    expect(await names()).toEqual(["a", "b", "c"]);
  });

  test("of a suspended tenant leaves it suspended", async () => {
    const instance = await start();
    const { projectId, names, query, physical } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    await query("delete from accounts");
    await instance.plane.suspendTenant(projectId, "wayne");
    expect(await rollBack(instance, projectId, { backupId: backup.id })).toMatchObject({ state: "done" });
    await expect(world().server.dialer.asRole(await physical(), "read")).rejects.toMatchObject({ code: "42501" });
    await instance.plane.resumeTenant(projectId, "wayne");
    expect(await names()).toEqual(["a", "b", "c"]);
  });

  test("of a damaged or exchanged file changes nothing and leaves nothing behind", async () => {
    const instance = await start();
    const { projectId, names, physical } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    const before = await physical();
    const path = join(directory(), `${projectId}/wayne/${backup.id}.sql.gz`);
    const bytes = await readFile(path);
    const other = await makeShop(instance, "globex").then((shop) => backUp(instance, shop.projectId, "globex").then((made) => ({ ...shop, made })));
    const exchanged = await readFile(join(directory(), `${other.projectId}/globex/${other.made.id}.sql.gz`));
    const databases = await asSuperuser(undefined, "select count(*)::int as n from pg_database");
    for (const [wrong, message] of [
      [bytes.subarray(0, bytes.length - 30), "not whole"],
      [Buffer.from("not gzip"), "not whole"],
      [exchanged, "another tenant's"],
    ] as const) {
      await writeFile(path, wrong);
      expect(await rollBack(instance, projectId, { backupId: backup.id })).toMatchObject({
        state: "failed",
        error: expect.stringContaining(message),
      });
    }
    await truncate(path, 0);
    expect(await rollBack(instance, projectId, { backupId: backup.id })).toMatchObject({ state: "failed" });
    await instance.backups.upkeep();
    await instance.plane.sweep();
    expect(await names()).toEqual(["a", "b", "c"]);
    expect((await physical()).name).toBe(before.name);
    expect(await asSuperuser(undefined, "select count(*)::int as n from pg_database")).toEqual(databases);
  });

  test("one at a time per tenant, and the replaced database goes when its time is over", async () => {
    const instance = await start({ config: { keepReplacedMs: 0 } });
    const { projectId, physical } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    const before = await physical();
    const request = { backupId: backup.id, upgrade: false };
    const started = await Promise.allSettled([1, 2, 3].map(() => instance.backups.startRollback(projectId, "wayne", request)));
    expect(started.filter((each) => each.status === "fulfilled")).toHaveLength(1);
    expect(started.find((each) => each.status === "rejected")).toMatchObject({
      reason: { kind: "conflict", message: expect.stringContaining("is going on") },
    });
    const { id } = (started.find((each) => each.status === "fulfilled") as PromiseFulfilledResult<{ id: string }>).value;
    expect(await instance.backups.waitForRollback(projectId, "wayne", id, none)).toMatchObject({ state: "done" });
    await instance.backups.upkeep();
    await instance.plane.sweep();
    expect(await asSuperuser(undefined, `select 1 from pg_database where datname = '${before.name}'`)).toEqual([]);
    expect(await refusalOf(instance.backups.undoRollback(projectId, "wayne", id))).toMatchObject({ kind: "conflict" });
  });
});

describe("new tenants", { timeout: 60_000 }, () => {
  test("from a backup and as a clone have their own credential and data of their own", async () => {
    const instance = await start();
    const { projectId, names, query } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    await query("insert into accounts (name) values ('d')");
    const restored = await instance.backups.restoreAsTenant(projectId, "wayne", backup.id, { newTenantId: "copy", upgrade: false });
    expect(restored.tenant).toMatchObject({ tenant: { id: "copy", state: "ready" }, credential: { proxyPassword: expect.stringMatching(/^tdb_/) } });
    await instance.backups.cloneTenant(projectId, "wayne", "twin");
    expect([await names("copy"), await names("twin")]).toEqual([
      ["a", "b", "c"],
      ["a", "b", "c", "d"],
    ]);
    await query("delete from accounts", "twin");
    expect(await names()).toEqual(["a", "b", "c", "d"]);
    for (const taken of ["wayne", "twin"]) {
      expect(await refusalOf(instance.backups.cloneTenant(projectId, "copy", taken))).toMatchObject({ kind: "conflict" });
    }
    expect(await refusalOf(instance.backups.cloneTenant(projectId, "copy", "copy"))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(instance.backups.cloneTenant(projectId, "nobody", "x"))).toMatchObject({ kind: "not_found" });
  });
});
