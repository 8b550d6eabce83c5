/** A gateway under one runtime, with an installation of its own on the shared server. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { type Api, callApi } from "./api.ts";
import { startChild, waitFor } from "./children.ts";
import type { Contender } from "./contender.ts";
import type { PostgresServer } from "./postgres.ts";
import { createTables, fillTables } from "./tables.ts";

export const runtimes = ["node", "bun", "deno"] as const;
export type RuntimeName = (typeof runtimes)[number];
export const poolModes = ["session", "transaction"] as const;
export type PoolMode = (typeof poolModes)[number];

export interface Gateway {
  readonly runtime: RuntimeName;
  readonly pid: number;
  readonly api: Api;
  /** Of its control store, on the shared server. */
  readonly storeDatabase: string;
  /** The project's own credential, on a workspace. */
  workspace(name: string): Contender;
  stop(): Promise<void>;
}

interface Credentials {
  readonly project_id: string;
  readonly api_key: string;
  readonly proxy_password: string;
  readonly api_url: string;
  readonly pg_port: number;
}

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What runs a script: the program, then its arguments. */
export function runtimeCommand(runtime: RuntimeName): [string, ...string[]] {
  return [join(root, "node_modules/.bin", runtime), ...(runtime === "deno" ? ["run", "-A"] : [])];
}

/** `name` sets installations of one run apart. `flags` are added to `tdb up`. */
export async function startGateway(
  name: string,
  runtime: RuntimeName,
  dir: string,
  server: PostgresServer,
  flags: readonly string[] = [],
): Promise<Gateway> {
  const storeDatabase = `bench_${name}`;
  const admin = await server.connect("postgres");
  await admin.query(`CREATE DATABASE ${storeDatabase}`).finally(() => admin.end());
  const dataDir = join(dir, `gateway-${name}`);
  const up = ["up", "--pg-port", "0", "--api-port", "0", "--mysql-port", "-1", "--mongo-port", "-1", "--redis-port", "-1"];
  const where = ["--data-dir", dataDir, "--database-url", server.url(storeDatabase), "--log-level", "warn"];
  // One address makes all connections here; limits per address are not what is measured.
  const limits = ["--ip-exempt", "127.0.0.0/8", "--api-rate-per-s", "100000", "--backend-budget", "1100", "--backend-reserve-percent", "0"];
  const [program, ...args] = runtimeCommand(runtime);
  const child = startChild(`gateway under ${runtime}`, program, [...args, join(root, "bin/tdb.js"), ...up, ...where, ...limits, ...flags], {
    env: { PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` },
  });
  try {
    const credentials = await waitFor(child, () => readCredentials(join(dataDir, "credentials.json")));
    return describe(runtime, child, credentials, storeDatabase);
  } catch (error) {
    await child.stop();
    throw error;
  }
}

async function readCredentials(path: string): Promise<Credentials | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Credentials;
  } catch {
    return undefined; // not there yet
  }
}

function describe(
  runtime: RuntimeName,
  child: { readonly pid: number; stop(graceMs?: number): Promise<void> },
  made: Credentials,
  storeDatabase: string,
): Gateway {
  const contender = { name: runtime, host: "127.0.0.1", port: made.pg_port, user: made.project_id, pid: child.pid };
  return {
    runtime,
    pid: child.pid,
    api: { url: made.api_url, key: made.api_key },
    storeDatabase,
    workspace: (name) => ({ ...contender, password: made.proxy_password, database: `${name}_workspace` }),
    stop: () => child.stop(15_000),
  };
}

/** Makes a workspace with pgbench's tables and one tenant of it with rows in them. @returns the way to the tenant, as its application has it. */
export async function addTenant(gateway: Gateway, settings: Readonly<Record<string, unknown>> = {}): Promise<Contender> {
  await callApi(gateway.api, "POST", "/workspaces", { name: "bench", database: "PostgreSQL" });
  await callApi(gateway.api, "PATCH", "/workspaces/bench/settings", { max_connections: 10_000, allow_copy: true, ...settings });
  const workspace = gateway.workspace("bench");
  await withClient(workspace, async (client) => {
    for (const sql of createTables) await client.query(sql);
  });
  const made = await callApi<{ databases: { connection_string: string }[] }>(gateway.api, "POST", "/tenants", {
    tenant_id: "acme",
    databases: [{ blueprint: "bench" }],
  });
  const url = new URL(made.databases[0]!.connection_string);
  const tenant = { ...workspace, password: decodeURIComponent(url.password), database: url.pathname.slice(1) };
  await withClient(tenant, fillTables);
  return tenant;
}

export async function withClient<T>(contender: Contender, work: (client: pg.Client) => Promise<T>, tls = false): Promise<T> {
  const client = await connectTo(contender, tls);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export async function connectTo(contender: Contender, tls: boolean): Promise<pg.Client> {
  const { host, port, user, password, database } = contender;
  // As sslmode=require: encrypted, the certificate not checked.
  const client = new pg.Client({ host, port, user, password, database, ssl: tls ? { rejectUnauthorized: false } : false });
  client.on("error", () => undefined); // told to whoever uses it
  await client.connect();
  return client;
}
