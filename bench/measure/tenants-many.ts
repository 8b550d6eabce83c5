/** Many tenants with many clients on few backends: whether everybody is served alike, and the server never has one connection too many. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import { pause, runProgram } from "../stage/children.ts";
import type { Crowd, CrowdResult } from "../stage/crowd.ts";
import { type Gateway, startGateway, withClient } from "../stage/gateway.ts";
import type { PostgresServer } from "../stage/postgres.ts";
import { cpuMs, residentBytes } from "../stage/usage.ts";
import { median } from "../statistics.ts";

export interface CrowdSize {
  readonly tenants: number;
  readonly clients: number;
  readonly backends: number;
}

const sizes = { full: { tenants: 1000, clients: 10_000, backends: 100 }, quick: { tenants: 50, clients: 500, backends: 10 } } as const;
const creationsAtOnce = 4;
const manners = { visit: "session: connect, transaction, leave", stay: "transaction: stay connected" } as const;
const sql = "SELECT name FROM customers WHERE id = 1";

interface Outcome extends CrowdResult {
  readonly manner: Crowd["manner"];
  readonly mostBackends: number;
  readonly cpuUs: number;
  readonly residentBytes: number;
}

export async function measureTenantsMany(context: Context): Promise<Section> {
  const size = context.crowd ?? sizes[context.quick ? "quick" : "full"];
  const runtime = context.runtimes[0]!;
  // Nobody is refused here for having waited long: how long they wait is what is measured.
  const waits = ["--connect-wait-ms", "600000", "--login-timeout-ms", "600000", "--max-unauthenticated", "100000"];
  const flags = ["--backend-budget", String(size.backends), "--spare-databases", "0", "--slow-reader-timeout-s", "0", ...waits];
  const gateway = await startGateway("crowd", runtime, context.dir, context.server, flags);
  const outcomes: Outcome[] = [];
  try {
    const tenants = await makeTenants(context, gateway, size.tenants);
    for (const manner of ["visit", "stay"] as const) {
      context.say(`many tenants: ${manners[manner]}`);
      await callApi(gateway.api, "PATCH", "/workspaces/crowd/settings", { pool_mode: manner === "visit" ? "session" : "transaction" });
      await pause(3000); // until every instance knows
      outcomes.push(await run(context, gateway, tenants, size, manner));
    }
  } finally {
    await gateway.stop();
  }
  return describe(size, runtime, outcomes);
}

async function makeTenants(context: Context, gateway: Gateway, count: number): Promise<Crowd["tenants"]> {
  context.say(`many tenants: making ${count}`);
  await callApi(gateway.api, "POST", "/workspaces", { name: "crowd", database: "PostgreSQL" });
  await withClient(gateway.workspace("crowd"), async (client) => {
    await client.query("CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL)");
  });
  const tenants: { database: string; password: string }[] = [];
  const names = Array.from({ length: count }, (_, i) => `tenant_${i}`).values();
  const make = async () => {
    for (const tenant_id of names) {
      const made = await callApi<{ databases: { connection_string: string }[] }>(gateway.api, "POST", "/tenants", {
        tenant_id,
        databases: [{ blueprint: "crowd" }],
      });
      const url = new URL(made.databases[0]!.connection_string);
      tenants.push({ database: url.pathname.slice(1), password: decodeURIComponent(url.password) });
    }
  };
  await Promise.all(Array.from({ length: creationsAtOnce }, make));
  return tenants;
}

async function run(context: Context, gateway: Gateway, tenants: Crowd["tenants"], size: CrowdSize, manner: Crowd["manner"]): Promise<Outcome> {
  const { host, port, user } = gateway.workspace("crowd");
  const ms = context.quick ? { warmUpMs: 5000, measureMs: 10_000 } : { warmUpMs: 30_000, measureMs: 60_000 };
  const crowd: Crowd = { host, port, user, tenants, clients: size.clients, manner, sql, ...ms };
  const file = join(context.dir, `crowd-${manner}.json`);
  await writeFile(file, JSON.stringify(crowd), { mode: 0o600 });
  const script = fileURLToPath(new URL("../stage/crowd.ts", import.meta.url));
  const watch = watchBackends(context.server);
  const beforeMs = await cpuMs(gateway.pid);
  let peakBytes = 0;
  const watching = setInterval(() => void residentBytes(gateway.pid).then((bytes) => (peakBytes = Math.max(peakBytes, bytes))), 1000);
  try {
    const said = await runProgram(process.execPath, [script, file], { timeoutMs: ms.warmUpMs + ms.measureMs + 300_000 });
    const result = JSON.parse(said) as CrowdResult;
    const done = result.transactions.reduce((sum, each) => sum + each, 0);
    const share = result.seconds / ((ms.warmUpMs + ms.measureMs) / 1000);
    const cpuUs = (((await cpuMs(gateway.pid)) - beforeMs) * 1000 * share) / Math.max(1, done);
    return { ...result, manner, mostBackends: await watch.stop(), cpuUs, residentBytes: peakBytes };
  } finally {
    clearInterval(watching);
    await watch.stop();
  }
}

/** Looks again and again how many connections of tenants the server has. */
function watchBackends(server: PostgresServer): { stop(): Promise<number> } {
  let isOver = false;
  let most = 0;
  const watching = (async () => {
    const admin = await server.connect("postgres");
    try {
      while (!isOver) {
        const { rows } = await admin.query<{ n: number }>(
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename ~ '^tdb_.*_(admin|write|read)$'",
        );
        most = Math.max(most, rows[0]!.n);
        await pause(50);
      }
    } finally {
      await admin.end();
    }
  })();
  watching.catch(() => undefined); // told to whoever stops it
  return {
    async stop() {
      isOver = true;
      await watching;
      return most;
    },
  };
}

function describe(size: CrowdSize, runtime: string, outcomes: readonly Outcome[]): Section {
  const shown = (n: number) => n.toLocaleString("en-US");
  return {
    name: "tenants-many",
    title: `Many tenants: ${shown(size.tenants)} of them with ${shown(size.clients)} clients on ${size.backends} backends, ${runtime}`,
    columns: [
      "pool mode",
      "transactions/s",
      "fastest tenant p50 ms",
      "median",
      "slowest",
      "slowest of fastest",
      "errors",
      "most backends",
      "CPU µs",
      "MiB",
    ],
    rows: outcomes.map((each) => {
      const { fastest, middle, slowest } = spread(each);
      const total = each.transactions.reduce((sum, n) => sum + n, 0);
      return [
        manners[each.manner],
        shown(Math.round(total / each.seconds)),
        ...[fastest, middle, slowest].map((ms) => ms.toFixed(0)),
        (slowest / fastest).toFixed(2),
        Object.entries(each.errors)
          .map(([why, n]) => `${why}: ${n}`)
          .join(", ") || "none",
        String(each.mostBackends),
        each.cpuUs.toFixed(0),
        (each.residentBytes / 1024 ** 2).toFixed(0),
      ];
    }),
    asks: outcomes.flatMap((each) => asksOf(each, size)),
    samples: { size, runtime, outcomes },
  };
}

/** A tenant that was not served at all waited for ever. */
function spread({ medianMs }: Outcome) {
  const times = medianMs.map((ms) => ms ?? Number.POSITIVE_INFINITY);
  return { fastest: Math.min(...times), middle: median(times), slowest: Math.max(...times) };
}

function asksOf(outcome: Outcome, size: CrowdSize): Ask[] {
  const { fastest, slowest } = spread(outcome);
  const errors = Object.values(outcome.errors).reduce((sum, n) => sum + n, 0);
  const what = `many tenants, ${outcome.manner === "visit" ? "session" : "transaction"} mode`;
  return [
    ask(`${what}: slowest tenant's p50 of the fastest's`, slowest / fastest, "<", 3, (x) => `${x.toFixed(2)} ×`),
    ask(`${what}: clients that were refused or cut off`, errors, "<", 1, String),
    ask(`${what}: backends the server ever had`, outcome.mostBackends, "<", size.backends + 1, String),
  ];
}
