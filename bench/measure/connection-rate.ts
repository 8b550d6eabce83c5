/** Connecting: transactions a second with a new connection and a SCRAM login for each. */
import type { Context } from "../context.ts";
import type { Section } from "../section.ts";
import { runPgbench } from "../stage/pgbench.ts";
import { describeRounds, runRounds } from "./rounds.ts";

export async function measureConnectionRate(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const run = { protocol: "simple", clients: 4, seconds: context.quick ? 1 : 2, reconnect: true } as const;
  const rows: string[][] = [];
  const samples: Record<string, unknown> = {};
  for (const tls of context.quick ? [false] : [false, true]) {
    context.say(`connections: ${tls ? "TLS" : "in clear"}`);
    for (const contender of all) await runPgbench(contender, { ...run, tls, seconds: 1 }); // backends are logged in from here on
    const rounds = await runRounds(all, context.quick ? 3 : 5, (contender) => runPgbench(contender, { ...run, tls }));
    rows.push(...all.map(({ name }) => [tls ? "yes" : "no", name, ...describeRounds(rounds, name)]));
    samples[tls ? "tls" : "clear"] = rounds;
  }
  return {
    name: "connections",
    title: "New connections: `pgbench -C -S`, SCRAM, 4 clients",
    columns: ["TLS", "through", "connections/s", "of direct", "of PgBouncer (spread)", "proxy CPU µs/connection"],
    rows,
    asks: [],
    samples,
  };
}
