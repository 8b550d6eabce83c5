/** The operations of core/operations.ts over this instance's listeners and the store. */
import type { Clock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import { GatewayError } from "../../core/errors.ts";
import { limitKey } from "../../core/limit.ts";
import type { Log } from "../../core/log.ts";
import type { BanInfo, ClusterInfo, Operations, SessionInfo } from "../../core/operations.ts";
import type { QueryLog } from "../../core/query-log.ts";
import type { Clusters } from "../clusters/clusters.ts";
import { describeServer } from "../clusters/connection.ts";
import type { ClusterManager } from "../clusters/manage.ts";
import type { Listeners } from "../listeners.ts";
import type { ServerVersions } from "../server-versions.ts";
import type { Store } from "../store/store.ts";
import { translateStoreError } from "../store/store-errors.ts";
import { listChanges, recordChange } from "./audit.ts";
import { Instances, type Question } from "./instances.ts";
import { GatewayMetrics } from "./metrics.ts";
import { endSession, listSessions } from "./sessions.ts";

export interface OperationsDeps {
  readonly listeners: Listeners;
  readonly store: Store;
  readonly versions: Pick<ServerVersions, "problems" | "cautions">;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly runtime: string;
  /** As of the last reload. */
  readonly config: () => Config;
  readonly queries: QueryLog;
  readonly describePooler: Operations["describePooler"];
  readonly clusters: Pick<Clusters, "get" | "list">;
  readonly clusterManager: ClusterManager;
}

export interface RunningOperations extends Operations {
  stop(): void;
}

export function createOperations(deps: OperationsDeps): RunningOperations {
  const { listeners, store, clock } = deps;
  const { sessions, bans } = listeners;
  const metrics = new GatewayMetrics({ ...deps, db: store.db });
  const own = ownOperations(sessions, bans);
  const instances = new Instances({ store, clock, log: deps.log, answer: (question) => answerAs(own, question) });
  return {
    listWarnings: () => [
      ...[...deps.versions.problems.keys()].map((cluster) => `the database server of cluster "${cluster}" should be updated; the log says why`),
      ...[...deps.versions.cautions.keys()].map(
        (cluster) => `the database server of cluster "${cluster}" lets clients prepare transactions; the log says why`,
      ),
      ...(listeners.limitsShared() === false ? ["limits and bans are counted by this instance alone: redis_url does not answer"] : []),
    ],
    renderMetrics: () => metrics.render(),
    async listSessions(projectId) {
      const others = await instances.ask<readonly SessionInfo[]>({ about: "sessions", projectId });
      return [own.sessions(projectId), ...others].flat().sort((a, b) => a.connectedAt - b.connectedAt);
    },
    async endSession(projectId, sessionId) {
      if (own.endSession(projectId, sessionId)) return true;
      return (await instances.ask<boolean>({ about: "end session", projectId, sessionId })).includes(true);
    },
    async listBans() {
      const others = await instances.ask<readonly BanInfo[]>({ about: "bans" });
      return longestBans([own.bans(), ...others].flat());
    },
    async liftBan(address) {
      const wasBanned = own.liftBan(address);
      return (await instances.ask<boolean>({ about: "lift ban", address })).includes(true) || wasBanned;
    },
    listClusters: () => fromStore(() => listClusters(deps)),
    addCluster: (name, connection) => fromStore(() => thenShow(deps, name, deps.clusterManager.add(name, connection))),
    changeCluster: (id, connection) => fromStore(() => thenShow(deps, id, deps.clusterManager.change(id, connection))),
    removeCluster: (id) => fromStore(() => deps.clusterManager.remove(id)),
    describePooler: (request) => fromStore(() => deps.describePooler(request)),
    recordChange: (entry) => fromStore(() => recordChange(store.db, entry)),
    listChanges: (projectId, page) => fromStore(() => listChanges(store.db, projectId, page)),
    stop() {
      instances.stop();
      metrics.stop();
    },
  };
}

/** What is asked of this instance alone. */
function ownOperations(sessions: Listeners["sessions"], bans: Listeners["bans"]) {
  return {
    sessions: (projectId: string) => listSessions(sessions, projectId),
    endSession: (projectId: string, id: string) => endSession(sessions, projectId, id),
    bans: (): readonly BanInfo[] => bans.list(),
    liftBan(address: string) {
      const key = limitKey(address);
      const isBanned = bans.secondsLeft(key) > 0;
      bans.lift(key); // with its history, and wherever bans are shared
      return isBanned;
    },
  };
}

function answerAs(own: ReturnType<typeof ownOperations>, question: Question): unknown {
  switch (question.about) {
    case "sessions":
      return own.sessions(question.projectId);
    case "end session":
      return own.endSession(question.projectId, question.sessionId);
    case "bans":
      return own.bans();
    case "lift ban":
      return own.liftBan(question.address);
  }
}

/** An address that several instances have banned is told once, with the time until all let it in. */
function longestBans(bans: readonly BanInfo[]): readonly BanInfo[] {
  const byAddress = new Map<string, BanInfo>();
  for (const ban of bans) if (ban.secondsLeft > (byAddress.get(ban.address)?.secondsLeft ?? 0)) byAddress.set(ban.address, ban);
  return [...byAddress.values()];
}

async function fromStore<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw translateStoreError(error, "backend_unreachable");
  }
}

async function thenShow(deps: OperationsDeps, id: string, done: Promise<void>): Promise<ClusterInfo> {
  await done;
  const found = (await listClusters(deps)).find((cluster) => cluster.id === id);
  if (!found) throw new GatewayError("conflict", `Cluster '${id}' was removed meanwhile`);
  return found;
}

async function listClusters({ store, listeners, config, clusters }: OperationsDeps): Promise<readonly ClusterInfo[]> {
  const rows = await store.db
    .selectFrom("clusters as c")
    .leftJoin("databases as d", "d.cluster_id", "c.id")
    .select(["c.id", "c.name"])
    .select((eb) => eb.fn.count<number>("d.name").as("databases"))
    .groupBy(["c.id", "c.name", "c.created_at"])
    .orderBy("c.created_at")
    .orderBy("c.id")
    .execute();
  const counts = (await listeners.workers?.clusterCounts()) ?? listeners.clusterCounts();
  const budget = config().backend_budget;
  const [shared] = clusters.list();
  return rows.map((row) => {
    const server = clusters.get(row.id);
    return {
      ...row,
      server: server && describeServer(server),
      origin: server?.origin,
      isolationLevel: row.id === shared?.id ? 1 : 2,
      budget,
      ...(counts.get(row.id) ?? { open: 0, idle: 0, leased: 0, waiting: 0 }),
    };
  });
}
