/** What an administrator sees of a running gateway and may end: sessions, bans, clusters, and the record of changes. Of all instances, metrics and clusters excepted. */
import type { Listing, Page } from "./control-plane.ts";
import type { EngineName } from "./model.ts";
import type { Role } from "./role.ts";
import type { SessionActivity, WaitReason } from "./session-registry.ts";

export interface SessionInfo {
  readonly id: string;
  readonly engine: EngineName;
  /** As the client named it; empty where it has named none yet. */
  readonly database: string;
  /** The tenant whose database it is; undefined in a workspace. */
  readonly tenant: string | undefined;
  readonly credentialId: string;
  /** First characters of the credential's key. */
  readonly keyPrefix: string;
  readonly credentialName: string;
  readonly role: Role;
  readonly address: string;
  readonly state: SessionActivity["state"];
  readonly waitingFor?: WaitReason | undefined;
  /** Among those of this instance that wait for a backend of the same database; 1 = next. */
  readonly position?: number | undefined;
  /** Why it keeps its backend between transactions, where others do not. */
  readonly pins?: readonly string[] | undefined;
  /** Wall clock: in this state since then. */
  readonly since: number;
  readonly connectedAt: number;
}

export interface BanInfo {
  /** An IPv4 address, or the /64 of IPv6 ones. */
  readonly address: string;
  readonly secondsLeft: number;
}

/** How a server is reached as its administrator. */
export interface ClusterConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Where cluster-wide work is done. */
  readonly database: string;
  /** `disable`: in clear; `require`: encrypted; `verify-full`: the certificate must be of that host and of a known authority. */
  readonly sslmode: "disable" | "require" | "verify-full";
  /** PEM: the authority to believe instead of the public ones, with `verify-full`. */
  readonly ca?: string | undefined;
}

export interface ClusterInfo {
  readonly id: string;
  readonly name: string;
  /** Where it stands, for people: `db2.example:5432`. Undefined where this instance's configuration has it no more. */
  readonly server: string | undefined;
  readonly origin: "configuration" | "api" | undefined;
  /** What is placed on it: 1 on the first, 2 on the others. */
  readonly isolationLevel: 1 | 2;
  /** Databases on it, spares and templates included. */
  readonly databases: number;
  /** Most backend connections of this instance, and what they do now. */
  readonly budget: number;
  readonly open: number;
  readonly idle: number;
  readonly leased: number;
  readonly waiting: number;
}

export interface PoolerRequest {
  readonly cluster: string;
  readonly poolMode: "session" | "transaction";
  /** Where the pooler is to listen. */
  readonly listenPort: number;
}

/** Contents by file name. The second holds SCRAM secrets: with them roles are recognised, and nobody logs in. */
export interface PoolerFiles {
  readonly "pgbouncer.ini": string;
  readonly "userlist.txt": string;
}

/** Stands where a project's id does in the record of what the operator changed, which is no project's. */
export const operatorsRecord = "operator";

/** One change made over the API. Never a secret, nor the text of a statement. */
export interface AuditEntry {
  /** Or {@link operatorsRecord}. */
  readonly projectId: string;
  /** Wall clock. */
  readonly at: number;
  /** Whose key, or which account's session. */
  readonly credentialId: string | undefined;
  readonly accountId: string | undefined;
  /** For people: the key's name, the account's e-mail address. */
  readonly actor: string;
  /** Method and route: `POST /tenants/{id}/suspend`. */
  readonly action: string;
  /** Id or name of what was changed, where there is one. */
  readonly target: string | undefined;
  readonly before: Readonly<Record<string, unknown>> | undefined;
  readonly after: Readonly<Record<string, unknown>> | undefined;
  /** HTTP status of the answer: a change may have happened in part where it is 500 or more. */
  readonly status: number;
  readonly address: string;
  readonly requestId: string;
}

export interface AuditPage extends Page {
  /** Wall clock, from and up to but not including. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly credentialId?: string | undefined;
}

export interface Operations {
  /** What works but should not stay as it is, in words that name no host. */
  listWarnings(): readonly string[];
  /** Prometheus' text format. */
  renderMetrics(): Promise<string>;
  /** Those of the project whose client has proven a secret, oldest first, on all instances that answer. */
  listSessions(projectId: string): Promise<readonly SessionInfo[]>;
  /** Ends it with 57P01. @returns false when the project has no such session. */
  endSession(projectId: string, sessionId: string): Promise<boolean>;
  listBans(): Promise<readonly BanInfo[]>;
  /** @returns false when the address is not banned. */
  liftBan(address: string): Promise<boolean>;
  listClusters(): Promise<readonly ClusterInfo[]>;
  /** In use at once, on every instance. @throws {GatewayError} bad_request, forbidden, conflict, backend_unreachable. */
  addCluster(name: string, connection: ClusterConnection): Promise<ClusterInfo>;
  /** Another way to the same server, or to the one that took its place with all its databases. @throws {GatewayError} as above, and not_found. */
  changeCluster(id: string, connection: ClusterConnection): Promise<ClusterInfo>;
  /** @throws {GatewayError} not_found, forbidden for one of the configuration, conflict while it has databases. */
  removeCluster(id: string): Promise<void>;
  /** What sets up a PgBouncer before a cluster. @throws {GatewayError} not_found, backend_unreachable. */
  describePooler(request: PoolerRequest): Promise<PoolerFiles>;
  recordChange(entry: AuditEntry): Promise<void>;
  /** A project's, or the operator's; newest first. @throws {GatewayError} bad_request for a foreign cursor, backend_unreachable. */
  listChanges(projectId: string, page: AuditPage): Promise<Listing<AuditEntry>>;
}
