/** New tenants: how long POST /tenants takes with a blueprint of 30 tables, with and without a spare database ready. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import { pause } from "../stage/children.ts";
import { type Gateway, type RuntimeName, startGateway, withClient } from "../stage/gateway.ts";
import type { PostgresServer } from "../stage/postgres.ts";
import { median, spreadOf } from "../statistics.ts";

const tables = 30;
const spares = 2;
const wantedMs = { copied: 300, spare: 40 } as const;

interface Creation {
  readonly runtime: RuntimeName;
  readonly way: keyof typeof wantedMs;
  readonly samplesMs: readonly number[];
}

export async function measureTenantCreation(context: Context): Promise<Section> {
  const done: Creation[] = [];
  for (const runtime of context.runtimes) {
    for (const way of ["copied", "spare"] as const) done.push(await create(context, runtime, way));
  }
  return {
    name: "tenants",
    title: `New tenants: \`POST /tenants\` with a blueprint of ${tables} tables`,
    columns: ["runtime", "database", "median ms", "least ms", "most ms"],
    rows: done.map(({ runtime, way, samplesMs }) => {
      const spread = spreadOf(samplesMs);
      return [runtime, way === "spare" ? "a spare" : "copied", ...[spread.median, spread.least, spread.most].map((ms) => ms.toFixed(0))];
    }),
    asks: done.map(toAsk),
    samples: done,
  };
}

function toAsk({ runtime, way, samplesMs }: Creation): Ask {
  const what = `new tenant, ${way === "spare" ? "spare ready" : "no spare"}, ${runtime}: median`;
  return ask(what, median(samplesMs), "<", wantedMs[way], (ms) => `${ms.toFixed(0)} ms`);
}

async function create(context: Context, runtime: RuntimeName, way: Creation["way"]): Promise<Creation> {
  context.say(`new tenants: ${runtime}, ${way === "spare" ? "with spares" : "without spares"}`);
  const wanted = way === "spare" ? spares : 0;
  const flags = ["--spare-databases", String(wanted)];
  const gateway = await startGateway(`tenants_${runtime}_${way}`, runtime, context.dir, context.server, flags);
  try {
    await designBlueprint(gateway);
    await createTenant(gateway, "first"); // makes the template, and asks for spares
    const samplesMs: number[] = [];
    for (let count = 0; count < (context.quick ? 3 : 10); count++) {
      await waitForSpares(context.server, gateway, wanted);
      samplesMs.push(await createTenant(gateway, `tenant_${count}`));
    }
    return { runtime, way, samplesMs };
  } finally {
    await gateway.stop();
  }
}

/** Tables with a key, an index and a reference each, as applications have them. */
async function designBlueprint(gateway: Gateway): Promise<void> {
  await callApi(gateway.api, "POST", "/workspaces", { name: "shop", database: "PostgreSQL" });
  await withClient(gateway.workspace("shop"), async (client) => {
    for (let number = 1; number <= tables; number++) {
      const parent = number > 1 ? `, parent_id bigint REFERENCES table_${number - 1} (id)` : "";
      await client.query(
        `CREATE TABLE table_${number} (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, amount numeric(12,2), created_at timestamptz NOT NULL DEFAULT now()${parent})`,
      );
    }
  });
}

async function createTenant(gateway: Gateway, tenantId: string): Promise<number> {
  const startedMs = performance.now();
  await callApi(gateway.api, "POST", "/tenants", { tenant_id: tenantId, databases: [{ blueprint: "shop" }] });
  return performance.now() - startedMs;
}

/** Not part of what is measured: spares are made in the background, before they are asked for. */
async function waitForSpares(server: PostgresServer, gateway: Gateway, wanted: number): Promise<void> {
  const deadline = performance.now() + 30_000;
  const store = await server.connect(gateway.storeDatabase);
  try {
    for (;;) {
      const { rows } = await store.query<{ ready: number; making: number }>(
        "SELECT count(*) FILTER (WHERE state = 'ready')::int AS ready, count(*) FILTER (WHERE state = 'creating')::int AS making FROM tenantry.databases WHERE kind = 'spare'",
      );
      const { ready, making } = rows[0]!;
      if (ready >= wanted && making === 0) return;
      if (performance.now() > deadline) throw new Error(`only ${ready} of ${wanted} spares are ready after 30 s`);
      await pause(100);
    }
  } finally {
    await store.end();
  }
}
