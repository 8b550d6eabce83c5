/** A good tenant's latency while somebody misbehaves, beside the same without, and what refusing costs. */
import { fileURLToPath } from "node:url";
import type pg from "pg";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import type { Attack } from "../stage/attacker.ts";
import { pause, startChild } from "../stage/children.ts";
import type { Contender } from "../stage/contender.ts";
import { addTenant, connectTo, type Gateway, type RuntimeName, startGateway } from "../stage/gateway.ts";
import type { PostgresServer } from "../stage/postgres.ts";
import { cpuMs } from "../stage/usage.ts";
import { median, ratiosOf } from "../statistics.ts";

const lanes = 4;
/** The good tenant asks this often on each connection, whatever happens: an application's pace, not a benchmark's. */
const everyMs = 20;

interface Sample {
  readonly runtime: RuntimeName | "direct";
  readonly attack: Attack["kind"];
  readonly quietMs: readonly number[];
  readonly attackedMs: readonly number[];
  /** What the attacker counted in the last round. */
  readonly counts: Readonly<Record<string, number>>;
}

interface Rate {
  readonly runtime: RuntimeName;
  readonly what: string;
  readonly perS: number;
  readonly cpuUs: number;
  readonly counts: Readonly<Record<string, number>>;
}

const widths: Readonly<Record<Attack["kind"], number>> = {
  "wrong-passwords": 8,
  "heavy-queries": 100,
  stalled: 1000,
  "slow-reader": 1,
  banned: 8,
  accepted: 8,
};
/** Nobody is exempt, and no connect rate stands before what is measured. */
const flags = ["--ip-exempt", "192.0.2.1", "--ip-connect-rate", "1000000", "--ip-connect-burst", "1000000"];
const names = {
  "wrong-passwords": "one address tries wrong passwords",
  "heavy-queries": "another tenant runs 100 heavy queries",
  stalled: "1,000 clients stall in start-up",
  "slow-reader": "a client reads 1 GB slowly",
} as const;

export async function measureAttacks(context: Context): Promise<Section> {
  const samples: Sample[] = [];
  const rates: Rate[] = [];
  for (const runtime of context.runtimes) {
    const gateway = await startGateway(`attacks_${runtime}`, runtime, context.dir, context.server, flags);
    try {
      const good = await addTenant(gateway);
      const other = await addOther(gateway);
      for (const kind of Object.keys(names) as (keyof typeof names)[]) {
        context.say(`attacks: ${runtime}, ${kind}`);
        samples.push(await compare(context, runtime, kind, good, other));
      }
      for (const tls of [false, true]) {
        context.say(`refusing: ${runtime}${tls ? ", TLS" : ""}`);
        rates.push(...(await refuse(context, gateway, good, tls)));
      }
    } finally {
      await gateway.stop();
    }
  }
  context.say("attacks: direct, heavy-queries");
  const direct = { name: "direct", host: "127.0.0.1", port: context.server.port, user: context.server.user, password: context.server.password };
  const alone = { ...direct, database: "postgres", pid: undefined };
  samples.push(await compare(context, "direct", "heavy-queries", alone, alone));
  return {
    name: "attacks",
    title: "Under attack: 99th percentile of a good tenant's queries, and connections refused",
    columns: ["through", "what happens", "quiet p99 ms", "attacked p99 ms", "ratio (spread)", "per s", "told why", "gateway CPU µs each"],
    rows: [
      ...samples.map((each) => [each.runtime, names[each.attack as keyof typeof names], ...numbers(each), "", "", ""]),
      ...rates.map((each) => [each.runtime, each.what, "", "", "", each.perS.toFixed(0), toldOf(each), each.cpuUs.toFixed(0)]),
    ],
    asks: asksOf(samples),
    samples: { latencies: samples, rates },
  };
}

function toldOf({ counts }: Rate): string {
  return counts.accepted === undefined ? `${(((counts.told ?? 0) * 100) / ((counts.told ?? 0) + (counts.closed ?? 0))).toFixed(0)} %` : "";
}

function numbers({ quietMs, attackedMs }: Sample): string[] {
  const { median: ratio, least, most } = ratiosOf(attackedMs, quietMs);
  return [median(quietMs).toFixed(1), median(attackedMs).toFixed(1), `${ratio.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`];
}

/** Under twice the quiet value; with heavy queries, no worse than with PostgreSQL alone, a quarter of noise allowed. */
function asksOf(samples: readonly Sample[]): Ask[] {
  const ratio = ({ quietMs, attackedMs }: Sample) => ratiosOf(attackedMs, quietMs).median;
  const alone = samples.find(({ runtime }) => runtime === "direct");
  return samples
    .filter(({ runtime }) => runtime !== "direct")
    .map((each) => {
      const what = `good tenant's p99 while ${names[each.attack as keyof typeof names]}, ${each.runtime}: of quiet`;
      const limit = each.attack === "heavy-queries" && alone ? ratio(alone) * 1.25 : 2;
      return ask(what, ratio(each), "<", limit, (x) => `${x.toFixed(2)} ×`);
    });
}

/** A second tenant of the same blueprint, somebody else's. */
async function addOther(gateway: Gateway): Promise<Contender> {
  const made = await callApi<{ databases: { connection_string: string }[] }>(gateway.api, "POST", "/tenants", {
    tenant_id: "other",
    databases: [{ blueprint: "bench" }],
  });
  const url = new URL(made.databases[0]!.connection_string);
  return { ...gateway.workspace("bench"), password: decodeURIComponent(url.password), database: url.pathname.slice(1) };
}

/** Quiet and attacked take turns, so that a machine that is slower for a while is slower for both. */
async function compare(context: Context, runtime: Sample["runtime"], kind: keyof typeof names, good: Contender, other: Contender): Promise<Sample> {
  const clients = await Promise.all(Array.from({ length: lanes }, () => connectTo(good, true)));
  const quietMs: number[] = [];
  const attackedMs: number[] = [];
  let counts = {};
  try {
    await p99(clients, 1000);
    for (let round = 0; round < (context.quick ? 5 : 7); round++) {
      const ms = context.quick ? 2000 : 3000;
      quietMs.push(await p99(clients, ms));
      const attacker = start({ kind, to: other, from: `127.0.1.${round + 1}`, tls: kind !== "stalled", width: widths[kind] });
      await pause(1000); // until it is in full swing
      attackedMs.push(await p99(clients, ms));
      counts = await attacker.stop();
      await calmDown(context.server);
    }
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
  return { runtime, attack: kind, quietMs, attackedMs, counts };
}

/** Until nothing of the attack runs on the server any more: what is quiet next is to be quiet. */
async function calmDown(server: PostgresServer): Promise<void> {
  const client = await server.connect("postgres");
  try {
    const active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    for (let left = 300; (await client.query(active)).rowCount !== 0; left--) {
      if (left === 0) throw new Error("what the attacker began still runs a minute after it left");
      await pause(200);
    }
  } finally {
    await client.end();
  }
}

/** Milliseconds that 99 of 100 answers take no longer than. What should have been sent while one waited counts from when it should have. */
async function p99(clients: readonly pg.Client[], forMs: number): Promise<number> {
  const taken: number[] = [];
  const end = performance.now() + forMs;
  const lane = async (client: pg.Client, offset: number) => {
    for (let due = performance.now() + offset; due < end; due += everyMs) {
      const wait = due - performance.now();
      if (wait > 0) await pause(wait);
      await client.query("SELECT $1::int AS one", [1]);
      taken.push(performance.now() - Math.max(due, end - forMs));
    }
  };
  await Promise.all(clients.map((client, i) => lane(client, (i * everyMs) / lanes)));
  taken.sort((a, b) => a - b);
  return taken[Math.floor(taken.length * 0.99)] ?? Number.NaN;
}

function start(attack: Attack): { stop(): Promise<Record<string, number>> } {
  const script = fileURLToPath(new URL("../stage/attacker.ts", import.meta.url));
  const child = startChild(attack.kind, process.execPath, [script, JSON.stringify(attack)]);
  return {
    async stop() {
      await child.stop();
      const said = child.output().trim();
      if (!said.startsWith("{")) throw new Error(`the attacker failed: ${said}`);
      return JSON.parse(said) as Record<string, number>;
    },
  };
}

/** Logins a second of one who may, then of an address that is banned, and what each costs the gateway. */
async function refuse(context: Context, gateway: Gateway, good: Contender, tls: boolean): Promise<Rate[]> {
  const from = tls ? "127.0.2.2" : "127.0.2.1";
  const rates: Rate[] = [];
  for (const kind of ["accepted", "banned"] as const) {
    if (kind === "banned") await ban(good, from);
    const attacker = start({ kind, to: good, from, tls, width: widths[kind] });
    await pause(500);
    const [beforeMs, beganMs] = [await cpuMs(gateway.pid), performance.now()];
    await pause(context.quick ? 4000 : 10_000);
    const [afterMs, endedMs] = [await cpuMs(gateway.pid), performance.now()];
    const counts = await attacker.stop();
    const total = Object.values(counts).reduce((sum, each) => sum + each, 0);
    const perS = total / ((endedMs - beganMs) / 1000 + 0.5);
    const what = `${kind === "accepted" ? "logins accepted" : "connections of a banned address"}${tls ? ", TLS" : ", in clear"}`;
    rates.push({ runtime: gateway.runtime, what, perS, cpuUs: ((afterMs - beforeMs) * 1000) / (perS * ((endedMs - beganMs) / 1000)), counts });
  }
  return rates;
}

async function ban(good: Contender, from: string): Promise<void> {
  const attacker = start({ kind: "wrong-passwords", to: good, from, tls: false, width: 4 });
  await pause(1500);
  const counts = await attacker.stop();
  if (!counts["53300"]) throw new Error(`no ban came of ${JSON.stringify(counts)}`);
}
