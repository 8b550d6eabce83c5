/** Input: what is bad is refused with the field's name, and never gets as far as the control plane. */
import { describe, expect, it } from "vitest";
import { makeWorld } from "./support/world.ts";

const signup = { email: "eve@example.com", password: "long enough" };
const tenant = { tenant_id: "fresh", databases: [{ blueprint: "myapp" }] };
const deployment = { blueprint_name: "myapp", deploy_all: true };

/** method, path, body, the issues' paths */
const badInput: readonly (readonly [string, string, unknown, readonly string[]])[] = [
  ["POST", "/signup", { email: "nobody", password: "short" }, ["email", "password"]],
  ["POST", "/signup", { ...signup, project_name: "" }, ["project_name"]],
  ["POST", "/signup", { ...signup, project_name: "a\u0000b" }, ["project_name"]],
  ["POST", "/signup", { ...signup, role: "admin", id: 1 }, ["role", "id"]],
  ["POST", "/signup", {}, ["email", "password"]],
  ["POST", "/login", { email: 7, password: ["x"] }, ["email", "password"]],
  ["POST", "/projects", { name: " " }, ["name"]],
  ["POST", "/projects", { name: "x".repeat(101) }, ["name"]],
  ["PATCH", "/projects/OWN", { name: "ok", project_id: "tdb_1" }, ["project_id"]],
  ["DELETE", "/projects/OWN", undefined, ["confirm"]],
  ["DELETE", "/projects/OWN?confirm=yes", undefined, ["confirm"]],
  ["GET", "/apikeys?limit=0", undefined, ["limit"]],
  ["GET", "/apikeys?limit=1001", undefined, ["limit"]],
  ["GET", "/apikeys?limit=1e2&color=red", undefined, ["limit", "color"]],
  ["POST", "/apikeys", { role: "owner" }, ["name", "role"]],
  ["POST", "/apikeys", { name: "k", scope_type: "workspace" }, ["scope_values"]],
  ["POST", "/apikeys", { name: "k", scope_values: ["myapp"] }, ["scope_values"]],
  ["POST", "/apikeys", { name: "k", scope_type: "tenant", scope_values: ["a'b"] }, ["scope_values.0"]],
  ["POST", "/apikeys", { name: "k", expires_at: "tomorrow" }, ["expires_at"]],
  ["POST", "/apikeys", { name: "k", expires_at: "1999-01-01T00:00:00Z" }, ["expires_at"]],
  ["POST", "/apikeys", { name: "k", key: "tenantsdb_sk_1" }, ["key"]],
  ["POST", "/apikeys/key_01/rotate", { grace_s: -1 }, ["grace_s"]],
  ["POST", "/workspaces", { name: "a__b" }, ["name"]],
  ["POST", "/workspaces", { name: "x_workspace", database: "Oracle", mode: "both" }, ["name", "database", "mode"]],
  ["POST", "/workspaces", { name: "ok", settings: {} }, ["settings"]],
  ["POST", "/workspaces", { name: "ok", redirect_to: "not a host" }, ["redirect_to"]],
  ["POST", "/workspaces/myapp/queries", { query: "" }, ["query"]],
  ["POST", "/workspaces/myapp/queries", { query: "SELECT '\u0000'", params: "x" }, ["query", "params"]],
  ["DELETE", "/workspaces/myapp/diff/first", undefined, ["ddl_id"]],
  ["DELETE", "/workspaces/myapp/diff/0", undefined, ["ddl_id"]],
  ["POST", "/workspaces/myapp/diff/1.5/revert", undefined, ["ddl_id"]],
  ["POST", "/workspaces/myapp/schema", {}, ["source"]],
  ["POST", "/workspaces/myapp/schema", { source: "template", template: "bank" }, ["template"]],
  ["POST", "/workspaces/myapp/schema", { source: "template", template: "saas", sql: "SELECT 1" }, ["sql"]],
  ["POST", "/workspaces/myapp/schema", { source: "sql", sql: "SELECT '\u0000'" }, ["sql"]],
  ["POST", "/workspaces/myapp/schema", { source: "json", tables: [] }, ["tables"]],
  [
    "POST",
    "/workspaces/myapp/schema",
    { source: "json", tables: [{ name: "", columns: [{ name: "x".repeat(64), type: 7, primary_key: "yes" }], rows: [] }] },
    ["tables.0.name", "tables.0.columns.0.name", "tables.0.columns.0.type", "tables.0.columns.0.primary_key", "tables.0.rows"],
  ],
  [
    "POST",
    "/workspaces/myapp/schema",
    { source: "database", connection: { type: "Oracle", host: "", port: 70_000, database: "d", user: "u", tls: "maybe", file: "/etc/passwd" } },
    ["connection.type", "connection.host", "connection.port", "connection.tls", "connection.file"],
  ],
  ["PATCH", "/workspaces/myapp/tables/plans", {}, ["deploy_data"]],
  ["PATCH", "/workspaces/myapp/tables/plans", { deploy_data: "yes", rows: [] }, ["deploy_data", "rows"]],
  ["PATCH", "/workspaces/myapp/settings", {}, [""]],
  [
    "PATCH",
    "/workspaces/myapp/settings",
    { max_connections: 0, pool_mode: "none", allow_copy: "yes" },
    ["max_connections", "allow_copy", "pool_mode"],
  ],
  ["PATCH", "/workspaces/myapp/settings", { max_rows_per_query: 1.5, query_timeout_ms: 86_400_001 }, ["max_rows_per_query", "query_timeout_ms"]],
  ["POST", "/workspaces/myapp/settings", { max_connections: null }, ["max_connections"]],
  ["GET", "/blueprints/myapp/versions/0", undefined, ["version"]],
  ["GET", "/blueprints/myapp/versions/x", undefined, ["version"]],
  ["POST", "/tenants", { tenant_id: "A-b", databases: [] }, ["tenant_id", "databases"]],
  ["POST", "/tenants", { tenant_id: "x".repeat(41), databases: [{}] }, ["tenant_id", "databases.0.blueprint"]],
  ["POST", "/tenants", { ...tenant, databases: [{ blueprint: "myapp", isolation_level: 3 }] }, ["databases.0.isolation_level"]],
  ["POST", "/tenants", { ...tenant, databases: [{ blueprint: "myapp", version: 1 }] }, ["databases.0.version"]],
  ["POST", "/tenants", { ...tenant, state: "ready" }, ["state"]],
  ["POST", "/tenants", [tenant], [""]],
  ["POST", "/tenants", "null", [""]],
  ["POST", "/tenants", '{"tenant_id":"fresh","databases":[{"blueprint":"myapp"}],"__proto__":{"x":1}}', ["__proto__"]],
  ["DELETE", "/tenants/wayne?hard=yes", undefined, ["hard"]],
  ["POST", "/tenants/wayne/query", { query: 1 }, ["query"]],
  ["POST", "/tenants/wayne/query", { query: "SELECT $1", params: ["a\u0000"] }, ["params.0"]],
  ["POST", "/tenants/globex/query", { query: "SELECT 1" }, ["blueprint"]],
  ["PATCH", "/tenants/wayne/settings", { slow_query_ms: "1" }, ["slow_query_ms"]],
  ["GET", "/tenants/wayne/settings?blueprint=%27", undefined, ["blueprint"]],
  ["POST", "/deployments", { blueprint_name: "myapp" }, ["deploy_all"]],
  ["POST", "/deployments", { ...deployment, tenant_ids: ["wayne"] }, ["deploy_all"]],
  ["POST", "/deployments", { blueprint_name: "myapp", tenant_ids: [] }, ["tenant_ids"]],
  ["POST", "/deployments", { ...deployment, version: 0, concurrency: 1000, lock_timeout_ms: "1s" }, ["version", "concurrency", "lock_timeout_ms"]],
];

describe("input", () => {
  it.each(badInput)("%s %s refuses %j", async (method, path, body, paths) => {
    const world = await makeWorld();
    const answer = await world.send(method, path.replace("OWN", world.projectId), { key: world.key, body });
    expect(answer.body).toMatchObject({ success: false, http_status: 400, code: "bad_request" });
    expect(answer.body.issues.map((issue: { path: string }) => issue.path).sort()).toEqual([...paths].sort());
    for (const { message } of answer.body.issues) expect(message).toMatch(/\w{2}/);
    expect(world.control.calls).toEqual([]);
  });

  it.each([
    ["{", "application/json", "body"],
    ["", "application/json", "body"],
    ["{}", "text/plain", "content-type"],
    ["a=b", "application/x-www-form-urlencoded", "content-type"],
  ])("refuses the body %j sent as %s", async (body, type, path) => {
    const world = await makeWorld();
    const answer = await world.send("POST", "/tenants", { key: world.key, body, headers: { "content-type": type } });
    expect(answer.body).toMatchObject({ http_status: 400, code: "bad_request", issues: [{ path }] });
    expect(world.control.calls).toEqual([]);
  });

  const hostileIds = [
    "'",
    "%22",
    "a;b",
    "a__b",
    "%2f",
    "..%2f..",
    "%00",
    "%E2%82%AC",
    "%zz",
    "A",
    "x".repeat(300),
    "%27%20OR%201=1--",
    "-",
    "$id",
    "%0d%0a",
  ];
  it.each(hostileIds)("answers the id %s in any path with 400 or 404", async (id) => {
    const world = await makeWorld();
    for (const [method, path] of [
      ["GET", `/tenants/${id}`],
      ["DELETE", `/tenants/${id}`],
      ["POST", `/tenants/${id}/query`],
      ["GET", `/workspaces/${id}`],
      ["DELETE", `/workspaces/${id}`],
      ["GET", `/blueprints/${id}`],
      ["GET", `/blueprints/myapp/versions/${id}`],
      ["GET", `/deployments/${id}`],
      ["POST", `/deployments/${id}/cancel`],
      ["DELETE", `/apikeys/${id}`],
      ["GET", `/projects/${id}`],
    ] as const) {
      const answer = await world.send(method, path, { key: world.key, ...(path.endsWith("query") && { body: { query: "SELECT 1" } }) });
      expect([400, 404], `${method} ${path}`).toContain(answer.status);
      expect(answer.body.success).toBe(false);
    }
    expect(world.control.calls).toEqual([]);
  });

  it("refuses bodies that are too large with 413, whether their length is told or not", async () => {
    const world = await makeWorld();
    const tooLarge = JSON.stringify({ ...tenant, tenant_id: "x".repeat(1024 * 1024) });
    expect((await world.send("POST", "/tenants", { key: world.key, body: tooLarge })).body).toMatchObject({
      http_status: 413,
      code: "payload_too_large",
    });
    const told = await world.send("POST", "/tenants", { key: world.key, body: tooLarge, headers: { "content-length": String(tooLarge.length) } });
    expect(told.status).toBe(413);

    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        sent += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
    });
    const headers = { authorization: `Bearer ${world.key}`, "content-type": "application/json", "transfer-encoding": "chunked" };
    const init = { method: "POST", headers, body: endless, duplex: "half" } as RequestInit;
    expect((await world.app.request("/tenants", init, {})).status).toBe(413);
    expect(sent).toBeLessThan(2 * 1024 * 1024);
    expect(world.control.calls).toEqual([]);
  });

  it("allows statements of up to 10 MiB", async () => {
    const world = await makeWorld();
    const body = { query: "SELECT $1", params: ["x".repeat(5 * 1024 * 1024)] };
    expect((await world.send("POST", "/tenants/wayne/query", { key: world.key, body })).status).toBe(200);
    const larger = { query: "SELECT $1", params: ["x".repeat(11 * 1024 * 1024)] };
    expect((await world.send("POST", "/tenants/wayne/query", { key: world.key, body: larger })).status).toBe(413);
  });

  it("does not read a body before it knows who sends it", async () => {
    const world = await makeWorld();
    expect((await world.send("POST", "/tenants", { body: "x".repeat(2 * 1024 * 1024) })).body.code).toBe("auth_required");
    expect((await world.send("POST", "/tenants", { key: world.keys.project.read, body: "{" })).body.code).toBe("role_required");
  });
});
