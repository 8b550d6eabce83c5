/** Deployments under kill -9, of the gateway and of PostgreSQL, at any moment: started again, each ends with every tenant exactly at its version. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "./support/api.ts";
import { psql } from "./support/clients.ts";
import { type GatewayProcess, makeDataDir, removeDataDir, startGateway } from "./support/gateway.ts";
import { until } from "./support/until.ts";

/** More of them: TDB_KILL_RUNS=50. */
const runs = Number(process.env.TDB_KILL_RUNS ?? 2);
const tenants = Array.from({ length: 6 }, (_, i) => `t${i + 1}`);
/** Long enough to fall behind a deployment's end now and then. */
const longestMs = 600;

let dataDir: string;
let gateway: GatewayProcess;

const api = () => makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
const workspace = () => ({ user: gateway.credentials.project_id, password: gateway.credentials.proxy_password, database: "myapp_workspace" });
const start = () => startGateway({ runtime: "node", dataDir });

beforeAll(async () => {
  dataDir = await makeDataDir();
  gateway = await start();
  await api()("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
  expect((await psql(gateway, workspace(), "CREATE TABLE accounts (id int PRIMARY KEY)")).stderr).toBe("");
  for (const tenant_id of tenants) expect((await api()("POST", "/tenants", { tenant_id, databases: [{ blueprint: "myapp" }] })).status).toBe(201);
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
