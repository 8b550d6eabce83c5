/** What a new user types, from an empty data directory to two tenants: run under every runtime. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Api, makeApi } from "../e2e/support/api.ts";
import { connect, failure, parseTarget, psql, spawnPsql, type Target } from "../e2e/support/clients.ts";
import { collect, type GatewayProcess, launcherOf, type RuntimeUnderTest, startGateway } from "../e2e/support/gateway.ts";
import { until } from "../e2e/support/until.ts";

export function describeFirstSteps(runtime: RuntimeUnderTest): void {
  describe(`first steps under ${runtime}`, () => {
    let gateway: GatewayProcess;
    let api: Api;
    let workspace: Target;
    const tenants = new Map<string, Target>();
    const clients = new Map<string, pg.Client>();

    beforeAll(async () => {
      gateway = await startGateway({ runtime });
      api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
      workspace = { user: gateway.credentials.project_id, password: gateway.credentials.proxy_password, database: "myapp_workspace" };
    });

    afterAll(async () => {
      for (const client of clients.values()) await client.end();
      await gateway?.dispose();
    });

    it("prints what is needed to begin, and a psql line that works once the workspace is there", async () => {
      const { project_id, api_key, proxy_password, ca_file } = gateway.credentials;
      for (const text of [project_id, api_key, proxy_password, ca_file]) expect(gateway.output()).toContain(text);
      expect(project_id).toMatch(/^tdb_[0-9a-f]{8}$/);
      expect(api_key).toMatch(/^tenantsdb_sk_[0-9a-f]{64}$/);
      expect(proxy_password).toMatch(/^tdb_[0-9a-f]{16}$/);
      expect(gateway.output()).toMatch(
        /psql "postgresql:\/\/tdb_[0-9a-f]{8}:tdb_[0-9a-f]{16}@localhost:\d+\/myapp_workspace\?sslmode=verify-full&sslrootcert=/,
      );
    });

    it("creates a workspace over the API", async () => {
      const { status, body } = await api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      expect(body).toMatchObject({ success: true, code: "created" });
      expect(status).toBe(201);
    });

    it("takes DDL from psql over verified TLS", async () => {
      const done = await psql(
        gateway,
        workspace,
        "CREATE TABLE accounts (id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL, email VARCHAR(255) UNIQUE NOT NULL, balance DECIMAL(15,2) DEFAULT 0, created_at TIMESTAMP DEFAULT NOW())",
        "INSERT INTO accounts (name, email, balance) VALUES ('Alice', 'alice@test.com', 1000), ('Bob', 'bob@test.com', 2000)",
        "SELECT count(*) FROM accounts",
      );
      expect(done.stderr).toBe("");
      expect(done.stdout).toBe("CREATE TABLE\nINSERT 0 2\n2\n");
    });

    it("captures the DDL as a blueprint version, statement text exact", async () => {
      const { body } = await api("GET", "/blueprints/myapp/versions");
      expect(body.count).toBe(1);
      expect(JSON.stringify(body)).toContain("CREATE TABLE accounts (id SERIAL PRIMARY KEY, name VARCHAR(255) NOT NULL");
    });

    it("creates two tenants with connection strings of their own", async () => {
      for (const id of ["wayne", "globex"]) {
        const { status, body } = await api("POST", "/tenants", { tenant_id: id, databases: [{ blueprint: "myapp" }] });
        expect(status).toBe(201);
        expect(body.status).toBe("ready");
        tenants.set(id, parseTarget(body.databases[0].connection_string));
        expect(tenants.get(id)).toMatchObject({ user: gateway.credentials.project_id, database: `myapp__${id}` });
      }
      expect(tenants.get("wayne")!.password).not.toBe(tenants.get("globex")!.password);
    });

    it("isolates the tenants: each sees its own rows only", async () => {
      for (const [id, target] of tenants) {
        const client = await connect(gateway, target);
        clients.set(id, client);
        expect((await client.query("SELECT count(*)::int AS n FROM accounts")).rows).toEqual([{ n: 0 }]);
        await client.query("INSERT INTO accounts (name, email) VALUES ($1, $2)", [id, `${id}@test.com`]);
      }
      for (const [id, client] of clients) expect((await client.query("SELECT name FROM accounts")).rows).toEqual([{ name: id }]);
    });

    it("keeps one tenant's password out of the other's database", async () => {
      const wrong = { ...tenants.get("globex")!, password: tenants.get("wayne")!.password };
      const error = await failure(connect(gateway, wrong));
      expect(["28000", "28P01"]).toContain(error.code);
    });

    it("refuses the project credential on a tenant with the documented words", async () => {
      const error = await failure(connect(gateway, { ...workspace, database: "myapp__wayne" }));
      expect(error.message).toBe("credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key");
      expect(error.code).toBe("28000");
      const shown = await psql(gateway, { ...workspace, database: "myapp__wayne" }, "SELECT 1");
      expect(shown.stderr).toContain(
        "FATAL:  credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key",
      );
    });

    it("lets PostgreSQL itself refuse a read key's INSERT", async () => {
      const { status, body } = await api("POST", "/apikeys", { name: "reader", role: "read", scope_type: "tenant", scope_values: ["wayne"] });
      expect(status).toBe(201);
      const reader = { ...tenants.get("wayne")!, password: body.proxy_password as string };
      const shown = await psql(gateway, reader, "SELECT name FROM accounts", "INSERT INTO accounts (name, email) VALUES ('x', 'x')");
      expect(shown.stdout).toBe("wayne\n");
      expect(shown.stderr).toContain("ERROR:  42501: permission denied for table accounts");
      const overApi = makeApi(gateway.credentials.api_url, body.key);
      const answer = await overApi("POST", "/tenants/wayne/query", { query: "INSERT INTO accounts (name, email) VALUES ('x', 'x')" });
      expect(answer.status).toBe(403);
      expect(answer.body.code).toBe("permission_denied");
    });

    it("refuses DDL on a tenant and keeps the connection usable", async () => {
      const client = clients.get("wayne")!;
      for (const ddl of [
        "CREATE TABLE x (i int)",
        "ALTER TABLE accounts ADD COLUMN y int",
        "DROP TABLE accounts",
        "CREATE ROLE x",
        "/* a */ CREATE INDEX ON accounts (name)",
      ]) {
        const error = await failure(client.query(ddl));
        expect([ddl, error.code, error.message]).toEqual([ddl, "42501", "DDL not allowed on tenant databases, use workspace mode"]);
      }
      await client.query("CREATE TEMP TABLE scratch (i int)");
      expect((await client.query("SELECT name FROM accounts")).rows).toEqual([{ name: "wayne" }]);
    });

    it("deploys an ALTER TABLE to both tenants while their clients stay connected", async () => {
      const altered = await psql(gateway, workspace, "ALTER TABLE accounts ADD COLUMN plan text NOT NULL DEFAULT 'free'");
      expect(altered.stderr).toBe("");
      const { status, body } = await api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
      expect([200, 202]).toContain(status);
      expect(body.results.map((result: { tenant_id: string; status: string }) => [result.tenant_id, result.status]).sort()).toEqual([
        ["globex", "done"],
        ["wayne", "done"],
      ]);
      for (const client of clients.values()) expect((await client.query("SELECT plan FROM accounts")).rows).toEqual([{ plan: "free" }]);
    });

    it("gives a new tenant the newest version", async () => {
      const { body } = await api("POST", "/tenants", { tenant_id: "acme", databases: [{ blueprint: "myapp" }] });
      const client = await connect(gateway, parseTarget(body.databases[0].connection_string));
      expect((await client.query("SELECT plan FROM accounts")).rows).toEqual([]);
      await client.end();
    });

    it("is measured by tdb bench, with another way beside it", async () => {
      const { api_url, api_key, pg_host, pg_port } = gateway.credentials;
      const { user, password, database } = tenants.get("wayne")!;
      const [program, ...launcher] = launcherOf(runtime);
      const brief = ["--clients", "2", "--seconds", "1", "--rounds", "1", "--query", "SELECT name FROM accounts", "--prepared", "--json"];
      const other = `postgresql://${user}:${password}@${pg_host}:${pg_port}/${database}?sslmode=require`;
      const env = { ...process.env, TDB_API_URL: api_url, TDB_API_KEY: api_key, TDB_PROXY_PASSWORD: password };
      const { code, stdout, stderr } = await collect(spawn(program, [...launcher, "bench", "wayne", "--direct", other, ...brief], { env }));
      expect([code, stderr]).toEqual([0, ""]);
      const { results } = JSON.parse(stdout) as { results: Record<string, string | number>[] };
      expect(results.map(({ through }) => through)).toEqual(["gateway", "direct"]);
      for (const { through: _, ...figures } of results)
        for (const [name, value] of Object.entries(figures)) expect([name, Number(value) > 0]).toEqual([name, true]);
    });

    it("cancels pg_sleep when psql is interrupted", async () => {
      const sleeping = spawnPsql(gateway, tenants.get("wayne")!, ["-c", "SELECT 1 AS awake", "-c", "SELECT pg_sleep(60)"]);
      const finished = collect(sleeping);
      await once(sleeping.stdout!, "data"); // its first statement is done
      const watcher = clients.get("wayne")!;
      await until(async () => (await watcher.query("SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")).rowCount === 1);
      sleeping.kill("SIGINT");
      expect((await finished).stderr).toContain("ERROR:  57014: canceling statement due to user request");
      expect((await watcher.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    });

    it("stops on SIGINT with everything it started", async () => {
      for (const client of clients.values()) await client.end();
      clients.clear();
      expect(await gateway.stop("SIGINT")).toBe(0);
    });

    it("keeps everything between starts", async () => {
      const again = await startGateway({ runtime, dataDir: gateway.dataDir });
      try {
        expect(again.output()).not.toContain(gateway.credentials.api_key);
        expect(again.credentials.project_id).toBe(gateway.credentials.project_id);
        const client = await connect(again, tenants.get("wayne")!);
        expect((await client.query("SELECT name, plan FROM accounts")).rows).toEqual([{ name: "wayne", plan: "free" }]);
        await client.end();
      } finally {
        await again.stop();
      }
    });
  });
}
