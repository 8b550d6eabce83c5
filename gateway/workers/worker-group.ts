/** The processes that serve clients in place of the first one: started together, started again when one ends, reloaded and drained together. */
import type { Clock } from "../../core/clock.ts";
import { type Config, flagName } from "../../core/config.ts";
import type { Log } from "../../core/log.ts";
import type { EngineName } from "../../core/model.ts";
import type { ClusterCounts } from "../../core/pool.ts";
import { toBase64 } from "../../core/secrets.ts";
import type { Entrance } from "../entrance.ts";
import type { Listeners } from "../listeners.ts";
import { openPort } from "../open-port.ts";
import type { Listener, Runtime } from "../runtime/runtime.ts";
import { countCores, sharesPorts, startWorkerProcess, type WorkerProcess } from "../runtime/worker-process.ts";
import { StartupError } from "../startup-error.ts";
import type { MetricSnapshot, WorkerCalls, WorkerStart } from "./calls.ts";
import { Channel } from "./channel.ts";
import { Keeper, type WorkerAccount } from "./keeper.ts";
import { RoomLedger } from "./room-ledger.ts";
import { lastingCounts, sumSnapshots } from "./sum-metrics.ts";

/** The command that bin/tdb.js runs a worker by. */
export const workerCommand = "worker";

export interface WorkerGroupDeps {
  readonly config: Config;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Log;
  readonly clusterIds: Iterable<string>;
  readonly embedded: WorkerStart["embedded"];
  /** What counts for all of them. */
  readonly entrance: Entrance;
}

const portSettings = { PostgreSQL: "pg_port", MySQL: "mysql_port", MongoDB: "mongo_port", Redis: "redis_port" } as const satisfies Record<
  EngineName,
  string
>;

/** One that ended sooner than that after its start is started again after a pause; one that cannot start, after ever longer ones. */
const steadyMs = 10_000;
const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** Beyond the time it was given to drain in. */
const stopPatienceMs = 10_000;

interface Worker {
  readonly process: WorkerProcess;
  readonly channel: Channel<WorkerCalls>;
  readonly account: WorkerAccount;
  readonly startedMs: number;
  readonly ended: Promise<void>;
  isUp: boolean;
}

/** How many processes are to serve clients. */
export function countWorkers(config: Config): number {
  return config.workers === 0 ? countCores() : config.workers;
}

/** @throws {StartupError} of the worker that could not start; none is left running then. */
export async function openWorkers(deps: WorkerGroupDeps): Promise<Listeners> {
  const group = new WorkerGroup(deps);
  try {
    await group.open();
    return group.listeners();
  } catch (error) {
    await group.stop(0);
    deps.entrance.stop();
    throw error;
  }
}

class WorkerGroup {
  readonly #deps: WorkerGroupDeps;
  readonly #count: number;
  readonly #keeper: Keeper;
  readonly #rooms: RoomLedger;
  readonly #workers: (Worker | undefined)[];
  readonly #stopping = new AbortController();
  /** Never written anywhere: after a restart sessions are not resumed. */
  readonly #ticketSeed: string;
  #config: Config;
  #ports: Partial<Readonly<Record<EngineName, number>>> = {};
  /** As last heard of each worker, and the sum of those that have ended. */
  readonly #lastSeen = new Map<Worker, readonly MetricSnapshot[]>();
  #departed: readonly MetricSnapshot[] = [];
  #restarts = 0;

  constructor(deps: WorkerGroupDeps) {
    const { entrance, log } = deps;
    this.#deps = deps;
    this.#config = deps.config;
    this.#count = countWorkers(deps.config);
    this.#ticketSeed = toBase64(deps.runtime.crypto.randomBytes(32));
    this.#rooms = new RoomLedger(deps.clusterIds, this.#count, () => this.#config.backend_budget);
    this.#keeper = new Keeper({ gate: entrance.gate, bans: entrance.bans, log, rooms: this.#rooms });
    this.#workers = new Array(this.#count).fill(undefined);
  }

  /** The first worker finds the ports where any will do, the others share them. */
  async open(): Promise<void> {
    this.#ports = await this.#findPorts();
    this.#ports = await this.#start(0);
    await Promise.all(Array.from({ length: this.#count - 1 }, (_, i) => this.#start(i + 1)));
  }

  listeners(): Listeners {
    const { entrance } = this.#deps;
    return {
      ports: this.#ports,
      sessions: entrance.sessions,
      bans: entrance.bans,
      poolCounts: () => undefined,
      clusterCounts: () => new Map(),
      poolMetrics: [],
      cancel: () => false,
      limitsShared: () => entrance.shared?.isShared,
      workers: {
        clusterCounts: () => this.#clusterCounts(),
        metrics: () => this.#metrics(),
        reloadKeys: async () => {
          await Promise.all(this.#up().map(({ channel }) => channel.ask("reloadKeys").catch(() => undefined))); // one that has ended reads them anew
        },
      },
      reload: (config) => this.#reload(config),
      drain: async (graceMs) => {
        await this.stop(graceMs);
        entrance.stop();
      },
    };
  }

  /** A second call, with less time, cuts the first one short. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#workers.map((worker) => worker && this.#stopOne(worker, graceMs)));
  }

  async #stopOne(worker: Worker, graceMs: number): Promise<void> {
    if (!worker.isUp) worker.process.kill();
    const asked = worker.channel.ask("stop", graceMs).catch(() => undefined); // ended already
    const enough = new AbortController();
    const tooLong = this.#deps.clock.sleep(graceMs + stopPatienceMs, enough.signal).then(
      () => worker.process.kill(),
      () => undefined, // it ended in time
    );
    await Promise.all([asked, worker.ended]);
    enough.abort();
    await tooLong;
  }

  /**
   * Ports that several sockets may share would be shared with another gateway, too. Where they cannot be shared, each worker asks this process for
   * them by number: what is free is found for all, as the 0 of one is not that of another.
   */
  async #findPorts(): Promise<Partial<Record<EngineName, number>>> {
    const { runtime, config } = this.#deps;
    const found: Partial<Record<EngineName, number>> = {};
    const tried: Listener[] = [];
    try {
      for (const [engine, name] of Object.entries(portSettings)) {
        const port = config[name];
        if (port < 0 || (port === 0 && sharesPorts())) continue;
        const option = `--${flagName(name)}`;
        const listener = await openPort(runtime, { option, host: config.host, port }, (pipe) => pipe.destroy());
        tried.push(listener);
        found[engine as EngineName] = listener.port;
      }
    } finally {
      await Promise.all(tried.map((listener) => listener.close(0)));
    }
    return found;
  }

  /** @throws {StartupError} */
  async #start(place: number): Promise<Partial<Readonly<Record<EngineName, number>>>> {
    const { clock, log } = this.#deps;
    const process = await startWorkerProcess([workerCommand]);
    const account = this.#keeper.open(place);
    const channel = new Channel<WorkerCalls>(process, account);
    account.worker = channel;
    let tellEnded = () => {};
    const ended = new Promise<void>((done) => {
      tellEnded = done;
    });
    const worker: Worker = { process, channel, account, startedMs: clock.nowMs(), ended, isUp: false };
    this.#workers[place] = worker;
    channel.onGone = (how) => {
      tellEnded();
      this.#ended(place, worker, how);
    };
    if (this.#stopping.signal.aborted) process.kill();
    await Promise.race([account.isReady, ended]);
    const { ports, failure } = await channel.ask("start", this.#startOf(place, account)).catch((error) => {
      throw new StartupError("--workers", `a worker could not be started: ${(error as Error).message}`, error);
    });
    if (failure) throw new StartupError(failure.option, failure.message);
    worker.isUp = true;
    log.write("info", "worker started", { worker: place + 1, pid: process.pid });
    return ports ?? {};
  }

  #startOf(place: number, { room }: WorkerAccount): WorkerStart {
    const known = Object.entries(this.#ports).map(([engine, port]) => [portSettings[engine as EngineName], port]);
    const config = { ...this.#config, ...Object.fromEntries(known) };
    return { number: place + 1, workers: this.#count, config, embedded: this.#deps.embedded, room, ticketSeed: this.#ticketSeed };
  }

  #ended(place: number, worker: Worker, how: string): void {
    worker.account.close();
    this.#workers[place] = undefined;
    this.#departed = sumSnapshots([this.#departed, lastingCounts(this.#lastSeen.get(worker) ?? [])]);
    this.#lastSeen.delete(worker);
    // One that never was up has its start to tell of it.
    if (this.#stopping.signal.aborted || !worker.isUp) return;
    this.#deps.log.write("error", "worker ended, another one is started in its place", { worker: place + 1, pid: worker.process.pid, how });
    this.#restarts++;
    void this.#startAgain(place, this.#deps.clock.nowMs() - worker.startedMs < steadyMs ? firstPauseMs : 0);
  }

  async #startAgain(place: number, pauseMs: number): Promise<void> {
    const { clock, log } = this.#deps;
    const { signal } = this.#stopping;
    for (let waitMs = pauseMs; !signal.aborted; waitMs = Math.min(Math.max(firstPauseMs, waitMs * 2), longestPauseMs)) {
      try {
        if (waitMs > 0) await clock.sleep(waitMs, signal);
        if (signal.aborted) return;
        await this.#start(place);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#workers[place]?.process.kill();
        log.write("error", "worker could not be started, tried again", { worker: place + 1, error: String(error) });
      }
    }
  }

  async #reload(config: Config): Promise<void> {
    this.#config = config;
    this.#deps.entrance.reload(config);
    this.#rooms.rebalance();
    await Promise.all(this.#up().map(({ channel }) => channel.ask("reload", config).catch(() => undefined))); // one that has ended starts with it
  }

  #up(): Worker[] {
    return this.#workers.filter((worker): worker is Worker => worker?.isUp === true);
  }

  async #clusterCounts(): Promise<ReadonlyMap<string, ClusterCounts>> {
    const sum = new Map<string, ClusterCounts>();
    const lists = await Promise.all(this.#up().map(({ channel }) => channel.ask("clusterCounts").catch(() => []))); // ended: it has none
    for (const [id, counts] of lists.flat()) {
      const known = sum.get(id);
      sum.set(id, known ? addCounts(known, counts) : counts);
    }
    return sum;
  }

  async #metrics(): Promise<readonly MetricSnapshot[]> {
    const up = this.#up();
    await Promise.all(
      up.map(async (worker) => {
        const seen = await worker.channel.ask("metrics").catch(() => undefined); // ended meanwhile: what was last seen counts
        if (seen && this.#workers.includes(worker)) this.#lastSeen.set(worker, seen);
      }),
    );
    const own: MetricSnapshot[] = [
      { name: "tenantry_workers", help: "Processes that serve clients.", type: "gauge", samples: [{ value: up.length }] },
      {
        ...{ name: "tenantry_worker_restarts_total", help: "Workers that ended unasked and were started again." },
        ...{ type: "counter", samples: [{ value: this.#restarts }] },
      },
    ];
    return [...sumSnapshots([this.#departed, ...this.#lastSeen.values()]), ...own];
  }
}

function addCounts(a: ClusterCounts, b: ClusterCounts): ClusterCounts {
  return {
    ...{ open: a.open + b.open, idle: a.idle + b.idle, leased: a.leased + b.leased, closing: a.closing + b.closing },
    ...{ waiting: a.waiting + b.waiting, waitingDatabases: a.waitingDatabases + b.waitingDatabases },
    ...{ refused: a.refused + b.refused, evicted: a.evicted + b.evicted, vanished: a.vanished + b.vanished },
    longestWaitMs: Math.max(a.longestWaitMs, b.longestWaitMs),
  };
}
