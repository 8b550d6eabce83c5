/** What policies cost: row limit, statement timeout and query log all on, beside the same gateway with all of them off. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { addTenant, startGateway } from "../stage/gateway.ts";
import { type Protocol, runPgbench } from "../stage/pgbench.ts";
import { cpuRatio, describeRounds, type Rounds, ratio, runRounds } from "./rounds.ts";

/** What both have is left out: DDL and COPY guards are always on, and no clock can be switched off. */
const variants = {
  off: { flags: ["--query-log-enabled=false"], settings: { max_rows_per_query: 0, query_timeout_ms: 0 } },
  on: { flags: ["--query-log-enabled=true"], settings: { max_rows_per_query: 1_000_000, query_timeout_ms: 60_000 } },
} as const;

interface Cell {
  readonly runtime: string;
  readonly protocol: Protocol;
  readonly rounds: Rounds;
}

export async function measurePolicies(context: Context): Promise<Section> {
  const cells: Cell[] = [];
  for (const runtime of context.runtimes) {
    const stops: (() => Promise<void>)[] = [];
    try {
      const contenders = [];
      for (const [name, { flags, settings }] of Object.entries(variants)) {
        const gateway = await startGateway(`policies_${runtime}_${name}`, runtime, context.dir, context.server, flags);
        stops.push(gateway.stop);
        contenders.push({ ...(await addTenant(gateway, { ...settings, pool_mode: context.poolMode })), name });
      }
      for (const protocol of ["simple", "prepared"] as const) {
        context.say(`policies: ${runtime}, ${protocol}`);
        const run = { protocol, clients: 16, tls: false, seconds: context.quick ? 2 : 4 } as const;
        for (const contender of contenders) await runPgbench(contender, { ...run, seconds: 1 });
        const rounds = await runRounds(contenders, context.rounds ?? (context.quick ? 3 : 7), (contender) => runPgbench(contender, run));
        cells.push({ runtime, protocol, rounds });
      }
    } finally {
      for (const stop of stops) await stop();
    }
  }
  return {
    name: "policies",
    title: "Policies: row limit, statement timeout and query log; `pgbench -S`, 16 clients, in clear",
    columns: ["runtime", "protocol", "policies", "transactions/s", "of off", "CPU of off", "CPU µs/transaction"],
    rows: cells.flatMap((cell) => Object.keys(variants).map((name) => describe(cell, name))),
    asks: cells.flatMap(toAsk),
    samples: cells,
  };
}

function describe({ runtime, protocol, rounds }: Cell, name: string): string[] {
  const [rate, , , cpu] = describeRounds(rounds, name);
  const compared = name === "off" ? ["1", "1"] : [ratio(rounds, name, "off")!.toFixed(2), cpuRatio(rounds, name, "off")!.toFixed(2)];
  return [runtime, protocol, name, rate!, ...compared, cpu!];
}

function toAsk({ runtime, protocol, rounds }: Cell): Ask[] {
  return [ask(`policies all on, ${protocol}, ${runtime}: of off`, ratio(rounds, "on", "off")!, ">=", 0.95, (x) => x.toFixed(2))];
}
