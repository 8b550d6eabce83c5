/** A tenant with five clients beside one with forty-five writers: its median latency, and the same on PostgreSQL without a gateway. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import { pause, runProgram } from "../stage/children.ts";
import { type Contender, clientEnvironment } from "../stage/contender.ts";
import { type Gateway, type PoolMode, startGateway, withClient } from "../stage/gateway.ts";
import { findPgBouncer, startPgBouncer } from "../stage/pgbouncer.ts";
import type { PostgresServer } from "../stage/postgres.ts";
import { createTables, fillWriterTables } from "../stage/tables.ts";
import { median, ratiosOf, rotate } from "../statistics.ts";

const scale = 5;
const writers = 9 * 5;
const victims = 5;

/** How the gateway pools: a backend for each client; or the usual few for each core, shared. */
const ways = [
  { poolMode: "session", name: "session pooling", flags: [] },
  { poolMode: "transaction", name: "transaction pooling, 10 backends", flags: ["--backend-budget", "10"] },
] as const satisfies readonly { poolMode: PoolMode; name: string; flags: readonly string[] }[];

/** One way to the same server, with two databases of its own. */
interface Pair {
  readonly name: string;
  readonly noisy: Contender;
  readonly victim: Contender;
}

interface Latencies {
  readonly quietMs: number[];
  readonly besideMs: number[];
}

export async function measureVictim(context: Context): Promise<Section> {
  const stops: (() => Promise<void>)[] = [];
  try {
    const direct = await makeDirectPair(context.server);
    const pairs = [direct];
    const program = await findPgBouncer();
    if (program !== undefined) {
      const bouncer = await startPgBouncer({
        ...context,
        direct: direct.noisy,
        more: [direct.victim],
        poolMode: "session",
        program,
        kind: "installed",
      });
      stops.push(bouncer.stop);
      const { name, port, pid } = bouncer.contender;
      pairs.push({ name, noisy: { ...direct.noisy, port, pid }, victim: { ...direct.victim, port, pid } });
    }
    for (const runtime of context.runtimes) {
      for (const way of ways) {
        const gateway = await startGateway(`victim_${runtime}_${way.poolMode}`, runtime, context.dir, context.server, way.flags);
        stops.push(gateway.stop);
        pairs.push(await makeTenantPair(gateway, way));
      }
    }
    const taken: Record<string, Latencies> = Object.fromEntries(pairs.map(({ name }) => [name, { quietMs: [], besideMs: [] }]));
    for (let round = 0; round < (context.quick ? 3 : 5); round++) {
      context.say(`victim: round ${round + 1}`);
      for (const pair of rotate(pairs, round)) await measureRound(context, pair, taken[pair.name]!);
    }
    return describe(taken);
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

function describe(taken: Readonly<Record<string, Latencies>>): Section {
  const direct = taken.direct!;
  return {
    name: "victim",
    title: `A tenant with ${victims} clients beside one with ${writers} writers: \`pgbench\`, TPC-B-like`,
    columns: ["through", "alone p50 ms", "beside the writers p50 ms", "of direct, alone (spread)", "of direct, beside them (spread)"],
    rows: Object.entries(taken).map(([name, { quietMs, besideMs }]) => [
      name,
      ...[quietMs, besideMs].map((values) => median(values).toFixed(1)),
      ...(name === "direct" ? ["1", "1"] : [showRatio(quietMs, direct.quietMs), showRatio(besideMs, direct.besideMs)]),
    ]),
    asks: Object.entries(taken).flatMap(([name, { besideMs }]): Ask[] => {
      if (name === "direct" || name.startsWith("pgbouncer")) return [];
      const what = `victim's p50 beside ${writers} writers of another tenant, ${name}: of direct`;
      return [ask(what, ratiosOf(besideMs, direct.besideMs).median, "<", 1.2, (x) => `${x.toFixed(2)} ×`)];
    }),
    samples: taken,
  };
}

function showRatio(values: readonly number[], base: readonly number[]): string {
  const { median: middle, least, most } = ratiosOf(values, base);
  return `${middle.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`;
}

async function measureRound(context: Context, pair: Pair, into: Latencies): Promise<void> {
  const seconds = context.quick ? 3 : 8;
  into.quietMs.push(await medianLatency(context.dir, pair.victim, victims, seconds));
  const noise = runWriters(pair.noisy, writers, seconds + 4);
  noise.catch(() => undefined); // told below
  await pause(2000); // until all have connected
  into.besideMs.push(await medianLatency(context.dir, pair.victim, victims, seconds));
  await noise;
}

/** From pgbench's log of every transaction. */
async function medianLatency(dir: string, contender: Contender, clients: number, seconds: number): Promise<number> {
  const folder = await mkdtemp(join(dir, "latencies-"));
  try {
    await runWriters(contender, clients, seconds, ["--log", `--log-prefix=${join(folder, "log")}`]);
    const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
    return medianOfLog(texts.join(""));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds. A line is: client, transaction, microseconds, script, time. */
export function medianOfLog(text: string): number {
  const times = text
    .split("\n")
    .map((line) => Number(line.split(" ")[2]))
    .filter((us) => us > 0);
  return median(times) / 1000;
}

async function runWriters(contender: Contender, clients: number, seconds: number, more: readonly string[] = []): Promise<void> {
  const args = ["-n", "-b", "tpcb-like", "-c", String(clients), "-j", "1", "-T", String(seconds), ...more];
  await runProgram("pgbench", args, { env: clientEnvironment(contender, false), timeoutMs: seconds * 1000 + 60_000 });
}

async function makeTenantPair(gateway: Gateway, way: (typeof ways)[number]): Promise<Pair> {
  await callApi(gateway.api, "POST", "/workspaces", { name: "bench", database: "PostgreSQL" });
  await callApi(gateway.api, "PATCH", "/workspaces/bench/settings", { pool_mode: way.poolMode });
  await withClient(gateway.workspace("bench"), async (client) => {
    for (const sql of createTables) await client.query(sql);
  });
  const make = async (tenant_id: string): Promise<Contender> => {
    const made = await callApi<{ databases: { connection_string: string }[] }>(gateway.api, "POST", "/tenants", {
      tenant_id,
      databases: [{ blueprint: "bench" }],
    });
    const url = new URL(made.databases[0]!.connection_string);
    const tenant = { ...gateway.workspace("bench"), password: decodeURIComponent(url.password), database: url.pathname.slice(1) };
    await withClient(tenant, (client) => fillWriterTables(client, scale));
    return tenant;
  };
  return { name: `${gateway.runtime}, ${way.name}`, noisy: await make("noisy"), victim: await make("victim") };
}

async function makeDirectPair(server: PostgresServer): Promise<Pair> {
  const make = async (database: string): Promise<Contender> => {
    const password = "bench-writer";
    const admin = await server.connect("postgres");
    await admin.query(`CREATE ROLE ${database} LOGIN PASSWORD '${password}'`);
    await admin.query(`CREATE DATABASE ${database} OWNER ${database}`).finally(() => admin.end());
    const contender = { name: "direct", host: "127.0.0.1", port: server.port, user: database, password, database, pid: undefined };
    await withClient(contender, async (client) => {
      for (const sql of createTables) await client.query(sql);
      await fillWriterTables(client, scale);
    });
    return contender;
  };
  return { name: "direct", noisy: await make("bench_noisy"), victim: await make("bench_victim") };
}
