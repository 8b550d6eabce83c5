/** A gateway with two blueprints and their tenants, as most suites need it, and a configuration file that can be changed while it runs. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Api, makeApi } from "./api.ts";
import { parseTarget, psql, type Target } from "./clients.ts";
import { type GatewayProcess, makeDataDir, type RuntimeUnderTest, startGateway } from "./gateway.ts";
import { IssuedSecrets, readServerLog } from "./issued-secrets.ts";
import { until } from "./until.ts";

export interface Fleet {
  readonly gateway: GatewayProcess;
  readonly api: Api;
  readonly ca: string;
  /** The project's own password on a workspace, or where it does not belong. */
  project(database?: string): Target;
  /** A tenant's own credential on its own database. */
  tenant(id: string): Target;
  addTenant(id: string, blueprint?: string): Promise<Target>;
  /** Another credential for a database; remembers nothing. */
  makeKey(key: { role?: string; scope_type: string; scope_values?: string[] }): Promise<{ id: string; key: string; password: string }>;
  /** Sets settings of blueprint myapp and waits until `open` sessions see them, which the caller asks for. */
  setSettings(settings: Readonly<Record<string, unknown>>): Promise<void>;
  /** Rewrites the configuration file and has it read again. */
  reload(config: Readonly<Record<string, unknown>>): Promise<void>;
  /** @throws Error when a secret it gave out is in a log. */
  dispose(): Promise<void>;
}

/** What both blueprints' databases hold. */
const schema = [
  "CREATE TABLE accounts (id serial PRIMARY KEY, name text NOT NULL, email text UNIQUE, balance numeric(15,2) DEFAULT 0)",
  "CREATE FUNCTION make_table() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TABLE made (i int); END'",
];

export async function makeFleet(runtime: RuntimeUnderTest, args: readonly string[] = []): Promise<Fleet> {
  const dataDir = await makeDataDir();
  const configFile = join(dataDir, "../tenantry.json");
  // Suites call faster than people do.
  const base = { api: { rate_per_s: 1_000_000 } };
  await writeFile(configFile, JSON.stringify(base));
  const gateway = await startGateway({ runtime, dataDir, args: ["--config", configFile, ...args] });
  const { credentials } = gateway;
  const issued = new IssuedSecrets();
  issued.add(credentials.api_key, credentials.proxy_password);
  const api = issued.watch(makeApi(credentials.api_url, credentials.api_key));
  const tenants = new Map<string, Target>();
  const project = (database = "myapp_workspace"): Target => ({ user: credentials.project_id, password: credentials.proxy_password, database });
  const fleet: Fleet = {
    gateway,
    api,
    ca: readFileSync(credentials.ca_file, "utf8"),
    project,
    tenant(id) {
      const target = tenants.get(id);
      if (!target) throw new Error(`no tenant ${id}`);
      return target;
    },
    async addTenant(id, blueprint = "myapp") {
      const { body } = await expectOk(api("POST", "/tenants", { tenant_id: id, databases: [{ blueprint }] }));
      const target = parseTarget(body.databases[0].connection_string);
      tenants.set(id, target);
      return target;
    },
    async makeKey(key) {
      const { body } = await expectOk(api("POST", "/apikeys", { name: "test", ...key }));
      return { id: body.id, key: body.key, password: body.proxy_password };
    },
    async setSettings(settings) {
      await expectOk(api("PATCH", "/workspaces/myapp/settings", settings));
    },
    async reload(config) {
      const from = gateway.errors().length;
      const said = () => gateway.errors().slice(from);
      await writeFile(configFile, JSON.stringify({ ...base, ...config }));
      gateway.signal("SIGHUP");
      await until(() => /"configuration (not )?reloaded/.test(said()), said);
      if (said().includes('"configuration not reloaded')) throw new Error(said());
    },
    async dispose() {
      await gateway.stop();
      const log = gateway.errors() + (await readServerLog(dataDir));
      await gateway.dispose();
      issued.assertNotIn(log);
    },
  };
  try {
    for (const name of ["myapp", "other_app"]) {
      await expectOk(api("POST", "/workspaces", { name, database: "PostgreSQL" }));
      const made = await psql(gateway, project(`${name}_workspace`), ...schema);
      if (made.stderr) throw new Error(made.stderr);
    }
    await fleet.addTenant("wayne");
    await fleet.addTenant("globex");
    await fleet.addTenant("acme", "other_app");
  } catch (error) {
    await gateway.dispose();
    throw error;
  }
  return fleet;
}

async function expectOk<T extends { status: number; body: unknown }>(answer: Promise<T>): Promise<T> {
  const got = await answer;
  if (got.status >= 300) throw new Error(`${got.status} ${JSON.stringify(got.body)}`);
  return got;
}
