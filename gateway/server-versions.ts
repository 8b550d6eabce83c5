/**
 * Which PostgreSQL minor versions are fit for customers who may run any SQL: told at start, every hour, in GET /ready; refused when asked for. So is,
 * without being refused, a server whose settings let one customer hold up the others.
 */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { SqlDialer } from "../core/sql.ts";
import { StartupError } from "./startup-error.ts";

/** By major version, the first minor in which whoever may create objects cannot run code as the server's user (CVE-2026-6460). */
const patched: Readonly<Record<number, number>> = { 14: 25, 15: 20, 16: 16, 17: 12, 18: 7 };
const newestKnown = 18;
const everyMs = 3_600_000;
const settingsSql = `SELECT pg_catalog.current_setting('server_version_num')::int4 AS num,
  pg_catalog.current_setting('max_prepared_transactions')::int4 AS prepared`;

/** What is wrong with a server of this `server_version_num`; undefined when nothing is known against it. */
export function versionProblem(versionNum: number): string | undefined {
  const major = Math.floor(versionNum / 10_000);
  const minor = versionNum % 10_000;
  if (major > newestKnown) return undefined;
  const floor = patched[major];
  if (floor === undefined) return `PostgreSQL ${major} gets no security fixes any more`;
  if (minor >= floor) return undefined;
  return `PostgreSQL ${major}.${minor} lacks the fix for CVE-2026-6460: whoever may create objects can run code as the server's user; ${major}.${floor} has it`;
}

/** What is wrong with a server where transactions can be prepared; undefined where they cannot. */
export function preparedProblem(maxPrepared: number): string | undefined {
  if (maxPrepared === 0) return undefined;
  return `max_prepared_transactions is ${maxPrepared}: a transaction that a client prepares and forgets keeps its locks, and dead rows of all databases, until somebody ends it; set it to 0`;
}

export interface VersionDeps {
  readonly dialer: SqlDialer;
  /** Those there are now. */
  readonly clusterIds: () => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export class ServerVersions {
  readonly #deps: VersionDeps;
  readonly #problems = new Map<string, string>();
  readonly #cautions = new Map<string, string>();
  readonly #stop: () => void;

  constructor(deps: VersionDeps) {
    this.#deps = deps;
    this.#stop = deps.clock.every(everyMs, () => void this.check());
  }

  /** By cluster. */
  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** By cluster: what is no reason to refuse it. */
  get cautions(): ReadonlyMap<string, string> {
    return this.#cautions;
  }

  /** Asks every cluster. One that does not answer keeps what was last known of it. */
  async check(): Promise<void> {
    const ids = this.#deps.clusterIds();
    for (const known of [this.#problems, this.#cautions]) for (const id of known.keys()) if (!ids.includes(id)) known.delete(id);
    await Promise.all(ids.map((id) => this.#checkOne(id)));
  }

  /** @throws {StartupError} naming strict_versions. */
  assertGood(): void {
    for (const [cluster, problem] of this.#problems) throw new StartupError("strict_versions", `cluster "${cluster}": ${problem}`);
  }

  stop(): void {
    this.#stop();
  }

  async #checkOne(id: string): Promise<void> {
    const { dialer, log } = this.#deps;
    try {
      const connection = await dialer.asAdmin(id);
      try {
        const { rows } = await connection.query(settingsSql);
        this.#note(this.#problems, id, versionProblem(Number(rows[0]?.num)), "database server should be updated");
        this.#note(this.#cautions, id, preparedProblem(Number(rows[0]?.prepared)), "database server lets clients prepare transactions");
      } finally {
        await connection.close();
      }
    } catch (error) {
      log.write("warn", "version of a cluster not known", { cluster: id, reason: error instanceof Error ? error.message : String(error) });
    }
  }

  /** Said when it is news. */
  #note(known: Map<string, string>, id: string, problem: string | undefined, event: string): void {
    if (problem === known.get(id)) return;
    if (problem === undefined) known.delete(id);
    else {
      known.set(id, problem);
      this.#deps.log.write("warn", event, { cluster: id, reason: problem });
    }
  }
}
