/** Client programs as child processes: what they are told, what of them comes back, and that none is left. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { libpqEnvironment } from "../../../gateway/backups/libpq-environment.ts";
import { ProgramFailure, runProgram } from "../../../gateway/backups/run-program.ts";
import type { ClusterTarget } from "../../../gateway/sql-dialer.ts";
import { none } from "./support.ts";

const shell = (script: string, more: Partial<Parameters<typeof runProgram>[0]> = {}) =>
  runProgram({ program: "/bin/sh", args: ["-c", script], env: { PATH: "/usr/bin:/bin" }, signal: none, ...more });

async function collect(output: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of output) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe("a program's output", () => {
  test("is all it wrote, of what it was given", async () => {
    const input = async function* () {
      for (let i = 0; i < 100; i++) yield Buffer.alloc(64 * 1024, "x");
    };
    expect((await collect(shell("cat", { input: input() }))).length).toBe(100 * 64 * 1024);
  });

  test("its input is read to the end, though it wants no more", async () => {
    let read = 0;
    const input = async function* () {
      for (; read < 50; read++) yield Buffer.alloc(64 * 1024, "x");
    };
    expect(await collect(shell("head -c 3", { input: input() }))).toBe("xxx");
    expect(read).toBe(50);
  });

  test.each([
    ["exit 3", "3"],
    ["kill -9 $$", "SIGKILL"],
  ])("ends with an error after %s, with the last of what it said", async (script, ending) => {
    const failed = collect(shell(`yes complaint | head -c 100000 >&2; echo the end >&2; echo half; ${script}`)).catch((error: unknown) => error);
    const failure = (await failed) as ProgramFailure;
    expect(failure).toBeInstanceOf(ProgramFailure);
    expect([failure.ending, failure.message]).toEqual([ending, `sh ended with ${ending}`]);
    expect(failure.said.length).toBeLessThanOrEqual(8192);
    expect(failure.said).toMatch(/the end\n$/);
  });

  test("of a program that is not there, or whose input fails, is that error", async () => {
    await expect(collect(shell("", { program: "/nowhere/pg_dump" }))).rejects.toMatchObject({ ending: "ENOENT" });
    const input = async function* () {
      yield Buffer.from("x");
      throw new Error("storage is gone");
    };
    await expect(collect(shell("cat >/dev/null; exit 1", { input: input() }))).rejects.toThrow("storage is gone");
  });

  test("an abort, and a reader that leaves, end the program", async () => {
    const stop = new AbortController();
    const aborted = collect(shell("echo x; exec sleep 1000", { signal: stop.signal }));
    stop.abort(new Error("stopping"));
    await expect(aborted).rejects.toThrow("stopping");
    for await (const chunk of shell("echo x; exec sleep 1000")) {
      expect(Buffer.from(chunk).toString()).toBe("x\n");
      break; // would wait for the program's end
    }
  });
});

describe("how PostgreSQL's programs connect", () => {
  const base: ClusterTarget = { host: "db.example", port: 5433, user: "admin", password: () => "p w'\\" };
  const environmentOf = async (target: ClusterTarget) => {
    const { env, remove } = await libpqEnvironment(target, "tdb_1", { lc_messages: "C", row_security: "off" });
    const ca = env.PGSSLROOTCERT && (await readFile(env.PGSSLROOTCERT, "utf8"));
    await remove();
    await expect(readFile(env.PGSSLROOTCERT ?? `${env.HOME}/none`)).rejects.toThrow();
    return { ...env, ca };
  };

  test("as our own connections do, and with nothing of the gateway's environment", async () => {
    process.env.PGSERVICE = "elsewhere";
    const env = await environmentOf({ ...base, resolve: async () => "192.0.2.7" });
    delete process.env.PGSERVICE;
    expect(env).toMatchObject({ PGHOST: "db.example", PGHOSTADDR: "192.0.2.7", PGPORT: "5433", PGUSER: "admin", PGPASSWORD: "p w'\\" });
    expect(env).toMatchObject({ PGDATABASE: "tdb_1", PGSSLMODE: "disable", PGOPTIONS: "-c lc_messages=C -c row_security=off" });
    expect(env).not.toHaveProperty("PGSERVICE");
    expect(await environmentOf({ ...base, socketDir: "/run/pg", ssl: true })).toMatchObject({ PGHOST: "/run/pg", PGSSLMODE: "disable" });
  });

  test("checks certificates where they do, by the authority they have", async () => {
    expect(await environmentOf({ ...base, ssl: { rejectUnauthorized: false, ca: "CA" } })).toMatchObject({ PGSSLMODE: "require", ca: undefined });
    expect(await environmentOf({ ...base, ssl: { rejectUnauthorized: true, ca: "CA" } })).toMatchObject({ PGSSLMODE: "verify-full", ca: "CA\n" });
    for (const ssl of [true, { servername: "db.example" }]) {
      expect(await environmentOf({ ...base, ssl })).toMatchObject({ PGSSLMODE: "verify-full", ca: expect.stringContaining("BEGIN CERTIFICATE") });
    }
  });
});
