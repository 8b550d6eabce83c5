/** The gateway that all drivers talk to, and for each of them a project of its own: a workspace, its blueprint, the tenants wayne and globex. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Api, makeApi } from "../../e2e/support/api.ts";
import { connect, parseTarget, type Target } from "../../e2e/support/clients.ts";
import { type GatewayProcess, makeDataDir, type RuntimeUnderTest, startGateway } from "../../e2e/support/gateway.ts";

/** The document's tables. */
export const documentTables: readonly string[] = [
  `CREATE TABLE accounts (
  id SERIAL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  email VARCHAR(255) UNIQUE NOT NULL,
  balance DECIMAL(15,2) DEFAULT 0,
  created_at TIMESTAMP DEFAULT NOW()
)`,
  `CREATE TABLE transactions (
  id SERIAL PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  amount DECIMAL(15,2) NOT NULL,
  created_at TIMESTAMP DEFAULT NOW()
)`,
];

export type PoolMode = "session" | "transaction";

/** What everything is run in; in every run, some rows are run in transaction mode besides. */
export const usualPoolMode: PoolMode = process.env.TDB_DRIVERS_POOL_MODE === "transaction" ? "transaction" : "session";

export interface World {
  readonly gateway: GatewayProcess;
  makeProject(tables: readonly string[], poolMode?: PoolMode): Promise<DriverProject>;
  dispose(): Promise<void>;
}

export interface DriverProject {
  /** For the programs: where the tenant wayne, the tenant globex and the workspace are, and the CA that signed the gateway's certificate. */
  readonly env: Readonly<Record<string, string>>;
  readonly api: Api;
  readonly workspace: Target;
  readonly wayne: Target;
  readonly globex: Target;
  /** The text of a guide with its example's host, port and credentials replaced by this project's. */
  localize(text: string): string;
  /** Rows of one statement. */
  query(target: Target, sql: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>;
  /** Brings both tenants to the newest version. @returns that version's number. */
  deploy(): Promise<number>;
  dispose(): Promise<void>;
}

/** `config`: more of tenantry.json than what suits tests. */
export async function startWorld(config: Readonly<Record<string, unknown>> = {}): Promise<World> {
  const runtime = (process.env.TDB_DRIVERS_RUNTIME ?? "node") as RuntimeUnderTest;
  const dataDir = await makeDataDir();
  const configFile = join(dataDir, "../tenantry.json");
  await writeFile(configFile, JSON.stringify({ api: { rate_per_s: 1_000_000 }, spare_databases: 0, ...config }));
  const gateway = await startGateway({ runtime, dataDir, args: ["--config", configFile] });
  let made = 0;
  return {
    gateway,
    makeProject: (tables, poolMode = usualPoolMode) => makeProject(gateway, `driver-${++made}`, tables, poolMode),
    dispose: () => gateway.dispose(),
  };
}

async function makeProject(gateway: GatewayProcess, name: string, tables: readonly string[], poolMode: PoolMode): Promise<DriverProject> {
  const { api_url, ca_file, pg_port } = gateway.credentials;
  const open = makeApi(api_url, "");
  const project = await must(open("POST", "/signup", { email: `${name}@example.com`, password: `password of ${name}`, project_name: name }));
  const api = makeApi(api_url, project.api_key);
  await must(api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" }));
  await must(api("PATCH", "/workspaces/myapp/settings", { pool_mode: poolMode }));
  const workspace: Target = { user: project.project_id, password: project.proxy_password, database: "myapp_workspace" };
  const query = async (target: Target, sql: string, values: readonly unknown[] = []) => {
    const client = await connect(gateway, target);
    try {
      return (await client.query(sql, [...values])).rows;
    } finally {
      await client.end();
    }
  };
  for (const table of tables) await query(workspace, table);
  const addTenant = async (id: string) => {
    const tenant = await must(api("POST", "/tenants", { tenant_id: id, databases: [{ blueprint: "myapp" }] }));
    return parseTarget(tenant.databases[0].connection_string);
  };
  const [wayne, globex] = [await addTenant("wayne"), await addTenant("globex")];
  return {
    env: { ...environment(gateway, { workspace, wayne, globex }), TDB_API_URL: api_url, TDB_API_KEY: project.api_key, TDB_POOL_MODE: poolMode },
    api,
    workspace,
    wayne,
    globex,
    query,
    localize: (text) =>
      text
        .replaceAll("tdb_2abf90d3", workspace.user)
        .replaceAll("tdb_4f2c9d1ab7e8350c", wayne.password)
        .replaceAll("tdb_e7b1f5c821a04d68", globex.password)
        .replaceAll("tdb_d2bf66ed7898c448", workspace.password)
        .replaceAll("pg.tenantsdb.com", "localhost")
        .replaceAll(/\b5432\b/g, String(pg_port))
        .replaceAll("/path/to/ca.crt", ca_file),
    async deploy() {
      const done = await must(api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true }));
      if (done.status !== "done") throw new Error(`the deployment ended as ${JSON.stringify(done)}`);
      return done.version as number;
    },
    async dispose() {
      await must(api("DELETE", `/projects/${project.project_id}?confirm=${project.project_id}`));
    },
  };
}

function environment(gateway: GatewayProcess, targets: Readonly<Record<"workspace" | "wayne" | "globex", Target>>): Record<string, string> {
  const { pg_port, ca_file } = gateway.credentials;
  const { workspace, wayne, globex } = targets;
  return {
    TDB_HOST: "localhost",
    TDB_PORT: String(pg_port),
    TDB_USER: wayne.user,
    TDB_CA_FILE: ca_file,
    // the tenant wayne, who has one account: Zoe
    TDB_DATABASE: wayne.database,
    TDB_PASSWORD: wayne.password,
    TDB_OTHER_DATABASE: globex.database,
    TDB_OTHER_PASSWORD: globex.password,
    TDB_WORKSPACE_DATABASE: workspace.database,
    TDB_WORKSPACE_PASSWORD: workspace.password,
    // where drivers look for the certificates they trust
    NODE_EXTRA_CA_CERTS: ca_file,
    DENO_CERT: ca_file,
    PGSSLROOTCERT: ca_file,
    SSL_CERT_FILE: ca_file,
  };
}

// biome-ignore lint/suspicious/noExplicitAny: looked into field by field by those who asked
async function must(answer: Promise<{ status: number; body: any }>): Promise<any> {
  const { status, body } = await answer;
  if (status >= 300) throw new Error(`${status} ${JSON.stringify(body)}`);
  return body;
}
