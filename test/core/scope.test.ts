/** Names, scopes and roles: every pair of who and what. */
import { describe, expect, it } from "vitest";
import { roleCovers } from "../../core/role.ts";
import {
  assertScopeReaches,
  formatDatabaseName,
  isTenantId,
  isWorkspaceName,
  parseDatabaseName,
  type Scope,
  scopeCoversTenant,
  scopeCoversWorkspace,
} from "../../core/scope.ts";

describe("database name", () => {
  it.each([
    ["myapp_workspace", { kind: "workspace", workspace: "myapp" }],
    ["my-app_2_workspace", { kind: "workspace", workspace: "my-app_2" }],
    ["myapp__wayne", { kind: "tenant", workspace: "myapp", tenant: "wayne" }],
    ["a__0", { kind: "tenant", workspace: "a", tenant: "0" }],
    ["a___b", { kind: "tenant", workspace: "a", tenant: "_b" }],
    ["a__b_workspace", { kind: "tenant", workspace: "a", tenant: "b_workspace" }],
  ] as const)("%s is read, and written the same", (name, expected) => {
    expect(parseDatabaseName(name)).toEqual(expected);
    expect(formatDatabaseName(expected)).toBe(name);
  });

  it.each([
    "",
    "_workspace",
    "workspace",
    "__",
    "__a",
    "a__",
    "a__b__c",
    "A__b",
    "1a__b",
    "a_workspace__b",
    "a__B",
    "a b__c",
    "postgres",
    "a__b\n",
    "a__b\0",
    "ä__b",
    `${"a".repeat(41)}__b`,
    `a__${"b".repeat(41)}`,
    "a_workspace_workspace",
  ])("%j means nothing", (name) => expect(parseDatabaseName(name)).toBeUndefined());

  it("reads whatever it writes, for every legal pair of names", () => {
    const names = ["a", "a-", "a-b", "a_b", "a1", "workspace", `a${"b".repeat(39)}`].filter(isWorkspaceName);
    const tenants = ["a", "_", "_a", "a_", "0", "workspace", "b".repeat(40)].filter(isTenantId);
    for (const workspace of names) {
      expect(parseDatabaseName(formatDatabaseName({ kind: "workspace", workspace }))).toEqual({ kind: "workspace", workspace });
      for (const tenant of tenants)
        expect(parseDatabaseName(formatDatabaseName({ kind: "tenant", workspace, tenant }))).toEqual({ kind: "tenant", workspace, tenant });
    }
  });
});

const project: Scope = { type: "project" };
const workspaces: Scope = { type: "workspace", values: ["myapp", "shop"] };
const tenants: Scope = { type: "tenant", values: ["wayne", "stark"] };

describe("scope", () => {
  it.each<[Scope, string, string | undefined]>([
    [project, "myapp_workspace", undefined],
    [project, "myapp__wayne", "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"],
    [workspaces, "shop_workspace", undefined],
    [workspaces, "shop__wayne", undefined],
    [workspaces, "other_app_workspace", 'credential scoped to workspaces [myapp, shop], attempted workspace "other_app"'],
    [workspaces, "other_app__wayne", 'credential scoped to workspaces [myapp, shop], attempted workspace "other_app"'],
    [tenants, "myapp__stark", undefined],
    [tenants, "anything__wayne", undefined],
    [tenants, "myapp__globex", 'credential scoped to tenants [wayne, stark], attempted tenant "globex"'],
    [tenants, "myapp_workspace", 'credential scoped to tenants [wayne, stark], attempted workspace "myapp"'],
    [{ type: "tenant", values: [] }, "myapp__wayne", 'credential scoped to tenants [], attempted tenant "wayne"'],
  ])("%j on %s: %s", (scope, name, refusal) => {
    const attempt = () => assertScopeReaches(scope, parseDatabaseName(name)!);
    if (refusal === undefined) expect(attempt).not.toThrow();
    else expect(attempt).toThrow(expect.objectContaining({ kind: "scope_denied", sqlstate: "28000", message: refusal }));
  });

  it("covers on the API what it says", () => {
    expect([project, workspaces, tenants].map((scope) => scopeCoversWorkspace(scope, "myapp"))).toEqual([true, true, false]);
    expect([project, workspaces, tenants].map((scope) => scopeCoversTenant(scope, "wayne", ["other"]))).toEqual([true, false, true]);
    expect([workspaces, tenants].map((scope) => scopeCoversTenant(scope, "globex", ["other", "shop"]))).toEqual([true, false]);
  });
});

describe("role", () => {
  it("admin covers write covers read", () => {
    const roles = ["read", "write", "admin"] as const;
    expect(roles.map((held) => roles.map((needed) => roleCovers(held, needed)))).toEqual([
      [true, false, false],
      [true, true, false],
      [true, true, true],
    ]);
  });
});
