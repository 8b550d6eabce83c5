/** Launcher: bin/tdb.js starts the command line on this runtime and passes its exit code on. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import * as nodeModule from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const launcher = fileURLToPath(new URL("../../bin/tdb.js", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "tdb-launcher-"));
afterAll(() => rmSync(home, { recursive: true }));

function run(...args: string[]) {
  const env = { PATH: process.env.PATH, HOME: home, USERPROFILE: home };
  return spawnSync(process.execPath, [launcher, ...args], { cwd: home, env, encoding: "utf8" });
}

describe("bin/tdb.js", () => {
  it("prints the version and nothing else", () => {
    expect(run("version")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^tdb v\d+\.\d+\.\d+\n$/) });
  });

  it("ends with 2 for wrong usage and 1 for failure", () => {
    expect(run("frobnicate")).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("unknown command") });
    expect(run("tenants", "list", "--api-url", "http://127.0.0.1:1")).toMatchObject({ status: 1, stderr: expect.stringContaining("tdb up") });
  });

  it("keeps what was compiled in a folder that is the user's own, and starts as well where there is none to be had", () => {
    run("version");
    const kept = join(home, ".cache", "tenantry");
    if ("enableCompileCache" in nodeModule) expect(statSync(kept).mode & 0o077).toBe(0);
    else expect(existsSync(kept)).toBe(false);
    for (const nowhere of ["/proc", "/nonexistent", launcher, ""]) {
      const env = { PATH: process.env.PATH, HOME: nowhere };
      const started = spawnSync(process.execPath, [launcher, "version"], { cwd: home, env, encoding: "utf8", timeout: 30_000 });
      expect(started, nowhere).toMatchObject({ status: 0, stderr: "" });
    }
    expect(existsSync(join(home, "tenantry"))).toBe(false);
  });

  it("keeps nothing where somebody else may write", () => {
    const shared = mkdtempSync(join(tmpdir(), "tdb-shared-"));
    mkdirSync(join(shared, "tenantry"));
    chmodSync(join(shared, "tenantry"), 0o777);
    const open = mkdtempSync(join(tmpdir(), "tdb-open-"));
    chmodSync(open, 0o1777);
    for (const caches of [shared, join(open, "caches")]) {
      const env = { PATH: process.env.PATH, HOME: home, XDG_CACHE_HOME: caches };
      expect(spawnSync(process.execPath, [launcher, "version"], { cwd: home, env, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
    }
    expect([readdirSync(join(shared, "tenantry")), readdirSync(open)]).toEqual([[], []]);
    for (const folder of [shared, open]) rmSync(folder, { recursive: true });
  });

  it("survives a reader that stops reading", () => {
    const shell = spawnSync("sh", ["-c", `"$0" "$1" --help | head -n 1`, process.execPath, launcher], { cwd: home, encoding: "utf8" });
    expect(shell.stdout).toContain("Usage: tdb");
    expect(shell.stderr).toBe("");
  });
});
