/** The PostgreSQL listener with everything behind it: gates, directory, pool, engine, sessions. */

import { BanTracker } from "../core/ban.ts";
import { CancelRegistry } from "../core/cancel.ts";
import type { Clock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import type { ControlPlane } from "../core/control-plane.ts";
import { type Change, Directory, type RouteSource } from "../core/directory.ts";
import { AddressGate } from "../core/limit.ts";
import { LiveDatabases } from "../core/live.ts";
import type { Log } from "../core/log.ts";
import type { PhysicalDatabase } from "../core/model.ts";
import { type BackendRequest, Pool, type PoolCounts } from "../core/pool.ts";
import type { Role } from "../core/role.ts";
import type { Secrets } from "../core/secrets.ts";
import { runSession } from "../core/session.ts";
import { SessionRegistry } from "../core/session-registry.ts";
import { type ClusterAddress, createPostgresDialer, type PostgresBackend } from "../engines/postgres/dial.ts";
import { createPostgresEngine } from "../engines/postgres/engine.ts";
import type { Listener, ReloadableTlsServer, Runtime } from "./runtime/runtime.ts";
import { StartupError } from "./startup-error.ts";

export interface PgListenerDeps {
  readonly config: Config;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Log;
  readonly secrets: Secrets;
  readonly routes: RouteSource;
  readonly control: ControlPlane;
  readonly tls: ReloadableTlsServer;
  readonly clusters: ReadonlyMap<string, ClusterAddress>;
  reassertRolePassword(database: PhysicalDatabase, role: Role): Promise<void>;
}

export interface PgListener {
  readonly port: number;
  readonly sessions: SessionRegistry;
  readonly bans: BanTracker;
  poolCounts(): PoolCounts;
  reload(config: Config): void;
  /** Stops accepting, lets transactions finish for `graceMs`, then closes everything. */
  drain(graceMs: number): Promise<void>;
}

/** @throws {StartupError} naming --pg-port when it cannot be listened on. */
export async function openPgListener(deps: PgListenerDeps): Promise<PgListener> {
  const { clock, log, runtime, config, secrets } = deps;
  const bans = new BanTracker(clock, banOptions(config));
  const gate = new AddressGate(clock, bans, addressLimits(config));
  const sessions = new SessionRegistry(clock, () => secrets.randomHex(6), sessionTimeouts(config));
  const cancels = new CancelRegistry(runtime.crypto);
  const directory = new Directory(deps.routes, clock);
  const live = new LiveDatabases(directory, clock, log);
  const dialer = createPostgresDialer({
    secrets,
    addressOf: (clusterId) => addressOf(deps.clusters, clusterId),
    connect: (to, signal) => runtime.dial(to, signal),
    reassertPassword: (request: BackendRequest) => deps.reassertRolePassword(request.database, request.role),
  });
  const pool = new Pool(dialer, clock, log, poolOptions(config));
  const unsubscribe = deps.routes.onChange((change) => {
    void live.apply(change);
    if (change?.schemaChanged) void retireBackends(change, pool, deps);
  });
  let current = config;
  const engine = createPostgresEngine({
    directory,
    live,
    secrets,
    clock,
    log,
    pool,
    tls: deps.tls,
    tlsRequired: () => current["tls.required"],
    nowMs: () => sessions.nowMs,
  });
  const listener = await listen(runtime, config, (pipe) => void runSession(pipe, engine, { clock, log, gate, bans, sessions, cancels }));
  return {
    port: listener.port,
    sessions,
    bans,
    poolCounts: () => pool.counts(),
    reload(next) {
      current = next;
      bans.reload(banOptions(next));
      gate.reload(addressLimits(next));
      sessions.reload(sessionTimeouts(next));
      pool.reload(poolOptions(next));
    },
    async drain(graceMs) {
      await listener.stopAccepting();
      await sessions.drain(graceMs);
      unsubscribe();
      pool.close();
      await listener.close();
      sessions.stop();
      live.stop();
      gate.stop();
    },
  };
}

function addressOf(clusters: ReadonlyMap<string, ClusterAddress>, clusterId: string): ClusterAddress {
  const address = clusters.get(clusterId);
  if (!address) throw new Error(`cluster "${clusterId}" is not configured on this instance`);
  return address;
}

async function listen(runtime: Runtime, config: Config, onConnection: (pipe: Parameters<typeof runSession>[0]) => void): Promise<Listener> {
  try {
    return await runtime.listen({ host: config.host, port: config.pg_port, onConnection });
  } catch (error) {
    throw listenError("--pg-port", config.host, config.pg_port, error);
  }
}

/** A port that cannot be listened on, with the option that helps. */
export function listenError(option: string, host: string, port: number, error: unknown): StartupError {
  const code = (error as { code?: string }).code;
  const reason =
    code === "EADDRINUSE"
      ? `port ${port} on ${host} is in use; stop what uses it or choose another (0 = any free port)`
      : code === "EACCES"
        ? `port ${port} on ${host} may not be used by this user; choose one above 1023`
        : `cannot listen on ${host}:${port}: ${(error as Error).message}`;
  return new StartupError(code === "EADDRNOTAVAIL" ? "--host" : option, reason, error);
}

/** After a deployment: plans made before it must not be met again. */
async function retireBackends(change: Change, pool: Pool<PostgresBackend>, deps: PgListenerDeps): Promise<void> {
  if (change.tenantId === undefined) return;
  try {
    const tenant = await deps.control.getTenant(change.projectId, change.tenantId);
    for (const { database } of tenant.databases) if (database) pool.retire(database);
  } catch (error) {
    deps.log.write("warn", "backends not retired after a schema change", { tenant: change.tenantId, error: String(error) });
  }
}

function banOptions(config: Config) {
  return {
    threshold: config["auth_ban.threshold"],
    windowMs: config["auth_ban.window_s"] * 1000,
    banMs: config["auth_ban.ban_s"] * 1000,
    maxBanMs: config["auth_ban.max_ban_s"] * 1000,
  };
}

function addressLimits(config: Config) {
  return {
    maxConnections: config["ip.max_connections"],
    connectRate: config["ip.connect_rate"],
    connectBurst: config["ip.connect_burst"],
    exempt: config["ip.exempt"],
  };
}

function sessionTimeouts(config: Config) {
  return {
    loginTimeoutMs: config.login_timeout_ms,
    clientIdleTimeoutMs: config.client_idle_timeout_s * 1000,
    maxUnauthenticated: config.max_unauthenticated,
  };
}

function poolOptions(config: Config) {
  return { budget: config.backend_budget, connectWaitMs: config.connect_wait_ms, idleTimeoutMs: config.server_idle_timeout_s * 1000 };
}
