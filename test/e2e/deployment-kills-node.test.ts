/** Deployments under kill -9, of the gateway and of PostgreSQL, at any moment: started again, each ends with every tenant exactly at its version. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "./support/api.ts";
import { connect, parseTarget, psql, type Target } from "./support/clients.ts";
import { type GatewayProcess, makeDataDir, removeDataDir, startGateway } from "./support/gateway.ts";
import { openNativeServer } from "./support/native.ts";
import { until } from "./support/until.ts";

/** More of them: TDB_KILL_RUNS=50. */
const runs = Number(process.env.TDB_KILL_RUNS ?? 2);
const tenants = Array.from({ length: 6 }, (_, i) => `t${i + 1}`);
/** Long enough to fall behind a deployment's end now and then. */
const longestMs = 600;

let dataDir: string;
let gateway: GatewayProcess;
const targets = new Map<string, Target>();

const api = () => makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
const workspace = () => ({ user: gateway.credentials.project_id, password: gateway.credentials.proxy_password, database: "myapp_workspace" });
const start = () => startGateway({ runtime: "node", dataDir });

beforeAll(async () => {
  dataDir = await makeDataDir();
  gateway = await start();
  await api()("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
  expect((await psql(gateway, workspace(), "CREATE TABLE accounts (id int PRIMARY KEY)")).stderr).toBe("");
  for (const tenant_id of tenants) {
    const { status, body } = await api()("POST", "/tenants", { tenant_id, databases: [{ blueprint: "myapp" }] });
    expect(status).toBe(201);
    targets.set(tenant_id, parseTarget(body.databases[0].connection_string));
  }
});
afterAll(async () => {
  await gateway?.stop();
  await removeDataDir(dataDir);
});

async function kill(victim: "gateway" | "PostgreSQL"): Promise<void> {
  if (victim === "PostgreSQL") {
    const [pid] = (await readFile(join(dataDir, "postgres/postmaster.pid"), "utf8")).split("\n");
    process.kill(Number(pid), "SIGKILL");
    await gateway.ended; // it cannot go on without
    return;
  }
  await gateway.stop("SIGKILL");
}

async function askAll(query: string): Promise<unknown[]> {
  const { body } = await api()("POST", "/admin/query", { blueprint: "myapp", all_tenants: true, query });
  expect(body).toMatchObject({ tenants_ok: tenants.length, tenants_failed: 0 });
  return body.results.map((each: { rows: unknown[][] }) => each.rows);
}

describe("a deployment whose gateway or server is killed", () => {
  for (let run = 1; run <= runs; run++) {
    const victim = run % 2 === 0 ? "PostgreSQL" : "gateway";
    const afterMs = Math.round(Math.random() * longestMs);
    it(`run ${run}: ${victim} after ${afterMs} ms`, async () => {
      const ddl = [
        `CREATE TABLE r${run} (id int)`,
        `ALTER TABLE accounts ADD c${run} int DEFAULT ${run}`,
        `CREATE INDEX CONCURRENTLY i${run} ON accounts (c${run})`,
        `ALTER TABLE r${run} ADD UNIQUE (id)`,
      ];
      expect((await psql(gateway, workspace(), ...ddl)).stderr).toBe("");
      const { body: made } = await api()("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, concurrency: 2 });
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      await kill(victim);
      gateway = await start();
      let ended = made;
      await until(async () => {
        ended = (await api()("GET", `/deployments/${made.id}`)).body;
        return ended.finished_at !== null;
      });
      expect(
        ended.results.map((result: { tenant_id: string; status: string; error: string }) => [result.tenant_id, result.status, result.error]),
      ).toEqual(tenants.map((id) => [id, "done", null]));
      const state = await askAll(
        `SELECT (SELECT count(*)::int FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'c${run}'),
                (SELECT count(*)::int FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN ('accounts'::regclass, 'r${run}'::regclass)),
                (SELECT count(*)::int FROM pg_index WHERE NOT indisvalid)`,
      );
      expect(state).toEqual(tenants.map(() => [[1, run + 2, 0]]));
      const { body: blueprint } = await api()("GET", "/blueprints/myapp");
      expect(blueprint.tenants_per_version).toEqual([{ version: 1 + run * 4, tenants: tenants.length }]);
    }, 240_000);
  }
});

describe("deployments of one blueprint, asked for while one is at work", () => {
  interface Result {
    readonly tenant_id: string;
    readonly status: string;
    readonly from_version: number;
    readonly to_version: number;
    readonly started_at: string;
    readonly finished_at: string;
  }
  const get = async (id: string) => (await api()("GET", `/deployments/${id}`)).body;

  it("run after it, one after the other as they were asked for, also when the gateway is killed in the middle of the first", async () => {
    const base = (await api()("GET", "/blueprints/myapp")).body.version;
    const client = await connect(gateway, targets.get("t3")!);
    await client.query("BEGIN; SELECT * FROM accounts"); // in the way of ALTER TABLE, until the gateway is killed
    const ids: string[] = [];
    for (const table of ["first", "second", "third"]) {
      expect((await psql(gateway, workspace(), `ALTER TABLE accounts ADD ${table} int`)).stderr).toBe("");
      const request = { blueprint_name: "myapp", deploy_all: true, concurrency: 1, lock_timeout_ms: 60_000 };
      ids.push((await api()("POST", "/deployments", request)).body.id);
      const stuck = async () =>
        (await get(ids[0]!)).results.map((each: Result) => each.status).join(" ") === "done done running pending pending pending";
      await until(stuck);
    }
    expect(await Promise.all(ids.map(async (id) => (await get(id)).status))).toEqual(["running", "queued", "queued"]);
    await kill("gateway");
    gateway = await start();
    await until(async () => (await get(ids[2]!)).finished_at !== null);

    let before = "";
    for (const [i, id] of ids.entries()) {
      const { status, version, results } = (await get(id)) as { status: string; version: number; results: Result[] };
      expect([status, version]).toEqual(["done", base + i + 1]);
      expect(results.map((each) => `${each.tenant_id} ${each.status} ${each.from_version} ${each.to_version}`)).toEqual(
        tenants.map((tenant) => `${tenant} done ${base + i} ${base + i + 1}`),
      );
      for (const each of results) expect(each.started_at >= before).toBe(true);
      before = results
        .map((each) => each.finished_at)
        .sort()
        .at(-1)!;
    }
    const server = openNativeServer(gateway);
    for (const tenant of tenants) {
      const { name } = await server.find(gateway.credentials.project_id, targets.get(tenant)!.database);
      expect(await server.rows(name, "SELECT version FROM tdb.applied")).toEqual([{ version: base + 3 }]);
      const added =
        "SELECT array_agg(attname::text ORDER BY attnum) AS names FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname IN ('first', 'second', 'third')";
      expect(await server.rows(name, added)).toEqual([{ names: ["first", "second", "third"] }]);
    }
    await server.close();
  }, 240_000);
});
