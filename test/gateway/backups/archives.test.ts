/** Backups whose rows are in an archive of pg_dump: which format is made, both files kept and removed together, and archives that were changed in storage. */
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ArchiveSource, ArchiveTools } from "../../../core/dumper.ts";
import { silentLog } from "../../../core/log.ts";
import { type ClientTools, createClientTools } from "../../../gateway/backups/client-tools.ts";
import { findDebianPostgres, missingDebianPostgres } from "../../support/debian-postgres.ts";
import { refusalOf } from "../control/world.ts";
import { type BackupInstance, none, useBackupWorld } from "./support.ts";

const debian = findDebianPostgres();
const { directory, files, makeShop, start, world } = useBackupWorld({ binDir: debian?.binDir });

const installed = () => createClientTools({ clusters: new Map([["cluster_test", world().server.target]]), log: silentLog, folder: debian?.binDir });

async function backUp({ backups }: BackupInstance, projectId: string, format?: "auto" | "own" | "custom") {
  const { id } = await backups.createBackup(projectId, "wayne", format);
  return await backups.waitForBackup(projectId, "wayne", id, none);
}

async function rollBack({ backups }: BackupInstance, projectId: string, backupId: string) {
  const { id } = await backups.startRollback(projectId, "wayne", { backupId, upgrade: false });
  return await backups.waitForRollback(projectId, "wayne", id, none);
}

describe.skipIf(!debian)(`backups as archives${debian ? "" : ` (${missingDebianPostgres})`}`, { timeout: 60_000 }, () => {
  test("have two files, which are rolled back to and removed together", async () => {
    const instance = await start({ tools: installed() });
    const { projectId, query, names } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    expect(backup).toMatchObject({ state: "ready", format: "custom", tables: 1, rows: 3 });
    const path = `${projectId}/wayne/${backup.id}.dump`;
    expect(await files()).toEqual([path, `${path}.contents.gz`]);
    const { backup: kept, data } = await instance.backups.readBackupFile(projectId, "wayne", backup.id);
    const chunks: Uint8Array[] = [];
    for await (const chunk of data) chunks.push(chunk);
    expect([kept.sizeBytes, Buffer.concat(chunks).subarray(0, 5).toString()]).toEqual([Buffer.concat(chunks).length, "PGDMP"]);
    await query("delete from accounts");
    expect(await rollBack(instance, projectId, backup.id)).toMatchObject({ state: "done", warnings: [] });
    expect(await names()).toEqual(["a", "b", "c"]);
    await instance.backups.deleteBackup(projectId, "wayne", backup.id);
    await instance.backups.upkeep();
    expect(await files()).toEqual([]);
  });

  test("are not even decoded when either file is not what was written", async () => {
    let decoded = 0;
    const real = installed();
    const decode: ClientTools["decode"] = (...args) => {
      decoded++;
      return real.decode(...args);
    };
    const instance = await start({ tools: { ...real, decode } });
    const { projectId, names } = await makeShop(instance);
    const backup = await backUp(instance, projectId);
    decoded = 0; // once while it was made
    const archive = join(directory(), `${projectId}/wayne/${backup.id}.dump`);
    for (const path of [archive, `${archive}.contents.gz`]) {
      const before = await readFile(path);
      await appendFile(path, "x");
      expect(await rollBack(instance, projectId, backup.id)).toMatchObject({
        state: "failed",
        error: expect.stringContaining("its checksum is not"),
      });
      await writeFile(path, before);
    }
    expect(decoded).toBe(0);
    expect(await names()).toEqual(["a", "b", "c"]);
    expect(await rollBack(instance, projectId, backup.id)).toMatchObject({ state: "done" });
    expect(decoded).toBe(1);
  });

  test("are made only where the programs are new enough: else in the own format, or refused with what to install", async () => {
    const version = debian!.version;
    const older: ClientTools = { ...installed(), versions: async () => [version - 1], forServer: async () => undefined };
    const instance = await start({ tools: older });
    const { projectId } = await makeShop(instance);
    expect(await backUp(instance, projectId)).toMatchObject({ state: "ready", format: "own" });
    const refusal = await refusalOf(instance.backups.createBackup(projectId, "wayne", "custom"));
    expect(refusal).toMatchObject({ kind: "conflict", message: expect.stringContaining(`needs pg_dump ${version} or newer`) });
    expect(refusal.message).toMatch(new RegExp(`the newest pg_dump found is ${version - 1}.*postgresql-client-${version}.*backup.client_tools_dir`));
    expect(await backUp(await start({ tools: installed(), config: { format: "own" } }), projectId)).toMatchObject({ format: "own" });
    // What was made elsewhere cannot be read where nothing is installed.
    const made = await backUp(await start({ tools: installed() }), projectId, "custom");
    await instance.kill();
    const bare = await start({ tools: createClientTools({ clusters: new Map(), log: silentLog, folder: "/nowhere" }) });
    const restored = refusalOf(bare.backups.restoreAsTenant(projectId, "wayne", made.id, { newTenantId: "again", upgrade: false }));
    expect(await restored).toMatchObject({
      kind: "backup_unusable",
      message: expect.stringContaining(`made with pg_dump ${version}. Install the client programs`),
    });
  });

  test("are read back while they are made: one that lacks a table, or cannot be read, is none", async () => {
    const real = installed();
    let alter: (source: ArchiveSource) => ArchiveSource | undefined = () => undefined;
    const tools: ClientTools = {
      ...real,
      async forServer(version) {
        const found = await real.forServer(version);
        const dump: ArchiveTools["dump"] = async function* (source, signal) {
          const altered = alter(source);
          if (altered) yield* found!.dump(altered, signal);
          else for (let i = 0; i < 100; i++) yield Buffer.alloc(64 * 1024, "PGDMP");
        };
        return { version: found!.version, dump };
      },
    };
    const instance = await start({ tools });
    const { projectId } = await makeShop(instance);
    expect(await backUp(instance, projectId)).toMatchObject({ state: "failed", error: expect.stringContaining("does not understand its archive") });
    alter = (source) => ({ ...source, schemas: ["tdb"] });
    expect(await backUp(instance, projectId)).toMatchObject({ state: "failed", error: expect.stringContaining("did not keep table") });
    expect(await files()).toEqual([]);
    alter = (source) => source;
    expect(await backUp(instance, projectId)).toMatchObject({ state: "ready" });
  });

  test("a backup that breaks off leaves nothing, and one that a stop breaks off is made by whoever comes next", async () => {
    const real = installed();
    let isBroken = true;
    let reached: () => void = () => undefined;
    const atWork = new Promise<void>((done) => {
      reached = done;
    });
    const tools: ClientTools = {
      ...real,
      async forServer(version) {
        const found = await real.forServer(version);
        const dump: ArchiveTools["dump"] = async function* (source, signal) {
          yield* found!.dump(source, signal);
          if (isBroken) throw new Error("it broke");
          reached();
          await new Promise((_, stopped) => signal.addEventListener("abort", () => stopped(signal.reason)));
        };
        return { version: found!.version, dump };
      },
    };
    const instance = await start({ tools });
    const { projectId, names } = await makeShop(instance);
    expect(await backUp(instance, projectId)).toMatchObject({ state: "failed", format: "custom", error: expect.stringContaining("internal error") });
    expect(await files()).toEqual([]);
    isBroken = false;
    const { id } = await instance.backups.createBackup(projectId, "wayne");
    await atWork;
    instance.backups.stop();
    await instance.plane.stop();
    expect(await files()).toEqual([]);
    const next = await start({ tools: real });
    expect(await next.backups.waitForBackup(projectId, "wayne", id, none)).toMatchObject({ state: "ready", format: "custom" });
    const made = await next.backups.restoreAsTenant(projectId, "wayne", id, { newTenantId: "again", upgrade: false });
    expect(made.warnings).toEqual([]);
    expect(await names("again")).toEqual(["a", "b", "c"]);
  });
});
