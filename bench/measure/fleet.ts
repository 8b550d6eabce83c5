/** A fleet: tenants made, a version deployed to all of them, and their state asked for; beside shell loops of createdb and psql on the same server. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import { runProgram } from "../stage/children.ts";
import { type Gateway, startGateway, withClient } from "../stage/gateway.ts";
import type { PostgresServer } from "../stage/postgres.ts";
import { median } from "../statistics.ts";

const tables = 30;
const registryRows = 10_000;
const longestMs = 20 * 60_000;
/** Requests sent at a time where many tenants are made. */
const creationsAtOnce = 4;
const statements = [
  "ALTER TABLE table_1 ADD COLUMN note text NOT NULL DEFAULT ''",
  "CREATE TABLE invoices (id bigserial PRIMARY KEY, owner bigint NOT NULL REFERENCES table_2 (id), total numeric(12,2) NOT NULL)",
  "CREATE INDEX invoices_owner ON invoices (owner)",
];

interface Timing {
  readonly what: string;
  readonly tenants: number;
  readonly gatewayMs: number;
  readonly loopMs: number | undefined;
}

export async function measureFleet(context: Context): Promise<Section> {
  const size = context.fleet ?? (context.quick ? 20 : 1000);
  const gateway = await startGateway("fleet", "node", context.dir, context.server);
  try {
    const naive = new ShellLoop(context, size);
    await design(gateway);
    const made = { what: "create", tenants: size, gatewayMs: await create(context, gateway, size), loopMs: await naive.create() };
    await evolve(gateway);
    const deployed = { what: "deploy three statements", tenants: size, gatewayMs: await deploy(context, gateway), loopMs: await naive.deploy() };
    await naive.drop();
    const asked = await askState(context, gateway);
    return describe([made, deployed], asked);
  } finally {
    await gateway.stop();
  }
}

function describe(timings: readonly Timing[], asked: ReadonlyMap<string, number>): Section {
  const seconds = (ms: number | undefined) => (ms === undefined ? "–" : (ms / 1000).toFixed(1));
  return {
    name: "fleet",
    title: `A fleet: blueprint of ${tables} tables, Node; the loops are \`createdb -T\` and \`psql -1 -f\` in a shell`,
    columns: ["what", "tenants", "gateway s", "loop s", "times as fast"],
    rows: [
      ...timings.map(({ what, tenants, gatewayMs, loopMs }) => [
        what,
        String(tenants),
        seconds(gatewayMs),
        seconds(loopMs),
        loopMs === undefined ? "–" : (loopMs / gatewayMs).toFixed(2),
      ]),
      ...[...asked].map(([what, ms]) => [what, registryRows.toLocaleString("en-US"), (ms / 1000).toFixed(3), "–", "–"]),
    ],
    asks: [
      ...timings.flatMap(toAsk),
      ...[...asked].map(([what, ms]) => ask(`${what} at 10,000 tenants: median`, ms, "<", 100, (value) => `${value.toFixed(0)} ms`)),
    ],
    samples: { timings, asked: Object.fromEntries(asked) },
  };
}

function toAsk({ what, gatewayMs, loopMs }: Timing): Ask[] {
  if (what === "create" || loopMs === undefined) return [];
  return [ask(`${what}: times as fast as a psql loop`, loopMs / gatewayMs, ">=", 2, (value) => value.toFixed(2))];
}

const ddl = Array.from({ length: tables }, (_, i) => {
  const parent = i > 0 ? `, parent_id bigint REFERENCES table_${i} (id)` : "";
  return `CREATE TABLE table_${i + 1} (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, amount numeric(12,2), created_at timestamptz NOT NULL DEFAULT now()${parent})`;
});

async function design(gateway: Gateway): Promise<void> {
  await callApi(gateway.api, "POST", "/workspaces", { name: "shop", database: "PostgreSQL" });
  await withClient(gateway.workspace("shop"), async (client) => {
    for (const sql of ddl) await client.query(sql);
  });
}

async function create(context: Context, gateway: Gateway, size: number): Promise<number> {
  context.say(`fleet: creating ${size} tenants`);
  await callApi(gateway.api, "POST", "/tenants", { tenant_id: "first", databases: [{ blueprint: "shop" }] }); // makes the template
  const names = Array.from({ length: size }, (_, i) => `tenant_${i}`).values();
  const startedMs = performance.now();
  const worker = async () => {
    for (const tenant_id of names) await callApi(gateway.api, "POST", "/tenants", { tenant_id, databases: [{ blueprint: "shop" }] });
  };
  await Promise.all(Array.from({ length: creationsAtOnce }, worker));
  return performance.now() - startedMs;
}

async function evolve(gateway: Gateway): Promise<void> {
  await withClient(gateway.workspace("shop"), async (client) => {
    for (const sql of statements) await client.query(sql);
  });
}

async function deploy(context: Context, gateway: Gateway): Promise<number> {
  context.say("fleet: deploying");
  const { id } = await callApi<{ id: string }>(gateway.api, "POST", "/deployments", { blueprint_name: "shop", deploy_all: true });
  const response = await fetch(`${gateway.api.url}/deployments/${id}/events`, { headers: { Authorization: `Bearer ${gateway.api.key}` } });
  await response.text(); // the stream closes when the deployment has ended
  const ended = await callApi<{ status: string; started_at: string; finished_at: string }>(gateway.api, "GET", `/deployments/${id}`);
  if (ended.status !== "done") throw new Error(`the deployment ended as ${ended.status}`);
  return Date.parse(ended.finished_at) - Date.parse(ended.started_at);
}

/** Median of each request, with ten thousand tenants in the store whose databases nobody makes. */
async function askState(context: Context, gateway: Gateway): Promise<ReadonlyMap<string, number>> {
  context.say(`fleet: asking after ${registryRows} tenants`);
  await callApi(gateway.api, "POST", "/workspaces", { name: "large", database: "PostgreSQL" });
  await withClient(gateway.workspace("large"), (client) => client.query("CREATE TABLE t (id int)"));
  const { workspace_id } = await callApi<{ workspace_id: string }>(gateway.api, "GET", "/blueprints/large");
  const store = await context.server.connect(gateway.storeDatabase);
  const fill = [
    `INSERT INTO tenantry.tenants (project_id, id, state, created_at) SELECT project_id, 'large_' || i, 'ready', now() FROM tenantry.workspaces, generate_series(1, ${registryRows}) i WHERE id = $1`,
    `INSERT INTO tenantry.tenant_databases (project_id, tenant_id, workspace_id, engine, isolation_level, version, state)
       SELECT project_id, 'large_' || i, id, 'PostgreSQL', 1, (i % 50 > 0)::int, 'ready' FROM tenantry.workspaces, generate_series(1, ${registryRows}) i WHERE id = $1`,
    `INSERT INTO tenantry.schema_checks (project_id, tenant_id, workspace_id, version, drifted, difference, checked_at)
       SELECT project_id, tenant_id, workspace_id, version, tenant_id LIKE '%77', CASE WHEN tenant_id LIKE '%77' THEN '[]'::jsonb END, now()
       FROM tenantry.tenant_databases WHERE workspace_id = $1`,
  ];
  for (const sql of fill) await store.query(sql, [workspace_id]);
  await store.query("ANALYZE");
  await store.end();
  const timed = async (path: string) => {
    const samples: number[] = [];
    for (let i = 0; i < 20; i++) {
      const startedMs = performance.now();
      await callApi(gateway.api, "GET", path);
      samples.push(performance.now() - startedMs);
    }
    return median(samples);
  };
  return new Map([
    ["GET /blueprints/{name}", await timed("/blueprints/large")],
    ["GET /blueprints/{name}/drift", await timed("/blueprints/large/drift")],
    ["GET /tenants", await timed("/tenants?limit=100")],
  ]);
}

/** What somebody without us would do, on the same server, with a superuser over its Unix socket. */
class ShellLoop {
  readonly #context: Context;
  readonly #server: PostgresServer;
  readonly #size: number;

  constructor(context: Context, size: number) {
    this.#context = context;
    this.#server = context.server;
    this.#size = size;
  }

  async create(): Promise<number> {
    this.#context.say("fleet: the same with createdb");
    const admin = await this.#server.connect("postgres");
    await admin.query("CREATE DATABASE naive_template").finally(() => admin.end());
    const template = await this.#server.connect("naive_template");
    for (const sql of ddl) await template.query(sql);
    await template.end();
    return await this.#loop("createdb -T naive_template naive_$i");
  }

  async deploy(): Promise<number> {
    this.#context.say("fleet: the same with psql");
    const script = join(this.#context.dir, "deploy.sql");
    await writeFile(script, `${statements.join(";\n")};\n`);
    return await this.#loop(`psql -q -X -1 -v ON_ERROR_STOP=1 -d naive_$i -f ${script}`);
  }

  async drop(): Promise<void> {
    await this.#loop("dropdb naive_$i");
  }

  async #loop(command: string): Promise<number> {
    const { socketDir, port, user, password } = this.#server;
    const env = { PATH: process.env.PATH ?? "", PGHOST: socketDir, PGPORT: String(port), PGUSER: user, PGPASSWORD: password };
    const startedMs = performance.now();
    await runProgram("sh", ["-ec", `for i in $(seq ${this.#size}); do ${command}; done`], { env, timeoutMs: longestMs });
    return performance.now() - startedMs;
  }
}
