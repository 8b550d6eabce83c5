/** Who may call an endpoint: declared beside each route, decided here and nowhere else. Deny by default. */
import type { MiddlewareHandler } from "hono";
import { GatewayError } from "../core/errors.ts";
import type { Project, Tenant, Workspace } from "../core/model.ts";
import { type Role, roleCovers } from "../core/role.ts";
import { isTenantId, isWorkspaceName, type Scope, scopeCoversTenant, scopeCoversWorkspace } from "../core/scope.ts";
import { authenticate } from "./authenticate.ts";
import type { Access, ApiContext, ApiEnv } from "./context.ts";
import { assertMayReadMetrics, assertOperator } from "./token.ts";

/**
 * `open`: anybody. `account`: a session, or a project-scoped admin key. `owner`: the same, for the project in the path.
 * `operator`: operator_token of the configuration. `metrics`: anybody on loopback, else metrics_token.
 * P: project scope. W: also a workspace-scoped key for its own. T: also a tenant-scoped key for its own.
 */
export type Policy =
  | { readonly who: "open" }
  | { readonly who: "account" }
  | { readonly who: "owner" }
  | { readonly who: "operator" }
  | { readonly who: "metrics" }
  | {
      readonly who: "P" | "W" | "T";
      readonly role: Role;
      /** What `{id}` or `{name}` in the path names; it is looked up and must be within the scope. */
      readonly target?: "workspace" | "blueprint" | "tenant";
      /** The whole tenant is acted on: a workspace-scoped key must cover every blueprint it has. */
      readonly whole?: boolean;
    };

/** The middleware that enforces `policy`, run before any input is read. */
export function enforce(policy: Policy): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    if (policy.who === "operator") await assertOperator(c);
    else if (policy.who === "metrics") await assertMayReadMetrics(c);
    else if (policy.who !== "open") {
      c.set("principal", await authenticate(c));
      if (policy.who === "account") assertAccountAccess(c);
      else if (policy.who === "owner") await assertOwner(c);
      else await assertAccess(c, policy);
    }
    await next();
  };
}

function assertAccountAccess(c: ApiContext): void {
  const { principal } = c.var;
  if (principal.type === "session") return;
  assertScopeType(principal.credential.scope, "P");
  assertRole(principal.credential.role, "admin");
}

async function assertOwner(c: ApiContext): Promise<void> {
  assertAccountAccess(c);
  const id = c.req.param("id") ?? "";
  const { principal } = c.var;
  const owned = principal.type === "key" ? principal.credential.projectId === id : (await ownProjects(c)).some((project) => project.id === id);
  if (!owned) throw notFound("Project", id);
}

async function assertAccess(c: ApiContext, policy: Extract<Policy, { role: Role }>): Promise<void> {
  const access = await readAccess(c);
  assertScopeType(access.scope, policy.who);
  assertRole(access.role, policy.role);
  c.set("access", access);
  if (policy.target === "tenant") c.set("tenant", await reachTenant(c, c.req.param("id") ?? "", policy.whole ?? false));
  else if (policy.target) c.set("workspace", await reachWorkspace(c, c.req.param("id") ?? c.req.param("name") ?? "", policy.target));
}

/** The project a request is about: the key's own, or the one a session names in X-Project-Id. */
async function readAccess(c: ApiContext): Promise<Access> {
  const { principal } = c.var;
  const named = c.req.header("x-project-id");
  if (principal.type === "key") {
    const { projectId, role, scope } = principal.credential;
    if (named !== undefined && named !== projectId) throw notFound("Project", named);
    return { projectId, role, scope };
  }
  const projects = await ownProjects(c);
  const project = named === undefined ? onlyOne(projects) : projects.find((candidate) => candidate.id === named);
  if (!project) throw notFound("Project", named ?? "");
  return { projectId: project.id, role: "admin", scope: { type: "project" } };
}

function onlyOne(projects: readonly Project[]): Project {
  const [project, ...others] = projects;
  if (project && others.length === 0) return project;
  const message = "must name one of the account's projects: GET /projects lists them";
  throw new GatewayError("bad_request", `X-Project-Id: ${message}`, { issues: [{ path: "X-Project-Id", message }] });
}

async function ownProjects(c: ApiContext): Promise<readonly Project[]> {
  return c.var.principal.type === "session" ? c.var.api.control.listProjects(c.var.principal.account.id) : [];
}

const scopesOf: Record<"P" | "W" | "T", readonly Scope["type"][]> = {
  P: ["project"],
  W: ["project", "workspace"],
  T: ["project", "workspace", "tenant"],
};

function assertScopeType(scope: Scope, who: "P" | "W" | "T"): void {
  if (scopesOf[who].includes(scope.type)) return;
  throw new GatewayError("scope_denied", `credential is ${scope.type}-scoped; this endpoint needs a ${scopesOf[who].join("- or ")}-scoped key`);
}

function assertRole(held: Role, needed: Role): void {
  if (!roleCovers(held, needed)) throw new GatewayError("role_required", `this endpoint needs the role "${needed}"; the key's role is "${held}"`);
}

/** Looks a workspace up by name or id. @throws {GatewayError} not_found, scope_denied */
export async function reachWorkspace(c: ApiContext, id: string, noun: "workspace" | "blueprint" = "workspace"): Promise<Workspace> {
  const { projectId, scope } = c.var.access;
  const label = noun === "workspace" ? "Workspace" : "Blueprint";
  if (!isWorkspaceName(id)) throw notFound(label, id);
  const workspace = await orNotFound(c.var.api.control.getWorkspace(projectId, id), label, id);
  if (!scopeCoversWorkspace(scope, workspace.name)) throw outOfScope(scope, `workspace "${workspace.name}"`);
  return workspace;
}

/**
 * Looks a tenant up. A tenant-scoped key is refused before the look-up, so that it cannot find out who else there is.
 * @throws {GatewayError} not_found, scope_denied
 */
export async function reachTenant(c: ApiContext, id: string, whole: boolean): Promise<Tenant> {
  const { projectId, scope } = c.var.access;
  if (!isTenantId(id)) throw notFound("Tenant", id);
  if (scope.type === "tenant" && !scope.values.includes(id)) throw outOfScope(scope, `tenant "${id}"`);
  const tenant = await orNotFound(c.var.api.control.getTenant(projectId, id), "Tenant", id);
  const blueprints = tenant.databases.map((database) => database.blueprint);
  const covered =
    scopeCoversTenant(scope, id, blueprints) && (!whole || blueprints.every((name) => scope.type !== "workspace" || coversBlueprint(scope, name)));
  if (!covered) throw outOfScope(scope, `tenant "${id}"`);
  return tenant;
}

/** True when a caller that may reach the tenant may reach its database of this blueprint too. */
export function coversBlueprint(scope: Scope, blueprint: string): boolean {
  return scope.type !== "workspace" || scope.values.includes(blueprint);
}

/** @throws {GatewayError} scope_denied when a blueprint named in a request is outside the scope. */
export function assertCoversBlueprint(scope: Scope, blueprint: string): void {
  if (!coversBlueprint(scope, blueprint)) throw outOfScope(scope, `workspace "${blueprint}"`);
}

function outOfScope(scope: Scope, attempted: string): GatewayError {
  const values = scope.type === "project" ? "" : ` [${scope.values.join(", ")}]`;
  return new GatewayError("scope_denied", `credential scoped to ${scope.type}s${values}, attempted ${attempted}`);
}

/** `Tenant not found: acme`. Ids that could not exist are told the same way, cut short. */
export function notFound(noun: string, id: string): GatewayError {
  const shown = [...id].filter((char) => char > "\u001f" && char !== "\u007f").slice(0, 80);
  return new GatewayError("not_found", `${noun} not found: ${shown.join("")}`);
}

/** The API's own words for what is missing, whoever noticed. */
async function orNotFound<T>(lookup: Promise<T>, noun: string, id: string): Promise<T> {
  try {
    return await lookup;
  } catch (error) {
    if (error instanceof GatewayError && error.kind === "not_found") throw notFound(noun, id);
    throw error;
  }
}
