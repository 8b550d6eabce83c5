/** Where backups are kept: a bucket, with its faults, and the gzip in front of it. */
import { randomBytes } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { silentLog } from "../../../core/log.ts";
import { createStorages } from "../../../gateway/backups/backups.ts";
import { gunzip, gzip } from "../../../gateway/backups/compress.ts";
import { createS3Storage } from "../../../gateway/backups/s3-storage.ts";
import { accessKeyId, region, type S3Server, secretAccessKey, startS3Server } from "./s3-server.ts";
import { none, useBackupWorld } from "./support.ts";

const { asSuperuser, files, makeShop, start } = useBackupWorld();

let s3: S3Server;
beforeEach(async () => {
  s3 = await startS3Server();
});
afterEach(() => s3.close());

const bucket = (changes = {}) => ({ url: s3.url, region, accessKeyId, secretAccessKey, ...changes });
const open = (changes = {}) => createS3Storage({ ...bucket(changes), log: silentLog, partBytes: 1000 });

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe("bucket", () => {
  test.each([1, 999, 1000, 1001, 2000, 12_345])("keeps %i bytes, in parts of one size where they are more than one part", async (size) => {
    const bytes = randomBytes(size);
    await open().write("p/t/b.gz", pieces(bytes, 700));
    expect(s3.objects.get("p/t/b.gz")?.equals(bytes)).toBe(true);
    expect((await collect(await open().read("p/t/b.gz"))).equals(bytes)).toBe(true);
    expect(s3.uploads.size).toBe(0);
    expect(s3.requests.filter((each) => each.includes("partNumber")).length).toBe(size < 1000 ? 0 : Math.ceil(size / 1000));
    await open().remove("p/t/b.gz");
    expect(s3.objects.size).toBe(0);
    await open().remove("p/t/b.gz");
    await expect(open().read("p/t/b.gz")).rejects.toMatchObject({ kind: "backup_unusable" });
  });

  test("repeats what fails for a moment, and takes an upload back that fails for good", async () => {
    let faults = 2;
    s3.fault = (_, path) => (path.includes("partNumber") && faults-- > 0 ? 503 : undefined);
    const bytes = randomBytes(2500);
    await open().write("k", pieces(bytes, 100));
    expect(s3.objects.get("k")?.equals(bytes)).toBe(true);
    s3.fault = (_, path) => (path.includes("partNumber=3") ? 403 : undefined);
    await expect(open().write("other", pieces(bytes, 100))).rejects.toThrow("cannot write to the bucket: it says 403 AccessDenied");
    expect([s3.uploads.size, [...s3.objects.keys()]]).toEqual([0, ["k"]]);
  });

  test("is told of without its host, keys and words", async () => {
    const wrong = await open({ secretAccessKey: "wrong" })
      .write("k", pieces(randomBytes(10), 10))
      .catch((error: Error) => error.message);
    expect(wrong).toBe("cannot write to the bucket: it says 403 SignatureDoesNotMatch");
  });

  test("forgets what a crash left of an upload", async () => {
    const never = async function* () {
      yield* pieces(randomBytes(2500), 100);
      throw new Error("the source broke");
    };
    s3.fault = (method) => (method === "DELETE" ? 403 : undefined);
    await expect(open().write("k", never())).rejects.toThrow("the source broke");
    expect(s3.uploads.size).toBe(1);
    s3.fault = undefined;
    await open().remove("k");
    expect(s3.uploads.size).toBe(0);
  });

  test("holds a tenant's backups, and those of the directory stay where they are", async () => {
    const before = await start();
    const { projectId, query, names } = await makeShop(before);
    const { id: old } = await before.backups.createBackup(projectId, "wayne");
    expect(await before.backups.waitForBackup(projectId, "wayne", old, none)).toMatchObject({ state: "ready", storage: "directory" });
    const directory = (await files())[0]!;
    before.backups.stop();
    const { backups } = await start({ storages: createStorages({ directory: "/nonexistent", s3: bucket() }, silentLog) });
    const { id } = await backups.createBackup(projectId, "wayne");
    expect(await backups.waitForBackup(projectId, "wayne", id, none)).toMatchObject({ state: "ready", storage: "s3" });
    expect([...s3.objects.keys()]).toEqual([`${projectId}/wayne/${id}.sql.gz`]);
    expect(directory).toContain(old);
    await query("delete from accounts");
    const started = await backups.startRollback(projectId, "wayne", { backupId: id, upgrade: false });
    expect(await backups.waitForRollback(projectId, "wayne", started.id, none)).toMatchObject({ state: "done" });
    expect(await names()).toEqual(["a", "b", "c"]);
    // The service goes away in the middle of reading.
    s3.fault = () => 500;
    const failed = await backups.startRollback(projectId, "wayne", { backupId: id, upgrade: false });
    expect(await backups.waitForRollback(projectId, "wayne", failed.id, none)).toMatchObject({
      state: "failed",
      error: "cannot read the bucket: it says 500 InternalError",
    });
    expect(await names()).toEqual(["a", "b", "c"]);
    expect(await asSuperuser(undefined, "select count(*)::int as n from pg_database where datname ~ '^tdb_' and datconnlimit = 0")).toEqual([
      { n: 0 },
    ]);
  }, 60_000);
});

describe("compression", () => {
  test("is gzip as everybody reads it, and refuses what is cut or changed", async () => {
    const bytes = Buffer.concat([randomBytes(200_000), Buffer.alloc(300_000, "tenantry ")]);
    const packed = await collect(gzip(pieces(bytes, 10_000)));
    expect(gunzipSync(packed).equals(bytes)).toBe(true);
    expect((await collect(gunzip(pieces(gzipSync(bytes), 777)))).equals(bytes)).toBe(true);
    for (const wrong of [
      packed.subarray(0, packed.length - 1),
      packed.subarray(0, 20),
      Buffer.from("plain"),
      Buffer.concat([packed.subarray(0, 1000), Buffer.alloc(50), packed.subarray(1050)]),
    ]) {
      await expect(collect(gunzip(pieces(wrong, 100)))).rejects.toMatchObject({ kind: "backup_unusable" });
    }
  });

  test("passes on what its source and its reader do", async () => {
    const broken = async function* () {
      yield randomBytes(100_000);
      throw new Error("the source broke");
    };
    await expect(collect(gzip(broken()))).rejects.toThrow("the source broke");
    let isClosed = false;
    const watched = async function* () {
      try {
        for (;;) yield randomBytes(100_000);
      } finally {
        isClosed = true;
      }
    };
    for await (const _ of gzip(watched())) break;
    expect(isClosed).toBe(true);
  });
});
