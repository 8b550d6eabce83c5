/** tdb's commands of backups, against an API without sockets. */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { makeCli } from "./support/cli.ts";

describe("tdb tenants backup", () => {
  it("waits, shows, lists", async () => {
    const cli = await makeCli();
    const made = await cli.run(["tenants", "backup", "wayne"]);
    expect(made).toMatchObject({ code: 0, err: "" });
    expect(made.out).toMatch(/backup +bak_0001\n.*status +ready\n.*holds +2 tables, 10 rows, at version 3/s);
    expect((await cli.run(["--quiet", "tenants", "backups", "wayne"])).out).toBe("bak_0001\n");
    expect((await cli.run(["tenants", "backup", "wayne", "--no-wait"])).out).toContain("queued");
    expect((await cli.run(["tenants", "backup-delete", "wayne", "bak_0001"])).out).toContain("deleted");
  });

  it("asks for a format", async () => {
    const cli = await makeCli();
    await cli.run(["tenants", "backup", "wayne", "--format", "custom"]);
    expect(cli.world.backups.formats).toEqual(["custom"]);
    expect((await cli.run(["tenants", "backup", "wayne", "--format", "tar"])).err).toContain("Allowed choices are auto, own, custom");
  });

  it("saves a file only its owner can read, and none whose checksum is wrong", async () => {
    const cli = await makeCli();
    const file = join(cli.home, "b.sql.gz");
    const wrong = await cli.run(["tenants", "backup-download", "wayne", "bak_0001", "--file", file]);
    expect(wrong).toMatchObject({ code: 1, out: "" });
    expect(wrong.err).toContain("checksum is wrong");
    await expect(stat(file)).rejects.toThrow();
    Object.assign(cli.world.backups.backup, { sha256: createHash("sha256").update("a file").digest("hex") });
    expect(await cli.run(["tenants", "backup-download", "wayne", "bak_0001", "--file", file])).toMatchObject({ code: 0, err: "" });
    expect(await readFile(file, "utf8")).toBe("a file");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const missing = await cli.run(["tenants", "backup-download", "wayne", "bak_ffff", "--file", file]);
    expect(missing).toMatchObject({ code: 1 });
    expect(missing.err).toContain("Backup not found: bak_ffff");
  });
});

describe("tdb tenants rollback", () => {
  it("follows to the end, tells warnings, undoes", async () => {
    const cli = await makeCli();
    const done = await cli.run(["tenants", "rollback", "wayne", "--backup", "bak_0001", "--upgrade"]);
    expect(done).toMatchObject({ code: 0 });
    expect(done.out).toMatch(/status +done\n.*warning +table x was made anew/s);
    expect(cli.world.backups.requests).toEqual([{ backupId: "bak_0001", date: undefined, upgrade: true }]);
    expect((await cli.run(["tenants", "rollback", "wayne", "--date", "2026-01-15T00:00:00Z"])).code).toBe(0);
    expect((await cli.run(["tenants", "rollback-undo", "wayne", "rbk_0001"])).out).toContain("done");
    expect((await cli.run(["--quiet", "tenants", "rollbacks", "wayne"])).out).toBe("rbk_0001\n");
  });

  it("needs to know where to", async () => {
    const cli = await makeCli();
    for (const args of [[], ["--backup", "bak_0001", "--date", "2026-01-15T00:00:00Z"]]) {
      expect(await cli.run(["tenants", "rollback", "wayne", ...args])).toMatchObject({ code: 2 });
    }
    expect((await cli.run(["tenants", "rollback", "wayne", "--date", "yesterday"])).code).toBe(1);
  });

  it("that failed ends with 1 and says that the tenant is as it was", async () => {
    const cli = await makeCli();
    Object.assign(cli.world.backups.rollback, { state: "failed", error: "the backup cannot be read" });
    const failed = await cli.run(["tenants", "rollback", "wayne", "--backup", "bak_0001"]);
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("the backup cannot be read; the tenant is as it was");
  });
});

describe("tdb: new tenants and schedules", () => {
  it("clone and backup-restore show connection strings once", async () => {
    const cli = await makeCli();
    expect((await cli.run(["tenants", "clone", "wayne", "--name", "twin"])).out).toMatch(/Tenant twin is ready.*postgresql:\/\//s);
    expect((await cli.run(["--quiet", "tenants", "backup-restore", "wayne", "bak_0001", "--name", "copy"])).out).toMatch(/^postgresql:\/\//);
  });

  it("backup-schedule shows, sets and removes", async () => {
    const cli = await makeCli();
    const run = (...args: string[]) => cli.run(["workspaces", "backup-schedule", "myapp", ...args]);
    expect((await run()).out).toContain("No schedule");
    expect((await run("--cron", "0 3 * * *", "--time-zone", "Europe/Berlin", "--keep-days", "30")).out).toMatch(/0 3 \* \* \* \(Europe\/Berlin\)/);
    expect((await run()).out).toContain("the newest 14, 30 days");
    expect((await run("--keep-days", "3")).code).toBe(2);
    expect((await run("--remove")).code).toBe(0);
    expect((await run("--remove")).code).toBe(1);
  });
});
