/** Scopes: which databases a credential reaches. One place decides, for the wire and for the API. */
import { GatewayError } from "./errors.ts";

export type Scope =
  | { readonly type: "project" }
  | { readonly type: "workspace"; readonly values: readonly string[] }
  | { readonly type: "tenant"; readonly values: readonly string[] };

/** A database as a client names it. */
export type DatabaseName =
  | { readonly kind: "workspace"; readonly workspace: string }
  | { readonly kind: "tenant"; readonly workspace: string; readonly tenant: string };

const workspaceSuffix = "_workspace";

/** Reads `{workspace}_workspace` or `{blueprint}__{tenant}`. @returns undefined for any other form. */
export function parseDatabaseName(name: string): DatabaseName | undefined {
  const cut = name.indexOf("__");
  if (cut > 0) {
    const tenant = name.slice(cut + 2);
    const workspace = name.slice(0, cut);
    return isWorkspaceName(workspace) && isTenantId(tenant) ? { kind: "tenant", workspace, tenant } : undefined;
  }
  if (!name.endsWith(workspaceSuffix)) return undefined;
  const workspace = name.slice(0, -workspaceSuffix.length);
  return isWorkspaceName(workspace) ? { kind: "workspace", workspace } : undefined;
}

/** The name clients use for a workspace's database, or for a tenant's. */
export function formatDatabaseName(name: DatabaseName): string {
  return name.kind === "workspace" ? `${name.workspace}${workspaceSuffix}` : `${name.workspace}__${name.tenant}`;
}

/** 1–40 of `[a-z0-9_-]`, a letter first, no `__`, not ending in `_workspace` nor in `_` (which would make `a___b` ambiguous). */
export function isWorkspaceName(name: string): boolean {
  return /^[a-z][a-z0-9_-]{0,39}$/.test(name) && !name.includes("__") && !name.endsWith(workspaceSuffix) && !name.endsWith("_");
}

/** 1–40 of `[a-z0-9_]`, no `__`. */
export function isTenantId(id: string): boolean {
  return /^[a-z0-9_]{1,40}$/.test(id) && !id.includes("__");
}

/**
 * Refuses when `scope` does not reach `target`.
 * @throws {GatewayError} scope_denied with the message the specification fixes (spec section 3).
 */
export function assertScopeReaches(scope: Scope, target: DatabaseName): void {
  switch (scope.type) {
    case "project":
      if (target.kind === "workspace") return;
      throw new GatewayError(
        "scope_denied",
        "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key",
      );
    case "workspace":
      if (scope.values.includes(target.workspace)) return;
      throw new GatewayError(
        "scope_denied",
        `credential scoped to workspaces [${scope.values.join(", ")}], attempted workspace "${target.workspace}"`,
      );
    case "tenant": {
      if (target.kind === "tenant" && scope.values.includes(target.tenant)) return;
      const attempted = target.kind === "tenant" ? `tenant "${target.tenant}"` : `workspace "${target.workspace}"`;
      throw new GatewayError("scope_denied", `credential scoped to tenants [${scope.values.join(", ")}], attempted ${attempted}`);
    }
  }
}

/** True when `scope` covers a workspace on the API. */
export function scopeCoversWorkspace(scope: Scope, workspace: string): boolean {
  return scope.type === "project" || (scope.type === "workspace" && scope.values.includes(workspace));
}

/** True when `scope` covers a tenant on the API; `workspaces` are the blueprints the tenant has a database of. */
export function scopeCoversTenant(scope: Scope, tenant: string, workspaces: readonly string[]): boolean {
  if (scope.type === "project") return true;
  if (scope.type === "tenant") return scope.values.includes(tenant);
  return workspaces.some((name) => scope.values.includes(name));
}
