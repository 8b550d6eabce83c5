/** Imports under kill -9 of the gateway at any moment: started again, each ends with every row in its tenant's database once, and nothing left behind. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Door } from "../gateway/imports/door.ts";
import { fillShop, sharedSchema } from "../gateway/imports/shop.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { makeApi } from "./support/api.ts";
import { type GatewayProcess, makeDataDir, removeDataDir, startGateway } from "./support/gateway.ts";
import { openSource } from "./support/import-source.ts";
import { openNativeServer } from "./support/native.ts";
import { until } from "./support/until.ts";

/** More of them: TDB_KILL_RUNS=50. */
const runs = Number(process.env.TDB_KILL_RUNS ?? 2);
const customersEach = 100;
const tenants = ["acme", "globex", "initech", "wayne"];
/** Of an import begun twice, on a machine that has other things to do. */
const patienceMs = 180_000;

let dataDir: string;
let gateway: GatewayProcess;
let server: TestPostgres;
let door: Door;
let source: pg.Client;

const api = () => makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
const start = () => startGateway({ runtime: "node", dataDir, args: ["--config", join(dataDir, "../tenantry.json")] });

beforeAll(async () => {
  dataDir = await makeDataDir();
  await writeFile(join(dataDir, "../tenantry.json"), JSON.stringify({ import: { allow_addresses: ["127.0.0.1"] }, api: { rate_per_s: 1_000_000 } }));
  [gateway, server] = await Promise.all([start(), startTestPostgres()]);
  [door, source] = await openSource(server);
  await source.query(`${sharedSchema}${fillShop(tenants, customersEach)} INSERT INTO customers (tenant_id, name) VALUES (NULL, 'nobody''s');`);
}, 180_000);
afterAll(async () => {
  await source?.end();
  await gateway?.stop();
  await door?.close();
  await server?.stop();
  await removeDataDir(dataDir);
});

const ownCustomers = (tenant: string) => `customer_id IN (SELECT id FROM customers WHERE tenant_id = '${tenant}')`;
const ownBaskets = (tenant: string) => `basket_id IN (SELECT id FROM baskets WHERE ${ownCustomers(tenant)})`;
/** Columns of each table as a tenant has it, and which rows of the source are a tenant's. */
const tables: Record<string, readonly [columns: string, own: (tenant: string) => string]> = {
  tenants: ["id, name", (tenant) => `id = '${tenant}'`],
  countries: ["code, name", () => "true"],
  customers: ["id, name, country, invited_by, mood, photo, seen, tags, doc, shout", (tenant) => `tenant_id = '${tenant}'`],
  orders: ["number, customer_id, total", (tenant) => `tenant_id = '${tenant}'`],
  teams: ["id, lead_id", (tenant) => `tenant_id = '${tenant}'`],
  members: ["id, team_id", (tenant) => `team_id IN (SELECT id FROM teams WHERE tenant_id = '${tenant}')`],
  baskets: ["id, customer_id", ownCustomers],
  basket_items: ["basket_id, line, what", ownBaskets],
  item_notes: ["basket_id, line, note", ownBaskets],
  threads: ["id, customer_id, reply_to, body", (tenant) => `id % 100000 IN (SELECT id FROM customers WHERE tenant_id = '${tenant}')`],
};

/** Rows and a digest of them, table by table; a row that is there twice is in it twice. */
function digestSql(own?: (table: string) => string): string {
  return Object.entries(tables)
    .map(([table, [columns]]) => {
      const rows = `SELECT (t.*)::text AS r FROM (SELECT ${columns} FROM ${table} WHERE ${own?.(table) ?? "true"}) t`;
      return `SELECT '${table}' AS "table", count(*)::int AS n, md5(string_agg(r, E'\\n' ORDER BY r COLLATE "C")) AS digest FROM (${rows}) x`;
    })
    .join(" UNION ALL ");
}

/** A workspace to import into; the tenants of earlier runs are gone. */
async function importInto(workspace: string): Promise<string> {
  expect((await api()("POST", "/workspaces", { name: workspace })).status).toBe(201);
  const { user, password } = server.target;
  const connection = { host: "127.0.0.1", port: door.port, user, password, database: "shared", sslmode: "disable" };
  const { status, body } = await api()("POST", `/workspaces/${workspace}/import-full`, { connection, shared_tables: "copy", concurrency: 2 });
  expect([status, body.error]).toEqual([202, null]);
  return body.import_id;
}

const stateOf = async (workspace: string, importId: string) =>
  (await api()("GET", `/workspaces/${workspace}/import-data/status?import_id=${importId}`)).body;

async function untilEnded(workspace: string, importId: string) {
  let state = await stateOf(workspace, importId);
  const isOver = async () => {
    state = await stateOf(workspace, importId);
    return state.status !== "queued" && state.status !== "running";
  };
  await until(isOver, () => JSON.stringify(state), patienceMs);
  return state;
}

/** Every row once, in the tenant it belongs to, with all constraints as the workspace has them. */
async function checkTenants(workspace: string): Promise<void> {
  const ask = async (path: string, query: string) => (await api()("POST", path, { query })).body.rows;
  const constraints = "SELECT count(*)::int, bool_and(convalidated) FROM pg_constraint WHERE connamespace = 'public'::regnamespace";
  const wanted = await ask(`/workspaces/${workspace}/queries`, constraints);
  for (const tenant of tenants) {
    const expected = (await source.query(digestSql((table) => tables[table]![1](tenant)))).rows;
    expect(expected.find((row) => row.table === "customers").n).toBe(customersEach);
    const found = await ask(`/tenants/${tenant}/query`, digestSql());
    expect(found, tenant).toEqual(expected.map((row) => [row.table, row.n, row.digest]));
    expect(await ask(`/tenants/${tenant}/query`, constraints), tenant).toEqual(wanted);
  }
}

/** Databases of the server and those of the inventory are the same, none of them half made. */
async function checkInventory(): Promise<void> {
  const native = openNativeServer(gateway);
  try {
    const inventory = () => native.rows(undefined, "SELECT name, state FROM tenantry.databases ORDER BY name");
    await until(async () => (await inventory()).every(({ state }) => state === "ready"));
    const there = await native.rows(undefined, "SELECT datname FROM pg_database WHERE datname ~ '^tdb_[0-9a-f]{16}$' ORDER BY datname");
    expect(there.map(({ datname }) => datname)).toEqual((await inventory()).map(({ name }) => name));
  } finally {
    await native.close();
  }
}

describe("an import whose gateway is killed", () => {
  /** How long one takes that nobody disturbs. */
  let lastsMs: number;

  /** The next one makes the same tenants again. */
  const clear = async () => {
    for (const tenant of tenants) await api()("DELETE", `/tenants/${tenant}?hard=true`);
    for (const { name } of (await api()("GET", "/workspaces")).body.workspaces) await api()("DELETE", `/workspaces/${name}`);
  };
  afterEach(clear, 60_000);

  beforeAll(async () => {
    const startedAt = performance.now();
    expect(await untilEnded("calm", await importInto("calm"))).toMatchObject({ status: "done", error: null });
    lastsMs = performance.now() - startedAt;
    await checkTenants("calm");
    await clear();
  }, patienceMs);

  for (let run = 1; run <= runs; run++) {
    const part = Math.random();
    it(`run ${run}: after ${Math.round(part * 100)} % of the time it takes`, async () => {
      const workspace = `shop${run}`;
      const importId = await importInto(workspace);
      await new Promise((later) => setTimeout(later, part * lastsMs)); // the moment of the kill is what varies
      await gateway.stop("SIGKILL");
      gateway = await start();
      const ended = await untilEnded(workspace, importId);
      const failures = ended.tenants.flatMap((each: { tenant_id: string; error: string | null }) => (each.error === null ? [] : [each]));
      expect(failures, JSON.stringify(failures)).toEqual([]);
      expect(ended).toMatchObject({ status: "done", error: null, tenants_done: tenants.length });
      expect(ended.tables.find((each: { table: string }) => each.table === "customers").unowned).toMatchObject([{ rows: 1 }]);
      await checkTenants(workspace);
      await checkInventory();
    }, 300_000);
  }
});
