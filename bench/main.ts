/** `npm run bench`: what the gateway costs, beside a direct connection and PgBouncer, on the machine it runs on. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chooseServerUser, prepareDataDir } from "../gateway/embedded/directories.ts";
import { type Context, createContext } from "./context.ts";
import { measureAttacks } from "./measure/attacks.ts";
import { measureConnectionRate } from "./measure/connection-rate.ts";
import { measureFleet } from "./measure/fleet.ts";
import { measureIdleMemory } from "./measure/idle-memory.ts";
import { measureImport } from "./measure/import.ts";
import { measureLatency } from "./measure/latency.ts";
import { measureMixed } from "./measure/mixed.ts";
import { measurePolicies } from "./measure/policies.ts";
import { measureRowStream } from "./measure/row-stream.ts";
import { measureSlowReader } from "./measure/slow-reader.ts";
import { measureTenantCreation } from "./measure/tenant-creation.ts";
import { measureTenantsMany } from "./measure/tenants-many.ts";
import { measureThroughput } from "./measure/throughput.ts";
import { measureVictim } from "./measure/victim.ts";
import { measureWorkers } from "./measure/workers.ts";
import { formatHelp, type Options, parseOptions } from "./options.ts";
import { renderSvg } from "./plot.ts";
import { insertBetweenMarks, renderAsks, renderSections } from "./report.ts";
import type { Section } from "./section.ts";
import { runProgram } from "./stage/children.ts";
import { startPostgres } from "./stage/postgres.ts";

interface Measurement {
  readonly run: (context: Context) => Promise<Section>;
  /** Compares contenders that are all up; the others start what they need by themselves. */
  readonly sharesContenders: boolean;
}

const measurements: Readonly<Record<string, Measurement>> = {
  throughput: { run: measureThroughput, sharesContenders: true },
  latency: { run: measureLatency, sharesContenders: true },
  mixed: { run: measureMixed, sharesContenders: true },
  connections: { run: measureConnectionRate, sharesContenders: true },
  rows: { run: measureRowStream, sharesContenders: true },
  policies: { run: measurePolicies, sharesContenders: false },
  "slow-reader": { run: measureSlowReader, sharesContenders: false },
  idle: { run: measureIdleMemory, sharesContenders: false },
  attacks: { run: measureAttacks, sharesContenders: false },
  tenants: { run: measureTenantCreation, sharesContenders: false },
  imports: { run: measureImport, sharesContenders: false },
  fleet: { run: measureFleet, sharesContenders: false },
  "tenants-many": { run: measureTenantsMany, sharesContenders: false },
  victim: { run: measureVictim, sharesContenders: false },
  workers: { run: measureWorkers, sharesContenders: false },
};

interface Outcome {
  readonly sections: readonly Section[];
  /** Names of measurements. */
  readonly failed: readonly string[];
}

const root = fileURLToPath(new URL("../", import.meta.url));
/** Whatever hangs, the benchmark does not. */
const limitMs = { quick: 15 * 60_000, full: 120 * 60_000 } as const;

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv, Object.keys(measurements));
  if (options.help) {
    process.stdout.write(formatHelp(Object.keys(measurements)));
    return 0;
  }
  if (options.docsFrom.length > 0) {
    const sections = await readResults(options.docsFrom);
    await writeDocs(sections, renderAll(sections));
    return 0;
  }
  await runProgram("pgbench", ["--version"]).catch(() => {
    throw new Error("pgbench is needed (Debian: apt install postgresql-contrib pgbouncer)");
  });
  const startedMs = performance.now();
  const { sections, failed } = await measureAll(options);
  const minutes = ((performance.now() - startedMs) / 60_000).toFixed(1);
  process.stderr.write(`${minutes} minutes\n`);
  const text = renderAll(sections);
  process.stdout.write(`${text}\n`);
  const complete = failed.length === 0;
  await save({ ...options, docs: options.docs && complete }, sections, text);
  return complete ? 0 : 1;
}

function renderAll(sections: readonly Section[]): string {
  return [renderAsks(sections), renderSections(sections)].filter((part) => part !== "").join("\n\n");
}

/** @throws Error for a file that a run has not written. */
async function readResults(files: readonly string[]): Promise<Section[]> {
  const byTitle = new Map<string, Section>();
  for (const file of files) {
    const { sections } = JSON.parse(await readFile(resolve(file), "utf8")) as Outcome;
    for (const section of sections) byTitle.set(section.title, section);
  }
  return [...byTitle.values()];
}

async function measureAll(options: Options): Promise<Outcome> {
  const dir = await mkdtemp(join(tmpdir(), "tenantry-bench-"));
  const stops: (() => Promise<void>)[] = [() => rm(dir, { recursive: true, force: true })];
  const stopAll = async () => {
    for (const stop of stops.splice(0).reverse()) await stop().catch((error: unknown) => process.stderr.write(`not stopped: ${error}\n`));
  };
  const giveUp = (why: string) => () => {
    process.stderr.write(`${why}\n`);
    void stopAll().then(() => process.exit(1));
  };
  const late = setTimeout(giveUp("the benchmark takes too long and is stopped"), options.quick ? limitMs.quick : limitMs.full);
  const onSignal = giveUp("stopped");
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const user = await chooseServerUser();
    await prepareDataDir(dir, user);
    const server = await startPostgres(dir, user);
    stops.push(server.stop);
    const say = (text: string) => void process.stderr.write(`${text}\n`);
    const { runtimes, quick, rounds, poolMode, pgbouncerBin, pgbouncerTcp, bareRelays, fleet, crowd } = options;
    const peers = { pgbouncerBin, pgbouncerTcp, bareRelays };
    const context = createContext({ dir, server, user, runtimes, quick, rounds, poolMode, ...peers, fleet, crowd, say });
    stops.push(context.stopContenders);
    return await runMeasurements(context, options.only);
  } finally {
    clearTimeout(late);
    await stopAll();
  }
}

/** One that fails does not take the others' results with it. */
async function runMeasurements(context: Context, only: readonly string[]): Promise<Outcome> {
  const sections: Section[] = [];
  const failed: string[] = [];
  for (const [name, { run, sharesContenders }] of Object.entries(measurements)) {
    if (only.length > 0 && !only.includes(name)) continue;
    try {
      if (!sharesContenders) await context.stopContenders();
      sections.push(sayPoolMode(await run(context), context));
    } catch (error) {
      failed.push(name);
      context.say(`${name} failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { sections, failed };
}

/** Runs of both modes may end up in one table of asks. */
function sayPoolMode(section: Section, { poolMode }: Context): Section {
  if (poolMode === "session") return section;
  return { ...section, asks: section.asks.map((each) => ({ ...each, what: `${each.what}; ${poolMode} pooling` })) };
}

async function save(options: Options, sections: readonly Section[], text: string): Promise<void> {
  const file = resolve(options.out);
  await mkdir(dirname(file), { recursive: true });
  const about = { date: new Date().toISOString(), cores: availableParallelism(), quick: options.quick, runtimes: options.runtimes };
  await writeFile(file, `${JSON.stringify({ ...about, sections }, null, 2)}\n`);
  if (options.docs) await writeDocs(sections, text);
}

async function writeDocs(sections: readonly Section[], text: string): Promise<void> {
  const plots = join(root, "docs/performance");
  await mkdir(plots, { recursive: true });
  for (const plot of sections.flatMap((section) => section.plots ?? [])) await writeFile(join(plots, `${plot.file}.svg`), renderSvg(plot));
  const page = join(root, "docs/performance.md");
  await writeFile(page, insertBetweenMarks(await readFile(page, "utf8"), text));
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
}
