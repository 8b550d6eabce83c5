/** Authorization: every route × every kind of caller, expected from the policy table. */
import { describe, expect, it } from "vitest";
import { createApi, policies } from "../../api/app.ts";
import { assertEveryRouteHasPolicy, type PolicyRow, policyTable } from "../../api/endpoint.ts";
import { roleCovers, roles } from "../../core/role.ts";
import { makeWorld, type ScopeType, type World } from "./support/world.ts";

const guarded = policies.filter((row) => row.policy.who !== "open");
const scopeTypes: readonly ScopeType[] = ["project", "workspace", "tenant"];
const reach: Record<string, readonly ScopeType[]> = {
  P: ["project"],
  account: ["project"],
  owner: ["project"],
  W: ["project", "workspace"],
  T: scopeTypes,
};

/** A path of the first project, within the workspace scope [myapp] and the tenant scope [wayne]. */
function pathOf(row: PolicyRow, world: World, ids: { workspace: string; tenant: string; project: string; other: string }): string {
  const id = row.path.startsWith("/workspaces")
    ? ids.workspace
    : row.path.startsWith("/tenants")
      ? ids.tenant
      : row.path.startsWith("/projects")
        ? ids.project
        : row.path.startsWith("/deployments")
          ? world.deploymentId
          : ids.other;
  return row.path
    .replace(":id", id)
    .replace(":ip", "192.0.2.1")
    .replace(":name", ids.workspace)
    .replace(":version", "1")
    .replace(/:\w+_id/, (name) => (name === ":backup_id" ? "bak_0001" : name === ":rollback_id" ? "rbk_0001" : name));
}

function ownPath(row: PolicyRow, world: World): string {
  return pathOf(row, world, { workspace: "myapp", tenant: "wayne", project: world.projectId, other: "key_0001" });
}

function expectedRefusal(row: PolicyRow, scope: ScopeType, role: (typeof roles)[number]): string | undefined {
  const { policy } = row;
  if (policy.who === "operator") return "forbidden";
  if (policy.who === "metrics") return "unauthorized";
  if (!reach[policy.who]!.includes(scope)) return "scope_denied";
  const needed = "role" in policy ? policy.role : "admin";
  return roleCovers(role, needed) ? undefined : "role_required";
}

describe("authorization", () => {
  it("knows every route there is", () => {
    expect(guarded.length).toBeGreaterThan(35);
    expect(policies.length - guarded.length).toBe(9);
  });

  it.each(guarded.map((row) => [`${row.method} ${row.path}`, row] as const))("%s: refuses callers without a good key", async (_name, row) => {
    const world = await makeWorld();
    const path = ownPath(row, world);
    const body = row.method === "GET" ? {} : { body: {} };
    for (const [options, code, error] of [
      [{}, "auth_required", "Authorization header required"],
      [{ headers: { authorization: "" } }, "unauthorized", undefined],
      [{ headers: { authorization: "Basic YTpi" } }, "unauthorized", undefined],
      [{ key: "tenantsdb_sk_0" }, "unauthorized", undefined],
      [{ key: "nonsense" }, "unauthorized", undefined],
    ] as const) {
      const answer = await world.send(row.method, path, { ...body, ...options });
      expect(answer.body).toMatchObject({ success: false, http_status: 401, code });
      if (error) expect(answer.body.error).toBe(error);
    }
    expect(world.control.calls).toEqual([]);
  });

  it.each(guarded.map((row) => [`${row.method} ${row.path}`, row] as const))(
    "%s: admits the scopes and roles its policy names",
    async (_name, row) => {
      for (const scope of scopeTypes) {
        for (const role of roles) {
          const world = await makeWorld();
          const answer = await world.send(row.method, ownPath(row, world), {
            key: world.keys[scope][role],
            ...(row.method !== "GET" && { body: {} }),
          });
          const refusal = expectedRefusal(row, scope, role);
          if (refusal) {
            expect(answer.body, `${scope} ${role}`).toMatchObject({ http_status: refusal === "unauthorized" ? 401 : 403, code: refusal });
            expect(world.control.calls).toEqual([]);
          } else {
            expect([200, 201, 202, 400, 404], `${scope} ${role}: ${JSON.stringify(answer.body)}`).toContain(answer.status);
          }
        }
      }
    },
  );

  const withId = guarded.filter((row) => /:(id|name)/.test(row.path) && row.policy.who !== "operator"); // whose keys are no project's
  it.each(withId.map((row) => [`${row.method} ${row.path}`, row] as const))(
    "%s: another project's resource is as good as missing",
    async (_name, row) => {
      const world = await makeWorld();
      const body = row.method === "GET" ? {} : { body: {} };
      const theirs = await world.send(row.method, ownPath(row, world), { key: world.otherKey, ...body });
      const nobodys = await world.send(
        row.method,
        pathOf(row, world, { workspace: "nope", tenant: "nope", project: "tdb_nope", other: "key_ffff" }),
        {
          key: world.otherKey,
          ...body,
        },
      );
      const [code, status] = [theirs.body.code, theirs.status];
      expect([nobodys.body.code, nobodys.status]).toEqual([code, status]);
      // Input is looked at before a deployment or key is; both answers are the same then.
      expect(["not_found", "bad_request"]).toContain(code);
      expect(world.control.calls.filter((call) => !/^(revoke|rotate)Credential/.test(call))).toEqual([]);
    },
  );

  it("names the role that is needed", async () => {
    const world = await makeWorld();
    const answer = await world.send("POST", "/tenants/wayne/suspend", { key: world.keys.project.write });
    expect(answer.body.error).toBe('this endpoint needs the role "admin"; the key\'s role is "write"');
  });
});

describe("scope", () => {
  it("keeps a tenant key to its tenant, and from finding out who else there is", async () => {
    const world = await makeWorld();
    const key = world.keys.tenant.admin;
    expect((await world.send("GET", "/tenants/wayne", { key })).status).toBe(200);
    const existing = await world.send("GET", "/tenants/globex", { key });
    expect(existing.body).toMatchObject({ code: "scope_denied", error: 'credential scoped to tenants [wayne], attempted tenant "globex"' });
    expect((await world.send("GET", "/tenants/nobody", { key })).body.code).toBe("scope_denied");
  });

  it("keeps a workspace key to its workspaces and their tenants", async () => {
    const world = await makeWorld();
    const key = world.keys.workspace.admin;
    const other = await world.send("GET", "/workspaces/other_app", { key });
    expect(other.body).toMatchObject({ code: "scope_denied", error: 'credential scoped to workspaces [myapp], attempted workspace "other_app"' });
    expect((await world.send("GET", "/blueprints/other_app", { key })).body.code).toBe("scope_denied");
    expect((await world.send("GET", "/tenants/solo", { key })).body.code).toBe("scope_denied");
    expect((await world.send("GET", "/tenants/nobody", { key })).body.code).toBe("not_found");
    expect((await world.send("POST", "/workspaces", { key, body: { name: "new_app" } })).body.code).toBe("scope_denied");
    expect((await world.send("POST", "/deployments", { key, body: { blueprint_name: "other_app", deploy_all: true } })).body.code).toBe(
      "scope_denied",
    );
    const create = { tenant_id: "fresh", databases: [{ blueprint: "other_app" }] };
    expect((await world.send("POST", "/tenants", { key, body: create })).body.code).toBe("scope_denied");
    expect(world.control.calls).toEqual([]);
  });

  it("shows a workspace key only what is its own in lists and of shared tenants", async () => {
    const world = await makeWorld();
    const key = world.keys.workspace.read;
    const names = async (path: string, list: string, field: string) =>
      (await world.send("GET", path, { key })).body[list].map((row: Record<string, unknown>) => row[field]);
    expect(await names("/workspaces", "workspaces", "name")).toEqual(["myapp"]);
    expect(await names("/blueprints", "blueprints", "name")).toEqual(["myapp"]);
    expect(await names("/tenants", "tenants", "tenant_id")).toEqual(["wayne", "globex"]);
    const globex = await world.send("GET", "/tenants/globex", { key });
    expect(globex.body.databases.map((row: { blueprint: string }) => row.blueprint)).toEqual(["myapp"]);
  });

  it("lets a workspace key query its own database of a shared tenant and no other", async () => {
    const world = await makeWorld();
    const key = world.keys.workspace.write;
    const send = (blueprint?: string) =>
      world.send("POST", "/tenants/globex/query", { key, body: { query: "SELECT 1", ...(blueprint && { blueprint }) } });
    expect((await send()).status).toBe(200);
    expect((await send("other_app")).body.code).toBe("scope_denied");
    expect(world.control.calls).toEqual(["queryTenant globex write myapp"]);
  });

  it("lets a workspace key act on a whole tenant only when it covers all of it", async () => {
    const world = await makeWorld();
    const key = world.keys.workspace.admin;
    expect((await world.send("POST", "/tenants/wayne/suspend", { key })).status).toBe(200);
    for (const [method, path] of [
      ["POST", "/tenants/globex/suspend"],
      ["DELETE", "/tenants/globex?hard=true"],
    ] as const) {
      expect((await world.send(method, path, { key })).body.code).toBe("scope_denied");
    }
    expect(world.control.calls).toEqual(["suspendTenant"]);
  });

  it("copes with a key that names a workspace that is gone or in control mode", async () => {
    const world = await makeWorld();
    const scope = { type: "workspace", values: ["gone", "controlplane", "myapp"] } as const;
    const { apiKey: key } = await world.control.createCredential(world.projectId, { name: "x", role: "read", scope });
    expect((await world.send("GET", "/workspaces", { key })).body.count).toBe(2);
    expect((await world.send("GET", "/blueprints", { key })).body.count).toBe(1);
  });

  it("pages what such a key names as it pages everything", async () => {
    const world = await makeWorld();
    const scope = { type: "workspace", values: ["other_app", "myapp"] } as const;
    const { apiKey: key } = await world.control.createCredential(world.projectId, { name: "x", role: "read", scope });
    for (const noun of ["workspaces", "blueprints"]) {
      const first = (await world.send("GET", `/${noun}?limit=1`, { key })).body;
      const second = (await world.send("GET", `/${noun}?limit=1&cursor=${first.next_cursor}`, { key })).body;
      expect([first.count, first[noun][0].name, second[noun][0].name, second.next_cursor]).toEqual([1, "myapp", "other_app", null]);
      expect((await world.send("GET", `/${noun}?cursor=%25`, { key })).body.issues[0].path).toBe("cursor");
    }
  });
});

describe("sessions", () => {
  const login = async (world: World) =>
    (await world.send("POST", "/login", { body: { email: "ada@example.com", password: "correct horse" } })).body.token as string;

  it("acts as project admin on the account's only project", async () => {
    const world = await makeWorld();
    const key = await login(world);
    expect((await world.send("GET", "/workspaces", { key })).body.count).toBe(4);
    expect((await world.send("POST", "/tenants/wayne/suspend", { key })).status).toBe(200);
  });

  it("must say which of several projects it means", async () => {
    const world = await makeWorld();
    const key = await login(world);
    const made = await world.send("POST", "/projects", { key, body: { name: "Second" } });
    const silent = await world.send("GET", "/tenants", { key });
    expect(silent.body).toMatchObject({ http_status: 400, issues: [{ path: "X-Project-Id" }] });
    const named = (id: string) => world.send("GET", "/tenants", { key, headers: { "x-project-id": id } });
    expect((await named(made.body.project_id)).body.count).toBe(0);
    expect((await named(world.projectId)).body.count).toBe(3);
    expect((await named(world.otherProjectId)).body).toMatchObject({ code: "not_found", http_status: 404 });
  });

  it("ends when logged out, and the others with it where asked", async () => {
    const world = await makeWorld();
    const [one, two, three] = [await login(world), await login(world), await login(world)];
    expect((await world.send("POST", "/logout", { key: one })).body).toMatchObject({ success: true, sessions_ended: 1 });
    expect((await world.send("GET", "/tenants", { key: one })).body.code).toBe("unauthorized");
    expect((await world.send("POST", "/logout", { key: one })).status).toBe(401);
    expect((await world.send("GET", "/tenants", { key: two })).status).toBe(200);
    expect((await world.send("POST", "/logout", { key: two, body: { everywhere: true } })).body.sessions_ended).toBe(2);
    expect((await world.send("GET", "/tenants", { key: three })).status).toBe(401);
    expect((await world.send("POST", "/logout", { key: world.key })).body).toMatchObject({ code: "bad_request", http_status: 400 });
    expect((await world.send("POST", "/logout", {})).status).toBe(401);
  });

  it("reaches only the account's own projects", async () => {
    const world = await makeWorld();
    const key = await login(world);
    expect((await world.send("DELETE", `/projects/${world.otherProjectId}?confirm=${world.otherProjectId}`, { key })).status).toBe(404);
    expect((await world.send("PATCH", `/projects/${world.projectId}`, { key, body: { name: "New" } })).body.name).toBe("New");
    expect(world.control.calls).toEqual(["renameProject"]);
  });

  it("does not let a key name another project than its own", async () => {
    const world = await makeWorld();
    const answer = await world.send("GET", "/tenants", { key: world.key, headers: { "x-project-id": world.otherProjectId } });
    expect(answer.body.code).toBe("not_found");
  });
});

describe("policy table", () => {
  it("refuses to start with a route that declares no policy", async () => {
    const world = await makeWorld();
    const app = createApi({ ...depsOf(world), signupEnabled: false });
    app.get("/sneaky", (c) => c.text("hello"));
    expect(() => assertEveryRouteHasPolicy(app.routes, policies)).toThrow("route GET /sneaky declares no policy");
    expect(() => policyTable([{ route: { method: "get", path: "/sneaky" } }])).toThrow("declares no policy");
  });
});

function depsOf(world: World) {
  const info = { version: "0", apiUrl: "http://localhost:9876", pgHost: "localhost", pgPort: 5432 };
  const clock = { nowMs: () => 0, wallMs: () => 0, every: () => () => {}, sleep: async () => {} };
  return { control: world.control, clock, log: { write() {} }, info };
}
