/** What one client waits for an answer: the median and the 99th percentile, and what each way adds to a direct connection's. */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import type { Contender } from "../stage/contender.ts";
import { runPgbench } from "../stage/pgbench.ts";
import { median, percentile, rotate } from "../statistics.ts";

/** Of one run, in microseconds. */
interface LatencySample {
  readonly p50: number;
  readonly p99: number;
}

type Quantile = keyof LatencySample;

interface Cell {
  readonly tls: boolean;
  /** By contender's name, one per round. */
  readonly taken: Readonly<Record<string, readonly LatencySample[]>>;
}

export async function measureLatency(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const cells: Cell[] = [];
  for (const tls of [false, true]) {
    context.say(`latency: ${tls ? "TLS" : "in clear"}`);
    for (const contender of all) await sample(context, contender, tls, 1);
    const taken: Record<string, LatencySample[]> = Object.fromEntries(all.map(({ name }) => [name, []]));
    for (let round = 0; round < (context.rounds ?? (context.quick ? 3 : 7)); round++) {
      for (const contender of rotate(all, round)) taken[contender.name]!.push(await sample(context, contender, tls, context.quick ? 1 : 2));
    }
    cells.push({ tls, taken });
  }
  return {
    name: "latency",
    title: `Latency: one client, \`pgbench -S\`, simple protocol, ${context.poolMode} pooling`,
    columns: ["TLS", "through", "p50 µs", "p99 µs", "added p50 µs", "added p99 µs"],
    rows: cells.flatMap((cell) => all.map(({ name }) => describe(cell, name))),
    asks: cells.flatMap((cell) => context.runtimes.flatMap((runtime) => asks(cell, runtime))),
    samples: cells,
  };
}

async function sample(context: Context, contender: Contender, tls: boolean, seconds: number): Promise<LatencySample> {
  const logPrefix = join(context.dir, "latency");
  await runPgbench(contender, { protocol: "simple", clients: 1, seconds, tls, logPrefix });
  const files = (await readdir(context.dir)).filter((name) => name.startsWith("latency."));
  const texts = await Promise.all(files.map((name) => readFile(join(context.dir, name), "utf8")));
  await Promise.all(files.map((name) => rm(join(context.dir, name))));
  const sorted = texts.flatMap(readLatencies).sort((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
}

/** pgbench's log: client, transaction, latency in microseconds, script, epoch seconds, microseconds. */
export function readLatencies(log: string): number[] {
  return log
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => Number(line.split(" ")[2]));
}

function describe(cell: Cell, name: string): string[] {
  const own = (quantile: Quantile) => median(cell.taken[name]!.map((each) => each[quantile]));
  const added = (quantile: Quantile) => (name === "direct" ? "–" : addedTo(cell, name, quantile).toFixed(0));
  return [cell.tls ? "yes" : "no", name, own("p50").toFixed(0), own("p99").toFixed(0), added("p50"), added("p99")];
}

/** Median of the differences within each round. */
function addedTo({ taken }: Cell, name: string, quantile: Quantile): number {
  return median(taken[name]!.map((each, round) => each[quantile] - taken.direct![round]![quantile]));
}

function asks(cell: Cell, runtime: string): Ask[] {
  if (!cell.taken.pgbouncer) return [];
  return (["p50", "p99"] as const).map((quantile) => {
    const what = `latency added at 1 client, ${cell.tls ? "TLS" : "in clear"}, ${runtime}: ${quantile}`;
    return ask(what, addedTo(cell, runtime, quantile), "<", addedTo(cell, "pgbouncer", quantile), (us) => `${us.toFixed(0)} µs`);
  });
}
