/** One of the processes that serve clients: opens the listeners, and asks the process that started it for all that counts for the whole gateway. */
import { resolve } from "node:path";
import process from "node:process";
import { readVersion } from "../../api/package-version.ts";
import { systemClock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import { fromBase64, Secrets, toHex } from "../../core/secrets.ts";
import { type AdminContext, restoreAlteredRole, restoreRole } from "../../engines/postgres/admin/context.ts";
import { Cleanup } from "../cleanup.ts";
import { Clusters } from "../clusters/clusters.ts";
import { openConfigured } from "../clusters/configured.ts";
import { TenantHolds } from "../control/tenant-holds.ts";
import { findTenant } from "../control/tenant-rows.ts";
import { Entrance } from "../entrance.ts";
import { endOnFault } from "../fault.ts";
import { type Listeners, openListeners } from "../listeners.ts";
import { createLog, logFormat, type ProcessLog } from "../log.ts";
import { loadMasterKeys } from "../master-key.ts";
import { Instances } from "../operations/instances.ts";
import { GatewayMetrics } from "../operations/metrics.ts";
import { endSession, listSessions } from "../operations/sessions.ts";
import { withPoolers } from "../poolers.ts";
import { openQueryLog, type RunningQueryLog } from "../query-log/open.ts";
import { detectRuntime, type Runtime } from "../runtime/runtime.ts";
import { type ParentPeer, parentPeer } from "../runtime/worker-process.ts";
import { embeddedTargets, openExisting } from "../server-target.ts";
import { createSqlDialer } from "../sql-dialer.ts";
import { StartupError } from "../startup-error.ts";
import { CredentialLookup } from "../store/credential-lookup.ts";
import { CredentialUses } from "../store/credential-uses.ts";
import { openStore, type Store } from "../store/store.ts";
import { openTls } from "../tls/open.ts";
import { openTracing } from "../tracing/open.ts";
import type { KeeperCalls, WorkerCalls, WorkerStart, WorkerStarted } from "./calls.ts";
import { Channel } from "./channel.ts";
import { KeeperLink } from "./keeper-link.ts";
import { RoomShare } from "./room-share.ts";
import { takeSnapshot } from "./sum-metrics.ts";

/** Connections to the control store for queries. */
const storePoolSize = 4;
const clock = systemClock;

/** What runs once it has started. */
interface Running {
  readonly listeners: Listeners;
  readonly metrics: GatewayMetrics;
  readonly room: RoomShare | undefined;
  reload(config: Config): Promise<void>;
  reloadKeys(): Promise<void>;
}

/** Serves until it is told to stop, or the process that started it is gone. @returns the exit code. */
export async function runWorker(): Promise<number> {
  const peer = parentPeer();
  if (!peer) {
    process.stderr.write("tdb worker: is started by `tdb up --workers`, not by hand\n");
    return 2;
  }
  const worker = new Worker(peer, await detectRuntime());
  await worker.stopped;
  return 0;
}

class Worker implements WorkerCalls {
  readonly #runtime: Runtime;
  readonly #keeper: Channel<KeeperCalls>;
  readonly #cleanup = new Cleanup((what, error) => this.#log?.write("error", "not stopped cleanly", { what, error: String(error) }));
  #log: ProcessLog | undefined;
  #running: Running | undefined;
  #drainS = 0;
  #closing: Promise<void> | undefined;
  #tellStopped = () => {};
  readonly stopped: Promise<void>;

  constructor(peer: ParentPeer, runtime: Runtime) {
    this.#runtime = runtime;
    this.stopped = new Promise((done) => {
      this.#tellStopped = () => {
        peer.close();
        done();
        // A timer or socket that a library left behind must not keep the process.
        setTimeout(() => runtime.exit(0), 1000).unref();
      };
    });
    // A terminal and a service manager signal all processes of a group: what is to be reloaded, the first process says.
    runtime.onSignal("SIGHUP", () => undefined);
    for (const name of ["SIGTERM", "SIGINT"] as const) runtime.onSignal(name, () => void this.stop(this.#drainS * 1000));
    endOnFault(runtime, { write: (...line) => (this.#log ?? startLog()).write(...line) }, () => this.stop(0));
    this.#keeper = new Channel<KeeperCalls>(peer, this);
    this.#keeper.onGone = () => {
      if (!this.#closing) runtime.exit(1); // nothing may be let in that nobody counts
    };
    this.#keeper.tell("ready");
  }

  readonly start = async (start: WorkerStart): Promise<WorkerStarted> => {
    const config = ownPart(start);
    const processLog = createLog({ level: config["log.level"], format: logFormat(config["log.format"]) });
    this.#log = { ...processLog, write: (level, event, fields) => processLog.write(level, event, { worker: start.number, ...fields }) };
    this.#drainS = config.drain_s;
    try {
      this.#running = await assemble({ start, config, runtime: this.#runtime, log: this.#log, keeper: this.#keeper, cleanup: this.#cleanup });
      return { ports: this.#running.listeners.ports };
    } catch (error) {
      await this.#cleanup.run();
      const option = error instanceof StartupError ? error.option : "--workers";
      return { failure: { option, message: error instanceof Error ? error.message : String(error) } };
    }
  };

  readonly reload = async (config: Config): Promise<void> => {
    this.#drainS = config.drain_s;
    this.#log?.setLevel(config["log.level"]);
    await this.#running?.reload(config);
  };

  readonly reloadKeys = async (): Promise<void> => {
    await this.#running?.reloadKeys();
  };

  readonly cancel = (pid: number, secret: string): boolean => this.#running?.listeners.cancel(pid, fromBase64(secret) ?? new Uint8Array(0)) ?? false;
  readonly offerRoom: WorkerCalls["offerRoom"] = (cluster) => this.#running?.room?.offer(cluster) ?? { unused: 0 };
  readonly surrenderRoom: WorkerCalls["surrenderRoom"] = (...asked) => this.#running?.room?.surrender(...asked) ?? 0;
  readonly lendRoom: WorkerCalls["lendRoom"] = (...lent) => this.#running?.room?.lend(...lent);
  readonly recallRoom: WorkerCalls["recallRoom"] = (...missing) => this.#running?.room?.recall(...missing);
  readonly metrics: WorkerCalls["metrics"] = () => (this.#running ? takeSnapshot(this.#running.metrics.collect()) : []);
  readonly clusterCounts: WorkerCalls["clusterCounts"] = () => [...(this.#running?.listeners.clusterCounts() ?? [])];

  /** A second call, with less time, cuts the first one short. */
  readonly stop = async (graceMs: number): Promise<void> => {
    const drained = this.#running?.listeners.drain(graceMs);
    this.#closing ??= (async () => {
      await drained;
      await this.#cleanup.run();
    })();
    await this.#closing;
    queueMicrotask(this.#tellStopped); // behind the answer
  };
}

/** Until the configuration is known. */
function startLog(): ProcessLog {
  return createLog({ level: "info", format: logFormat("auto") });
}

interface AssembleDeps {
  readonly start: WorkerStart;
  readonly config: Config;
  readonly runtime: Runtime;
  readonly log: ProcessLog;
  readonly keeper: Channel<KeeperCalls>;
  readonly cleanup: Cleanup;
}

/** The data path alone: no jobs, no API, nothing that is made or renewed. @throws {StartupError} */
async function assemble({ start, config, runtime, log, keeper, cleanup }: AssembleDeps): Promise<Running> {
  let current = config;
  const dataDir = resolve(config.data_dir);
  const keyPlace = { dataDir, file: config.master_key_file, text: config.master_key, crypto: runtime.crypto };
  const keys = await loadMasterKeys(keyPlace);
  const secrets = new Secrets(runtime.crypto, keys.current, keys.lookup);
  const server = start.embedded ? embeddedTargets(start.embedded, secrets) : await openExisting(config.database_url ?? "", "--database-url");
  const configured = await openConfigured(config, server);
  const store = await openStore({ connection: server.store, clock, log, applicationName: "tenantry worker", poolSize: storePoolSize });
  cleanup.add("control store", () => store.close());
  const version = await readVersion();
  const tracing = await openTracing({ config, env: process.env, log, version });
  if (tracing) cleanup.add("traces", () => tracing.stop());
  const rules = () => ({ allowPrivate: true, allow: current.cluster_allow_addresses, setting: "cluster_allow_addresses" });
  const clusters = new Clusters({ store, secrets, log, rules }, configured);
  await clusters.start();
  cleanup.add("list of clusters", () => clusters.stop());
  const dialer = createSqlDialer({ clusters: clusters.targets, secrets });
  cleanup.add("control connections", () => dialer.close());
  const admin: AdminContext = { dialer, secrets, log, clock };
  const holds = new TenantHolds(store, clock, () => secrets.randomHex(8));
  cleanup.add("holds", () => holds.stop());
  const uses = new CredentialUses(store.db, clock, log);
  cleanup.add("uses of credentials", () => uses.stop());
  const ticketSeed = fromBase64(start.ticketSeed);
  const { tls, watch } = await openTls({ ...{ config, inForce: () => current, runtime, clock, log, dataDir }, makes: false, ticketSeed }, cleanup);
  const lookup = new CredentialLookup(store.db, clock, store.onChange);
  cleanup.add("credential look-up", () => lookup.stop());
  const queryLog = openQueryLog({ store, clock, log, config });
  cleanup.add("query log", () => queryLog.stop());
  const link = new KeeperLink(keeper, clock, config["ip.exempt"]);
  let room: RoomShare | undefined;
  const listeners = await openListeners({
    ...{ config, runtime, tls, lookup, queries: queryLog.queries, sharesPort: true },
    entrance: new Entrance({ config, clock, log, secrets, routes: store.routes, keeper: link }),
    control: { getTenant: (projectId, tenantId) => findTenant(store.db, projectId, tenantId) },
    tracer: tracing?.tracer,
    clusters: await withPoolers(config, clusters),
    restoreRole: (database, role) => restoreRole(admin, database, role),
    restoreAlteredRole: (database, role) => restoreAlteredRole(admin, database, role),
    onHolds: (handler) => {
      holds.handler = handler;
    },
    onPool: (pool) => {
      room = new RoomShare(pool, keeper, clock, start.room);
    },
  });
  cleanup.add("room for backends", () => room?.stop());
  cleanup.add("listeners", () => listeners.drain(0));
  listeners.sessions.onIdentified = ({ credential }) => uses.note(credential.id);
  const metrics = openMetrics(listeners, queryLog, { store, log, runtime, version }, cleanup);
  answerInstances(listeners, { store, log }, cleanup);
  return {
    ...{ listeners, metrics, room },
    async reload(next) {
      current = ownPart({ ...start, config: next });
      await listeners.reload(current);
      queryLog.reload(current);
      await watch.check();
    },
    async reloadKeys() {
      const { current: key } = await loadMasterKeys(keyPlace);
      if (toHex(key) !== toHex(keys.current)) secrets.rekey(key);
    },
  };
}

function openMetrics(
  listeners: Listeners,
  { queries }: RunningQueryLog,
  { store, log, runtime, version }: { store: Store; log: ProcessLog; runtime: Runtime; version: string },
  cleanup: Cleanup,
): GatewayMetrics {
  const metrics = new GatewayMetrics({ listeners, queries, db: store.db, clock, log, version, runtime: runtime.name });
  cleanup.add("metrics", () => metrics.stop());
  return metrics;
}

/** For the other processes of this installation a worker is an instance with sessions; bans are the first process's. */
function answerInstances({ sessions }: Listeners, { store, log }: { store: Store; log: ProcessLog }, cleanup: Cleanup): void {
  const instances = new Instances({
    ...{ store, clock, log },
    answer(question) {
      if (question.about === "sessions") return listSessions(sessions, question.projectId);
      if (question.about === "end session") return endSession(sessions, question.projectId, question.sessionId);
      return question.about === "bans" ? [] : false;
    },
  });
  cleanup.add("instances", () => instances.stop());
}

/** The configuration, with a part of what is not counted for all processes together, and without what the first one does by itself. */
function ownPart({ config, workers }: WorkerStart): Config {
  const partOf = (whole: number) => Math.ceil(whole / workers);
  return {
    ...config,
    redis_url: undefined,
    max_unauthenticated: partOf(config.max_unauthenticated),
    "query_log.max_per_s": partOf(config["query_log.max_per_s"]),
  };
}
