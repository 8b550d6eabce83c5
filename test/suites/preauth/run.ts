/**
 * The long fuzz before login: inputs that reach new code are kept and mutated further.
 * `node test/suites/preauth/run.ts [minutes] [seed]` adds them to corpus.txt and writes a summary.
 */
import { appendFile, readFile } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import { Prng } from "../../engines/postgres/support/prng.ts";
import { formatInput, type Input, mutate, parseCorpus } from "./input.ts";
import { FuzzFinding, Player } from "./player.ts";

const minutes = Number(process.argv[2] ?? 30);
const seed = Number(process.argv[3] ?? 1);
const path = new URL("./corpus.txt", import.meta.url);
const watched = /\/(core|engines\/postgres|engines\/foreign|gateway\/proxy-door)[/.]/;

/** Which blocks of our own sources have run, ever. */
class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  static async start(): Promise<Coverage> {
    const coverage = new Coverage();
    coverage.#session.connect();
    await coverage.#session.post("Profiler.enable");
    await coverage.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    return coverage;
  }

  get blocks(): number {
    return this.#seen.size;
  }

  /** @returns how many blocks ran now for the first time. */
  async take(): Promise<number> {
    const before = this.#seen.size;
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    for (const script of result) {
      if (!watched.test(script.url) || script.url.includes("/test/")) continue;
      for (const { ranges } of script.functions) {
        for (const { startOffset, endOffset, count } of ranges) if (count > 0) this.#seen.add(`${script.scriptId}:${startOffset}:${endOffset}`);
      }
    }
    return this.#seen.size - before;
  }
}

const random = new Prng(seed);
const player = await Player.create();
const coverage = await Coverage.start();
const corpus: Input[] = parseCorpus(await readFile(path, "utf8"));
const found: string[] = [];
const findings: string[] = [];
for (const input of corpus) await player.play(input, new Prng(seed));
await coverage.take();
const seedBlocks = coverage.blocks;
const heapBefore = process.memoryUsage().heapUsed;
const end = performance.now() + minutes * 60_000;
while (performance.now() < end && findings.length < 10) {
  const input = mutate(random.pick(corpus), random.pick(corpus), random);
  try {
    await player.play(input, random);
  } catch (error) {
    if (!(error instanceof FuzzFinding)) throw error;
    findings.push(`${error.message}\n  ${formatInput("input", input)}`);
    console.error(findings.at(-1));
  }
  if ((await coverage.take()) === 0) continue;
  corpus.push(input);
  found.push(formatInput(`found_${seed}_${found.length}`, input));
}
const { heapUsed, rss } = process.memoryUsage();
if (found.length > 0) await appendFile(path, `${found.join("\n")}\n`);
console.log(
  JSON.stringify({
    minutes,
    seed,
    played: player.played,
    blocksFromSeeds: seedBlocks,
    blocks: coverage.blocks,
    corpus: corpus.length,
    kept: found.length,
    findings: findings.length,
    heapGrowthMiB: Math.round((heapUsed - heapBefore) / 2 ** 20),
    residentMiB: Math.round(rss / 2 ** 20),
  }),
);
await player.close();
process.exitCode = findings.length > 0 ? 1 : 0;
