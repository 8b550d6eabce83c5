/** Debian's PgBouncer between gateway and PostgreSQL, in both of its modes, set up by the files `tdb pgbouncer-config` writes. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chown, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../bench/stage/postgres.ts";
import { chooseServerUser, makePrivateDir } from "../../gateway/embedded/directories.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Api, makeApi } from "./support/api.ts";
import { connect, failure, parseTarget, psql, spawnPsql, type Target } from "./support/clients.ts";
import { collect, type GatewayProcess, makeDataDir, spawnTdb, startGateway, tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

const program = ["pgbouncer", "/usr/sbin/pgbouncer"].find((name) => spawnSync(name, ["--version"]).status === 0);
const operatorToken = "0123456789abcdef0123456789abcdef";

for (const mode of ["session", "transaction"] as const) {
  describe.skipIf(!program)(`PgBouncer in ${mode} mode${program ? "" : " (not installed)"}`, () => {
    let server: TestPostgres;
    let gateway: GatewayProcess;
    let api: Api;
    let home: string;
    let port: number;
    let pooler: ChildProcess | undefined;
    let superuser: pg.Client;
    let wayne: Target;

    const operator = () => ({ TDB_API_URL: gateway.credentials.api_url, TDB_API_KEY: operatorToken });
    const flags = () => ["pgbouncer-config", "--pool-mode", mode, "--listen-port", String(port)];

    /** Whole and owned by the server's user, who alone may use its socket, before PgBouncer can see them. */
    async function writeFiles(): Promise<void> {
      const made = join(gateway.dataDir, "../made");
      const done = await tdb("node", [...flags(), "--out", made], operator());
      expect(done.stderr).toBe("");
      const ini = await readFile(join(made, "pgbouncer.ini"), "utf8");
      await writeFile(join(made, "pgbouncer.ini"), ini.replace(made, home));
      const user = await chooseServerUser();
      for (const file of ["pgbouncer.ini", "userlist.txt"]) {
        if (user) await chown(join(made, file), user.uid, user.gid);
        await rename(join(made, file), join(home, file));
      }
      pooler?.kill("SIGHUP");
    }

    async function addTenant(id: string): Promise<Target> {
      const { body } = await api("POST", "/tenants", { tenant_id: id, databases: [{ blueprint: "myapp" }] });
      return parseTarget(body.databases[0].connection_string);
    }

    beforeAll(async () => {
      server = await startTestPostgres();
      const { user, password, socketDir } = server.target as { user: string; password: string; socketDir: string };
      superuser = new pg.Client({ host: socketDir, port: 5432, user, password, database: "postgres" });
      await superuser.connect();
      port = await freePort();
      const dataDir = await makeDataDir();
      const config = join(dataDir, "../tenantry.json");
      await writeFile(
        config,
        JSON.stringify({ operator_token: operatorToken, poolers: { main: `postgresql://127.0.0.1:${port}?pool_mode=${mode}` } }),
      );
      const url = `postgresql://${user}:${password}@localhost:5432/postgres?host=${encodeURIComponent(socketDir)}`;
      gateway = await startGateway({ runtime: "node", dataDir, args: ["--config", config, "--database-url", url] });
      api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
      await api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const owner = await chooseServerUser();
      home = join(dataDir, "../pgbouncer");
      await makePrivateDir(home, owner);
      await writeFiles();
      pooler = spawn(program as string, [join(home, "pgbouncer.ini")], { ...owner, stdio: "ignore" });
      const project = { user: gateway.credentials.project_id, password: gateway.credentials.proxy_password, database: "myapp_workspace" };
      await until(async () => (await psql(gateway, project, "SELECT 1")).code === 0);
      expect((await psql(gateway, project, "CREATE TABLE accounts (id serial PRIMARY KEY, name text)")).stdout).toBe("CREATE TABLE\n");
      wayne = await addTenant("wayne");
      await writeFiles();
    });

    afterAll(async () => {
      pooler?.kill("SIGQUIT");
      await superuser?.end();
      await gateway?.dispose();
      await server?.stop();
    });

    it("carries a tenant's statements, in transactions and with parameters", async () => {
      const client = await connect(gateway, wayne);
      await client.query("BEGIN");
      await client.query("INSERT INTO accounts (name) VALUES ($1)", ["Alice"]);
      await client.query("COMMIT");
      expect((await client.query("SELECT name FROM accounts WHERE id > $1", [0])).rows).toEqual([{ name: "Alice" }]);
      const refused = await failure(client.query("CREATE TABLE x (i int)"));
      expect(refused.code).toBe("42501");
      await client.end();
    });

    it("passes a cancel request on to the statement that runs", async () => {
      const sleeping = spawnPsql(gateway, wayne, ["-c", "SELECT 1 AS awake", "-c", "SELECT pg_sleep(60)"]);
      const finished = collect(sleeping);
      await once(sleeping.stdout as NodeJS.ReadableStream, "data");
      const running = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
      await until(async () => (await superuser.query(running)).rowCount === 1);
      sleeping.kill("SIGINT");
      expect((await finished).stderr).toContain("ERROR:  57014: canceling statement due to user request");
      expect((await superuser.query(running)).rowCount).toBe(0);
    });

    it("lets a tenant in that was made after the files, once they are written again", async () => {
      const globex = await addTenant("globex");
      await writeFiles();
      const client = await connect(gateway, globex); // waits for PgBouncer to read them
      expect((await client.query("SELECT count(*)::int AS n FROM accounts")).rows).toEqual([{ n: 0 }]);
      await client.end();
    });

    if (mode === "session") {
      it("gives start-up settings to the session, and to the next one that asks for them", async () => {
        const options = "-c search_path=app,public -c statement_timeout=4321 -c work_mem=7MB";
        const show = "SELECT current_setting('search_path') p, current_setting('statement_timeout') t, current_setting('work_mem') w";
        for (let i = 0; i < 3; i++) {
          const client = await connect(gateway, wayne, { options, application_name: "with settings" });
          expect((await client.query(show)).rows).toEqual([{ p: "app,public", t: "4321ms", w: "7MB" }]);
          await client.query("SET work_mem TO '9MB'");
          await client.end();
        }
        const plain = await connect(gateway, wayne);
        expect((await plain.query("SHOW work_mem")).rows).toEqual([{ work_mem: "4MB" }]);
        await plain.end();
        const wrong = await failure(connect(gateway, wayne, { options: "-c work_mem=banana" }));
        expect([wrong.code, wrong.message]).toEqual(["22023", 'invalid value for parameter "work_mem": "banana"']);
      });

      it("keeps what a role stored in itself from the next session", async () => {
        const poisoner = await connect(gateway, wayne);
        await poisoner.query("DO $do$BEGIN EXECUTE $x$ALTER ROLE CURRENT_USER SET work_mem TO '64kB'$x$; END$do$");
        await poisoner.end();
        // PgBouncer's connections begin anew.
        await superuser.query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE '%\\_admin'");
        const client = await connect(gateway, wayne, { application_name: "after" });
        expect((await client.query("SHOW work_mem")).rows).toEqual([{ work_mem: "4MB" }]);
        await client.end();
      });
    } else {
      it("refuses start-up settings that could not be kept to one client, by name", async () => {
        const refused = await failure(connect(gateway, wayne, { options: "-c work_mem=7MB" }));
        expect([refused.code, refused.message]).toEqual(["08P01", "unsupported startup parameter: work_mem"]);
      });
    }

    it("--watch writes the list of roles again when a tenant is added", async () => {
      const folder = join(gateway.dataDir, "../watched");
      const watching = spawnTdb("node", [...flags(), "--out", folder, "--watch", "--reload-command", `echo >> ${folder}/reloads`], operator());
      const list = () => readFile(join(folder, "userlist.txt"), "utf8").catch(() => "");
      await until(async () => (await list()) !== "");
      const before = (await list()).split("\n").length;
      await addTenant(`initech_${mode}`);
      await until(async () => (await list()).split("\n").length > before);
      await until(async () => (await readFile(join(folder, "reloads"), "utf8")) === "\n\n");
      expect((await stat(join(folder, "userlist.txt"))).mode & 0o777).toBe(0o600);
      watching.kill();
      await once(watching, "close");
    });

    it("says what is wrong: another key, another cluster", async () => {
      const wrongKey = await tdb("node", [...flags(), "--out", home], { ...operator(), TDB_API_KEY: gateway.credentials.api_key });
      expect(wrongKey.code).toBe(1);
      expect(wrongKey.stderr).toMatch(/operator/);
      const nowhere = await tdb("node", [...flags(), "--cluster", "nowhere", "--out", home], operator());
      expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('no cluster "nowhere"; there are: main')]);
    });
  });
}
