/** The embedded server: one gateway per data directory, kept between starts, recovered after a crash, clear refusals. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { silentLog } from "../../core/log.ts";
import { lockDataDir } from "../../gateway/embedded/data-dir-lock.ts";
import { type EmbeddedOptions, type EmbeddedServer, startEmbedded } from "../../gateway/embedded.ts";
import { createSqlDialer } from "../../gateway/sql-dialer.ts";
import { testSecrets } from "../support/postgres.ts";

const cleanUps: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function freshDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tdb-embedded-"));
  cleanUps.push(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o711);
  return dir;
}

async function start(dataDir: string, more: Partial<EmbeddedOptions> = {}): Promise<EmbeddedServer> {
  const server = await startEmbedded({ dataDir, superuserPassword: "s3cret", log: silentLog, durable: false, ...more });
  cleanUps.push(() => server.stop());
  return server;
}

async function ask(server: EmbeddedServer, sql: string): Promise<readonly Record<string, unknown>[]> {
  const dialer = createSqlDialer({ clusters: new Map([["c", server.connection]]), secrets: testSecrets() });
  const session = await dialer.asAdmin("c");
  try {
    return (await session.query(sql)).rows;
  } finally {
    await session.close();
    await dialer.close();
  }
}

/** A gateway of its own: a process that starts the server on `dataDir` and stays until killed. */
async function startElsewhere(dataDir: string): Promise<{ child: ChildProcess; serverPid: number }> {
  const script = `
    import { startEmbedded } from ${JSON.stringify(new URL("../../gateway/embedded.ts", import.meta.url).href)};
    const server = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, superuserPassword: "s3cret", log: { write() {} }, durable: false });
    console.log(server.pid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  cleanUps.push(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  });
  const [line] = await once(child.stdout, "data");
  return { child, serverPid: Number(String(line)) };
}

describe("embedded: life", () => {
  test("data is kept between starts, and the port is a private socket only", async () => {
    const dir = await freshDir();
    const first = await start(dir);
    await ask(first, "CREATE TABLE public.kept AS SELECT 42 AS answer");
    expect(await ask(first, "SHOW listen_addresses")).toEqual([{ listen_addresses: "" }]);
    expect(await ask(first, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")).toEqual([{ auth_method: "scram-sha-256" }]);
    expect(await ask(first, "SHOW max_prepared_transactions")).toEqual([{ max_prepared_transactions: "0" }]);
    expect((await stat(first.connection.socketDir ?? "")).mode & 0o777).toBe(0o700);
    await first.stop();
    await first.stop();
    expect(await first.ended).toBe("exit code 0");
    const second = await start(dir, { maxConnections: 50 });
    expect(await ask(second, "SELECT answer FROM public.kept")).toEqual([{ answer: 42 }]);
    expect(await ask(second, "SHOW max_connections")).toEqual([{ max_connections: "50" }]);
    expect(second.majorVersion).toBe(18);
  });

  test("a long path gets its socket in the temporary folder", async () => {
    const dir = join(await freshDir(), "x".repeat(100), "y".repeat(60));
    const server = await start(dir);
    expect(server.connection.socketDir?.startsWith(join(tmpdir(), "tdb-"))).toBe(true);
    expect(await ask(server, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
    cleanUps.unshift(() => rm(server.connection.socketDir ?? "", { recursive: true, force: true }));
  });
});

describe("embedded: one gateway per data directory", () => {
  test("a second start is refused, in this process and in another", async () => {
    const dir = await freshDir();
    const here = await start(dir);
    const refusal = (pid: number | undefined) =>
      `data directory "${dir}" is in use by another tdb up (pid ${pid}); stop it or choose another with --data-dir`;
    await expect(start(dir)).rejects.toMatchObject({ name: "StartupError", option: "--data-dir", message: refusal(process.pid) });
    await here.stop();
    const { child } = await startElsewhere(dir);
    await expect(start(dir)).rejects.toThrow(refusal(child.pid));
    child.kill("SIGKILL");
    await once(child, "exit");
    await start(dir);
  });

  test("a server whose gateway was killed is stopped and started anew", async () => {
    const dir = await freshDir();
    const { child, serverPid } = await startElsewhere(dir);
    child.kill("SIGKILL");
    await once(child, "exit");
    process.kill(serverPid, 0);
    const events: string[] = [];
    const server = await start(dir, { log: { write: (_level, event) => events.push(event) } });
    expect(events).toContain("embedded server left over from a crash is stopped");
    expect(server.pid).not.toBe(serverPid);
    expect(await ask(server, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });

  test("a stale lock, also one whose pid is somebody else's now or not readable, does not block", async () => {
    const dir = await freshDir();
    for (const content of [
      `{"pid":${process.ppid},"started":"another boot/1"}`,
      `{"pid":${process.pid},"started":"x"}`,
      "garbage",
      '{"pid":0}',
      "",
    ]) {
      await writeFile(join(dir, "tdb.lock"), content);
      const server = await start(dir);
      expect(JSON.parse(await readFile(join(dir, "tdb.lock"), "utf8"))).toMatchObject({ pid: process.pid });
      await server.stop();
      await expect(readFile(join(dir, "tdb.lock"))).rejects.toMatchObject({ code: "ENOENT" });
    }
  });

  test("of many that start at once exactly one wins", async () => {
    const dir = await freshDir();
    await writeFile(join(dir, "tdb.lock"), '{"pid":999999999}');
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => start(dir)));
    expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
  });

  test("the lock has one holder, however often it is found stale and fought for", async () => {
    const dir = await freshDir();
    for (let round = 0; round < 100; round++) {
      await writeFile(join(dir, "tdb.lock"), '{"pid":999999999}');
      // Left by a crash in the middle of clearing.
      if (round % 10 === 0) await writeFile(join(dir, "tdb.lock.clearing"), '{"pid":999999999}');
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockDataDir(dir)));
      const held = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      expect(held).toHaveLength(1);
      await held[0]?.release();
    }
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("embedded: clear refusals", () => {
  test("data of another major version", async () => {
    const dir = await freshDir();
    await mkdir(join(dir, "postgres"));
    await writeFile(join(dir, "postgres", "PG_VERSION"), "16\n");
    await expect(start(dir)).rejects.toMatchObject({
      option: "--data-dir",
      message: expect.stringMatching(/^data directory ".*" was made by PostgreSQL 16, this tdb runs PostgreSQL 18; .*--data-dir$/),
    });
  });

  test("another master key", async () => {
    const dir = await freshDir();
    await (await start(dir)).stop();
    await expect(start(dir, { superuserPassword: "other" })).rejects.toThrow(/was made with another master key/);
    await (await start(dir)).stop();
  });

  test("a place that cannot be a directory", async () => {
    const file = join(await freshDir(), "file");
    await writeFile(file, "");
    await expect(start(join(file, "data"))).rejects.toMatchObject({ name: "StartupError", option: "--data-dir" });
  });

  test.runIf(process.getuid?.() === 0)("a parent folder the server's user cannot pass", async () => {
    const parent = await freshDir();
    await chmod(parent, 0o700);
    await expect(start(join(parent, "data"))).rejects.toMatchObject({
      option: "--data-dir",
      message: expect.stringContaining(`because of the permissions of "${parent}"`),
    });
  });

  test("a first start broken off leaves nothing behind that matters", async () => {
    const dir = await freshDir();
    await mkdir(join(dir, "postgres.new"));
    await writeFile(join(dir, "postgres.new", "PG_VERSION"), "18\n");
    await writeFile(join(dir, "initdb.password"), "old");
    expect(await ask(await start(dir), "SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });
});
