/** Small queries: transactions a second and the proxy's CPU time for each, by protocol, number of clients and TLS. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { type PgbenchRun, type Protocol, runPgbench } from "../stage/pgbench.ts";
import { describeRounds, type Rounds, ratio, runRounds } from "./rounds.ts";

/** Of PgBouncer's rate, at 16 clients with simple queries in clear. */
const wantedRatios: Readonly<Record<string, number>> = { bun: 0.9, node: 0.75 };

interface Cell {
  readonly run: PgbenchRun;
  readonly rounds: Rounds;
}

export async function measureThroughput(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  // Once around, unmeasured: backends are logged in, code is compiled.
  for (const contender of all) await runPgbench(contender, { protocol: "simple", clients: 16, seconds: 1, tls: false });
  const cells: Cell[] = [];
  for (const run of plan(context.quick)) {
    context.say(`throughput: ${describeRun(run)}`);
    cells.push({ run, rounds: await runRounds(all, roundsOf(run, context.quick), (contender) => runPgbench(contender, run)) });
  }
  return {
    name: "throughput",
    title: "Small queries: `pgbench -S`",
    columns: ["protocol", "clients", "TLS", "through", "transactions/s", "of direct", "of PgBouncer (spread)", "proxy CPU µs/transaction"],
    rows: cells.flatMap(({ run, rounds }) =>
      all.map(({ name }) => [run.protocol, String(run.clients), run.tls ? "yes" : "no", name, ...describeRounds(rounds, name)]),
    ),
    asks: cells.flatMap(({ run, rounds }) => (isAsked(run) ? asks(rounds) : [])),
    samples: cells,
  };
}

/** Enough for a median; most where people look first. */
function roundsOf(run: PgbenchRun, quick: boolean): number {
  return isAsked(run) || (run.clients === 16 && !quick) ? 5 : 3;
}

/** The run the asks are about takes longest. */
function plan(quick: boolean): PgbenchRun[] {
  const protocols: readonly Protocol[] = quick ? ["simple"] : ["simple", "extended", "prepared"];
  const counts = quick ? [16] : [1, 16, 64];
  const runs: PgbenchRun[] = [];
  for (const tls of [false, true]) {
    for (const protocol of protocols) for (const clients of counts) runs.push({ protocol, clients, tls, seconds: 1 });
  }
  return runs.map((run) => ({ ...run, seconds: secondsOf(run, quick) }));
}

/** The clock runs while clients connect, which takes longer the more they are. */
function secondsOf(run: PgbenchRun, quick: boolean): number {
  if (isAsked(run)) return quick ? 2 : 4;
  return run.clients > 16 ? 2 : 1;
}

function isAsked(run: PgbenchRun): boolean {
  return run.protocol === "simple" && run.clients === 16 && !run.tls;
}

function describeRun(run: PgbenchRun): string {
  return `${run.protocol}, ${run.clients} client${run.clients > 1 ? "s" : ""}, ${run.tls ? "TLS" : "in clear"}`;
}

function asks(rounds: Rounds): Ask[] {
  return Object.entries(wantedRatios).flatMap(([name, wanted]) => {
    const got = ratio(rounds, name, "pgbouncer");
    return got === undefined ? [] : [ask(`16 clients, simple protocol, in clear, ${name}: of PgBouncer`, got, ">=", wanted, (x) => x.toFixed(2))];
  });
}
