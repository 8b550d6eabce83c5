/** Backups and restores on a real server: everything a tenant's database may hold, as it was at one moment, in another database. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readBackup } from "../../../../core/backup-reader.ts";
import { systemClock } from "../../../../core/clock.ts";
import type { Dumper, DumpResult } from "../../../../core/dumper.ts";
import { silentLog } from "../../../../core/log.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../../core/model.ts";
import { createPostgresDumper } from "../../../../engines/postgres/admin/dumper.ts";
import { outcome, useAdmin, versionsOf } from "./fixture.ts";
import { everything, failsAsSuperuser, odd, wholeDatabases } from "./whole-database.ts";

const server = useAdmin();
const { as, asSuperuser, postgres } = server;
const { tenantAt, fill, contents } = wholeDatabases(server);

const none = new AbortController().signal;

function makeHash() {
  const hash = createHash("sha256");
  return { update: (bytes: Uint8Array) => void hash.update(bytes), digest: () => hash.digest("hex") };
}

function dumper(): Dumper {
  return createPostgresDumper({ dialer: postgres().dialer, secrets: postgres().secrets, log: silentLog, clock: systemClock, makeHash });
}

async function dump(database: PhysicalDatabase, versions: readonly BlueprintVersion[]): Promise<{ bytes: Buffer; result: DumpResult }> {
  const request = { database, project: "tdb_00000000", tenant: "wayne", blueprint: "myapp", signal: none };
  const source = dumper().dump({ ...request, loadVersions: async (upTo) => versions.filter((each) => each.version <= upTo) });
  const chunks: Uint8Array[] = [];
  for (;;) {
    const { done, value } = await source.next();
    if (done) return { bytes: Buffer.concat(chunks), result: value };
    chunks.push(value);
  }
}

/** In pieces of `size`, so that every marker and every row is cut somewhere. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function restore(bytes: Uint8Array, size = 1000): Promise<{ database: PhysicalDatabase; warnings: readonly string[] }> {
  const database = postgres().freshDatabase();
  const { warnings } = await dumper().restore(database, readBackup(pieces(bytes, size)), none);
  return { database, warnings };
}

describe("backup: all of a tenant's database", { timeout: 60_000 }, () => {
  test("comes back the same, rows, sequences, identity, partitions, large objects, and who may do what", async () => {
    const source = await tenantAt(everything);
    await fill(source);
    const { bytes, result } = await dump(source, everything);
    expect(result.header).toMatchObject({ version: everything.length, tenant: "wayne", blueprint: "myapp" });
    expect(result.manifest.tables.find((table) => table.name === "accounts")).toMatchObject({ rows: 504 });
    const { database, warnings } = await restore(bytes);
    expect(warnings).toEqual([]);
    expect(await contents(database)).toEqual(await contents(source));
    await as(database, "read", async (session) => {
      expect(await outcome(session, "SELECT * FROM accounts")).toBe("ok");
      expect(await outcome(session, "INSERT INTO parents VALUES (1)")).toBe("42501");
      expect(await outcome(session, "SELECT lo_get(77778)")).toBe("42501");
    });
    await as(database, "admin", async (session) => {
      expect(await outcome(session, "SELECT lo_get(77777)")).toBe("ok");
      expect(await outcome(session, "SELECT lo_get(77778)")).toBe("42501"); // the writer's own
    });
    await as(database, "admin", async (session) => {
      expect(await outcome(session, "CREATE TABLE nope ()")).toBe("42501");
      expect(await outcome(session, `INSERT INTO ${odd} (account_id) VALUES (99999)`)).toBe("23503");
      expect(await outcome(session, "INSERT INTO accounts (name) VALUES ('x')")).toBe("ok");
    });
    // A backup of the restored database has the same rows and rights.
    const again = await dump(database, everything);
    const shape = ({ manifest }: DumpResult) => [manifest.objects, manifest.tables.map(({ name, rows, content }) => [name, rows, content])];
    expect(shape(again.result)).toEqual(shape(result));
  });

  test("is what it was when the backup began, whatever is written meanwhile", async () => {
    const versions = versionsOf(["CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "CREATE TABLE c (id int)"]);
    const source = await tenantAt(versions);
    await as(source, "write", (session) => session.query("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)"));
    const request = { database: source, project: "p", tenant: "t", blueprint: "b", signal: none, loadVersions: async () => versions };
    const reading = dumper().dump(request);
    const chunks: Uint8Array[] = [];
    let text = "";
    for (let wrote = false; ; ) {
      const { done, value } = await reading.next();
      if (done) break;
      chunks.push(value);
      text += Buffer.from(value).toString();
      if (!wrote && text.includes("COPY")) {
        wrote = true;
        await as(source, "write", (session) => session.query("INSERT INTO b VALUES (2); DELETE FROM c"));
      }
    }
    const { database } = await restore(Buffer.concat(chunks));
    const rows = await asSuperuser(database, (session) =>
      session.query("SELECT 'b' AS t, id FROM public.b UNION ALL SELECT 'c', id FROM public.c ORDER BY 1, 2"),
    );
    expect(rows.rows).toEqual([
      { t: "b", id: 1 },
      { t: "c", id: 1 },
    ]);
  });

  test("holds what somebody made by hand, and says what cannot come back exactly", async () => {
    const versions = versionsOf(["CREATE TABLE accounts (id int)", "CREATE TABLE gone (id int)"]);
    const source = await tenantAt(versions);
    await asSuperuser(source, (session) =>
      session.query(`SET search_path TO public; ALTER TABLE accounts ADD COLUMN "by hand" varchar(10)[]; CREATE SCHEMA x; CREATE TABLE x.extra (a numeric(5,2), b timestamptz);
        INSERT INTO accounts VALUES (1, '{a,b}'); INSERT INTO x.extra VALUES (1.25, now()); DROP TABLE gone`),
    );
    const { bytes } = await dump(source, versions);
    const { database, warnings } = await restore(bytes);
    expect(warnings).toEqual(
      expect.arrayContaining([
        expect.stringContaining("column public.accounts.by hand is not part of the blueprint"),
        expect.stringContaining("table x.extra is not part of the blueprint"),
        expect.stringContaining("table public.gone was not in the backup"),
      ]),
    );
    const rows = await asSuperuser(database, (session) => session.query('SELECT a.id, a."by hand", e.a FROM public.accounts a, x.extra e'));
    expect(rows.rows).toEqual([{ id: 1, "by hand": ["a", "b"], a: "1.25" }]);
  });

  test("runs none of the customer's code as the administrator", async () => {
    const versions = versionsOf(failsAsSuperuser("t"));
    const source = await tenantAt(versions);
    await as(source, "write", (session) => session.query("INSERT INTO t VALUES (1), (2)"));
    const { bytes } = await dump(source, versions);
    expect((await restore(bytes)).warnings).toEqual([]);
  });

  test("an empty blueprint has a backup too", async () => {
    const source = await tenantAt([]);
    const { bytes } = await dump(source, []);
    expect((await restore(bytes)).warnings).toEqual([]);
  });
});

describe("backup: a file that is not what was written", { timeout: 120_000 }, () => {
  test("is refused, wherever it is cut, and for a changed byte", async () => {
    const versions = versionsOf(["CREATE TABLE t (a int, b text)", "CREATE SEQUENCE s"]);
    const source = await tenantAt(versions);
    await as(source, "write", (session) => session.query("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 5) g; SELECT nextval('s')"));
    const { bytes } = await dump(source, versions);
    const read = async (file: Uint8Array) => {
      for await (const part of readBackup(pieces(file, 7))) if (part.type === "table") for await (const _ of part.data);
    };
    await read(bytes);
    for (let end = 0; end < bytes.length; end++)
      await expect(read(bytes.subarray(0, end)), `cut at ${end}`).rejects.toMatchObject({ kind: "backup_unusable" });
    const text = bytes.toString();
    await expect(restore(Buffer.from(text.replace("row 3", "row 8")))).rejects.toMatchObject({
      kind: "backup_unusable",
      message: expect.stringContaining("table public.t"),
    });
    await expect(restore(Buffer.from(text.replace("3\trow 3\n", "")))).rejects.toMatchObject({
      message: expect.stringContaining("4 rows instead of 5"),
    });
    await expect(restore(Buffer.from(text.replace("3\trow 3", "x\trow 3")))).rejects.toMatchObject({ kind: "query_failed", sqlstate: "22P02" });
    await expect(restore(Buffer.from(text.replace('"format":1', '"format":99')))).rejects.toMatchObject({
      message: expect.stringContaining("format 99"),
    });
  });
});
