/** The benchmark's command line. */
import { parseArgs } from "node:util";
import type { CrowdSize } from "./measure/tenants-many.ts";
import { type PoolMode, poolModes, type RuntimeName, runtimes } from "./stage/gateway.ts";

export interface Options {
  readonly quick: boolean;
  readonly help: boolean;
  /** How many tenants the fleet has. */
  readonly fleet: number | undefined;
  /** Of the measurement with many tenants. */
  readonly crowd: CrowdSize | undefined;
  /** Names of measurements; all when empty. */
  readonly only: readonly string[];
  readonly runtimes: readonly RuntimeName[];
  /** How often each contender takes its turn; undefined: as often as each measurement thinks right. */
  readonly rounds: number | undefined;
  /** Of PgBouncer and of the gateway. */
  readonly poolMode: PoolMode;
  readonly pgbouncerBin: string | undefined;
  /** PgBouncer once more, with TCP on both sides. */
  readonly pgbouncerTcp: boolean;
  /** A relay without a gateway under each runtime. */
  readonly bareRelays: boolean;
  readonly out: string;
  /** Puts the tables into docs/performance.md. */
  readonly docs: boolean;
  /** Results of earlier runs to put there instead of measuring; of two with the same title the later one counts. */
  readonly docsFrom: readonly string[];
}

export const defaultOut = "bench/results/latest.json";

/** @throws Error in plain words for anything unknown. */
export function parseOptions(argv: readonly string[], measurements: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
      only: { type: "string", multiple: true, default: [] },
      runtimes: { type: "string", default: runtimes.join(",") },
      out: { type: "string", default: defaultOut },
      docs: { type: "boolean", default: false },
      "docs-from": { type: "string", multiple: true, default: [] },
      fleet: { type: "string" },
      crowd: { type: "string" },
      rounds: { type: "string" },
      "pool-mode": { type: "string", default: "session" },
      "pgbouncer-bin": { type: "string" },
      "pgbouncer-tcp": { type: "boolean", default: false },
      "bare-relays": { type: "boolean", default: false },
    },
  });
  const poolMode = pick("--pool-mode", values["pool-mode"], poolModes)[0];
  if (poolMode === undefined) throw new Error(`--pool-mode: say ${poolModes.join(" or ")}`);
  return {
    ...{ quick: values.quick, help: values.help, out: values.out, docs: values.docs, docsFrom: values["docs-from"] },
    ...{ fleet: readCount("--fleet", values.fleet), rounds: readCount("--rounds", values.rounds), crowd: readCrowd(values.crowd) },
    ...{ poolMode, pgbouncerBin: values["pgbouncer-bin"], pgbouncerTcp: values["pgbouncer-tcp"], bareRelays: values["bare-relays"] },
    only: pick("--only", values.only.join(","), measurements),
    runtimes: pick("--runtimes", values.runtimes, runtimes),
  };
}

function readCount(option: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  if (!/^[1-9]\d{0,4}$/.test(given)) throw new Error(`${option}: "${given}" is not a whole number from 1 to 99999`);
  return Number(given);
}

function readCrowd(given: string | undefined): CrowdSize | undefined {
  if (given === undefined) return undefined;
  const [tenants, clients, backends] = given.split(",").map(Number);
  const isSize = (n: number | undefined): n is number => Number.isInteger(n) && (n as number) > 0;
  if (!/^\d+,\d+,\d+$/.test(given) || !isSize(tenants) || !isSize(clients) || !isSize(backends)) {
    throw new Error(`--crowd: "${given}" is not TENANTS,CLIENTS,BACKENDS, as 1000,10000,100`);
  }
  return { tenants, clients, backends };
}

function pick<T extends string>(option: string, list: string, known: readonly T[]): T[] {
  const names = list.split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !known.includes(name as T));
  if (unknown !== undefined) throw new Error(`${option}: "${unknown}" is none of ${known.join(", ")}`);
  return [...new Set(names as T[])];
}

export function formatHelp(measurements: readonly string[]): string {
  return `npm run bench -- [options]

  --quick              fewer runs and shorter ones, under 6 minutes: for a first look, not for conclusions
  --only NAME[,NAME]   ${measurements.join(", ")}
  --runtimes LIST      of ${runtimes.join(",")}; all by default
  --rounds N           how often each contender takes its turn, in place of 3 to 5
  --pool-mode MODE     ${poolModes.join(" or ")}: of PgBouncer and of the gateway; session by default
  --pgbouncer-bin PATH another PgBouncer, measured beside the installed one
  --pgbouncer-tcp      the installed PgBouncer once more, reaching the server over TCP
  --bare-relays        a relay without a gateway under each runtime: what its sockets cost alone
  --fleet N            tenants of the fleet measurement: 1000, or 20 with --quick
  --crowd T,C,B        tenants, clients and backends of tenants-many: 1000,10000,100, or 50,500,10 with --quick
  --out FILE           every sample as JSON, by default ${defaultOut}
  --docs               puts the tables into docs/performance.md
  --docs-from FILE     puts the results of earlier runs there, without measuring; may be given again and again
`;
}
