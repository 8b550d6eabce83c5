/** What the management API can do: the product's verbs, without HTTP. Authorisation is the caller's; ids are always looked up inside the project. */
import type { QueryAnswer, TableShape } from "./cluster-admin.ts";
import type { GatewayError } from "./errors.ts";
import type { DriftedTenant, FleetStatus } from "./fleet.ts";
import type {
  Account,
  BlueprintVersion,
  Credential,
  DatabaseSettings,
  Deployment,
  DeploymentResult,
  EngineName,
  Project,
  Tenant,
  Workspace,
} from "./model.ts";
import type { Role } from "./role.ts";
import type { Scope } from "./scope.ts";

export interface Page {
  readonly limit: number;
  /** Opaque, from a previous answer. */
  readonly cursor?: string | undefined;
}

export interface Listing<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | undefined;
}

/** Secrets of a new credential, shown once. */
export interface NewCredential {
  readonly credential: Credential;
  /** `tenantsdb_sk_` + 64 hex. */
  readonly apiKey: string;
  /** `tdb_` + 16 hex. */
  readonly proxyPassword: string;
}

/** Which tenants' results come with a job; those of ten thousand are megabytes. */
export type ResultsShown = "all" | "failed" | "none";

/** Which of a deployment's results come with it, in order of tenant id. */
export interface ResultsPage extends Page {
  readonly shown: ResultsShown;
}

export interface RotatedCredential extends NewCredential {
  /** How the key it had until now begins. */
  readonly previousPrefix: string;
}

export interface NewProject extends NewCredential {
  readonly project: Project;
}

export interface NewTenantDatabase {
  readonly blueprint: string;
  readonly engine: EngineName;
  readonly databaseName: string;
  readonly version: number;
  readonly isolationLevel: 1 | 2;
}

export interface NewTenant {
  readonly tenant: Tenant;
  readonly databases: readonly NewTenantDatabase[];
  /** The tenant's own credential; opens all its databases. Undefined when databases were added to a tenant that exists. */
  readonly credential: NewCredential | undefined;
}

export interface WorkspaceDetail {
  readonly workspace: Workspace;
  readonly schema: readonly TableShape[];
  readonly version: number;
  /** Versions not yet on every tenant. */
  readonly undeployedChanges: readonly BlueprintVersion[];
}

export interface BlueprintSummary {
  readonly name: string;
  readonly workspaceId: string;
  readonly engine: EngineName;
  readonly version: number;
  readonly tenants: number;
  /** How many tenants are at which version. */
  readonly tenantsPerVersion: readonly { readonly version: number; readonly tenants: number }[];
  readonly createdAt: number;
}

/** What a statement sent to many tenants came to in one. */
export interface TenantAnswer {
  readonly tenantId: string;
  readonly answer: QueryAnswer | undefined;
  /** Why there is none. */
  readonly error: GatewayError | undefined;
}

export interface QueryRequest {
  readonly query: string;
  readonly params: readonly unknown[];
  /** Who the query log tells it of; without one it is not in the log. */
  readonly caller?: QueryCaller | undefined;
}

/** Who sends a statement over the API. */
export interface QueryCaller {
  /** The key's id; an account's where a session sends it. */
  readonly credentialId: string;
  readonly address: string;
  readonly requestId: string;
}

export interface DeploymentRequest {
  readonly blueprint: string;
  readonly version?: number | undefined;
  /** Tenant ids, or every tenant of the blueprint. */
  readonly tenants: "all" | readonly string[];
  /** Per cluster. */
  readonly concurrency: number;
  readonly lockTimeoutMs: number;
  /** Default 0: all at once. */
  readonly canary?: number | undefined;
  readonly canaryWatchS?: number | undefined;
  /** Default `continue`. */
  readonly onFailure?: "continue" | "hold" | undefined;
  readonly dryRun?: boolean | undefined;
}

/** A certificate a project trusts clients by. */
export interface ClientCertificate {
  readonly subject: string;
  /** SHA-256, hex. */
  readonly fingerprint: string;
  readonly isAuthority: boolean;
  readonly expiresAt: number;
}

/** One tenant's part in a deployment, which is told without its other results. */
export interface TenantDeployment {
  readonly deployment: Deployment;
  readonly result: DeploymentResult;
}

export type DeploymentEvent =
  | { readonly type: "progress"; readonly deployment: Deployment }
  | { readonly type: "result"; readonly result: DeploymentResult }
  | { readonly type: "end"; readonly deployment: Deployment };

export interface MoveRequest {
  /** May be left out when the tenant has one database. */
  readonly blueprint?: string | undefined;
  /** 1: the shared cluster, 2: the emptiest of the others. */
  readonly isolationLevel?: 1 | 2 | undefined;
  readonly cluster?: string | undefined;
}

/**
 * All methods throw {GatewayError}: not_found for what is not in this project, conflict, bad_request, backend_unreachable.
 * `workspace` arguments take a name or a `ws_` id.
 */
export interface ControlPlane {
  signup(input: { email: string; password: string; projectName: string }): Promise<NewProject>;
  /** @throws unauthorized, the same for an unknown e-mail and a wrong password. */
  login(input: { email: string; password: string }): Promise<{ account: Account; token: string; expiresAt: number; projects: readonly Project[] }>;
  /** Undefined when unknown, expired or revoked. */
  authenticateKey(apiKey: string): Promise<Credential | undefined>;
  authenticateSession(token: string): Promise<Account | undefined>;
  /** Ends a session, or all sessions of its account. @returns how many. */
  logout(token: string, everywhere: boolean): Promise<number>;

  listProjects(accountId: string): Promise<readonly Project[]>;
  createProject(accountId: string | undefined, name: string): Promise<NewProject>;
  getProject(projectId: string): Promise<Project>;
  renameProject(projectId: string, name: string): Promise<Project>;
  /** Removes everything below it, databases included. */
  deleteProject(projectId: string): Promise<void>;
  /** Empty where none is demanded. */
  getClientCertificates(projectId: string): Promise<readonly ClientCertificate[]>;
  /** Undefined: none is demanded any more. @throws bad_request, conflict where clients are not asked for any. */
  setClientCertificates(projectId: string, pem: string | undefined): Promise<readonly ClientCertificate[]>;

  listCredentials(projectId: string, page: Page): Promise<Listing<Credential>>;
  createCredential(projectId: string, input: { name: string; role: Role; scope: Scope; expiresAt: number | undefined }): Promise<NewCredential>;
  /** @returns what was revoked. */
  revokeCredential(projectId: string, credentialId: string): Promise<Credential>;
  /** New secrets; the old ones go on for `graceS` seconds. */
  rotateCredential(projectId: string, credentialId: string, graceS: number): Promise<RotatedCredential>;

  listWorkspaces(projectId: string, page: Page): Promise<Listing<Workspace>>;
  createWorkspace(
    projectId: string,
    input: { name: string; engine: EngineName; mode: "tenant" | "control"; redirectTo: string | undefined },
  ): Promise<Workspace>;
  getWorkspace(projectId: string, workspace: string): Promise<Workspace>;
  describeWorkspace(projectId: string, workspace: string): Promise<WorkspaceDetail>;
  deleteWorkspace(projectId: string, workspace: string): Promise<void>;
  queryWorkspace(projectId: string, workspace: string, role: Role, request: QueryRequest): Promise<QueryAnswer>;
  getWorkspaceSettings(projectId: string, workspace: string): Promise<DatabaseSettings>;
  /** `check` sees the settings in force under the lock that the change is made under; what it throws leaves them as they are. */
  updateWorkspaceSettings(
    projectId: string,
    workspace: string,
    patch: Partial<DatabaseSettings>,
    check?: (current: DatabaseSettings) => Promise<void>,
  ): Promise<DatabaseSettings>;

  /** Reads new captured DDL first, so the answer is never behind the workspace. */
  listBlueprints(projectId: string, page: Page): Promise<Listing<BlueprintSummary>>;
  getBlueprint(projectId: string, name: string): Promise<BlueprintSummary>;
  /** `isSynced`: the blueprint was asked for a moment ago, so its workspace need not be read again. */
  listBlueprintVersions(projectId: string, name: string, page: Page & { isSynced?: boolean }): Promise<Listing<BlueprintVersion>>;
  getBlueprintVersion(projectId: string, name: string, version: number): Promise<BlueprintVersion>;

  /** Counted from the store, whatever the number of tenants; DDL captured since the blueprint was last asked for is not read. */
  getFleet(projectId: string, blueprint: string): Promise<FleetStatus>;
  /** Tenants whose schema is not their version's, in order of id. */
  listDrift(projectId: string, blueprint: string, page: Page): Promise<Listing<DriftedTenant>>;

  listTenants(projectId: string, page: Page & { workspaces?: readonly string[] | undefined }): Promise<Listing<Tenant>>;
  /** Takes a prepared spare where one is ready. A second call for the same id and other blueprints adds databases. */
  createTenant(
    projectId: string,
    input: { tenantId: string; databases: readonly { blueprint: string; isolationLevel: 1 | 2; cluster?: string | undefined }[] },
  ): Promise<NewTenant>;
  getTenant(projectId: string, tenantId: string): Promise<Tenant>;
  /** Soft: into the trash, kept 7 days. Hard: gone at once. */
  deleteTenant(projectId: string, tenantId: string, hard: boolean): Promise<void>;
  restoreTenant(projectId: string, tenantId: string): Promise<Tenant>;
  /** Resolves when the tenant's database is on the other cluster. Clients leave between transactions, and wait while it is copied. */
  moveTenant(projectId: string, tenantId: string, request: MoveRequest): Promise<Tenant>;
  suspendTenant(projectId: string, tenantId: string): Promise<Tenant>;
  resumeTenant(projectId: string, tenantId: string): Promise<Tenant>;
  /** One statement in each tenant's database of a blueprint, a few at a time, as they end. A tenant's failure is its own result. */
  queryTenants(
    projectId: string,
    input: { readonly blueprint: string; readonly tenants: "all" | readonly string[]; readonly request: QueryRequest; readonly concurrency: number },
    signal: AbortSignal,
  ): AsyncIterable<TenantAnswer>;
  /** `blueprint` may be left out when the tenant has one PostgreSQL database. */
  queryTenant(projectId: string, tenantId: string, role: Role, request: QueryRequest & { blueprint?: string | undefined }): Promise<QueryAnswer>;
  getTenantSettings(projectId: string, tenantId: string, blueprint?: string): Promise<DatabaseSettings>;
  /** null removes the tenant's own value. */
  updateTenantSettings(
    projectId: string,
    tenantId: string,
    patch: { readonly [K in keyof DatabaseSettings]?: DatabaseSettings[K] | null },
    blueprint?: string,
    check?: (current: DatabaseSettings) => Promise<void>,
  ): Promise<DatabaseSettings>;

  /** Records the job and its tenants, then returns, without results; the work goes on in the job queue, on any instance. */
  createDeployment(projectId: string, request: DeploymentRequest): Promise<Deployment>;
  listDeployments(projectId: string, page: Page): Promise<Listing<Deployment>>;
  /** `results`, none unless told: which it comes with. @throws {GatewayError} bad_request for a cursor that is none. */
  getDeployment(projectId: string, deploymentId: string, results?: ResultsPage): Promise<Deployment>;
  /** Resolves when the deployment has ended, or when `signal` aborts with its present state; without results. */
  waitForDeployment(projectId: string, deploymentId: string, signal: AbortSignal): Promise<Deployment>;
  /** @returns its state after, without results. */
  cancelDeployment(projectId: string, deploymentId: string): Promise<Deployment>;
  /** Newest first; `workspaces` keeps those of these blueprints. */
  listTenantDeployments(
    projectId: string,
    tenantId: string,
    page: Page & { workspaces?: readonly string[] | undefined },
  ): Promise<Listing<TenantDeployment>>;
  /** Its present state without results, then what changes, until it has ended or `signal` aborts. */
  followDeployment(projectId: string, deploymentId: string, signal: AbortSignal): AsyncIterable<DeploymentEvent>;
  /** The failed and cancelled tenants again. @returns its state after, without results. */
  retryDeployment(projectId: string, deploymentId: string): Promise<Deployment>;

  /** True when the control store and every cluster answer. */
  checkReady(): Promise<{ ready: boolean; checks: Readonly<Record<string, "ok" | string>> }>;
}
