/** Large transfers: how fast results and COPY in both directions go through, and how much the process in between grows meanwhile. */
import type pg from "pg";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import type { Contender } from "../stage/contender.ts";
import { sendCopy } from "../stage/copy-sender.ts";
import { connectTo } from "../stage/gateway.ts";
import { type Received, readResult } from "../stage/result-reader.ts";
import { cpuMs, residentBytes, watchResident } from "../stage/usage.ts";
import { ratiosOf, rotate, spreadOf } from "../statistics.ts";

const megabyte = 1e6;
const mebibyte = 2 ** 20;
const wantedMib = 32;

interface Transfer {
  readonly what: string;
  readonly tls: boolean;
  readonly run: (client: pg.Client) => Promise<Received>;
}

interface StreamSample extends Received {
  /** CPU time of the process in between, in milliseconds. */
  readonly cpuMs: number;
  readonly grownBytes: number;
}

interface Cell {
  readonly transfer: Transfer;
  /** By contender's name, one per round. */
  readonly taken: Readonly<Record<string, readonly StreamSample[]>>;
}

export async function measureRowStream(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const cells: Cell[] = [];
  for (const transfer of plan(context.quick)) {
    context.say(`large transfer: ${transfer.what}, ${transfer.tls ? "TLS" : "in clear"}`);
    const taken: Record<string, StreamSample[]> = Object.fromEntries(all.map(({ name }) => [name, []]));
    for (let round = 0; round < (context.rounds ?? (context.quick ? 3 : 5)); round++) {
      for (const contender of rotate(all, round)) taken[contender.name]!.push(await run(contender, transfer));
    }
    cells.push({ transfer, taken });
  }
  return {
    name: "rows",
    title: "Large transfers: one client",
    columns: ["what", "TLS", "through", "MB/s", "of direct", "proxy CPU ms/100 MB", "growth at most MiB"],
    rows: cells.flatMap((cell) => all.map(({ name }) => describe(name, cell))),
    asks: cells.flatMap((cell) => context.runtimes.flatMap((runtime) => asks(cell, runtime))),
    samples: cells.map(({ transfer, taken }) => ({ what: transfer.what, tls: transfer.tls, taken })),
  };
}

function plan(quick: boolean): Transfer[] {
  const select = (rows: number, width: number) => `SELECT g, '${"x".repeat(width)}' FROM generate_series(1, ${rows}) g`;
  const million = { what: "1,000,000 rows", run: (client: pg.Client) => readResult(client, select(1_000_000, 100)) };
  const gigabyte = { what: "1 GB result", run: (client: pg.Client) => readResult(client, select(1_000_000, 1000)) };
  const copyOut = { what: "COPY TO STDOUT", run: (client: pg.Client) => readResult(client, `COPY (${select(1_000_000, 100)}) TO STDOUT`) };
  const copyIn = {
    what: "COPY FROM STDIN",
    run: (client: pg.Client) => sendCopy(client, "COPY copied FROM STDIN", `1\t${"x".repeat(100)}\n`, quick ? 200_000 : 1_000_000),
  };
  const inClear = [million, ...(quick ? [] : [gigabyte]), copyOut, copyIn].map((each) => ({ ...each, tls: false }));
  return quick ? inClear : [...inClear, ...inClear.map((each) => ({ ...each, tls: true }))];
}

async function run(contender: Contender, transfer: Transfer): Promise<StreamSample> {
  const client = await connectTo(contender, transfer.tls);
  try {
    await client.query("TRUNCATE copied");
    const { pid } = contender;
    if (pid === undefined) return { ...(await transfer.run(client)), cpuMs: 0, grownBytes: 0 };
    const [cpuBefore, residentBefore] = [await cpuMs(pid), await residentBytes(pid)];
    const stopWatching = watchResident(pid);
    const received = await transfer.run(client).finally(stopWatching);
    const grownBytes = Math.max(0, (await stopWatching()) - residentBefore);
    return { ...received, cpuMs: (await cpuMs(pid)) - cpuBefore, grownBytes };
  } finally {
    await client.end();
  }
}

const speeds = (samples: readonly StreamSample[] | undefined) => (samples ?? []).map(({ bytes, seconds }) => bytes / megabyte / seconds);
const growthMib = (samples: readonly StreamSample[]) => Math.max(...samples.map(({ grownBytes }) => grownBytes)) / mebibyte;

function describe(name: string, { transfer, taken }: Cell): string[] {
  const samples = taken[name]!;
  const bytes = samples[0]!.bytes;
  if (taken.direct && taken.direct[0]!.bytes !== bytes) throw new Error(`${name} moved ${bytes} bytes instead of ${taken.direct[0]!.bytes}`);
  const cpu = spreadOf(samples.map((sample) => (sample.cpuMs * 100 * megabyte) / sample.bytes)).median;
  const isDirect = name === "direct";
  return [
    ...[transfer.what, transfer.tls ? "yes" : "no", name, spreadOf(speeds(samples)).median.toFixed(0)],
    isDirect ? "1" : ratiosOf(speeds(samples), speeds(taken.direct)).median.toFixed(2),
    ...(isDirect ? ["–", "–"] : [cpu.toFixed(0), growthMib(samples).toFixed(0)]),
  ];
}

function asks({ transfer, taken }: Cell, runtime: string): Ask[] {
  const samples = taken[runtime];
  if (!samples) return [];
  const what = `${transfer.what}, ${transfer.tls ? "TLS" : "in clear"}, ${runtime}`;
  return [
    ask(`${what}: of direct`, ratiosOf(speeds(samples), speeds(taken.direct)).median, ">=", 0.9, (x) => x.toFixed(2)),
    ask(`${what}: growth of resident memory`, growthMib(samples), "<", wantedMib, (x) => `${x.toFixed(0)} MiB`),
  ];
}
