/** The things the product is about, as plain shapes. Times are milliseconds since 1970. */
import type { Role } from "./role.ts";
import type { Scope } from "./scope.ts";

export const engineNames = ["PostgreSQL", "MySQL", "MongoDB", "Redis"] as const;
export type EngineName = (typeof engineNames)[number];

/** What a message calls the listener of an engine: "Connect via the mysql proxy instead." */
export const proxyNames: Record<EngineName, string> = { PostgreSQL: "postgres", MySQL: "mysql", MongoDB: "mongo", Redis: "redis" };

export interface Account {
  readonly id: string;
  readonly email: string;
  readonly passwordHash: string;
  readonly createdAt: number;
}

export interface Project {
  /** `tdb_` + 8 hex; the user name on the wire. */
  readonly id: string;
  readonly name: string;
  readonly accountId: string | undefined;
  /** Shared by all credentials of the project, because SCRAM asks for it before it knows which one the client has. */
  readonly scramSalt: Uint8Array;
  readonly scramIterations: number;
  readonly createdAt: number;
}

/** What is kept of one secret: enough to verify it, by SCRAM on the wire or by keyed hash on the API. Never the secret. */
export interface Verifier {
  /** `key` secrets (`tenantsdb_sk_…`) open the API and the wire, `password` secrets (`tdb_…`) the wire only. */
  readonly use: "key" | "password";
  /** HMAC of the secret under the master key, hex; unique, for look-up and so that no two secrets are equal. */
  readonly lookupHash: string;
  /** SCRAM-SHA-256 StoredKey and ServerKey under the project's salt and iterations (RFC 5802 section 3). */
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
  /** Set on a rotated secret: it stops working then. */
  readonly validUntil: number | undefined;
}

export interface Credential {
  /** `key_` + hex. */
  readonly id: string;
  readonly projectId: string;
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  /** First characters of the API key, for listings: `tenantsdb_sk_3cc0`. */
  readonly prefix: string;
  readonly verifiers: readonly Verifier[];
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
  readonly lastUsedAt: number | undefined;
}

/** Settings of a workspace for all tenants of its blueprint (spec section 3); a tenant may have its own value of each. */
export interface DatabaseSettings {
  readonly max_rows_per_query: number;
  readonly query_timeout_ms: number;
  readonly max_connections: number;
  readonly allow_copy: boolean;
  readonly pool_mode: "session" | "transaction";
  readonly slow_query_ms: number;
}

export const defaultDatabaseSettings: DatabaseSettings = {
  max_rows_per_query: 0,
  query_timeout_ms: 0,
  max_connections: 100,
  allow_copy: false,
  pool_mode: "session",
  slow_query_ms: 1000,
};

export type WorkspaceState = "creating" | "ready" | "deleting";

export interface Workspace {
  /** `ws_` + hex. */
  readonly id: string;
  readonly projectId: string;
  readonly name: string;
  readonly engine: EngineName;
  readonly mode: "tenant" | "control";
  readonly state: WorkspaceState;
  /** Undefined for engines that are only redirected. */
  readonly database: PhysicalDatabase | undefined;
  readonly redirectTo: string | undefined;
  readonly settings: Partial<DatabaseSettings>;
  readonly createdAt: number;
}

/** A database on a cluster. Its name and its roles' names are opaque. */
export interface PhysicalDatabase {
  readonly clusterId: string;
  /** `tdb_` + 16 hex; role names are made from it, see `nativeRoleName`. */
  readonly name: string;
  /** Counted up to rotate the derived passwords of its roles. */
  readonly passwordGeneration: number;
}

/** Owner is for the control plane only; clients are logged in as one of the three roles. */
export type NativeRole = Role | "owner";

/** The login role of one database for one purpose. */
export function nativeRoleName(databaseName: string, role: NativeRole): string {
  return `${databaseName}_${role}`;
}

/** One captured DDL statement. Version numbers count from 1 in each blueprint. */
export interface BlueprintVersion {
  readonly workspaceId: string;
  readonly version: number;
  /** Row of the workspace's capture log. */
  readonly ddlId: number;
  readonly sql: string;
  /** As PostgreSQL names it: `CREATE TABLE`. */
  readonly commandTag: string;
  /** The session's search_path when it ran; set again where it is replayed. */
  readonly searchPath: string;
  /** Other settings of that session which change what the text means (TimeZone, DateStyle …); set again likewise. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** Wall clock: passed over by deployments, templates and new tenants since then. */
  readonly skippedAt?: number | undefined;
  /** False for what PostgreSQL refuses inside a transaction block, as CREATE INDEX CONCURRENTLY. */
  readonly transactional: boolean;
  readonly capturedAt: number;
}

export type TenantState = "creating" | "ready" | "suspended" | "trash" | "deleting";

export interface Tenant {
  readonly projectId: string;
  /** Chosen by the user; unique in the project. */
  readonly id: string;
  readonly state: TenantState;
  readonly createdAt: number;
  readonly trashedAt: number | undefined;
  readonly databases: readonly TenantDatabase[];
}

export interface TenantDatabase {
  readonly workspaceId: string;
  /** The workspace's name: the blueprint. */
  readonly blueprint: string;
  readonly engine: EngineName;
  readonly isolationLevel: 1 | 2;
  readonly database: PhysicalDatabase | undefined;
  /** Blueprint version known to be applied; the tenant database's own record is the truth. */
  readonly version: number;
  readonly settings: Partial<DatabaseSettings>;
  readonly state: "creating" | "ready";
}

export type DeploymentState = "queued" | "running" | "done" | "failed" | "cancelled";
export type DeploymentResultState = "pending" | "running" | "done" | "failed" | "skipped" | "cancelled";

/** What one statement of a dry run cost. */
export interface DryRunStatement {
  readonly version: number;
  readonly command: string;
  readonly durationMs: number;
  /** Relations and the strongest lock taken on each: `public.accounts AccessExclusiveLock`. What the statement itself made is left out. */
  readonly locks: readonly string[];
  /** Whether it wrote a table anew; that takes as long as the table is large. */
  readonly rewrites: readonly string[];
}

export interface DeploymentResult {
  readonly tenantId: string;
  readonly status: DeploymentResultState;
  /** Among those that went first. */
  readonly isCanary: boolean;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  /** Of a dry run only. */
  readonly statements: readonly DryRunStatement[] | undefined;
  readonly fromVersion: number | undefined;
  readonly toVersion: number | undefined;
  readonly durationMs: number | undefined;
  readonly error: string | undefined;
  readonly sqlstate: string | undefined;
  readonly attempts: number;
}

export interface Deployment {
  /** `dep_` + hex. */
  readonly id: string;
  readonly projectId: string;
  readonly workspaceId: string;
  readonly blueprint: string;
  readonly version: number;
  readonly state: DeploymentState;
  readonly concurrency: number;
  readonly lockTimeoutMs: number;
  /** Tenants that go first, alone; 0 = none. */
  readonly canary: number;
  /** How long the canaries' traffic is watched before the rest follows. */
  readonly canaryWatchS: number;
  readonly onFailure: "continue" | "hold";
  /** Runs on copies of the tenants' databases and changes none. */
  readonly dryRun: boolean;
  /** Why it stopped before its last tenant; undefined when it did not, or when somebody cancelled it. */
  readonly heldBecause: string | undefined;
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  readonly tally: DeploymentTally;
  /** Those that were asked for. */
  readonly results: readonly DeploymentResult[];
  /** Where the next page of them begins; undefined when there is none. */
  readonly nextResults: string | undefined;
}

/** How many tenants of a deployment are where. */
export interface DeploymentTally {
  readonly total: number;
  /** Done or skipped. */
  readonly completed: number;
  readonly failed: number;
}

/** A PostgreSQL server that hosts databases. How to reach it as administrator is configuration, never stored in clear. */
export interface Cluster {
  readonly id: string;
  readonly name: string;
}
