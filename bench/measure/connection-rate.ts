/** Connecting: TCP, TLS where asked for, SCRAM login, one query and goodbye, as many a second as go. */
import { fileURLToPath } from "node:url";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { runProgram } from "../stage/children.ts";
import type { ConnectorResult, ConnectorTask } from "../stage/connector.ts";
import type { Contender } from "../stage/contender.ts";
import type { Sample } from "../stage/pgbench.ts";
import { cpuMs } from "../stage/usage.ts";
import { describeRounds, type Rounds, ratio, runRounds } from "./rounds.ts";

const lanes = 8;
const script = fileURLToPath(new URL("../stage/connector.ts", import.meta.url));

type Tls = ConnectorTask["tls"];

/** A session is resumed where the server offers one to be: PostgreSQL offers none. */
interface ConnectSample extends Sample {
  readonly resumed: number;
}

interface Cell {
  readonly tls: Tls;
  readonly rounds: Rounds<ConnectSample>;
}

export async function measureConnectionRate(context: Context): Promise<Section> {
  const { all } = await context.contenders();
  const seconds = context.quick ? 1 : 2;
  const cells: Cell[] = [];
  for (const tls of ["no", "full", "resumed"] as const) {
    context.say(`connections: TLS ${tls}`);
    for (const contender of all) await connectRepeatedly(contender, tls, 1); // backends are logged in from here on
    cells.push({
      tls,
      rounds: await runRounds(all, context.rounds ?? (context.quick ? 3 : 5), (contender) => connectRepeatedly(contender, tls, seconds)),
    });
  }
  return {
    name: "connections",
    title: `New connections: SCRAM, one query, goodbye; ${lanes} clients, ECDSA certificate`,
    columns: ["TLS", "through", "connections/s", "of direct", "of PgBouncer (spread)", "proxy CPU µs/connection", "TLS sessions resumed"],
    rows: cells.flatMap(({ tls, rounds }) => all.map(({ name }) => [tls, name, ...describeRounds(rounds, name), resumedPart(rounds, name)])),
    asks: cells.flatMap((cell) => context.runtimes.flatMap((runtime) => asks(cell, runtime))),
    samples: cells,
  };
}

export async function connectRepeatedly(contender: Contender, tls: Tls, seconds: number): Promise<ConnectSample> {
  const task: ConnectorTask = { to: contender, tls, lanes, seconds };
  const before = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const said = await runProgram(process.execPath, [script, JSON.stringify(task)], { timeoutMs: seconds * 1000 + 60_000 });
  const after = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const result = JSON.parse(said) as ConnectorResult;
  if (result.connections === 0) throw new Error(`${contender.name} accepted no connection`);
  return {
    transactions: result.connections,
    perSecond: result.connections / result.seconds,
    cpuUs: contender.pid === undefined ? undefined : ((after - before) * 1000) / result.connections,
    resumed: result.resumed,
  };
}

function resumedPart(rounds: Rounds<ConnectSample>, name: string): string {
  const samples = rounds[name] ?? [];
  const sum = (of: (sample: ConnectSample) => number) => samples.reduce((total, sample) => total + of(sample), 0);
  return `${((sum(({ resumed }) => resumed) * 100) / sum(({ transactions }) => transactions)).toFixed(0)} %`;
}

function asks({ tls, rounds }: Cell, runtime: string): Ask[] {
  const what = `connections, TLS ${tls}, ${runtime}`;
  const show = (x: number) => x.toFixed(2);
  const toBouncer = ratio(rounds, runtime, "pgbouncer");
  const toDirect = ratio(rounds, runtime, "direct");
  return [
    ...(toBouncer === undefined ? [] : [ask(`${what}: of PgBouncer`, toBouncer, ">=", 1, show)]),
    ...(toDirect === undefined ? [] : [ask(`${what}: of PostgreSQL`, toDirect, ">=", 5, show)]),
  ];
}
