/** Archives of pg_dump on a real server of the same version: everything a tenant's database may hold, into another one by data alone. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { joinArchive } from "../../../../core/archive-parts.ts";
import { readBackup } from "../../../../core/backup-reader.ts";
import { systemClock } from "../../../../core/clock.ts";
import type { ArchiveTools, DumpResult } from "../../../../core/dumper.ts";
import { silentLog } from "../../../../core/log.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../../core/model.ts";
import { createPostgresDumper } from "../../../../engines/postgres/admin/dumper.ts";
import { createClientTools } from "../../../../gateway/backups/client-tools.ts";
import { findDebianPostgres, missingDebianPostgres } from "../../../support/debian-postgres.ts";
import { outcome, useAdmin, versionsOf } from "./fixture.ts";
import { everything, failsAsSuperuser, wholeDatabases } from "./whole-database.ts";

const debian = findDebianPostgres();
const server = useAdmin({ binDir: debian?.binDir });
const { as, asSuperuser, postgres } = server;
const { tenantAt, fill, contents } = wholeDatabases(server);
const none = new AbortController().signal;

function makeHash() {
  const hash = createHash("sha256");
  return { update: (bytes: Uint8Array) => void hash.update(bytes), digest: () => hash.digest("hex") };
}

const dumper = () => createPostgresDumper({ dialer: postgres().dialer, secrets: postgres().secrets, log: silentLog, clock: systemClock, makeHash });
const tools = () =>
  createClientTools({ clusters: new Map([[postgres().clusterId, postgres().target]]), log: silentLog, folder: debian?.binDir, lockWaitMs: 300 });

interface Archived {
  readonly archive: Buffer;
  readonly beside: Buffer;
  readonly result: DumpResult;
}

/** @param meanwhile runs when the archive's first bytes have come */
async function dumpArchive(
  database: PhysicalDatabase,
  versions: readonly BlueprintVersion[],
  meanwhile = () => Promise.resolve(),
): Promise<Archived> {
  const found = await tools().forServer(debian!.version);
  const loadVersions = async (upTo: number) => versions.filter((each) => each.version <= upTo);
  const request = { database, project: "tdb_00000000", tenant: "wayne", blueprint: "myapp", signal: none, loadVersions, tools: found! };
  return await dumper().dumpArchive(request, async (dump) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of dump.archive) {
      if (chunks.length === 0) await meanwhile();
      chunks.push(chunk);
    }
    const lines: Uint8Array[] = [];
    const reading = dump.contents();
    for (;;) {
      const { done, value } = await reading.next();
      if (done) return { archive: Buffer.concat(chunks), beside: Buffer.concat(lines), result: value };
      lines.push(value);
    }
  });
}

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function restore({ archive, beside }: Pick<Archived, "archive" | "beside">) {
  const database = postgres().freshDatabase();
  const decode = ({ toolVersion }: { toolVersion: number }) => tools().decode(pieces(archive, 1000), toolVersion, none);
  const { warnings } = await dumper().restore(database, joinArchive(readBackup(pieces(beside, 1000)), decode), none);
  return { database, warnings };
}

describe.skipIf(!debian)(`archives${debian ? "" : ` (${missingDebianPostgres})`}`, { timeout: 60_000 }, () => {
  test("all of a tenant's database comes back the same, and who may do what", async () => {
    const source = await tenantAt(everything);
    await fill(source);
    const dumped = await dumpArchive(source, everything);
    expect(dumped.archive.subarray(0, 5).toString()).toBe("PGDMP");
    const { database, warnings } = await restore(dumped);
    expect(warnings).toEqual([]);
    expect(await contents(database)).toEqual(await contents(source));
    await as(database, "read", async (session) => {
      expect(await outcome(session, "INSERT INTO parents VALUES (1)")).toBe("42501");
      expect(await outcome(session, "SELECT lo_get(77778)")).toBe("42501");
    });
    await as(database, "admin", async (session) => {
      expect(await outcome(session, "SELECT lo_get(77777)")).toBe("ok");
      expect(await outcome(session, "CREATE TABLE nope ()")).toBe("42501");
      expect(await outcome(session, "INSERT INTO accounts (name) VALUES ('x')")).toBe("ok");
    });
    const again = await dumpArchive(database, everything);
    const shape = ({ manifest }: DumpResult) => [manifest.objects, manifest.tables.map(({ name, rows, content }) => [name, rows, content])];
    expect(shape(again.result)).toEqual(shape(dumped.result));
  });

  test("names and values that look like a script of another kind; extensions' own tables; objects of many pieces", async () => {
    const versions = versionsOf([
      `CREATE SCHEMA "My.Sc*hema $1"`,
      `CREATE TABLE "My.Sc*hema $1"."a\nCOPY b;--" ("x""\n\\." int GENERATED BY DEFAULT AS IDENTITY, "SELECT" text)`,
      "CREATE EXTENSION hstore",
      "CREATE TABLE h (v hstore, g int GENERATED ALWAYS AS (1) STORED)",
      "CREATE TABLE only_generated (g int GENERATED ALWAYS AS (1) STORED)",
      "CREATE UNLOGGED TABLE u (a int)",
    ]);
    const source = await tenantAt(versions);
    await as(source, "admin", async (session) => {
      await session.query(
        `INSERT INTO "My.Sc*hema $1"."a\nCOPY b;--" ("SELECT") VALUES (E'\\\\.'), (E'\\n\\\\.\\nDROP TABLE h;\\n'), ('-- PostgreSQL database dump complete')`,
      );
      await session.query("INSERT INTO h VALUES ('a=>1'); INSERT INTO only_generated DEFAULT VALUES; INSERT INTO u VALUES (7)");
      await session.query("SELECT lo_from_bytea(9001, decode(repeat('00ff', 50000), 'hex')), lo_create(9002), lo_put(lo_create(9003), 100000, 'x')");
      await session.query("SELECT lo_truncate64(lo_open(lo_create(9004), 131072), 70000)");
    });
    const { database, warnings } = await restore(await dumpArchive(source, versions));
    expect(warnings).toEqual([]);
    const look = (each: PhysicalDatabase) =>
      asSuperuser(each, async (session) => [
        (await session.query(`SELECT * FROM "My.Sc*hema $1"."a\nCOPY b;--" ORDER BY 1`)).rows,
        (await session.query("SELECT v::text, g FROM public.h")).rows,
        (await session.query("SELECT g FROM public.only_generated")).rows,
        (await session.query("SELECT a FROM public.u")).rows,
        (await session.query("SELECT oid, length(lo_get(oid)) AS n, md5(lo_get(oid)) AS hash FROM pg_largeobject_metadata ORDER BY oid")).rows,
      ]);
    const found = await look(database);
    expect(found).toEqual(await look(source));
    expect(found[4]).toMatchObject([{ n: 100_000 }, { n: 0 }, { n: 100_001 }, { n: 70_000 }]);
  });

  test("is what it was when the backup began, whatever is written meanwhile, and keeps what was made by hand", async () => {
    const versions = versionsOf(["CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "CREATE TABLE gone (id int)"]);
    const source = await tenantAt(versions);
    await asSuperuser(source, (session) =>
      session.query(`SET search_path TO public; INSERT INTO a SELECT generate_series(1, 50000); INSERT INTO b VALUES (1);
        ALTER TABLE a ADD COLUMN "by hand" varchar(10)[]; CREATE SCHEMA x; CREATE TABLE x.extra (v numeric(5,2)); INSERT INTO x.extra VALUES (1.25); DROP TABLE gone`),
    );
    const dumped = await dumpArchive(source, versions, () =>
      as(source, "write", async (session) => void (await session.query("INSERT INTO b VALUES (2); DELETE FROM a"))),
    );
    const { database, warnings } = await restore(dumped);
    expect(warnings).toEqual(
      expect.arrayContaining([
        expect.stringContaining("column public.a.by hand is not part of the blueprint"),
        expect.stringContaining("table x.extra is not part of the blueprint"),
        expect.stringContaining("table public.gone was not in the backup"),
      ]),
    );
    const { rows } = await asSuperuser(database, (session) =>
      session.query(
        "SELECT (SELECT count(*)::int FROM public.a) AS a, (SELECT json_agg(id)::text FROM public.b) AS b, (SELECT v::text FROM x.extra) AS v",
      ),
    );
    expect(rows).toEqual([{ a: 50_000, b: "[1]", v: "1.25" }]);
  });

  test("nothing of an archive is run, even where somebody has changed what it says", async () => {
    const versions = versionsOf(failsAsSuperuser("victims"));
    const source = await tenantAt(versions);
    await as(source, "write", (session) => session.query("INSERT INTO victims VALUES (1), (2)"));
    const dumped = await dumpArchive(source, versions);
    expect((await restore(dumped)).warnings).toEqual([]);
    // The statement that pg_restore prints stands in the archive as it is; the same length keeps the rest of it whole.
    const copy = "COPY public.victims (i) FROM stdin;";
    const text = dumped.archive.toString("latin1");
    expect(text).toContain(copy);
    const unreadable = async (archive: Buffer, why: RegExp) => {
      const read = async () => {
        for await (const part of tools().decode(pieces(archive, 1000), debian!.version, none))
          if (part.type === "copy") for await (const _ of part.data);
      };
      await expect(read(), String(why)).rejects.toMatchObject({ kind: "backup_unusable", message: expect.stringMatching(why) });
    };
    const instead = (statement: string) => {
      expect(statement.length).toBeLessThanOrEqual(copy.length);
      return Buffer.from(text.replace(copy, statement.padEnd(copy.length, "\n")), "latin1");
    };
    for (const hostile of [
      "COPY pg_authid FROM stdin;",
      "DROP TABLE public.victims;",
      "COPY public.victims FROM '/etc/pw';",
      "\\! touch /tmp/victims",
    ]) {
      await unreadable(instead(hostile), /holds something that is no data/);
    }
    for (const end of [0, 4, 200, text.length >> 1, text.length - 300]) await unreadable(dumped.archive.subarray(0, end), /./);
    for (const [hostile, why] of [
      ["COPY pg_catalog.pg_am FROM stdin;", "one that was not there"],
      ["COPY public.victims (g) FROM stdin;", "other columns"],
    ] as const) {
      await expect(restore({ ...dumped, archive: instead(hostile) })).rejects.toMatchObject({
        kind: "backup_unusable",
        message: expect.stringContaining(why),
      });
    }
    // Rows of another archive are found out by the sums, which are not in it.
    await as(source, "write", (session) => session.query("UPDATE victims SET i = 3 WHERE i = 2"));
    const other = await dumpArchive(source, versions);
    await expect(restore({ ...dumped, archive: other.archive })).rejects.toMatchObject({ message: expect.stringContaining("table public.victims") });
  });

  test("waits for whoever is in the way, and stops with its reader", async () => {
    const versions = versionsOf(["CREATE TABLE a (id int)"]);
    const source = await tenantAt(versions);
    const found = await tools().forServer(debian!.version);
    const request = { database: source, project: "p", tenant: "t", blueprint: "b", signal: none, loadVersions: async () => versions };
    let truncated: Promise<unknown> | undefined;
    // Comes between our lock and pg_dump's: it waits for us, pg_dump for it, and we for pg_dump.
    const dump: ArchiveTools["dump"] = async function* (...args) {
      if (!truncated) {
        truncated = as(source, "admin", (session) => session.query("TRUNCATE a"));
        const isWaiting = "SELECT FROM pg_locks WHERE relation = 'public.a'::regclass AND NOT granted";
        await asSuperuser(source, async (session) => {
          while ((await session.query(isWaiting)).rowCount === 0);
        });
      }
      yield* found!.dump(...args);
    };
    const stopped = dumper().dumpArchive({ ...request, tools: { version: found!.version, dump } }, async () => {
      await truncated;
      throw new Error("no space");
    });
    await expect(stopped).rejects.toThrow("no space");
    const left = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    await asSuperuser(source, async (session) => {
      while ((await session.query(left)).rowCount > 0); // the server notices within the test's time
    });
  });

  test("is refused for what pg_dump keeps in another place than it was in", async () => {
    const versions = versionsOf([
      "CREATE TYPE e AS ENUM ('a', 'b')",
      "CREATE TABLE p (v e) PARTITION BY HASH (v)",
      "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    ]);
    const plain = await tenantAt(versionsOf(["CREATE TABLE a (id int) PARTITION BY HASH (id)"]));
    expect(await dumper().inspectForArchive(plain)).toEqual({ serverVersion: debian!.version, problem: undefined });
    expect((await dumper().inspectForArchive(await tenantAt(versions))).problem).toContain("hash of an enum");
  });
});
