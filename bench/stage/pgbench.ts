/** Runs pgbench against a contender and reads what it prints. */

import { fileURLToPath } from "node:url";
import { runProgram } from "./children.ts";
import type { Contender } from "./contender.ts";
import { clientEnvironment } from "./contender.ts";
import { cpuMs } from "./usage.ts";

export type Protocol = "simple" | "extended" | "prepared";

/** One row by its key; pgbench's TPC-B-like transaction; four reads for each update of `accounts`. */
export type Workload = "select" | "tpcb" | "mixed";

const scriptFile = (name: string) => fileURLToPath(new URL(`./scripts/${name}.sql`, import.meta.url));
const workloads: Readonly<Record<Workload, readonly string[]>> = {
  select: ["-S"],
  tpcb: ["-f", scriptFile("tpcb")],
  mixed: ["-f", `${scriptFile("read")}@4`, "-f", `${scriptFile("update")}@1`],
};

export interface PgbenchRun {
  /** Default: select. */
  readonly workload?: Workload;
  readonly protocol: Protocol;
  readonly clients: number;
  readonly seconds: number;
  readonly tls: boolean;
  /** Transactions a second, of all clients together. Default: as many as go. */
  readonly rate?: number;
  /** Where each transaction's latency is written: the beginning of file names. */
  readonly logPrefix?: string;
}

export interface PgbenchResult {
  readonly transactions: number;
  readonly perSecond: number;
}

export interface Sample extends PgbenchResult {
  /** CPU time of the contender's own process per transaction, in microseconds; undefined where there is none in between. */
  readonly cpuUs: number | undefined;
}

/** Where all time went into connecting. */
export class NoTransactionsError extends Error {}

/** @throws {NoTransactionsError} @throws Error when transactions failed or the text is not pgbench's. */
export function parsePgbench(text: string): PgbenchResult {
  const transactions = Number(/^number of transactions actually processed: (\d+)/m.exec(text)?.[1]);
  const failed = Number(/^number of failed transactions: (\d+)/m.exec(text)?.[1] ?? 0);
  const perSecond = Number(/^tps = ([\d.]+)/m.exec(text)?.[1]);
  if (transactions === 0) throw new NoTransactionsError("pgbench ran no transaction in its time");
  if (!(transactions > 0) || !(perSecond > 0)) throw new Error(`cannot read pgbench's answer: ${text.trim()}`);
  if (failed > 0) throw new Error(`${failed} transactions failed: ${text.trim()}`);
  return { transactions, perSecond };
}

/** One run; again with more time where a busy machine took all of it for connecting. */
export async function runPgbench(contender: Contender, run: PgbenchRun): Promise<Sample> {
  for (let seconds = run.seconds; ; seconds *= 2) {
    try {
      return await runOnce(contender, { ...run, seconds });
    } catch (error) {
      if (!(error instanceof NoTransactionsError) || seconds > 10) throw error;
    }
  }
}

async function runOnce(contender: Contender, run: PgbenchRun): Promise<Sample> {
  const threads = Math.min(2, run.clients);
  const args = ["-n", ...workloads[run.workload ?? "select"], "-M", run.protocol, "-c", String(run.clients), "-j", String(threads)];
  const log = run.logPrefix === undefined ? [] : ["-l", `--log-prefix=${run.logPrefix}`];
  const rate = run.rate === undefined ? [] : [`--rate=${run.rate}`];
  const before = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const text = await runProgram("pgbench", [...args, "-T", String(run.seconds), ...rate, ...log], {
    env: clientEnvironment(contender, run.tls),
    timeoutMs: run.seconds * 1000 + 60_000,
  });
  const after = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const result = parsePgbench(text);
  return { ...result, cpuUs: contender.pid === undefined ? undefined : ((after - before) * 1000) / result.transactions };
}
