/** Designing a schema with the command line, and schemas read from servers elsewhere: a PostgreSQL (the gateway's own wire) and a MariaDB. */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createConnection } from "mysql2/promise";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Api, makeApi } from "./support/api.ts";
import { anyPorts, type GatewayProcess, startGateway, tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

/** Each use of the command line is a process. */
const longMs = 240_000;
const run = promisify(execFile);
let gateway: GatewayProcess;
let api: Api;

beforeAll(async () => {
  gateway = await startGateway({ runtime: "node", args: [...anyPorts, "--import-allow-addresses", "127.0.0.1"] });
  api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
});
afterAll(() => gateway?.dispose());

async function cli(...args: string[]): Promise<string> {
  const { api_url, api_key } = gateway.credentials;
  const { code, stdout, stderr } = await tdb("node", args, { TDB_API_URL: api_url, TDB_API_KEY: api_key });
  return code === 0 ? stdout : `exit ${code}: ${stderr}`;
}

async function post(path: string, body: object): Promise<Record<string, unknown>> {
  return (await api("POST", path, body)).body;
}

async function columns(workspace: string): Promise<string[]> {
  const { tables } = (await api("GET", `/workspaces/${workspace}/schema`)).body as {
    tables: {
      schema: string;
      name: string;
      columns: { name: string; type: string; default: string | null; nullable: boolean; primary_key: boolean }[];
    }[];
  };
  return tables.flatMap((table) =>
    table.columns.map((each) => `${table.schema}.${table.name}.${each.name} ${each.type} ${each.default} ${each.nullable} ${each.primary_key}`),
  );
}

describe("the command line", () => {
  it(
    "loads a template, shows the diff, undoes and passes over, and sends rows along",
    async () => {
      await cli("workspaces", "create", "--name", "app");
      expect(await cli("workspaces", "schema", "app", "--template", "saas")).toMatch(/^✓ \d+ statements loaded; the blueprint is at version \d+/);
      await cli("tenants", "create", "--name", "wayne", "--blueprint", "app");
      await cli("workspaces", "query", "app", "--query", "INSERT INTO plans (code, name, monthly_price) VALUES ('pro', 'Pro', 20)");
      expect(await cli("workspaces", "table", "app", "plans", "--deploy-data", "true")).toContain("Rows of public.plans travel");
      await cli("workspaces", "query", "app", "--query", "CREATE TABLE oops (id int)");
      expect(await cli("workspaces", "diff", "app")).toMatch(/1 of 1.*CREATE TABLE oops/s);
      const oops = (await cli("workspaces", "diff", "app", "--quiet")).trim();
      expect(await cli("workspaces", "diff-revert", "app", oops)).toContain('DROP TABLE "oops"\nNo tenant will see either.');
      await cli("workspaces", "query", "app", "--query", "CREATE TABLE ours_only (id int)");
      const ours = (await cli("workspaces", "diff", "app", "--quiet")).trim();
      expect(await cli("workspaces", "diff-skip", "app", ours)).toContain("is skipped: CREATE TABLE ours_only");
      expect(await cli("workspaces", "diff", "app")).toContain("Nothing: every tenant has every change");
      expect(await cli("workspaces", "diff-skip", "app", "1")).toContain("exit 1: ✗ Cannot skip version 1: 1 of 1 tenants have it");
      expect(await cli("deployments", "create", "--blueprint", "app", "--all", "--wait")).toContain("done");
      expect(await cli("query", "--tenant", "wayne", "SELECT code FROM plans")).toContain("pro");
      expect(
        await cli("query", "--tenant", "wayne", "SELECT to_regclass('ours_only') IS NULL AS gone, to_regclass('oops') IS NULL AS undone", "--quiet"),
      ).toBe("true\ttrue\n");
      expect(await cli("workspaces", "get", "app")).toMatch(/data travels.*public\.plans/);
    },
    longMs,
  );
});

describe("a PostgreSQL elsewhere", () => {
  const source = `CREATE SCHEMA app; CREATE EXTENSION hstore SCHEMA app; CREATE DOMAIN app.pos AS int CHECK (value > 0); CREATE TYPE app.mood AS ENUM ('b', 'a');
    CREATE TABLE app.base (id serial PRIMARY KEY, p app.pos, h app.hstore, m app.mood DEFAULT 'a', n numeric(9,2) GENERATED ALWAYS AS (id * 2) STORED, u text COLLATE "C" DEFAULT 'it''s');
    CREATE TABLE app.kid (x int) INHERITS (app.base); CREATE TABLE refs (id int REFERENCES app.base ON DELETE CASCADE DEFERRABLE, other int REFERENCES refs_parent);
    CREATE VIEW app.v2 AS SELECT id FROM app.base; CREATE VIEW app.a_first AS SELECT * FROM app.v2; CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS c FROM app.base;
    CREATE FUNCTION app.of(b app.base) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION app.atomic() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM app.base; END;
    ALTER TABLE app.base ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.base FOR SELECT USING (id > 0); COMMENT ON COLUMN app.base.p IS 'positive';
    CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int); CREATE TABLE app.ev (at timestamptz, k int) PARTITION BY RANGE (at);
    CREATE TABLE app.ev1 PARTITION OF app.ev FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); CREATE INDEX ON app.ev (k DESC) WHERE k > 1`;

  it(
    "gives its structure, says what it could not, and its tenants are made of it",
    async () => {
      await post("/workspaces", { name: "old", mode: "control" });
      await post("/workspaces/old/schema", { source: "template", template: "ecommerce" });
      const loaded = await post("/workspaces/old/schema", { source: "sql", sql: `CREATE TABLE refs_parent (id int PRIMARY KEY); ${source}` });
      expect(loaded).toMatchObject({ code: "created", version: 0, versions: [] });
      await post("/workspaces", { name: "fresh" });
      const { pg_port, project_id, proxy_password } = gateway.credentials;
      const connection = { host: "127.0.0.1", port: pg_port, database: "old_workspace", user: project_id, password: proxy_password, tls: "require" };
      const load = (changed: object = {}) => post("/workspaces/fresh/schema", { source: "database", connection: { ...connection, ...changed } });
      expect((await load()).lost).toContain("aggregate app.total(integer)");
      expect(await columns("fresh")).toEqual(await columns("old"));
      const tenant = await post("/tenants", { tenant_id: "globex", databases: [{ blueprint: "fresh" }] });
      expect(tenant).toMatchObject({ code: "created", status: "ready" });
      expect((await load({ password: "no" })).error).toMatch(
        /^cannot read the schema of "old_workspace" at 127\.0\.0\.1:\d+: password authentication failed/,
      );
      for (const host of ["10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"]) {
        const refused = await load({ host });
        expect(refused).toMatchObject({
          code: "forbidden",
          error: expect.stringMatching(/^cannot connect to ".*": it is a .* address; the server's operator can/),
        });
      }
    },
    longMs,
  );
});

const hasMaria = await run("mariadbd", ["--version"]).then(
  () => true,
  () => false,
);
if (!hasMaria) console.warn("skipped: schemas from MySQL; mariadbd is not installed (apt-get install mariadb-server)");

describe.skipIf(!hasMaria)("a MariaDB", () => {
  it(
    "gives its tables with types mapped, and says what was lost",
    async () => {
      const folder = await mkdtemp(join(tmpdir(), "tdb-maria-"));
      const [data, socketPath] = [join(folder, "data"), join(folder, "s.sock")];
      const user = `--user=${userInfo().username}`;
      await run("mariadb-install-db", ["--no-defaults", `--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db", user]);
      const port = await freePort();
      const server = spawn(
        "mariadbd",
        ["--no-defaults", `--datadir=${data}`, `--socket=${socketPath}`, `--port=${port}`, "--bind-address=127.0.0.1", user],
        { stdio: "ignore" },
      );
      const ended = new Promise((resolve) => server.once("exit", resolve));
      try {
        const open = () => createConnection({ socketPath, user: "root", multipleStatements: true });
        await until(() =>
          open().then(
            (c) => c.end().then(() => true),
            () => false,
          ),
        );
        const admin = await open();
        await admin.query(`CREATE DATABASE shop; USE shop;
        CREATE TABLE customers (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, email VARCHAR(120) NOT NULL UNIQUE, active TINYINT(1) DEFAULT 1,
          balance DECIMAL(10,2) DEFAULT 0.00, state ENUM('new','it''s','B') NOT NULL DEFAULT 'new', created DATETIME DEFAULT CURRENT_TIMESTAMP, pic LONGBLOB, big BIGINT UNSIGNED);
        CREATE TABLE orders (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id INT UNSIGNED NOT NULL, note TEXT, FULLTEXT KEY ft (note),
          FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE);
        CREATE VIEW v AS SELECT id FROM customers;
        CREATE USER 'me'@'127.0.0.1' IDENTIFIED BY 'pw'; GRANT SELECT, SHOW VIEW ON shop.* TO 'me'@'127.0.0.1'; FLUSH PRIVILEGES`);
        await admin.end();
        await post("/workspaces", { name: "moved" });
        const connection = { type: "MySQL", host: "127.0.0.1", port, database: "shop", user: "me", password: "pw" };
        const { lost } = await post("/workspaces/moved/schema", { source: "database", connection });
        expect(lost).toEqual(["index orders.ft: FULLTEXT", "view v"]);
        expect(await columns("moved")).toEqual([
          "public.customers.id bigint generated by default as identity false true",
          "public.customers.email character varying(120) null false false",
          "public.customers.active boolean true true false",
          "public.customers.balance numeric(10,2) 0.00 true false",
          "public.customers.state text 'new'::text false false",
          "public.customers.created timestamp(0) without time zone CURRENT_TIMESTAMP true false",
          "public.customers.pic bytea null true false",
          "public.customers.big numeric(20,0) null true false",
          "public.orders.id bigint generated by default as identity false true",
          "public.orders.customer_id bigint null false false",
          "public.orders.note text null true false",
        ]);
        const query = (sql: string) => post("/workspaces/moved/queries", { query: sql });
        expect(await query("INSERT INTO customers (email, state) VALUES ('a', 'it''s')")).toMatchObject({ code: "ok", row_count: 1 });
        expect((await query("INSERT INTO orders (customer_id) VALUES (7)")).error).toContain("violates foreign key constraint");
      } finally {
        server.kill("SIGKILL");
        await ended;
        await rm(folder, { recursive: true, force: true });
      }
    },
    longMs,
  );
});

/** A port nobody listens on now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
