/** Runs contenders in turn, round after round, and compares them round by round. */

import type { Contender } from "../stage/contender.ts";
import type { Sample } from "../stage/pgbench.ts";
import { ratiosOf, rotate, spreadOf } from "../statistics.ts";

/** Samples by contender's name, one per round. */
export type Rounds<S extends Sample = Sample> = Readonly<Record<string, readonly S[]>>;

export async function runRounds<S extends Sample>(
  contenders: readonly Contender[],
  rounds: number,
  run: (contender: Contender) => Promise<S>,
): Promise<Rounds<S>> {
  const samples: Record<string, S[]> = Object.fromEntries(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contender of rotate(contenders, round)) samples[contender.name]!.push(await run(contender));
  }
  return samples;
}

export function rates(rounds: Rounds, name: string): number[] {
  return (rounds[name] ?? []).map((sample) => sample.perSecond);
}

/** Median ratio of the rounds' rates. @returns undefined when either did not take part. */
export function ratio(rounds: Rounds, name: string, base: string): number | undefined {
  if (!rounds[name] || !rounds[base]) return undefined;
  return ratiosOf(rates(rounds, name), rates(rounds, base)).median;
}

/** The same of CPU time per transaction. @returns undefined when either has none of its own. */
export function cpuRatio(rounds: Rounds, name: string, base: string): number | undefined {
  const cpu = (of: string) => (rounds[of] ?? []).flatMap((sample) => sample.cpuUs ?? []);
  const [mine, theirs] = [cpu(name), cpu(base)];
  return mine.length > 0 && mine.length === theirs.length ? ratiosOf(mine, theirs).median : undefined;
}

/** Rate, ratio to direct, ratio to PgBouncer with its spread, CPU per transaction. */
export function describeRounds(rounds: Rounds, name: string): string[] {
  const rate = Math.round(spreadOf(rates(rounds, name)).median).toLocaleString("en-US");
  const toDirect = name === "direct" ? "1" : (ratio(rounds, name, "direct")?.toFixed(2) ?? "–");
  const cpu = (rounds[name] ?? []).flatMap((sample) => sample.cpuUs ?? []);
  return [rate, toDirect, describeSpread(rounds, name), cpu.length > 0 ? spreadOf(cpu).median.toFixed(0) : "–"];
}

function describeSpread(rounds: Rounds, name: string): string {
  if (name === "pgbouncer" || name === "direct" || !rounds.pgbouncer) return "–";
  const { median, least, most } = ratiosOf(rates(rounds, name), rates(rounds, "pgbouncer"));
  return `${median.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`;
}
