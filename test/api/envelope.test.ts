/** Envelope: the frame of every answer, what errors tell and what they keep to themselves. */
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../core/errors.ts";
import { makeWorld } from "./support/world.ts";

describe("envelope", () => {
  it("stands around answers, with the endpoint's fields beside it", async () => {
    const { send, key } = await makeWorld();
    const listed = await send("GET", "/tenants", { key });
    expect(listed.body).toMatchObject({ success: true, http_status: 200, code: "ok", count: 3, next_cursor: null });
    const made = await send("POST", "/workspaces", { key, body: { name: "fresh" } });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ success: true, http_status: 201, code: "created", name: "fresh", blueprint: "fresh", mode: "tenant" });
    const started = await send("POST", "/deployments", { key, body: { blueprint_name: "myapp", deploy_all: true } });
    expect(started.body).toMatchObject({ success: true, http_status: 202, code: "accepted", status: "queued" });
  });

  it("pages lists with limit and cursor", async () => {
    const { send, key } = await makeWorld();
    const first = await send("GET", "/tenants?limit=2", { key });
    expect(first.body).toMatchObject({ count: 2, next_cursor: "2" });
    const second = await send("GET", `/tenants?limit=2&cursor=${first.body.next_cursor}`, { key });
    expect(second.body).toMatchObject({ count: 1, next_cursor: null });
  });

  it("answers unknown paths and methods as not_found", async () => {
    const { send, key } = await makeWorld();
    for (const [method, path] of [
      ["GET", "/nowhere"],
      ["PUT", "/tenants"],
      ["POST", "/health"],
      ["GET", "//tenants"],
      ["GET", "/tenants/wayne/nothing"],
    ] as const) {
      expect((await send(method, path, { key })).body).toMatchObject({ success: false, http_status: 404, code: "not_found" });
    }
  });

  it("passes on what a refusal tells: status, code, sqlstate, detail, hint, Retry-After", async () => {
    const world = await makeWorld();
    const query = () => world.send("POST", "/tenants/wayne/query", { key: world.key, body: { query: "SELECT" } });
    world.control.failure = new GatewayError("permission_denied", "permission denied for table accounts");
    expect((await query()).body).toMatchObject({
      http_status: 403,
      code: "permission_denied",
      error: "permission denied for table accounts",
      sqlstate: "42501",
    });
    world.control.failure = new GatewayError("query_failed", "syntax error", { sqlstate: "42601", hint: "look again", detail: "here" });
    expect((await query()).body).toMatchObject({ http_status: 400, code: "bad_request", sqlstate: "42601", hint: "look again", detail: "here" });
    world.control.failure = new GatewayError("ddl_denied", "DDL not allowed on tenant databases. Deploy schema through blueprints.");
    expect((await query()).body).toMatchObject({ http_status: 400, error: "DDL not allowed on tenant databases. Deploy schema through blueprints." });
    world.control.failure = new GatewayError("max_connections", "too many connections", { retryAfterS: 3 });
    const limited = await query();
    expect(limited.body).toMatchObject({ http_status: 429, code: "rate_limited", retry_after_s: 3 });
    expect(limited.headers.get("retry-after")).toBe("3");
    world.control.failure = new GatewayError("backend_unreachable", "not reachable", { cause: new Error("10.0.0.7") });
    expect((await query()).body).toEqual({ success: false, http_status: 503, code: "backend_unavailable", error: "not reachable" });
  });

  it("tells nothing of an unexpected error but an id, which the log has too", async () => {
    const world = await makeWorld();
    for (const failure of [new Error("secret: host 10.0.0.7"), new GatewayError("internal_error", "secret state", { cause: new Error("secret") })]) {
      world.control.failure = failure;
      const answer = await world.send("POST", "/tenants/wayne/query", { key: world.key, body: { query: "SELECT 1" } });
      expect(answer.body).toMatchObject({ success: false, http_status: 500, code: "internal_error" });
      expect(JSON.stringify(answer.body)).not.toContain("secret");
      expect(answer.body.request_id).toBe(answer.headers.get("x-request-id"));
      expect(world.logged).toContainEqual(
        expect.objectContaining({ event: "api failed", fields: expect.objectContaining({ request_id: answer.body.request_id }) }),
      );
    }
  });

  it("has its headers on every answer, refusals included, and allows no other site", async () => {
    const { send, key } = await makeWorld();
    for (const path of ["/health", "/tenants", "/nowhere", "/docs"]) {
      const { headers } = await send("GET", path, path === "/tenants" ? {} : { key });
      expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{16}$/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("x-frame-options")).toBe("DENY");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

describe("origin", () => {
  const body = { email: "eve@example.com", password: "long enough", project_name: "P" };
  it.each([
    [{ origin: "https://evil.example" }, 403],
    [{ origin: "null" }, 403],
    [{ origin: "http://evil.example:9876", host: "evil.example:9876" }, 403],
    [{ "sec-fetch-site": "cross-site" }, 403],
    [{ "sec-fetch-site": "same-site" }, 403],
    [{ origin: "http://127.0.0.1:9876", "sec-fetch-site": "same-origin" }, 201],
    [{ origin: "http://192.0.2.7:9876", host: "192.0.2.7:9876" }, 201],
    [{ origin: "http://localhost:9876", host: "localhost:9876" }, 201],
    [{ origin: "https://dashboard.example" }, 201],
    [{}, 201],
  ])("answers a state change with %o by %i", async (headers, status) => {
    const { send, control } = await makeWorld({ allowedOrigins: ["https://dashboard.example"] });
    const answer = await send("POST", "/signup", { body, headers: headers as Record<string, string> });
    expect(answer.status).toBe(status);
    expect(control.calls.length).toBe(status === 201 ? 1 : 0);
  });

  it("does not look at the origin of reads", async () => {
    const { send } = await makeWorld();
    expect((await send("GET", "/health", { headers: { origin: "https://evil.example" } })).status).toBe(200);
  });
});

describe("service", () => {
  it("tells what it is, that it lives, and whether it is ready without naming hosts", async () => {
    const world = await makeWorld();
    expect((await world.send("GET", "/")).body).toMatchObject({ service: "Tenantry API", version: "0.1.0" });
    expect((await world.send("GET", "/health")).body).toMatchObject({ status: "healthy" });
    expect((await world.send("GET", "/ready")).body).toMatchObject({ ready: true, checks: { store: "ok", main: "ok" } });
    world.control.failure = new Error("down");
    const down = await world.send("GET", "/ready");
    expect(down.body).toMatchObject({
      success: false,
      http_status: 503,
      code: "backend_unavailable",
      ready: false,
      checks: { store: "ok", main: "failing" },
    });
    expect(JSON.stringify(down.body)).not.toContain("10.0.0.7");
  });

  it("lists every refusal", async () => {
    const { send } = await makeWorld();
    const { body } = await send("GET", "/errors");
    expect(body.errors).toContainEqual(expect.objectContaining({ kind: "scope_denied", code: "scope_denied", http_status: 403, sqlstate: "28000" }));
    expect(body.count).toBe(body.errors.length);
  });
});
