/** Workers: what a transaction and a connection cost with one process and with several. As much CPU for each means as many more on more cores. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import type { Contender } from "../stage/contender.ts";
import { addTenant, type Gateway, type RuntimeName, startGateway } from "../stage/gateway.ts";
import { runPgbench, type Sample } from "../stage/pgbench.ts";
import { spreadOf } from "../statistics.ts";
import { connectRepeatedly } from "./connection-rate.ts";
import { rates, runRounds } from "./rounds.ts";

const counts = [1, 2] as const;
/** CPU per transaction with two workers, of that with one: linear to 15 %. */
const mostOfOne = 1.15;
/** Limits per address are kept, so that what they cost is measured, and reached by nobody. */
const limits = ["--ip-exempt", "192.0.2.1", "--ip-max-connections", "100000", "--ip-connect-rate", "1000000", "--ip-connect-burst", "1000000"];

interface Work {
  readonly what: string;
  readonly isAsked: boolean;
  readonly run: (contender: Contender, seconds: number) => Promise<Sample>;
}

const clientsPerWorker = 16;
/** Far below what the machine's cores can do with two workers. */
const ratePerWorker = 4000;

/**
 * Asked of at the same rate for each worker: a process that is never idle takes many messages a turn, which two that share the cores with server and
 * clients do not, so that at full load it is the cores that are compared.
 */
const works: readonly Work[] = [
  {
    what: `transactions, simple, ${clientsPerWorker} clients and ${ratePerWorker.toLocaleString("en-US")} a second for each worker`,
    isAsked: true,
    run: (contender, seconds) => runPgbench(contender, { ...transactions(contender), seconds, rate: ratePerWorker * workersOf(contender) }),
  },
  {
    what: `transactions, simple, ${clientsPerWorker} clients for each worker, as many as go`,
    isAsked: false,
    run: (contender, seconds) => runPgbench(contender, { ...transactions(contender), seconds }),
  },
  { what: "connections", isAsked: false, run: (contender, seconds) => connectRepeatedly(contender, "no", seconds) },
];

function transactions(contender: Contender) {
  return { protocol: "simple", clients: clientsPerWorker * workersOf(contender), tls: false } as const;
}

function workersOf({ name }: Contender): number {
  return Number(name);
}

export async function measureWorkers(context: Context): Promise<Section> {
  const rows: string[][] = [];
  const asks: Ask[] = [];
  const samples: Record<string, unknown> = {};
  for (const runtime of context.runtimes) {
    const { contenders, stop } = await startBoth(context, runtime);
    try {
      for (const { what, isAsked, run } of works) {
        context.say(`workers: ${runtime}, ${what}`);
        for (const contender of contenders) await run(contender, 1); // backends are logged in from here on
        const rounds = await runRounds(contenders, context.quick ? 3 : 5, (contender) => run(contender, 3));
        const cpu = contenders.map(({ name }) => cpuOf(rounds[name] ?? []));
        rows.push(...contenders.map(({ name }, i) => [runtime, what, name, rateOf(rates(rounds, name)), String(Math.round(cpu[i] ?? 0))]));
        samples[`${runtime}, ${what}`] = rounds;
        if (isAsked) asks.push(askOf(runtime, cpu));
      }
    } finally {
      await stop();
    }
  }
  return {
    name: "workers",
    title: "Workers: the same work by one process and by two",
    columns: ["runtime", "what", "workers", "per second", "CPU µs each, all processes"],
    rows,
    asks,
    samples,
  };
}

async function startBoth(context: Context, runtime: RuntimeName): Promise<{ contenders: Contender[]; stop: () => Promise<void> }> {
  const gateways: Gateway[] = [];
  const stop = async () => {
    for (const gateway of gateways.reverse()) await gateway.stop();
  };
  try {
    const contenders: Contender[] = [];
    for (const count of counts) {
      const gateway = await startGateway(`workers_${runtime}_${count}`, runtime, context.dir, context.server, [
        ...limits,
        "--workers",
        String(count),
      ]);
      gateways.push(gateway);
      contenders.push({ ...(await addTenant(gateway)), name: String(count) });
    }
    return { contenders, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function askOf(runtime: RuntimeName, [one = 0, two = 0]: readonly number[]): Ask {
  return ask(`${runtime}: CPU per transaction with two workers, of that with one`, two / one, "<", mostOfOne, (x) => x.toFixed(2));
}

function cpuOf(samples: readonly Sample[]): number {
  return spreadOf(samples.flatMap(({ cpuUs }) => cpuUs ?? [])).median;
}

function rateOf(values: readonly number[]): string {
  return Math.round(spreadOf(values).median).toLocaleString("en-US");
}
