/** The operations of core/operations.ts over this instance's listeners and the store. */
import type { Clock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import { limitKey } from "../../core/limit.ts";
import type { Log } from "../../core/log.ts";
import type { ClusterInfo, Operations } from "../../core/operations.ts";
import type { QueryLog } from "../../core/query-log.ts";
import type { Listeners } from "../listeners.ts";
import type { ServerVersions } from "../server-versions.ts";
import type { Store } from "../store/store.ts";
import { translateStoreError } from "../store/store-errors.ts";
import { listChanges, recordChange } from "./audit.ts";
import { GatewayMetrics } from "./metrics.ts";
import { endSession, listSessions } from "./sessions.ts";

export interface OperationsDeps {
  readonly listeners: Listeners;
  readonly store: Store;
  readonly versions: Pick<ServerVersions, "problems">;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly runtime: string;
  /** As of the last reload. */
  readonly config: () => Config;
  readonly queries: QueryLog;
}

export interface RunningOperations extends Operations {
  stop(): void;
}

export function createOperations(deps: OperationsDeps): RunningOperations {
  const { listeners, store, clock } = deps;
  const { sessions, bans } = listeners;
  const metrics = new GatewayMetrics({ ...deps, db: store.db });
  return {
    listWarnings: () => [
      ...[...deps.versions.problems.keys()].map((cluster) => `the database server of cluster "${cluster}" should be updated; the log says why`),
      ...(listeners.limitsShared() === false ? ["limits and bans are counted by this instance alone: redis_url does not answer"] : []),
    ],
    renderMetrics: () => metrics.render(),
    listSessions: async (projectId) => listSessions(sessions, clock, projectId),
    endSession: async (projectId, id) => endSession(sessions, projectId, id),
    listBans: async () => bans.list(),
    async liftBan(address) {
      const key = limitKey(address);
      const isBanned = bans.secondsLeft(key) > 0;
      bans.lift(key); // with its history, and wherever bans are shared
      return isBanned;
    },
    listClusters: () => fromStore(() => listClusters(deps)),
    recordChange: (entry) => fromStore(() => recordChange(store.db, entry)),
    listChanges: (projectId, page) => fromStore(() => listChanges(store.db, projectId, page)),
    stop: () => metrics.stop(),
  };
}

async function fromStore<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw translateStoreError(error, "backend_unreachable");
  }
}

async function listClusters({ store, listeners, config }: OperationsDeps): Promise<readonly ClusterInfo[]> {
  const rows = await store.db
    .selectFrom("clusters as c")
    .leftJoin("databases as d", "d.cluster_id", "c.id")
    .select(["c.id", "c.name"])
    .select((eb) => eb.fn.count<number>("d.name").as("databases"))
    .groupBy(["c.id", "c.name", "c.created_at"])
    .orderBy("c.created_at")
    .orderBy("c.id")
    .execute();
  const counts = listeners.clusterCounts();
  const budget = config().backend_budget;
  return rows.map((row) => ({ ...row, budget, ...(counts.get(row.id) ?? { open: 0, idle: 0, leased: 0, waiting: 0 }) }));
}
