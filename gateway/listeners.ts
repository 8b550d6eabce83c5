/** All wire listeners of this process, opened and drained together. */
import type { Bans } from "../core/ban.ts";
import type { Config } from "../core/config.ts";
import type { Metric } from "../core/metrics.ts";
import type { EngineName } from "../core/model.ts";
import type { ClusterCounts, PoolCounts } from "../core/pool.ts";
import type { SessionRegistry } from "../core/session-registry.ts";
import type { OpenPort } from "./open-port.ts";
import { openPgListener, type PgListenerDeps } from "./pg-listener.ts";
import { openRedirectListeners } from "./redirect-listeners.ts";
import type { CredentialLookup } from "./store/credential-lookup.ts";
import type { WireTls } from "./tls/wire-tls.ts";
import type { MetricSnapshot } from "./workers/calls.ts";

export interface ListenersDeps extends Omit<PgListenerDeps, "tls" | "ports"> {
  readonly config: Config;
  readonly lookup: CredentialLookup;
  readonly tls: WireTls;
}

/** What the processes that serve clients tell of themselves, and are told. */
export interface Workers {
  clusterCounts(): Promise<ReadonlyMap<string, ClusterCounts>>;
  /** What all of them, those that have ended included, have counted. */
  metrics(): Promise<readonly MetricSnapshot[]>;
  /** The master key may have changed. */
  reloadKeys(): Promise<void>;
}

export interface Listeners {
  /** Of those that are on. */
  readonly ports: Partial<Readonly<Record<EngineName, number>>>;
  readonly sessions: SessionRegistry;
  readonly bans: Bans;
  /** Undefined when PostgreSQL's listener is off. */
  poolCounts(): PoolCounts | undefined;
  /** By cluster id; empty when PostgreSQL's listener is off. */
  clusterCounts(): ReadonlyMap<string, ClusterCounts>;
  /** What PostgreSQL's pool counts; empty when its listener is off. */
  readonly poolMetrics: readonly Metric[];
  /** Passes a cancel request on to a session of this process. @returns false when none has this key. */
  cancel(pid: number, secret: Uint8Array): boolean;
  /** Where clients are served by workers instead of this process. */
  readonly workers?: Workers | undefined;
  /** Whether limits and bans are shared by redis_url now; undefined where they are not to be. */
  limitsShared(): boolean | undefined;
  /** Resolves when it is in force everywhere. */
  reload(config: Config): Promise<void>;
  /** Stops accepting, lets transactions finish for `graceMs`, then closes everything. */
  drain(graceMs: number): Promise<void>;
}

/** @throws {StartupError} naming the port that cannot be listened on; none is open then. */
export async function openListeners(deps: ListenersDeps): Promise<Listeners> {
  const { runtime, config, lookup, entrance } = deps;
  const opened: OpenPort[] = [];
  const ports: Partial<Record<EngineName, number>> = {};
  const close = async () => {
    await Promise.all(opened.map((each) => each.close()));
    entrance.stop();
  };
  try {
    const postgres = config.pg_port < 0 ? undefined : await openPgListener({ ...deps, entrance, tls: deps.tls.postgres, ports });
    if (postgres) {
      opened.push(postgres);
      ports.PostgreSQL = postgres.port;
    }
    await openRedirectListeners({ entrance, runtime, tls: deps.tls.others, lookup, ports, sharesPort: deps.sharesPort }, opened);
    return {
      ports,
      sessions: entrance.sessions,
      bans: entrance.bans,
      poolCounts: () => postgres?.poolCounts(),
      clusterCounts: () => postgres?.clusterCounts() ?? new Map(),
      poolMetrics: postgres?.poolMetrics ?? [],
      cancel: (pid, secret) => postgres?.cancel(pid, secret) ?? false,
      limitsShared: () => entrance.shared?.isShared,
      async reload(next) {
        entrance.reload(next);
        postgres?.reload(next);
      },
      async drain(graceMs) {
        await Promise.all(opened.map((each) => each.stopAccepting()));
        await entrance.sessions.drain(graceMs);
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
