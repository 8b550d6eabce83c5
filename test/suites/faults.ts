/** Starting, failing to start, and being killed: exit codes, words, and what is left behind. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "../e2e/support/api.ts";
import { connect, ending, parseTarget, psql, type Target } from "../e2e/support/clients.ts";
import { anyPorts, type Finished, makeDataDir, type RuntimeUnderTest, removeDataDir, run, startGateway, tdb } from "../e2e/support/gateway.ts";
import { until } from "../e2e/support/until.ts";
import { workerPids } from "../e2e/support/worker-of.ts";
import { startTestPostgres } from "../support/postgres.ts";

export function describeFaults(runtime: RuntimeUnderTest): void {
  describe(`faults under ${runtime}`, () => {
    const dirs: string[] = [];
    async function freshDir(): Promise<string> {
      const dir = await makeDataDir();
      dirs.push(dir);
      return dir;
    }
    afterAll(async () => {
      for (const dir of dirs) await removeDataDir(dir);
    });

    const up = (dataDir: string, ...args: string[]): Promise<Finished> => tdb(runtime, ["up", ...anyPorts, "--data-dir", dataDir, ...args]);

    /** Postmasters that run on a data directory. */
    async function serversOn(dataDir: string): Promise<string[]> {
      const { stdout } = await run("ps", ["-eo", "pid,args"]);
      return stdout.split("\n").filter((line) => line.includes(`-D ${dataDir}`));
    }

    /** Starts, and stops, without a fault: nothing was left behind. */
    async function expectStartable(dataDir: string): Promise<void> {
      expect(await serversOn(dataDir)).toEqual([]);
      const gateway = await startGateway({ runtime, dataDir });
      expect(await gateway.stop()).toBe(0);
      expect(await serversOn(dataDir)).toEqual([]);
    }

    describe("a port that is in use", () => {
      let taken: Server;
      let port: number;
      beforeAll(async () => {
        taken = createServer().listen(0, "127.0.0.1");
        await new Promise((done) => taken.once("listening", done));
        port = (taken.address() as { port: number }).port;
      });
      afterAll(() => void taken.close());

      for (const option of ["--pg-port", "--api-port"]) {
        it(`${option}: exit code 1, the option named, nothing left running`, async () => {
          const dataDir = await freshDir();
          const done = await up(dataDir, option, String(port));
          expect(done.stderr).toMatch(new RegExp(`^tdb up: ${option}: port ${port} on 127.0.0.1 is in use`, "m"));
          expect(done.stderr).not.toMatch(/^\s+at /m);
          expect(done.code).toBe(1);
          await expectStartable(dataDir);
        });
      }
    });

    describe("a configuration that cannot be used", () => {
      const cases: [string, string[], Record<string, string>, RegExp][] = [
        ["a bad flag value", ["--pg-port", "banana"], {}, /--pg-port: .*banana.* is not a port/],
        ["an unknown flag", ["--pg-prot", "1"], {}, /--pg-prot/],
        ["a bad environment variable", [], { TDB_DRAIN_S: "soon" }, /TDB_DRAIN_S/],
        ["a missing file", ["--config", "/nonexistent/tenantry.json"], {}, /\/nonexistent\/tenantry\.json/],
        ["two listeners on one port", ["--pg-port", "7000", "--api-port", "7000"], {}, /7000/],
      ];
      for (const [name, args, env, message] of cases) {
        it(`${name}: exit code 2 before anything is made`, async () => {
          const dataDir = await freshDir();
          const done = await tdb(runtime, ["up", "--data-dir", dataDir, ...args], env);
          expect(done.stderr).toMatch(message);
          expect(done.stderr).not.toMatch(/^\s+at /m);
          expect(done.code).toBe(2);
          await expect(stat(dataDir)).rejects.toThrow("ENOENT");
        });
      }

      it("a bad value in a file: named with its path", async () => {
        const dataDir = await freshDir();
        const file = join(dataDir, "../tenantry.json");
        for (const [text, message] of [
          ['{"ip":{"max_connections":"many"},"unknown":1}', /unknown: unknown setting[\s\S]*ip\.max_connections: "many" is not a whole number/],
          ["{ not json", /tenantry\.json/],
        ] as const) {
          await writeFile(file, text);
          const done = await up(dataDir, "--config", file);
          expect(done.stderr).toMatch(message);
          expect(done.code).toBe(2);
        }
      });

      it("--check says whether it can be used, and starts nothing", async () => {
        const dataDir = await freshDir();
        const good = await up(dataDir, "--check");
        expect([good.code, good.stdout, good.stderr]).toEqual([0, "configuration is valid\n", ""]);
        expect((await up(dataDir, "--check", "--drain-s", "-1")).code).toBe(2);
        await expect(stat(dataDir)).rejects.toThrow("ENOENT");
      });
    });

    it("--embedded-bin-dir without the programs: exit code 1, the option named, nothing left behind", async () => {
      const dataDir = await freshDir();
      const done = await up(dataDir, "--embedded-bin-dir", join(dataDir, "../nowhere"));
      expect(done.stderr).toMatch(/^tdb up: --embedded-bin-dir: the embedded PostgreSQL at .*nowhere\/postgres does not run: /m);
      expect(done.code).toBe(1);
      await expect(stat(join(dataDir, "postgres"))).rejects.toThrow("ENOENT");
    });

    describe("--database-url", () => {
      it("refused, wrong password, no such database, too few rights: exit code 1, the option named, the password not", async () => {
        const postgres = await startTestPostgres();
        try {
          const { port, user, password, socketDir } = postgres.target as { port: number; user: string; password: string; socketDir: string };
          const url = (as: string, secret: string, database = "postgres") =>
            `postgresql://${as}:${secret}@localhost:${port}/${database}?host=${encodeURIComponent(socketDir)}`;
          for (const [given, message] of [
            ["postgresql://postgres:s3cretword@127.0.0.1:1/postgres", /cannot be used: .*ECONNREFUSED/],
            ["postgresql://postgres:s3cretword@no-such-host.invalid/postgres", /cannot be used/],
            [url(user, "s3cretword"), /cannot be used: password authentication failed/],
            [url(user, password, "nowhere"), /cannot be used: database "nowhere" does not exist/],
          ] as const) {
            const done = await up(await freshDir(), "--database-url", given);
            expect(done.stderr).toMatch(/^tdb up: --database-url: the PostgreSQL server at /m);
            expect(done.stderr).toMatch(message);
            expect(done.stderr + done.stdout).not.toContain("s3cretword");
            expect(done.stderr + done.stdout).not.toContain(password);
            expect(done.code).toBe(1);
          }
        } finally {
          await postgres.stop();
        }
      });

      it("works end to end, with a role that may create databases and roles", async () => {
        const postgres = await startTestPostgres();
        try {
          const { port, user, password, socketDir } = postgres.target as { port: number; user: string; password: string; socketDir: string };
          const host = encodeURIComponent(socketDir);
          const sql = (text: string) =>
            run("psql", [`host=${socketDir} port=${port} user=${user} dbname=postgres`, "-X", "-c", text], { PGPASSWORD: password });
          await sql("CREATE ROLE weak LOGIN PASSWORD 'weakpassword'");
          const refused = await up(await freshDir(), "--database-url", `postgresql://weak:weakpassword@localhost:${port}/postgres?host=${host}`);
          expect(refused.stderr).toContain("its role may not create databases and roles");
          expect([refused.code, refused.stderr.includes("weakpassword")]).toEqual([1, false]);
          const dataDir = await freshDir();
          const gateway = await startGateway({
            runtime,
            dataDir,
            args: ["--database-url", `postgresql://${user}:${password}@localhost:${port}/postgres?host=${host}`],
          });
          const tenant = await makeTenant(gateway);
          expect((await psql(gateway, tenant, "INSERT INTO notes VALUES ('kept')", "SELECT * FROM notes")).stdout).toBe("INSERT 0 1\nkept\n");
          expect(gateway.output() + gateway.errors()).not.toContain(password);
          expect(await gateway.stop()).toBe(0);
        } finally {
          await postgres.stop();
        }
      });
    });

    async function makeTenant(gateway: Awaited<ReturnType<typeof startGateway>>): Promise<Target> {
      const { project_id, proxy_password, api_url, api_key } = gateway.credentials;
      const api = makeApi(api_url, api_key);
      await api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const made = await psql(gateway, { user: project_id, password: proxy_password, database: "myapp_workspace" }, "CREATE TABLE notes (note text)");
      expect(made.stderr).toBe("");
      const { body } = await api("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] });
      return parseTarget(body.databases[0].connection_string);
    }

    it("a data directory in use: the second start is refused, the first goes on", async () => {
      const dataDir = await freshDir();
      const first = await startGateway({ runtime, dataDir });
      const second = await up(dataDir);
      expect(second.stderr).toMatch(/^tdb up: --data-dir: .*(in use|another|already)/m);
      expect(second.code).toBe(1);
      const { project_id, proxy_password } = first.credentials;
      await makeTenant(first);
      expect((await psql(first, { user: project_id, password: proxy_password, database: "myapp_workspace" }, "SELECT 1")).stdout).toBe("1\n");
      expect(await first.stop()).toBe(0);
    });

    it("a data directory of another version, one that is a file, one with a broken key: told, exit code 1", async () => {
      const dataDir = await freshDir();
      const gateway = await startGateway({ runtime, dataDir });
      await gateway.stop();
      const version = join(dataDir, "postgres/PG_VERSION");
      const own = await readFile(version, "utf8");
      await writeFile(version, "12\n");
      const old = await up(dataDir);
      expect([old.code, old.stderr]).toEqual([1, expect.stringMatching(/^tdb up: --data-dir: .*made by PostgreSQL 12.*runs PostgreSQL \d+/m)]);
      await writeFile(version, own);

      const key = join(dataDir, "master.key");
      const secret = await readFile(key, "utf8");
      await writeFile(key, "not a key");
      expect((await up(dataDir)).stderr).toMatch(/^tdb up: --master-key-file: .*64 hex digits/m);
      await writeFile(key, "0".repeat(64));
      const other = await up(dataDir);
      expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/^tdb up: --data-dir: .*another master key/m)]);
      await writeFile(key, secret);

      const credentials = join(dataDir, "credentials.json");
      expect((await stat(credentials)).mode & 0o777).toBe(0o600);
      expect((await stat(key)).mode & 0o777).toBe(0o600);
      const known = await readFile(credentials, "utf8");
      await writeFile(credentials, "{ broken");
      expect((await up(dataDir)).stderr).toMatch(/^tdb up: --data-dir: .*credentials\.json/m);
      await writeFile(credentials, known);
      await expectStartable(dataDir);

      const file = join(dataDir, "../file");
      await writeFile(file, "");
      expect((await up(file)).stderr).toMatch(/^tdb up: --data-dir: the data directory .* cannot be used/m);
    });

    it("SIGKILL of the gateway: the next start ends what is left over and has all data", async () => {
      const dataDir = await freshDir();
      const killed = await startGateway({ runtime, dataDir });
      const tenant = await makeTenant(killed);
      expect((await psql(killed, tenant, "INSERT INTO notes VALUES ('kept')")).stdout).toBe("INSERT 0 1\n");
      const open = await connect(killed, tenant);
      await open.query("BEGIN; INSERT INTO notes VALUES ('lost')");
      await killed.stop("SIGKILL");
      const again = await startGateway({ runtime, dataDir });
      expect((await psql(again, tenant, "SELECT * FROM notes")).stdout).toBe("kept\n");
      expect(again.credentials.project_id).toBe(killed.credentials.project_id);
      expect(await again.stop()).toBe(0);
      expect(await serversOn(dataDir)).toEqual([]);
    });

    it("SIGKILL of the embedded server: the gateway says so and exits with 1; the next start recovers", async () => {
      const dataDir = await freshDir();
      const gateway = await startGateway({ runtime, dataDir });
      const tenant = await makeTenant(gateway);
      await psql(gateway, tenant, "INSERT INTO notes VALUES ('kept')");
      const pid = Number((await readFile(join(dataDir, "postgres/postmaster.pid"), "utf8")).split("\n")[0]);
      process.kill(pid, "SIGKILL");
      expect(await gateway.ended).toBe(1);
      expect(gateway.errors()).toMatch(/^tdb up: --data-dir: the embedded PostgreSQL ended \(signal SIGKILL\)/m);
      await until(async () => (await serversOn(dataDir)).length === 0);
      const again = await startGateway({ runtime, dataDir });
      expect((await psql(again, tenant, "SELECT * FROM notes")).stdout).toBe("kept\n");
      expect(await again.stop()).toBe(0);
    });

    /** As Node reads it at the start of each of the gateway's processes: a signal makes something fail that nobody catches. */
    const failOnSignal = { NODE_OPTIONS: "--import=data:text/javascript,process.on('SIGUSR2',()=>{throw(new(Error)('boom'))})" };

    it.skipIf(runtime !== "node")("a fault nobody caught: told in the log, clients are told, exit code 1, nothing left running", async () => {
      const dataDir = await freshDir();
      const gateway = await startGateway({ runtime, dataDir, env: failOnSignal });
      const client = await connect(gateway, await makeTenant(gateway));
      await client.query("BEGIN");
      const end = ending(client);
      gateway.signal("SIGUSR2");
      expect(await end).toMatchObject({ code: "57P01", message: "terminating connection due to gateway shutdown" });
      expect(await gateway.ended).toBe(1);
      expect(gateway.errors()).toMatch(/Error: boom.*"fault nobody caught, stopping"/);
      await expectStartable(dataDir);
    });

    it.skipIf(runtime !== "node")("a fault nobody caught in a worker ends that one, which is started again", async () => {
      const dataDir = await freshDir();
      const gateway = await startGateway({ runtime, dataDir, env: failOnSignal, args: ["--workers=2"] });
      const [first, second] = await workerPids(gateway);
      process.kill(first as number, "SIGUSR2");
      await until(async () => {
        const now = await workerPids(gateway);
        return now.length === 2 && !now.includes(first as number);
      });
      expect(await workerPids(gateway)).toContain(second);
      expect(gateway.errors()).toMatch(/Error: boom.*"fault nobody caught, stopping"/);
      expect(await gateway.stop()).toBe(0);
    });

    it("SIGTERM twice does not wait for a transaction", async () => {
      const dataDir = await freshDir();
      const gateway = await startGateway({ runtime, dataDir, args: ["--drain-s", "3600"] });
      const client = await connect(gateway, await makeTenant(gateway));
      await client.query("BEGIN");
      gateway.signal("SIGTERM");
      await until(() => gateway.errors().includes('"stopping"'));
      expect(await gateway.stop("SIGTERM")).toBe(0);
      expect(await serversOn(dataDir)).toEqual([]);
    });
  });
}
