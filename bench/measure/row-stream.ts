/** A large result: how fast a million rows come through to a reader that takes all it gets. */
import type { Context } from "../context.ts";
import type { Section } from "../section.ts";
import type { Contender } from "../stage/contender.ts";
import { connectTo } from "../stage/gateway.ts";
import { type Received, readResult } from "../stage/result-reader.ts";
import { cpuMs } from "../stage/usage.ts";
import { ratiosOf, rotate, spreadOf } from "../statistics.ts";

const sql = `SELECT g, '${"x".repeat(100)}' FROM generate_series(1, 1000000) g`;
const megabyte = 1e6;

interface StreamSample extends Received {
  /** CPU time of the process in between, in milliseconds. */
  readonly cpuMs: number;
}

export async function measureRowStream(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const rows: string[][] = [];
  const samples: Record<string, Record<string, StreamSample[]>> = {};
  for (const tls of context.quick ? [false] : [false, true]) {
    context.say(`row stream: ${tls ? "TLS" : "in clear"}`);
    const taken: Record<string, StreamSample[]> = Object.fromEntries(all.map(({ name }) => [name, []]));
    for (let round = 0; round < (context.quick ? 3 : 5); round++) {
      for (const contender of rotate(all, round)) taken[contender.name]!.push(await stream(contender, tls));
    }
    rows.push(...all.map(({ name }) => describe(name, tls, taken)));
    samples[tls ? "tls" : "clear"] = taken;
  }
  return {
    name: "rows",
    title: "A large result: 1,000,000 rows, one client",
    columns: ["TLS", "through", "MB/s", "of direct", "proxy CPU ms/100 MB"],
    rows,
    asks: [],
    samples,
  };
}

async function stream(contender: Contender, tls: boolean): Promise<StreamSample> {
  const client = await connectTo(contender, tls);
  try {
    const before = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
    const received = await readResult(client, sql);
    const after = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
    return { ...received, cpuMs: after - before };
  } finally {
    await client.end();
  }
}

function describe(name: string, tls: boolean, taken: Readonly<Record<string, readonly StreamSample[]>>): string[] {
  const speeds = (of: string) => (taken[of] ?? []).map(({ bytes, seconds }) => bytes / megabyte / seconds);
  const bytes = taken[name]![0]!.bytes;
  if (taken.direct && taken.direct[0]!.bytes !== bytes) throw new Error(`${name} sent ${bytes} bytes instead of ${taken.direct[0]!.bytes}`);
  const cpu = spreadOf(taken[name]!.map((sample) => (sample.cpuMs * 100 * megabyte) / sample.bytes)).median;
  return [
    tls ? "yes" : "no",
    name,
    spreadOf(speeds(name)).median.toFixed(0),
    name === "direct" ? "1" : ratiosOf(speeds(name), speeds("direct")).median.toFixed(2),
    name === "direct" ? "–" : cpu.toFixed(0),
  ];
}
