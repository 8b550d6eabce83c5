/** Two projects of two accounts, keys of every kind, and an API over them. */
import { createApi } from "../../../api/app.ts";
import type { ApiDeps } from "../../../api/context.ts";
import { ManualClock } from "../../../core/clock.ts";
import type { Log, LogFields } from "../../../core/log.ts";
import { type Role, roles } from "../../../core/role.ts";
import type { Scope } from "../../../core/scope.ts";
import { FakeBackups } from "./fake-backups.ts";
import { FakeControl } from "./fake-control.ts";
import { FakeDesign } from "./fake-design.ts";
import { FakeHistory } from "./fake-history.ts";
import { FakeImports } from "./fake-imports.ts";
import { FakeOperations } from "./fake-operations.ts";

export type ScopeType = Scope["type"];

export interface World {
  readonly control: FakeControl;
  readonly operations: FakeOperations;
  readonly backups: FakeBackups;
  readonly imports: FakeImports;
  readonly design: FakeDesign;
  readonly app: ReturnType<typeof createApi>;
  readonly projectId: string;
  readonly otherProjectId: string;
  /** Project-scoped admin. */
  readonly key: string;
  readonly otherKey: string;
  /** Keys of the first project: workspace scope is [myapp], tenant scope is [wayne]. */
  readonly keys: Readonly<Record<ScopeType, Readonly<Record<Role, string>>>>;
  readonly deploymentId: string;
  readonly logged: { event: string; fields: LogFields }[];
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
}

export interface SendOptions {
  readonly key?: string | undefined;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly from?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // Answers are asserted field by field; their types are the client's business.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly body: any;
}

export const operatorToken = "operator-0123456789abcdef";
export const metricsToken = "metrics-0123456789abcdef";

/** Project A: workspaces myapp, other_app (tenant mode), controlplane (control mode), shop (MySQL); tenants wayne [myapp], globex [myapp, other_app], solo [other_app]. */
export async function makeWorld(options: Partial<ApiDeps> = {}): Promise<World> {
  const control = new FakeControl();
  const a = await control.signup({ email: "ada@example.com", password: "correct horse", projectName: "A" });
  const b = await control.signup({ email: "bob@example.com", password: "battery staple", projectName: "B" });
  const projectId = a.project.id;
  await fillProject(control, projectId);
  await control.createWorkspace(b.project.id, { name: "secret_app", engine: "PostgreSQL", mode: "tenant", redirectTo: undefined });
  await control.createTenant(b.project.id, { tenantId: "hidden", databases: [{ blueprint: "secret_app", isolationLevel: 1 }] });
  const { id: deploymentId } = await control.createDeployment(projectId, { blueprint: "myapp", tenants: "all", concurrency: 1, lockTimeoutMs: 1 });

  const scopes: Record<ScopeType, Scope> = {
    project: { type: "project" },
    workspace: { type: "workspace", values: ["myapp"] },
    tenant: { type: "tenant", values: ["wayne"] },
  };
  const makeKeys = async (scope: Scope) => {
    const made = await Promise.all(
      roles.map(async (role) => [role, (await control.createCredential(projectId, { name: role, role, scope })).apiKey]),
    );
    return Object.fromEntries(made) as Record<Role, string>;
  };
  const keys = { project: await makeKeys(scopes.project), workspace: await makeKeys(scopes.workspace), tenant: await makeKeys(scopes.tenant) };
  control.calls.length = 0;

  const logged: World["logged"] = [];
  const log: Log = { write: (level, event, fields) => void logged.push({ event, fields: { level, ...fields } }) };
  const info = { version: "0.1.0", apiUrl: "http://127.0.0.1:9876", pgHost: "pg.example.com", pgPort: 5432 };
  const operations = new FakeOperations(projectId);
  const tokens = () => ({ operator: operatorToken, metrics: metricsToken });
  const history = new FakeHistory();
  const imports = new FakeImports(projectId);
  const backups = new FakeBackups(control);
  const design = new FakeDesign(control);
  const given = {
    control,
    design,
    backups,
    imports,
    operations,
    history,
    tokens,
    clock: new ManualClock(),
    log,
    info,
    signupEnabled: true,
    rateLimits: { requestsPerS: 0 },
  };
  const app = createApi({ ...given, ...options });
  return {
    control,
    design,
    operations,
    imports,
    backups,
    app,
    projectId,
    otherProjectId: b.project.id,
    key: a.apiKey,
    otherKey: b.apiKey,
    keys,
    deploymentId,
    logged,
    send: (method, path, options) => send(app, method, path, options),
  };
}

async function fillProject(control: FakeControl, projectId: string): Promise<void> {
  const make = (name: string, mode: "tenant" | "control", engine: "PostgreSQL" | "MySQL" = "PostgreSQL") =>
    control.createWorkspace(projectId, { name, engine, mode, redirectTo: undefined });
  const myapp = await make("myapp", "tenant");
  await make("other_app", "tenant");
  await make("controlplane", "control");
  await make("shop", "tenant", "MySQL");
  for (const version of [1, 2, 3]) {
    const sql = `CREATE TABLE t${version} (id int)`;
    const rest = { commandTag: "CREATE TABLE", searchPath: "public", transactional: true, capturedAt: myapp.createdAt };
    control.versions.push({ workspaceId: myapp.id, version, ddlId: version, sql, ...rest });
  }
  const on = (...names: string[]) => names.map((blueprint) => ({ blueprint, isolationLevel: 1 as const }));
  await control.createTenant(projectId, { tenantId: "wayne", databases: on("myapp") });
  await control.createTenant(projectId, { tenantId: "globex", databases: on("myapp", "other_app") });
  await control.createTenant(projectId, { tenantId: "solo", databases: on("other_app") });
}

async function send(app: World["app"], method: string, path: string, options: SendOptions = {}): Promise<Answer> {
  const headers: Record<string, string> = { ...options.headers };
  if (options.key !== undefined) headers.authorization = `Bearer ${options.key}`;
  const hasBody = options.body !== undefined;
  if (hasBody && !headers["content-type"]) headers["content-type"] = "application/json";
  const body = typeof options.body === "string" ? options.body : JSON.stringify(options.body);
  const response = await app.request(path, { method, headers, ...(hasBody && { body }) }, { remoteAddress: options.from ?? "192.0.2.1" });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}
