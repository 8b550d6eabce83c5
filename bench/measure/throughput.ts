/** Small queries: transactions a second and the proxy's CPU time for each, by protocol, number of clients and TLS. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { bareRelayOf } from "../stage/contenders.ts";
import { type PgbenchRun, type Protocol, runPgbench } from "../stage/pgbench.ts";
import { tcpBouncer } from "../stage/pgbouncer.ts";
import { cpuRatio, describeRounds, type Rounds, ratio, runRounds } from "./rounds.ts";

interface Wanted {
  /** Of PgBouncer's rate. */
  readonly clear: number;
  readonly tls: number;
  /** Of PgBouncer's CPU time: 45 and 32 µs beside its 30. */
  readonly cpu: number;
}

const wanted: Readonly<Record<string, Wanted>> = {
  bun: { clear: 1.05, tls: 1, cpu: 32 / 30 },
  node: { clear: 0.9, tls: 0.85, cpu: 45 / 30 },
};

interface Cell {
  readonly run: PgbenchRun;
  readonly rounds: Rounds;
}

export async function measureThroughput(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  // Once around, unmeasured: backends are logged in, code is compiled. A gateway runs for days; its first second is not what is asked about.
  for (const tls of [false, true]) {
    for (const contender of all) await runPgbench(contender, { protocol: "simple", clients: 16, seconds: 2, tls });
  }
  const cells: Cell[] = [];
  for (const run of plan(context.quick)) {
    context.say(`throughput: ${describeRun(run)}`);
    const rounds = context.rounds ?? roundsOf(run, context.quick);
    cells.push({ run, rounds: await runRounds(all, rounds, (contender) => runPgbench(contender, run)) });
  }
  return {
    name: "throughput",
    title: `Small queries: \`pgbench -S\`, ${context.poolMode} pooling`,
    columns: ["protocol", "clients", "TLS", "through", "transactions/s", "of direct", "of PgBouncer (spread)", "proxy CPU µs/transaction"],
    rows: cells.flatMap(({ run, rounds }) =>
      all.map(({ name }) => [run.protocol, String(run.clients), run.tls ? "yes" : "no", name, ...describeRounds(rounds, name)]),
    ),
    asks: Object.keys(wanted).flatMap((runtime) => [false, true].flatMap((tls) => asks(cells, runtime, tls))),
    samples: cells,
    plots: [false, true].map((tls) => ({
      file: `throughput${tls ? "-tls" : ""}${context.poolMode === "transaction" ? "-transaction" : ""}`,
      title: `Transactions per second of PgBouncer's, ${tls ? "TLS" : "in clear"}, ${context.poolMode} pooling`,
      unit: "×",
      groups: cells
        .filter(({ run }) => run.tls === tls)
        .map(({ run, rounds }) => ({
          name: `${run.protocol}, ${run.clients}`,
          bars: all.flatMap(({ name }) => {
            const value = ratio(rounds, name, "pgbouncer");
            return name === "direct" || value === undefined ? [] : [{ name, value }];
          }),
        })),
    })),
  };
}

/** Enough for a median; most where people look first. */
function roundsOf(run: PgbenchRun, quick: boolean): number {
  return isMain(run) || (run.clients === 16 && !quick) ? 5 : 3;
}

/** The run people look at first takes longest. */
function plan(quick: boolean): PgbenchRun[] {
  const protocols: readonly Protocol[] = quick ? ["simple"] : ["simple", "extended", "prepared"];
  const counts = quick ? [16] : [1, 16, 64, 256];
  const runs: PgbenchRun[] = [];
  for (const tls of [false, true]) {
    for (const protocol of protocols) for (const clients of counts) runs.push({ protocol, clients, tls, seconds: 1 });
  }
  return runs.map((run) => ({ ...run, seconds: secondsOf(run, quick) }));
}

/** The clock runs while clients connect, which takes longer the more they are. */
function secondsOf(run: PgbenchRun, quick: boolean): number {
  if (isMain(run)) return quick ? 2 : 4;
  if (run.clients > 64) return 4;
  return run.clients > 16 ? 2 : 1;
}

function isMain(run: PgbenchRun): boolean {
  return run.protocol === "simple" && run.clients === 16 && !run.tls;
}

function describeRun(run: PgbenchRun): string {
  return `${run.protocol}, ${run.clients} client${run.clients > 1 ? "s" : ""}, ${run.tls ? "TLS" : "in clear"}`;
}

function asks(cells: readonly Cell[], runtime: string, tls: boolean): Ask[] {
  const want = wanted[runtime]!;
  const where = `${tls ? "TLS" : "in clear"}, ${runtime}`;
  const show = (x: number) => x.toFixed(2);
  const of = (cell: Cell) => ratio(cell.rounds, runtime, "pgbouncer");
  const here = cells.filter(({ run }) => run.tls === tls && ratio(cells[0]!.rounds, runtime, "pgbouncer") !== undefined);
  const main = here.find(({ run }) => run.protocol === "simple" && run.clients === 16);
  if (!main) return [];
  const limit = tls ? want.tls : want.clear;
  const toTcp = ratio(main.rounds, runtime, tcpBouncer);
  const toBare = ratio(main.rounds, runtime, bareRelayOf(runtime));
  const cpu = tls ? undefined : cpuRatio(main.rounds, runtime, "pgbouncer");
  return [
    ask(`16 clients, simple protocol, ${where}: of PgBouncer`, of(main)!, ">=", limit, show),
    ...(toTcp === undefined ? [] : [ask(`16 clients, simple protocol, ${where}: of PgBouncer with TCP on both sides`, toTcp, ">=", limit, show)]),
    ...(toBare === undefined ? [] : [ask(`16 clients, simple protocol, ${where}: of the runtime's bare relay`, toBare, ">=", 1, show)]),
    ...(here.length > 1
      ? [ask(`worst of all protocols and clients, ${where}: of PgBouncer`, Math.min(...here.map((cell) => of(cell)!)), ">=", limit, show)]
      : []),
    ...(cpu === undefined ? [] : [ask(`CPU per transaction, ${where}: of PgBouncer's`, cpu, "<", want.cpu, show)]),
  ];
}
