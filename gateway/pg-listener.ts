/** The PostgreSQL listener with what only it has behind it: pool, relay engine, cancel keys, live settings. */
import { Breaker } from "../core/breaker.ts";
import type { BytePipe, TlsServerContext } from "../core/byte-pipe.ts";
import { CancelRegistry } from "../core/cancel.ts";
import type { Config } from "../core/config.ts";
import type { ControlPlane } from "../core/control-plane.ts";
import type { Change } from "../core/directory.ts";
import type { Gate } from "../core/limit.ts";
import { LiveDatabases } from "../core/live.ts";
import type { Log } from "../core/log.ts";
import type { Metric } from "../core/metrics.ts";
import type { EngineName, PhysicalDatabase } from "../core/model.ts";
import { type BackendRequest, type ClusterCounts, Pool, type PoolCounts } from "../core/pool.ts";
import type { QueryLog } from "../core/query-log.ts";
import type { Role } from "../core/role.ts";
import { runSession } from "../core/session.ts";
import type { Tracer } from "../core/tracing.ts";
import type { PostgresBackend } from "../engines/postgres/backend-session.ts";
import { createPostgresDialer, judgeServer } from "../engines/postgres/dial.ts";
import { createPostgresEngine } from "../engines/postgres/engine.ts";
import { withSoundRoles } from "../engines/postgres/sound-roles.ts";
import type { HoldHandler } from "./control/tenant-holds.ts";
import type { Entrance } from "./entrance.ts";
import { type OpenPort, openPort } from "./open-port.ts";
import type { ClusterRoutes } from "./poolers.ts";
import type { Runtime } from "./runtime/runtime.ts";
import { isTrusted } from "./tls/client-trust.ts";

export interface PgListenerDeps {
  readonly entrance: Entrance;
  readonly runtime: Runtime;
  readonly control: Pick<ControlPlane, "getTenant">;
  readonly tls: TlsServerContext;
  /** Of all listeners; filled in as they open. */
  readonly ports: Partial<Record<EngineName, number>>;
  readonly clusters: ClusterRoutes;
  /** Told of log-ins, where traces are wanted. */
  readonly tracer?: Tracer | undefined;
  /** Told of every statement. */
  readonly queries: QueryLog;
  /** Says who asks this listener's sessions to wait. */
  onHolds(handler: HoldHandler | undefined): void;
  /** The pool is made, and nothing lent yet: for whoever grants it its room. */
  readonly onPool?: (pool: Pool<PostgresBackend>) => void;
  /** In a worker, more than one process accepts on the port. */
  readonly sharesPort?: boolean;
  /** Sets back what a native role may change of itself. */
  restoreRole(database: PhysicalDatabase, role: Role): Promise<void>;
  restoreAlteredRole(database: PhysicalDatabase, role: Role): Promise<void>;
}

export interface PgListener extends OpenPort {
  /** Passes a cancel request on to a session of this process. @returns false when none has this key. */
  cancel(pid: number, secret: Uint8Array): boolean;
  poolCounts(): PoolCounts;
  clusterCounts(): ReadonlyMap<string, ClusterCounts>;
  readonly poolMetrics: readonly Metric[];
  reload(config: Config): void;
}

/** @throws {StartupError} naming --pg-port when it cannot be listened on. */
export async function openPgListener(deps: PgListenerDeps): Promise<PgListener> {
  const { entrance, runtime, tls } = deps;
  const { clock, log, secrets, routes, bans, sessions, directory, config, keeper } = entrance;
  const ownCancels = new CancelRegistry(runtime.crypto);
  const cancels = keeper?.cancels(ownCancels) ?? ownCancels;
  const live = new LiveDatabases(directory, clock, log, keeper?.places);
  const restoreRole = (request: BackendRequest) => deps.restoreRole(request.database, request.role);
  const plainDialer = createPostgresDialer({
    secrets,
    addressOf: (clusterId) => deps.clusters.addressOf(clusterId),
    connect: (to, signal) => runtime.dial(to, signal),
    reassertPassword: restoreRole,
    sleep: (ms, signal) => clock.sleep(ms, signal),
    connectTimeoutMs: () => entrance.config.server_connect_timeout_ms,
  });
  const soundDialer = withSoundRoles(plainDialer, {
    restore: restoreRole,
    restoreAltered: (request) => deps.restoreAlteredRole(request.database, request.role),
    clock,
  });
  const dialer = new Breaker(soundDialer, {
    ...{ clock, log, judge: judgeServer, random: Math.random },
    patienceMs: () => entrance.config.connect_wait_ms,
  });
  const pool = new Pool(dialer, clock, log, poolOptions(config));
  deps.onPool?.(pool);
  const unsubscribe = routes.onChange((change) => {
    void live.apply(change);
    if (change?.schemaChanged) {
      void retireBackends(change, pool, deps.control, log);
      void refreshAtRest(change, live);
    }
  });
  deps.onHolds((subject) => live.hold(subject));
  const stop = () => {
    deps.onHolds(undefined);
    unsubscribe();
    pool.close();
    live.stop();
  };
  const tlsRequired = () => entrance.config["tls.required"];
  const engine = createPostgresEngine({
    directory,
    live,
    secrets,
    clock,
    log,
    pool,
    tls,
    tlsRequired,
    isTrusted,
    isPooled: (clusterId) => deps.clusters.poolerOf(clusterId) === "transaction",
    connectWaitMs: () => entrance.config.connect_wait_ms,
    ports: () => deps.ports,
    nowMs: () => sessions.nowMs,
    traffic: sessions.metrics.traffic,
    queries: deps.queries,
  });
  const at = { option: "--pg-port", host: config.host, port: config.pg_port, shared: deps.sharesPort };
  const run = (client: BytePipe, gate: Gate) => void runSession(client, engine, { clock, log, gate, bans, sessions, cancels, tracer: deps.tracer });
  const listener = await openPort(runtime, at, (pipe) => entrance.enter(pipe, run)).catch((error) => {
    stop();
    throw error;
  });
  return {
    cancel: (pid, secret) => ownCancels.request(pid, secret),
    port: listener.port,
    poolCounts: () => pool.counts(),
    clusterCounts: () => pool.countsByCluster(),
    poolMetrics: [...pool.metrics.all(), ...dialer.metrics],
    reload: (next) => pool.reload(poolOptions(next)),
    stopAccepting: () => listener.stopAccepting(),
    async close() {
      stop();
      await listener.close();
    },
  };
}

/** Sessions that were not held around the change mend what they have prepared as soon as they come to rest. */
async function refreshAtRest(change: Change, live: LiveDatabases): Promise<void> {
  await Promise.all(
    live.hold(change).map(async (hold) => {
      await hold.begun;
      await hold.resume(true);
    }),
  );
}

/** After a deployment: plans made before it must not be met again. */
async function retireBackends(change: Change, pool: Pool<PostgresBackend>, control: PgListenerDeps["control"], log: Log): Promise<void> {
  if (change.tenantId === undefined) return;
  try {
    const tenant = await control.getTenant(change.projectId, change.tenantId);
    for (const { database } of tenant.databases) if (database) pool.retire(database);
  } catch (error) {
    log.write("warn", "backends not retired after a schema change", { tenant: change.tenantId, error: String(error) });
  }
}

function poolOptions(config: Config) {
  return {
    budget: config.backend_budget,
    minimum: config.backend_minimum,
    reserveShare: config.backend_reserve_percent / 100,
    connectWaitMs: config.connect_wait_ms,
    idleTimeoutMs: config.server_idle_timeout_s * 1000,
    checkAfterMs: config.server_check_delay_s * 1000,
  };
}
