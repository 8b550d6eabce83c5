/** Runs pgbench against a contender and reads what it prints. */

import { runProgram } from "./children.ts";
import type { Contender } from "./contender.ts";
import { clientEnvironment } from "./contender.ts";
import { cpuMs } from "./usage.ts";

export type Protocol = "simple" | "extended" | "prepared";

export interface PgbenchRun {
  readonly protocol: Protocol;
  readonly clients: number;
  readonly seconds: number;
  readonly tls: boolean;
  /** A new connection for every transaction. */
  readonly reconnect?: boolean;
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

/** One run of the built-in SELECT-only script; again with more time where a busy machine took all of it for connecting. */
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
  const args = ["-n", "-S", "-M", run.protocol, "-c", String(run.clients), "-j", String(threads), "-T", String(run.seconds)];
  const before = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const text = await runProgram("pgbench", run.reconnect ? [...args, "-C"] : args, {
    env: clientEnvironment(contender, run.tls),
    timeoutMs: run.seconds * 1000 + 60_000,
  });
  const after = contender.pid === undefined ? 0 : await cpuMs(contender.pid);
  const result = parsePgbench(text);
  return { ...result, cpuUs: contender.pid === undefined ? undefined : ((after - before) * 1000) / result.transactions };
}
