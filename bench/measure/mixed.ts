/** Transactions that write: pgbench's TPC-B-like one, and four reads for each update of `accounts`. Mostly the database works here. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { type PgbenchRun, runPgbench } from "../stage/pgbench.ts";
import { describeRounds, type Rounds, ratio, runRounds } from "./rounds.ts";

const names = { tpcb: "TPC-B-like", mixed: "80 % reads, 20 % updates of `accounts`" } as const;

interface Cell {
  readonly workload: keyof typeof names;
  readonly rounds: Rounds;
}

export async function measureMixed(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const cells: Cell[] = [];
  for (const workload of Object.keys(names) as (keyof typeof names)[]) {
    context.say(`transactions that write: ${names[workload]}`);
    const run: PgbenchRun = { workload, protocol: "simple", clients: 16, tls: false, seconds: context.quick ? 2 : 5 };
    for (const contender of all) await runPgbench(contender, { ...run, seconds: 1 });
    cells.push({ workload, rounds: await runRounds(all, context.rounds ?? (context.quick ? 3 : 5), (contender) => runPgbench(contender, run)) });
  }
  return {
    name: "mixed",
    title: `Transactions that write: 16 clients, simple protocol, in clear, ${context.poolMode} pooling`,
    columns: ["work", "through", "transactions/s", "of direct", "of PgBouncer (spread)", "proxy CPU µs/transaction"],
    rows: cells.flatMap(({ workload, rounds }) => all.map(({ name }) => [names[workload], name, ...describeRounds(rounds, name)])),
    asks: cells.flatMap((cell) => context.runtimes.flatMap((runtime) => toAsk(cell, runtime))),
    samples: cells,
  };
}

function toAsk({ workload, rounds }: Cell, runtime: string): Ask[] {
  const got = ratio(rounds, runtime, "pgbouncer");
  return got === undefined ? [] : [ask(`${names[workload]}, ${runtime}: of PgBouncer`, got, ">=", 1, (x) => x.toFixed(2))];
}
