/** A gateway in memory: one session of the first project, one ban, one cluster, and every change that was recorded. */
import type { Listing } from "../../../core/control-plane.ts";
import { GatewayError } from "../../../core/errors.ts";
import type {
  AuditEntry,
  AuditPage,
  BanInfo,
  ClusterConnection,
  ClusterInfo,
  Operations,
  PoolerFiles,
  PoolerRequest,
  SessionInfo,
} from "../../../core/operations.ts";

const openedAt = Date.UTC(2026, 0, 15, 9, 30);

export class FakeOperations implements Operations {
  readonly sessions: (SessionInfo & { projectId: string })[];
  readonly bans: BanInfo[] = [{ address: "192.0.2.66", secondsLeft: 47 }];
  readonly warnings: string[] = [];
  readonly recorded: AuditEntry[] = [];
  readonly pages: AuditPage[] = [];
  /** Thrown instead of recording. */
  failure: Error | undefined;

  constructor(projectId: string) {
    const who = { credentialId: "key_00000001", credentialName: "wayne", keyPrefix: "tenantsdb_sk_0000", role: "admin" as const };
    const what = { engine: "PostgreSQL" as const, database: "myapp__wayne", tenant: "wayne", state: "in_transaction" as const };
    this.sessions = [{ projectId, id: "9f2c41d07ab3", ...what, ...who, address: "192.0.2.17", since: openedAt + 1000, connectedAt: openedAt }];
  }

  async renderMetrics(): Promise<string> {
    return "# HELP up Up.\n# TYPE up gauge\nup 1\n";
  }

  async listSessions(projectId: string) {
    return this.sessions.filter((session) => session.projectId === projectId);
  }

  async endSession(projectId: string, id: string) {
    const at = this.sessions.findIndex((session) => session.projectId === projectId && session.id === id);
    if (at >= 0) this.sessions.splice(at, 1);
    return at >= 0;
  }

  async listBans() {
    return this.bans;
  }

  listWarnings() {
    return this.warnings;
  }

  async liftBan(address: string) {
    const at = this.bans.findIndex((ban) => ban.address === address);
    if (at >= 0) this.bans.splice(at, 1);
    return at >= 0;
  }

  async describePooler({ cluster, poolMode }: PoolerRequest): Promise<PoolerFiles> {
    if (cluster !== "main") throw new GatewayError("not_found", `no cluster "${cluster}"`);
    return { "pgbouncer.ini": `[pgbouncer]\nauth_file = userlist.txt\npool_mode = ${poolMode}\n`, "userlist.txt": '"a" "SCRAM"\n' };
  }

  readonly clusters: (ClusterInfo & { connection?: ClusterConnection })[] = [
    {
      ...{ id: "main", name: "main", server: "/run/tdb/.s.PGSQL.5432", origin: "configuration" as const, isolationLevel: 1 as const },
      ...{ databases: 42, budget: 200, open: 12, idle: 8, leased: 4, waiting: 0 },
    },
  ];

  async listClusters(): Promise<readonly ClusterInfo[]> {
    return this.clusters;
  }

  async addCluster(name: string, connection: ClusterConnection): Promise<ClusterInfo> {
    if (this.clusters.some(({ id }) => id === name)) throw new GatewayError("conflict", `Cluster '${name}' exists already`);
    const at = { id: name, name, server: `${connection.host}:${connection.port}`, origin: "api" as const, isolationLevel: 2 as const };
    const added = { ...at, databases: 0, budget: 200, open: 0, idle: 0, leased: 0, waiting: 0, connection };
    this.clusters.push(added);
    return added;
  }

  async changeCluster(name: string, connection: ClusterConnection): Promise<ClusterInfo> {
    await this.removeCluster(name);
    return await this.addCluster(name, connection);
  }

  async removeCluster(name: string): Promise<void> {
    const at = this.clusters.findIndex(({ id }) => id === name);
    if (at < 0) throw new GatewayError("not_found", `Cluster not found: ${name}`);
    this.clusters.splice(at, 1);
  }

  async recordChange(entry: AuditEntry) {
    if (this.failure) throw this.failure;
    this.recorded.unshift(entry);
  }

  async listChanges(projectId: string, page: AuditPage): Promise<Listing<AuditEntry>> {
    this.pages.push(page);
    return { items: this.recorded.filter((entry) => entry.projectId === projectId).slice(0, page.limit), nextCursor: undefined };
  }
}
