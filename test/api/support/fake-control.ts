/** A control plane in memory: enough state for the API's tests, no databases behind it. */
import type {
  ClientCertificate,
  ControlPlane,
  DeploymentEvent,
  DeploymentRequest,
  Listing,
  MoveRequest,
  NewCredential,
  NewProject,
  Page,
  ResultsPage,
  ResultsShown,
} from "../../../core/control-plane.ts";
import { GatewayError } from "../../../core/errors.ts";
import {
  type Account,
  type BlueprintVersion,
  type Credential,
  type DatabaseSettings,
  type Deployment,
  defaultDatabaseSettings,
  type Project,
  type Tenant,
  type Workspace,
} from "../../../core/model.ts";
import type { Role } from "../../../core/role.ts";
import type { Scope } from "../../../core/scope.ts";

const createdAt = Date.UTC(2026, 0, 15, 9, 30);
const missing = (what: string) => new GatewayError("not_found", `${what} not found`);
const answer = {
  columns: [{ name: "id", type: "int4" }],
  rows: [[1]],
  row_count: 1,
  execution_time_ms: 2,
  truncated: false,
  command: "SELECT",
  bytes: 1,
};

export class FakeControl implements ControlPlane {
  readonly accounts = new Map<string, Account>();
  readonly tokens = new Map<string, string>();
  readonly projects = new Map<string, Project>();
  readonly keys = new Map<string, Credential>();
  readonly workspaces: Workspace[] = [];
  readonly versions: BlueprintVersion[] = [];
  readonly tenants: Tenant[] = [];
  readonly deployments: Deployment[] = [];
  readonly tenantSettings = new Map<string, Partial<DatabaseSettings>>();
  /** Every call that changes or reads something below a project, for asserting that refused requests did nothing. */
  readonly calls: string[] = [];
  /** Whose results each look at a deployment asked for. */
  readonly resultsAsked: ResultsShown[] = [];
  /** Thrown by the next query, or by checkReady. */
  failure: Error | undefined;
  #serial = 0;

  #hex(length: number): string {
    this.#serial += 1;
    return this.#serial.toString(16).padStart(length, "0");
  }

  async signup(input: { email: string; password: string; projectName: string }): Promise<NewProject> {
    if (this.accounts.has(input.email)) throw new GatewayError("conflict", "An account with this e-mail exists");
    const account: Account = { id: `acc_${this.#hex(8)}`, email: input.email, passwordHash: input.password, createdAt };
    this.accounts.set(input.email, account);
    return this.createProject(account.id, input.projectName);
  }

  async login({ email, password }: { email: string; password: string }) {
    const account = this.accounts.get(email);
    if (account?.passwordHash !== password) throw new GatewayError("unauthorized", "wrong e-mail or password");
    const token = `tdbs_${this.#hex(16)}`;
    this.tokens.set(token, account.id);
    return { account, token, expiresAt: createdAt + 86_400_000, projects: await this.listProjects(account.id) };
  }

  async authenticateKey(apiKey: string): Promise<Credential | undefined> {
    return this.keys.get(apiKey);
  }

  async authenticateSession(token: string): Promise<Account | undefined> {
    const id = this.tokens.get(token);
    return [...this.accounts.values()].find((account) => account.id === id);
  }

  readonly certificates = new Map<string, ClientCertificate[]>();

  async getClientCertificates(projectId: string) {
    return this.certificates.get(projectId) ?? [];
  }

  async setClientCertificates(projectId: string, pem: string | undefined) {
    this.calls.push("setClientCertificates");
    const made = pem === undefined ? [] : [{ subject: "CN=clients", fingerprint: "ab".repeat(32), isAuthority: true, expiresAt: createdAt }];
    this.certificates.set(projectId, made);
    return made;
  }

  async logout(token: string, everywhere: boolean): Promise<number> {
    const account = this.tokens.get(token);
    const ending = [...this.tokens].filter(([one, id]) => (everywhere ? id === account : one === token));
    for (const [one] of ending) this.tokens.delete(one);
    return ending.length;
  }

  async listProjects(accountId: string) {
    return [...this.projects.values()].filter((project) => project.accountId === accountId);
  }

  async createProject(accountId: string | undefined, name: string): Promise<NewProject> {
    this.calls.push("createProject");
    const project: Project = { id: `tdb_${this.#hex(8)}`, name, accountId, scramSalt: new Uint8Array(16), scramIterations: 4096, createdAt };
    this.projects.set(project.id, project);
    return { project, ...(await this.#addKey(project.id, { name: "project", role: "admin", scope: { type: "project" } })) };
  }

  async getProject(id: string) {
    const project = this.projects.get(id);
    if (!project) throw missing("Project");
    return project;
  }

  async renameProject(id: string, name: string) {
    this.calls.push("renameProject");
    const project = { ...(await this.getProject(id)), name };
    this.projects.set(id, project);
    return project;
  }

  async deleteProject(id: string) {
    this.calls.push("deleteProject");
    this.projects.delete(id);
  }

  async listCredentials(projectId: string, page: Page) {
    return slice(
      [...this.keys.values()].filter((key) => key.projectId === projectId),
      page,
    );
  }

  async createCredential(projectId: string, input: { name: string; role: Role; scope: Scope; expiresAt?: number | undefined }) {
    this.calls.push("createCredential");
    return this.#addKey(projectId, input);
  }

  async #addKey(projectId: string, input: { name: string; role: Role; scope: Scope; expiresAt?: number | undefined }): Promise<NewCredential> {
    const apiKey = `tenantsdb_sk_${this.#hex(64)}`;
    const rest = { createdAt, expiresAt: input.expiresAt, revokedAt: undefined, lastUsedAt: undefined, verifiers: [] };
    const { name, role, scope } = input;
    const credential: Credential = { id: `key_${this.#hex(8)}`, projectId, name, role, scope, prefix: apiKey.slice(0, 17), ...rest };
    this.keys.set(apiKey, credential);
    return { credential, apiKey, proxyPassword: `tdb_${this.#hex(16)}` };
  }

  async revokeCredential(projectId: string, id: string) {
    this.calls.push("revokeCredential");
    const found = [...this.keys].find(([, key]) => key.id === id && key.projectId === projectId);
    if (!found) throw missing("API key");
    this.keys.delete(found[0]);
    return found[1];
  }

  async rotateCredential(projectId: string, id: string, graceS: number) {
    this.calls.push(`rotateCredential ${graceS}`);
    const found = [...this.keys.values()].find((key) => key.id === id && key.projectId === projectId);
    if (!found) throw missing("API key");
    return { credential: found, apiKey: `tenantsdb_sk_${this.#hex(64)}`, proxyPassword: `tdb_${this.#hex(16)}`, previousPrefix: found.prefix };
  }

  async listWorkspaces(projectId: string, page: Page) {
    return slice(
      this.workspaces.filter((workspace) => workspace.projectId === projectId),
      page,
    );
  }

  async createWorkspace(
    projectId: string,
    input: { name: string; engine: Workspace["engine"]; mode: Workspace["mode"]; redirectTo: string | undefined },
  ) {
    this.calls.push("createWorkspace");
    if (this.workspaces.some((found) => found.projectId === projectId && found.name === input.name)) {
      throw new GatewayError("conflict", `Workspace '${input.name}' exists`);
    }
    const workspace: Workspace = { id: `ws_${this.#hex(8)}`, projectId, ...input, state: "ready", database: undefined, settings: {}, createdAt };
    this.workspaces.push(workspace);
    return workspace;
  }

  async getWorkspace(projectId: string, name: string) {
    const workspace = this.workspaces.find((found) => found.projectId === projectId && (found.name === name || found.id === name));
    if (!workspace) throw missing("Workspace");
    return workspace;
  }

  async describeWorkspace(projectId: string, name: string) {
    const workspace = await this.getWorkspace(projectId, name);
    const columns = [{ name: "id", type: "integer", nullable: false, default: null, primary_key: true }];
    const versions = this.versions.filter((version) => version.workspaceId === workspace.id);
    return {
      workspace,
      schema: [{ schema: "public", name: "accounts", kind: "table" as const, columns }],
      version: versions.length,
      undeployedChanges: versions.slice(1),
    };
  }

  async deleteWorkspace(projectId: string, name: string) {
    this.calls.push("deleteWorkspace");
    const workspace = await this.getWorkspace(projectId, name);
    this.workspaces.splice(this.workspaces.indexOf(workspace), 1);
  }

  async queryWorkspace(_projectId: string, workspace: string, role: Role) {
    this.calls.push(`queryWorkspace ${workspace} ${role}`);
    if (this.failure) throw this.failure;
    return answer;
  }

  async getWorkspaceSettings(projectId: string, name: string) {
    return { ...defaultDatabaseSettings, ...(await this.getWorkspace(projectId, name)).settings };
  }

  async updateWorkspaceSettings(projectId: string, name: string, patch: Partial<DatabaseSettings>) {
    this.calls.push("updateWorkspaceSettings");
    const workspace = await this.getWorkspace(projectId, name);
    this.workspaces[this.workspaces.indexOf(workspace)] = { ...workspace, settings: { ...workspace.settings, ...patch } };
    return this.getWorkspaceSettings(projectId, name);
  }

  async listBlueprints(projectId: string, page: Page) {
    const found = this.workspaces.filter((workspace) => workspace.projectId === projectId && workspace.mode === "tenant");
    return slice(await Promise.all(found.map((workspace) => this.getBlueprint(projectId, workspace.name))), page);
  }

  async getBlueprint(projectId: string, name: string) {
    const workspace = await this.getWorkspace(projectId, name);
    if (workspace.mode !== "tenant") throw missing("Blueprint");
    const version = this.versions.filter((found) => found.workspaceId === workspace.id).length;
    const databases = this.tenants.filter((tenant) => tenant.projectId === projectId).flatMap((tenant) => tenant.databases);
    const own = databases.filter((database) => database.blueprint === name);
    const tenantsPerVersion = own.length === 0 ? [] : [{ version: own[0]!.version, tenants: own.length }];
    return { name, workspaceId: workspace.id, engine: workspace.engine, version, tenants: own.length, tenantsPerVersion, createdAt };
  }

  async listBlueprintVersions(projectId: string, name: string, page: Page) {
    const workspace = await this.getWorkspace(projectId, name);
    return slice(
      this.versions.filter((version) => version.workspaceId === workspace.id),
      page,
    );
  }

  async getBlueprintVersion(projectId: string, name: string, version: number) {
    const found = (await this.listBlueprintVersions(projectId, name, { limit: 1000 })).items.find((item) => item.version === version);
    if (!found) throw missing("Version");
    return found;
  }

  async listTenants(projectId: string, page: Page & { workspaces?: readonly string[] | undefined }) {
    const own = this.tenants.filter((tenant) => tenant.projectId === projectId);
    const { workspaces } = page;
    return slice(workspaces ? own.filter((tenant) => tenant.databases.some((database) => workspaces.includes(database.blueprint))) : own, page);
  }

  async createTenant(projectId: string, input: { tenantId: string; databases: readonly { blueprint: string; isolationLevel: 1 | 2 }[] }) {
    this.calls.push("createTenant");
    if (this.tenants.some((tenant) => tenant.projectId === projectId && tenant.id === input.tenantId)) {
      throw new GatewayError("conflict", `Tenant '${input.tenantId}' exists`);
    }
    const databases = await Promise.all(
      input.databases.map(async ({ blueprint, isolationLevel }) => {
        const { id, engine } = await this.getWorkspace(projectId, blueprint);
        return { workspaceId: id, blueprint, engine, isolationLevel, database: undefined, version: 1, settings: {}, state: "ready" as const };
      }),
    );
    const tenant: Tenant = { projectId, id: input.tenantId, state: "ready", createdAt, trashedAt: undefined, databases };
    this.tenants.push(tenant);
    const credential = await this.#addKey(projectId, { name: tenant.id, role: "admin", scope: { type: "tenant", values: [tenant.id] } });
    return {
      tenant,
      databases: databases.map(({ blueprint, engine, isolationLevel, version }) => ({
        blueprint,
        engine,
        isolationLevel,
        version,
        databaseName: `${blueprint}__${tenant.id}`,
      })),
      credential,
    };
  }

  async getTenant(projectId: string, id: string) {
    const tenant = this.tenants.find((found) => found.projectId === projectId && found.id === id);
    if (!tenant) throw missing("Tenant");
    return tenant;
  }

  async deleteTenant(projectId: string, id: string, hard: boolean) {
    this.calls.push(`deleteTenant ${hard}`);
    if (hard) this.tenants.splice(this.tenants.indexOf(await this.getTenant(projectId, id)), 1);
    else await this.#changeTenant(projectId, id, { state: "trash", trashedAt: createdAt });
  }

  async #changeTenant(projectId: string, id: string, change: Partial<Tenant>) {
    const tenant = await this.getTenant(projectId, id);
    const changed = { ...tenant, ...change };
    this.tenants[this.tenants.indexOf(tenant)] = changed;
    return changed;
  }

  async restoreTenant(projectId: string, id: string) {
    this.calls.push("restoreTenant");
    return this.#changeTenant(projectId, id, { state: "ready", trashedAt: undefined });
  }

  async moveTenant(projectId: string, id: string, request: MoveRequest) {
    this.calls.push(`moveTenant ${id} ${request.isolationLevel} ${request.cluster} ${request.blueprint}`);
    return this.getTenant(projectId, id);
  }

  async suspendTenant(projectId: string, id: string) {
    this.calls.push("suspendTenant");
    return this.#changeTenant(projectId, id, { state: "suspended" });
  }

  async resumeTenant(projectId: string, id: string) {
    this.calls.push("resumeTenant");
    return this.#changeTenant(projectId, id, { state: "ready" });
  }

  async queryTenant(_projectId: string, tenantId: string, role: Role, request: { query: string; blueprint?: string | undefined }) {
    this.calls.push(`queryTenant ${tenantId} ${role} ${request.blueprint}`);
    if (this.failure) throw this.failure;
    return answer;
  }

  async *queryTenants(projectId: string, input: { blueprint: string; tenants: "all" | readonly string[]; concurrency: number }) {
    this.calls.push(`queryTenants ${input.blueprint} ${input.tenants} ${input.concurrency}`);
    const ids = input.tenants === "all" ? this.tenants.filter((tenant) => tenant.projectId === projectId).map((tenant) => tenant.id) : input.tenants;
    for (const tenantId of ids) {
      const error = tenantId === "globex" ? new GatewayError("query_failed", "division by zero", { sqlstate: "22012" }) : undefined;
      yield { tenantId, answer: error ? undefined : answer, error };
    }
  }

  async getTenantSettings(_projectId: string, tenantId: string, blueprint?: string) {
    return { ...defaultDatabaseSettings, ...this.tenantSettings.get(`${blueprint}__${tenantId}`) };
  }

  async updateTenantSettings(projectId: string, tenantId: string, patch: object, blueprint?: string) {
    this.calls.push("updateTenantSettings");
    const next = Object.fromEntries(
      Object.entries({ ...this.tenantSettings.get(`${blueprint}__${tenantId}`), ...patch }).filter(([, v]) => v !== null),
    );
    this.tenantSettings.set(`${blueprint}__${tenantId}`, next);
    return this.getTenantSettings(projectId, tenantId, blueprint);
  }

  async createDeployment(projectId: string, request: DeploymentRequest) {
    this.calls.push("createDeployment");
    const workspace = await this.getWorkspace(projectId, request.blueprint);
    const ids =
      request.tenants === "all" ? this.tenants.filter((tenant) => tenant.projectId === projectId).map((tenant) => tenant.id) : request.tenants;
    const pending = {
      isCanary: false,
      startedAt: undefined,
      finishedAt: undefined,
      statements: undefined,
      fromVersion: undefined,
      toVersion: undefined,
      durationMs: undefined,
      error: undefined,
      sqlstate: undefined,
      attempts: 0,
    };
    const deployment: Deployment = {
      id: `dep_${this.#hex(8)}`,
      projectId,
      workspaceId: workspace.id,
      blueprint: request.blueprint,
      version: request.version ?? 1,
      state: "queued",
      concurrency: request.concurrency,
      lockTimeoutMs: request.lockTimeoutMs,
      canary: request.canary ?? 0,
      canaryWatchS: request.canaryWatchS ?? 0,
      onFailure: request.onFailure ?? "continue",
      dryRun: request.dryRun ?? false,
      heldBecause: undefined,
      tally: { total: ids.length, completed: 0, failed: 0 },
      createdAt,
      startedAt: undefined,
      finishedAt: undefined,
      results: ids.map((tenantId) => ({ tenantId, status: "pending", ...pending })),
      nextResults: undefined,
    };
    this.deployments.push(deployment);
    return { ...deployment, results: [] };
  }

  async listDeployments(projectId: string, page: Page) {
    return slice(
      this.deployments.filter((deployment) => deployment.projectId === projectId),
      page,
    );
  }

  #findDeployment(projectId: string, id: string): Deployment {
    const deployment = this.deployments.find((found) => found.projectId === projectId && found.id === id);
    if (!deployment) throw missing("Deployment");
    return deployment;
  }

  async getDeployment(projectId: string, id: string, page?: ResultsPage): Promise<Deployment> {
    const deployment = this.#findDeployment(projectId, id);
    if (page === undefined) return { ...deployment, results: [] };
    this.resultsAsked.push(page.shown);
    const asked = deployment.results.filter(({ status }) => page.shown === "all" || (page.shown === "failed" && status === "failed"));
    const { items, nextCursor } = slice(asked, page);
    return { ...deployment, results: items, nextResults: nextCursor };
  }

  async waitForDeployment(projectId: string, id: string) {
    const deployment = this.#findDeployment(projectId, id);
    const results = deployment.results.map((result) => ({
      ...result,
      status: "done" as const,
      fromVersion: 0,
      toVersion: deployment.version,
      durationMs: 12,
    }));
    const tally = { total: results.length, completed: results.length, failed: 0 };
    const ended: Deployment = { ...deployment, tally, state: "done", startedAt: createdAt, finishedAt: createdAt + 12, results };
    this.deployments[this.deployments.indexOf(deployment)] = ended;
    return ended;
  }

  async *followDeployment(projectId: string, id: string, _signal: AbortSignal): AsyncGenerator<DeploymentEvent> {
    yield { type: "progress", deployment: await this.getDeployment(projectId, id) };
    const deployment = await this.waitForDeployment(projectId, id);
    for (const result of deployment.results) yield { type: "result", result };
    yield { type: "end", deployment };
  }

  async listTenantDeployments(projectId: string, tenantId: string, page: Page & { workspaces?: readonly string[] | undefined }) {
    const found = this.deployments.flatMap((deployment) => {
      const result = deployment.results.find((each) => each.tenantId === tenantId);
      const isVisible = deployment.projectId === projectId && (page.workspaces?.includes(deployment.blueprint) ?? true);
      return result && isVisible ? [{ deployment, result }] : [];
    });
    return slice(found, page);
  }

  async cancelDeployment(projectId: string, id: string) {
    this.calls.push("cancelDeployment");
    return this.#setState(projectId, id, "cancelled");
  }

  async retryDeployment(projectId: string, id: string) {
    this.calls.push("retryDeployment");
    return this.#setState(projectId, id, "queued");
  }

  #setState(projectId: string, id: string, state: Deployment["state"]): Deployment {
    const deployment = { ...this.#findDeployment(projectId, id), state };
    this.deployments[this.deployments.findIndex((each) => each.id === id)] = deployment;
    return { ...deployment, results: [] };
  }

  async getFleet() {
    return { version: 2, tenants: 10, current: 9, drifted: 1, unchecked: 2, oldestCheckAt: createdAt };
  }

  async listDrift(_projectId: string, _blueprint: string, page: Page) {
    const difference = { kind: "column", name: "public.accounts.note", change: "unexpected" as const, expected: undefined, found: "text" };
    return slice([{ tenantId: "wayne", version: 2, checkedAt: createdAt, differences: [difference] }], page);
  }

  async checkReady() {
    if (this.failure) return { ready: false, checks: { store: "ok", main: "connect ECONNREFUSED 10.0.0.7:5432" } };
    return { ready: true, checks: { store: "ok", main: "ok" } };
  }
}

/** Cursors are offsets here; the API only passes them on. */
function slice<T>(items: readonly T[], page: Page): Listing<T> {
  const from = Number(page.cursor ?? 0);
  const end = from + page.limit;
  return { items: items.slice(from, end), nextCursor: end < items.length ? String(end) : undefined };
}
