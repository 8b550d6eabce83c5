/** Moving in from a shared database through a whole gateway, over the API and by the command line, with a user at the source that may only read. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Door } from "../gateway/imports/door.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Api, makeApi } from "./support/api.ts";
import { tdbHere } from "./support/cli.ts";
import { connect, parseTarget, psql, type Target } from "./support/clients.ts";
import { type Finished, type GatewayProcess, makeDataDir, startGateway } from "./support/gateway.ts";
import { openSource } from "./support/import-source.ts";
import { until } from "./support/until.ts";

const shared = `
CREATE TABLE accounts (id int PRIMARY KEY, tenant_id text, name text NOT NULL);
CREATE TABLE entries (id int PRIMARY KEY, account_id int NOT NULL REFERENCES accounts, amount numeric(9,2) NOT NULL);
CREATE TABLE plans (code text PRIMARY KEY);
INSERT INTO accounts SELECT i, (ARRAY['acme', 'wayne'])[1 + i % 2], 'name ' || i FROM generate_series(1, 6) i;
INSERT INTO accounts VALUES (7, NULL, 'nobody''s');
INSERT INTO entries SELECT i, i, i * 1.5 FROM generate_series(1, 6) i;
INSERT INTO plans VALUES ('free'), ('pro');
CREATE ROLE reader LOGIN PASSWORD 'reads-only';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader`;
const blueprint = [
  "CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL)",
  "CREATE TABLE entries (id int PRIMARY KEY, account_id int NOT NULL REFERENCES accounts, amount numeric(9,2) NOT NULL)",
  "CREATE TABLE plans (code text PRIMARY KEY)",
];
const longMs = 180_000;

let gateway: GatewayProcess;
let server: TestPostgres;
let door: Door;
let source: pg.Client;
let api: Api;
let wayne: Target;

beforeAll(async () => {
  const dataDir = await makeDataDir();
  const config = join(dataDir, "../tenantry.json");
  await writeFile(config, JSON.stringify({ import: { allow_addresses: ["127.0.0.1"] }, api: { rate_per_s: 1_000_000 } }));
  [gateway, server] = await Promise.all([startGateway({ runtime: "node", dataDir, args: ["--config", config] }), startTestPostgres()]);
  [door, source] = await openSource(server);
  await source.query(shared);
  api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
  expect((await api("POST", "/workspaces", { name: "shop" })).status).toBe(201);
  const { project_id: designer, proxy_password } = gateway.credentials;
  const made = await psql(gateway, { user: designer, password: proxy_password, database: "shop_workspace" }, ...blueprint);
  expect(made.stderr).toBe("");
  const { body } = await api("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "shop" }] });
  wayne = parseTarget(body.databases[0].connection_string);
}, longMs);
afterAll(async () => {
  await source?.end();
  await gateway?.dispose();
  await door?.close();
  await server?.stop();
});

const connection = (more: object = {}) => ({
  ...{ host: "127.0.0.1", port: door.port, user: "reader", password: "reads-only", database: "shared", sslmode: "disable" },
  ...more,
});
const start = (body: object) => api("POST", "/workspaces/shop/import-data", { connection: connection(), ...body });
const status = async (workspace = "shop") => (await api("GET", `/workspaces/${workspace}/import-data/status`)).body;
const inTenant = async (id: string, query: string) => (await api("POST", `/tenants/${id}/query`, { query })).body.rows;

function cli(args: readonly string[], user = "reader:reads-only"): Promise<Finished> {
  const { api_url, api_key } = gateway.credentials;
  const TDB_IMPORT_SOURCE = `postgresql://${user}@127.0.0.1:${door.port}/shared?sslmode=disable`;
  return tdbHere(args, { HOME: gateway.dataDir, TDB_API_URL: api_url, TDB_API_KEY: api_key, TDB_IMPORT_SOURCE });
}

const sums = "SELECT (SELECT count(*)::int FROM accounts), (SELECT sum(amount)::text FROM entries), (SELECT count(*)::int FROM plans)";

describe("a look at a shared database", () => {
  it("says whose each table is, which tenants there are and what is left over, and makes nothing", async () => {
    const { status: code, body } = await api("POST", "/workspaces/shop/import-data/analyze", { connection: connection() });
    expect([code, body.code]).toEqual([200, "ok"]);
    expect(body).toMatchObject({ engine: "PostgreSQL", routing_field: "tenant_id", tenant_count: 2, rows: 15, unowned_rows: 1 });
    const routes = body.tables.map(({ table, route, rows }: { table: string; route: string; rows: number }) => [table, route, rows]);
    expect(routes.sort()).toEqual([
      ["accounts", "field", 7],
      ["entries", "foreign_key", 6],
      ["plans", "shared", 2],
    ]);
    const named = body.tenants.map(({ value, tenant_id, exists }: { value: string; tenant_id: string; exists: boolean }) => [
      value,
      tenant_id,
      exists,
    ]);
    expect(named.sort()).toEqual([
      ["acme", "acme", false],
      ["wayne", "wayne", true],
    ]);
    expect(body.problems).toEqual([expect.stringMatching(/1 table belongs to no tenant: plans/)]);
    const { find } = body.tables.find(({ table }: { table: string }) => table === "accounts").unowned[0];
    expect((await source.query(find)).rows).toEqual([{ id: 7, tenant_id: null, name: "nobody's" }]);
    expect((await api("GET", "/workspaces/shop/import-data/status")).status).toBe(404);
    expect((await api("GET", "/tenants")).body.count).toBe(1);
  });

  it(
    "is shown by the command line",
    async () => {
      const { code, stdout } = await cli(["workspaces", "import-analyze", "shop"]);
      expect(code).toBe(0);
      for (const words of ["foreign_key", "acme", "wayne", "Rows that belong to no tenant", "To be settled first"]) expect(stdout).toContain(words);
    },
    longMs,
  );
});

describe("an import that cannot be", () => {
  it("is refused before anything is made, in the words of the contract", async () => {
    const refusal = async (body: object) => {
      const { status: code, body: answer } = await start(body);
      return [code, answer.code, answer.error];
    };
    expect(await refusal({ routing_field: "org", shared_tables: "copy" })).toEqual([400, "bad_request", "no table found with routing field 'org'"]);
    expect(await refusal({})).toEqual([400, "bad_request", expect.stringMatching(/^Cannot import: 1 table belongs to no tenant: plans/)]);
    expect(await refusal({ connection: connection({ password: "no" }) })).toEqual([
      400,
      "bad_request",
      expect.stringContaining('password authentication failed for user "reader"'),
    ]);
    for (const host of ["127.0.0.2", "169.254.169.254", "10.0.0.1", "::1"])
      expect(await refusal({ connection: connection({ host }) }), host).toEqual([
        403,
        "forbidden",
        expect.stringContaining("import.allow_addresses"),
      ]);
    expect((await api("GET", "/workspaces/shop/import-data/status")).status).toBe(404);
  });

  it(
    "ends the command line with 1, and says why",
    async () => {
      const { code, stderr } = await cli(["workspaces", "import-data", "shop", "--routing-field", "org", "--wait"]);
      expect([code, stderr]).toEqual([1, expect.stringContaining("no table found with routing field 'org'")]);
    },
    longMs,
  );
});

describe("an import that is cancelled", () => {
  it(
    "keeps the tenants that are done, takes back the one in progress, and goes on when it is tried again",
    async () => {
      const holder = await connect(gateway, wayne);
      await holder.query("BEGIN");
      await holder.query("LOCK TABLE accounts IN SHARE MODE"); // nothing is written there until it commits
      const { status: code, body } = await start({ shared_tables: "copy", concurrency: 1 });
      expect([code, body.code, body.import_id]).toEqual([202, "accepted", expect.stringMatching(/^imp_[0-9a-f]+$/)]);
      const states = async () =>
        (await status()).tenants.map((each: { tenant_id: string; status: string }) => `${each.tenant_id} ${each.status}`).sort();
      await until(async () => (await states()).join() === "acme done,wayne running");
      expect((await start({ shared_tables: "copy" })).body.code).toBe("conflict");
      const cancelled = await cli(["workspaces", "import-cancel", "shop"]);
      expect([cancelled.code, cancelled.stdout]).toEqual([0, expect.stringContaining(body.import_id)]);
      await until(async () => (await status()).status === "cancelled");
      expect(await states()).toEqual(["acme done", "wayne cancelled"]);
      expect((await api("POST", "/workspaces/shop/import-data/cancel", { import_id: body.import_id })).body.code).toBe("conflict");
      await holder.query("COMMIT");
      expect((await holder.query(sums)).rows[0]).toMatchObject({ sum: null });
      await holder.end();
      const retried = await cli(["workspaces", "import-retry", "shop", "--import-id", body.import_id, "--json"]);
      expect([retried.code, JSON.parse(retried.stdout).import_id]).toEqual([0, body.import_id]);
      const waited = await cli(["workspaces", "import-status", "shop", "--wait"]);
      expect([waited.code, waited.stdout]).toEqual([0, expect.stringMatching(/tenants +2 of 2 done, 0 failed/)]);
      expect((await api("POST", "/workspaces/shop/import-data/retry", { import_id: body.import_id })).body.code).toBe("conflict");
    },
    longMs,
  );

  it("has every row in its tenant once, and gives whoever rotates its key into a tenant it made", async () => {
    // Odd numbers are wayne's, even ones acme's.
    expect(await inTenant("wayne", sums)).toEqual([[3, "13.50", 2]]);
    expect(await inTenant("acme", sums)).toEqual([[3, "18.00", 2]]);
    const { tenants, tables } = await status();
    expect(tables.find(({ table }: { table: string }) => table === "accounts").unowned).toMatchObject([{ reason: "null_routing_field", rows: 1 }]);
    const [acme, known] = tenants as { tenant_id: string; created: boolean; credential_id: string | null; tables: { checksum: string | null }[] }[];
    expect([acme, known]).toMatchObject([
      { tenant_id: "acme", created: true, credential_id: expect.stringMatching(/^key_/) },
      { tenant_id: "wayne", created: false, credential_id: null },
    ]);
    for (const { checksum } of acme!.tables) expect(checksum).toMatch(/^[0-9a-f]+$/);
    const { body } = await api("POST", `/apikeys/${acme!.credential_id}/rotate`, {});
    const client = await connect(gateway, parseTarget(body.connection_strings[0]));
    expect((await client.query("SELECT name FROM accounts ORDER BY id")).rows).toEqual([2, 4, 6].map((i) => ({ name: `name ${i}` })));
    await client.end();
    expect((await source.query("SELECT count(*)::int AS n FROM accounts")).rows).toEqual([{ n: 7 }]);
  });
});

describe("a whole shared database", () => {
  it(
    "moves into an empty workspace by one command, its tenants named as told",
    async () => {
      expect((await api("POST", "/workspaces", { name: "fresh" })).status).toBe(201);
      const { user, password } = server.target;
      const names = ["--tenant-id", "acme=acme_two", "--tenant-id", "wayne=wayne_two"];
      const args = ["workspaces", "import-full", "fresh", "--shared", "copy", ...names, "--wait", "--json"];
      const { code, stdout, stderr } = await cli(args, `${user}:${password}`);
      expect([code, stderr]).toEqual([0, ""]);
      expect(JSON.parse(stdout)).toMatchObject({ kind: "full", status: "done", tenants_done: 2, tenants_failed: 0 });
      expect(await inTenant("acme_two", sums)).toEqual([[3, "18.00", 2]]);
      expect(await inTenant("wayne_two", sums)).toEqual([[3, "13.50", 2]]);
      const columns =
        "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attnum > 0 AND NOT attisdropped";
      expect(await inTenant("wayne_two", columns)).toEqual([["id,name"]]);
      const { body } = await api("GET", "/audit?limit=1000");
      const imports = body.changes.filter(({ action }: { action: string }) => action.includes("/import-"));
      expect(imports.map(({ action }: { action: string }) => action)).toContain("POST /workspaces/{id}/import-full");
      expect(JSON.stringify(imports)).not.toMatch(/reads-only|127\.0\.0\.1:\d/);
    },
    longMs,
  );
});
