/** Routes: what each endpoint answers with, secrets and connection strings above all. */
import { describe, expect, it } from "vitest";
import { makeWorld } from "./support/world.ts";

describe("accounts and projects", () => {
  it("signs up, once per e-mail, and only while that is allowed", async () => {
    const world = await makeWorld();
    const body = { email: "eve@example.com", password: "long enough" };
    const made = await world.send("POST", "/signup", { body });
    expect(made.body).toMatchObject({ code: "created", name: "My Project" });
    expect(made.body.project_id).toMatch(/^tdb_[0-9a-f]{8}$/);
    expect(made.body.api_key).toMatch(/^tenantsdb_sk_[0-9a-f]{64}$/);
    expect(made.body.proxy_password).toMatch(/^tdb_[0-9a-f]{16}$/);
    expect((await world.send("POST", "/signup", { body })).body.code).toBe("conflict");
    const closed = await makeWorld({ signupEnabled: false });
    expect((await closed.send("POST", "/signup", { body })).body.code).toBe("forbidden");
  });

  it("logs in with the right password", async () => {
    const world = await makeWorld();
    const login = (password: string) => world.send("POST", "/login", { body: { email: "ada@example.com", password } });
    const answer = await login("correct horse");
    expect(answer.body).toMatchObject({ email: "ada@example.com", projects: [{ project_id: world.projectId, name: "A" }] });
    expect(answer.body.expires_at).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect((await login("wrong horse")).body.code).toBe("unauthorized");
  });

  it("deletes a project only when its id is repeated", async () => {
    const world = await makeWorld();
    const path = `/projects/${world.projectId}`;
    expect((await world.send("DELETE", path, { key: world.key })).body.issues[0].path).toBe("confirm");
    const done = await world.send("DELETE", `${path}?confirm=${world.projectId}`, { key: world.key });
    expect(done.body).toMatchObject({ code: "ok", project_id: world.projectId });
    expect(world.control.calls).toEqual(["deleteProject"]);
  });

  it("gives a project made with a key to the key's account", async () => {
    const world = await makeWorld();
    const made = await world.send("POST", "/projects", { key: world.key, body: { name: "Second" } });
    const second = world.control.projects.get(made.body.project_id)!;
    expect(second.accountId).toBe(world.control.projects.get(world.projectId)!.accountId);
    expect((await world.send("GET", "/projects", { key: world.key })).body.count).toBe(1);
  });
});

describe("API keys", () => {
  it("shows secrets at creation, with connection strings for what the scope reaches", async () => {
    const world = await makeWorld();
    const create = (body: object) => world.send("POST", "/apikeys", { key: world.key, body });
    const tenant = await create({ name: "report", role: "read", scope_type: "tenant", scope_values: ["globex"] });
    expect(tenant.body).toMatchObject({ name: "report", role: "read", scope_type: "tenant", scope_values: ["globex"], expires_at: null });
    const at = (database: string, password: string) => `postgresql://${world.projectId}:${password}@pg.example.com:5432/${database}?sslmode=require`;
    const password = tenant.body.proxy_password;
    expect(tenant.body.connection_strings).toEqual([at("myapp__globex", password), at("other_app__globex", password)]);
    const workspace = await create({ name: "ci", scope_type: "workspace", scope_values: ["myapp"], expires_at: "2999-01-01T00:00:00+01:00" });
    expect(workspace.body).toMatchObject({ role: "admin", expires_at: "2998-12-31T23:00:00.000Z" });
    expect(workspace.body.connection_strings.map((text: string) => new URL(text).pathname)).toEqual([
      "/myapp_workspace",
      "/myapp__wayne",
      "/myapp__globex",
    ]);
    const project = await create({ name: "all" });
    expect(project.body.connection_strings.map((text: string) => new URL(text).pathname)).toEqual([
      "/myapp_workspace",
      "/other_app_workspace",
      "/controlplane_workspace",
    ]);
  });

  it("lists keys by their first characters only", async () => {
    const world = await makeWorld();
    const { body } = await world.send("GET", "/apikeys", { key: world.key });
    expect(body.count).toBe(body.api_keys.length);
    for (const row of body.api_keys) expect(row.key).toMatch(/^tenantsdb_sk_[0-9a-f]{4}…$/);
    expect(body.api_keys[0]).toMatchObject({ is_active: true, last_used_at: null, project_id: world.projectId });
    expect(JSON.stringify(body)).not.toMatch(/tenantsdb_sk_[0-9a-f]{5}|tdb_[0-9a-f]{16}|verifier|storedKey/);
  });

  it("rotates with a grace period and revokes", async () => {
    const world = await makeWorld();
    const { body } = await world.send("POST", "/apikeys", { key: world.key, body: { name: "k" } });
    const rotated = await world.send("POST", `/apikeys/${body.id}/rotate`, { key: world.key, body: { grace_s: 60 } });
    expect(rotated.body).toMatchObject({ http_status: 200, id: body.id });
    expect(rotated.body.key).not.toBe(body.key);
    expect((await world.send("POST", `/apikeys/${body.id}/rotate`, { key: world.key })).status).toBe(200);
    expect((await world.send("DELETE", `/apikeys/${body.id}`, { key: world.key })).status).toBe(200);
    expect((await world.send("DELETE", `/apikeys/${body.id}`, { key: world.key })).body.code).toBe("not_found");
    expect(world.control.calls).toEqual(["createCredential", "rotateCredential 60", "rotateCredential 0", "revokeCredential", "revokeCredential"]);
  });
});

describe("workspaces and blueprints", () => {
  it("describes a workspace, by name or id, with a placeholder where its password goes", async () => {
    const world = await makeWorld();
    const { body } = await world.send("GET", "/workspaces/myapp", { key: world.key });
    expect(body).toMatchObject({
      name: "myapp",
      version: 3,
      undeployed_changes: 2,
      schema: { table_count: 1, tables: [{ name: "accounts", columns: [{ name: "id", primary_key: true }] }] },
      connection: { host: "pg.example.com", port: 5432, database: "myapp_workspace", user: world.projectId },
      connection_string: `postgresql://${world.projectId}:<proxy_password>@pg.example.com:5432/myapp_workspace?sslmode=require`,
    });
    expect((await world.send("GET", `/workspaces/${body.id}`, { key: world.key })).body.name).toBe("myapp");
  });

  it("makes workspaces of either mode, once per name", async () => {
    const world = await makeWorld();
    const create = (body: object) => world.send("POST", "/workspaces", { key: world.key, body });
    expect((await create({ name: "own_tables", mode: "control" })).body).toMatchObject({ mode: "control", blueprint: null, database: "PostgreSQL" });
    expect((await create({ name: "carts", database: "Redis", redirect_to: "cache.example:6379" })).body).toMatchObject({
      redirect_to: "cache.example:6379",
      connection: null,
      connection_string: null,
    });
    expect((await create({ name: "own_tables" })).body.code).toBe("conflict");
  });

  it("runs statements as the key's role, on PostgreSQL only", async () => {
    const world = await makeWorld();
    const query = (name: string) => world.send("POST", `/workspaces/${name}/queries`, { key: world.keys.project.read, body: { query: "SELECT 1" } });
    expect((await query("myapp")).body).toMatchObject({ columns: [{ name: "id", type: "int4" }], rows: [[1]], row_count: 1, truncated: false });
    expect((await query("shop")).body).toMatchObject({
      code: "bad_request",
      error: 'workspace "shop" is MySQL; only PostgreSQL can be queried here',
    });
    expect(world.control.calls).toEqual([expect.stringMatching(/^queryWorkspace ws_\w+ read$/)]);
  });

  it("shows blueprints with their DDL and who is at which version", async () => {
    const world = await makeWorld();
    const { body } = await world.send("GET", "/blueprints/myapp", { key: world.key });
    expect(body).toMatchObject({ version: 3, tenant_count: 2, tenants_per_version: [{ version: 1, tenants: 2 }], tenants_behind: 2 });
    expect(body.schema).toEqual(["CREATE TABLE t1 (id int)", "CREATE TABLE t2 (id int)", "CREATE TABLE t3 (id int)"]);
    expect((await world.send("GET", "/blueprints/myapp/versions", { key: world.key })).body.versions[1]).toMatchObject({
      version: 2,
      command_tag: "CREATE TABLE",
    });
    expect((await world.send("GET", "/blueprints/myapp/versions/3", { key: world.key })).body.sql).toBe("CREATE TABLE t3 (id int)");
    expect((await world.send("GET", "/blueprints/myapp/versions/4", { key: world.key })).body.code).toBe("not_found");
  });
});

describe("settings", () => {
  it("are read and changed per workspace, by PATCH and POST alike", async () => {
    const world = await makeWorld();
    expect((await world.send("GET", "/workspaces/myapp/settings", { key: world.keys.project.read })).body).toMatchObject({ max_connections: 100 });
    const path = "/workspaces/myapp/settings";
    expect((await world.send("PATCH", path, { key: world.key, body: { max_connections: 20 } })).body).toMatchObject({
      max_connections: 20,
      pool_mode: "session",
    });
    expect((await world.send("POST", path, { key: world.key, body: { allow_copy: true } })).body).toMatchObject({
      max_connections: 20,
      allow_copy: true,
    });
  });

  it("are overridden per tenant, and given back with null", async () => {
    const world = await makeWorld();
    const patch = (body: object, query = "") => world.send("PATCH", `/tenants/globex/settings${query}`, { key: world.key, body });
    expect((await patch({ max_connections: 7 })).body.issues[0].path).toBe("blueprint");
    expect((await patch({ max_connections: 7 }, "?blueprint=other_app")).body).toMatchObject({ tenant_id: "globex", max_connections: 7 });
    expect((await patch({ max_connections: null }, "?blueprint=other_app")).body.max_connections).toBe(100);
    expect((await patch({ max_connections: 7 }, "?blueprint=shop")).body.code).toBe("not_found");
  });
});

describe("tenants", () => {
  it("are made with their own password in the connection strings, shown once", async () => {
    const world = await makeWorld();
    const made = await world.send("POST", "/tenants", { key: world.key, body: { tenant_id: "acme", databases: [{ blueprint: "myapp" }] } });
    const { proxy_password: password } = made.body;
    expect(made.body).toMatchObject({
      code: "created",
      tenant_id: "acme",
      status: "ready",
      databases: [
        {
          blueprint: "myapp",
          database_type: "PostgreSQL",
          isolation_level: 1,
          connection_string: `postgresql://${world.projectId}:${password}@pg.example.com:5432/myapp__acme?sslmode=require`,
        },
      ],
    });
    const later = await world.send("GET", "/tenants/acme", { key: world.key });
    expect(JSON.stringify(later.body)).not.toContain(password);
    expect(later.body.databases[0].connection_string).toContain(":<proxy_password>@");
  });

  it("have connection strings in the form of each engine", async () => {
    const info = { version: "0", apiUrl: "http://localhost:9876", pgHost: "::1", pgPort: 6432 };
    const endpoints = { mysql: { host: "h", port: 3306 }, mongodb: { host: "h", port: 27017 }, redis: { host: "h", port: 6379 } };
    const world = await makeWorld({ info: { ...info, ...endpoints } });
    for (const [name, engine] of [
      ["docs", "MongoDB"],
      ["carts", "Redis"],
    ] as const) {
      await world.control.createWorkspace(world.projectId, { name, engine, mode: "tenant", redirectTo: undefined });
    }
    const databases = ["myapp", "shop", "docs", "carts"].map((blueprint) => ({ blueprint }));
    const { body } = await world.send("POST", "/tenants", { key: world.key, body: { tenant_id: "acme", databases } });
    const user = `${world.projectId}:${body.proxy_password}`;
    expect(body.databases.map((row: { connection_string: string }) => row.connection_string)).toEqual([
      `postgresql://${user}@[::1]:6432/myapp__acme?sslmode=require`,
      `mysql://${user}@h:3306/shop__acme`,
      `mongodb://${user}@h:27017/docs__acme?authMechanism=PLAIN&directConnection=true&tls=true`,
      `rediss://acme:${body.proxy_password}@h:6379/0`,
    ]);
  });

  it("are suspended, resumed, put in the trash, restored and deleted", async () => {
    const world = await makeWorld();
    const act = async (method: string, path: string) => (await world.send(method, path, { key: world.key })).body;
    expect(await act("POST", "/tenants/wayne/suspend")).toMatchObject({ tenant_id: "wayne", status: "suspended" });
    expect(await act("POST", "/tenants/wayne/resume")).toMatchObject({ status: "ready" });
    expect(await act("DELETE", "/tenants/wayne")).toMatchObject({ status: "trash" });
    expect(await act("GET", "/tenants/wayne")).toMatchObject({ status: "trash", trashed_at: "2026-01-15T09:30:00.000Z" });
    expect(await act("POST", "/tenants/wayne/restore")).toMatchObject({ status: "ready", trashed_at: null });
    expect(await act("DELETE", "/tenants/wayne?hard=true")).toMatchObject({ status: "deleted" });
    expect(await act("GET", "/tenants/wayne")).toMatchObject({ code: "not_found", error: "Tenant not found: wayne" });
  });

  it("are queried as the key's role, by any role", async () => {
    const world = await makeWorld();
    for (const role of ["read", "write", "admin"] as const) {
      const answer = await world.send("POST", "/tenants/wayne/query", {
        key: world.keys.tenant[role],
        body: { query: "SELECT $1", params: [1, null, "x"] },
      });
      expect(answer.body).toMatchObject({ http_status: 200, row_count: 1, execution_time_ms: 2 });
    }
    expect(world.control.calls).toEqual(["read", "write", "admin"].map((role) => `queryTenant wayne ${role} myapp`));
  });

  it("know the deployments they were part of", async () => {
    const world = await makeWorld();
    const { body } = await world.send("GET", "/tenants/wayne/deployments", { key: world.keys.tenant.read });
    expect(body).toMatchObject({ count: 1, deployments: [{ id: world.deploymentId, result: { tenant_id: "wayne", status: "pending" } }] });
  });
});

describe("deployments", () => {
  it("start for named tenants, once each, and are followed, cancelled and retried", async () => {
    const world = await makeWorld();
    const body = { blueprint_name: "myapp", version: 2, tenant_ids: ["wayne", "globex", "wayne"], concurrency: 4, lock_timeout_ms: 100 };
    const started = await world.send("POST", "/deployments", { key: world.key, body });
    expect(started.body).toMatchObject({ http_status: 202, version: 2, tenants_total: 2, concurrency: 4, lock_timeout_ms: 100, finished_at: null });
    const path = `/deployments/${started.body.id}`;
    expect((await world.send("GET", path, { key: world.key })).body.results).toHaveLength(2);
    expect((await world.send("POST", `${path}/cancel`, { key: world.key })).body).toMatchObject({ http_status: 200, status: "cancelled" });
    expect((await world.send("POST", `${path}/retry`, { key: world.key })).body).toMatchObject({ http_status: 202, status: "queued" });
  });

  it("come with a page of results at most, whatever is asked of them, and all counts", async () => {
    const world = await makeWorld();
    const ask = async (method: string, path: string, body?: object) =>
      (await world.send(method, path, { key: world.key, ...(body && { body }) })).body;
    const everybody = { blueprint_name: "myapp", deploy_all: true };
    const ids = (answer: { results: { tenant_id: string }[] }) => answer.results.map((each) => each.tenant_id);
    const started = await ask("POST", "/deployments?limit=2", everybody);
    expect([started.tenants_total, ids(started).length]).toEqual([3, 2]);
    const path = `/deployments/${started.id}`;
    const rest = await ask("GET", `${path}?limit=2&cursor=${started.next_cursor}`);
    expect([rest.tenants_total, rest.next_cursor]).toEqual([3, null]);
    expect([...ids(started), ...ids(rest)]).toEqual(ids(await ask("GET", path)));
    for (const [method, what] of [
      ["POST", `${path}/cancel`],
      ["POST", `${path}/retry`],
      ["GET", path],
    ] as const) {
      expect(await ask(method, `${what}?limit=1`), what).toMatchObject({ tenants_total: 3, results: [{}], next_cursor: expect.any(String) });
      expect(await ask(method, `${what}?results=none`), what).toMatchObject({ tenants_total: 3, results: [], next_cursor: null });
      expect((await ask(method, `${what}?limit=1001`)).issues, what).toMatchObject([{ path: "limit" }]);
    }
    expect(await ask("POST", "/deployments?results=failed", { ...everybody, wait: true })).toMatchObject({ status: "done", results: [] });
    expect((await ask("POST", "/deployments?results=some", everybody)).issues).toMatchObject([{ path: "results" }]);
  });

  it("answer with their results when asked to wait", async () => {
    const world = await makeWorld();
    const answer = await world.send("POST", "/deployments", { key: world.key, body: { blueprint_name: "myapp", deploy_all: true, wait: true } });
    expect(answer.body).toMatchObject({ http_status: 200, code: "ok", status: "done", tenants_completed: 3, tenants_failed: 0 });
    expect(answer.body.results[0]).toMatchObject({ tenant_id: "wayne", status: "done", duration_ms: 12, error: null });
  });
});
