/** Metrics, sessions, bans, clusters and the record of changes, over a gateway in memory. */
import { describe, expect, it } from "vitest";
import { makeWorld, metricsToken, operatorToken, type World } from "./support/world.ts";

describe("metrics", () => {
  it.each(["127.0.0.1", "127.8.9.10", "::1"])("are open on loopback: %s", async (from) => {
    const { send } = await makeWorld();
    const answer = await send("GET", "/metrics", { from });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(answer.body).toContain("up 1\n");
  });

  it("need their token elsewhere", async () => {
    const { send, key } = await makeWorld();
    expect((await send("GET", "/metrics")).body).toMatchObject({ http_status: 401, code: "auth_required" });
    for (const wrong of [operatorToken, key, `${metricsToken}x`]) {
      expect((await send("GET", "/metrics", { key: wrong })).body).toMatchObject({ code: "unauthorized", error: "the metrics token is not valid" });
    }
    expect((await send("GET", "/metrics", { key: metricsToken })).body).toContain("up 1\n");
  });

  it("are open to nobody elsewhere without a configured token", async () => {
    const { send } = await makeWorld({ tokens: () => ({}) });
    const answer = await send("GET", "/metrics", { key: "undefined" });
    expect(answer.body).toMatchObject({ code: "unauthorized", error: "metrics are open on loopback only until metrics_token is configured" });
  });
});

describe("clusters", () => {
  it("are shown to the operator, and to nobody else", async () => {
    const { send, key } = await makeWorld();
    const { body } = await send("GET", "/clusters", { key: operatorToken });
    const backends = { open: 12, idle: 8, leased: 4 };
    const where = { server: "/run/tdb/.s.PGSQL.5432", origin: "configuration", isolation_level: 1 };
    expect(body.clusters).toEqual([{ id: "main", name: "main", ...where, databases: 42, backend_budget: 200, backends, waiting_clients: 0 }]);
    expect((await send("GET", "/clusters", { key })).body).toMatchObject({ http_status: 403, code: "forbidden" });
    expect((await send("GET", "/clusters", { key: metricsToken })).body).toMatchObject({ http_status: 401, code: "unauthorized" });
    const none = await makeWorld({ tokens: () => ({}) });
    expect((await none.send("GET", "/clusters", { key: "undefined" })).body.code).toBe("unauthorized");
    expect((await none.send("GET", "/clusters", { key: none.key })).body.error).toContain("set operator_token in the gateway's configuration");
  });

  const at = { host: "db2.example", port: 5433, user: "postgres", password: "SECRET", database: "postgres", sslmode: "verify-full" };
  const ca = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

  it("are added, changed and removed by the operator, by URL or by fields, and the password is never told", async () => {
    const world = await makeWorld();
    const send = (method: string, path: string, body?: object) => world.send(method, path, { key: operatorToken, ...(body && { body }) });
    const connection = "postgresql://postgres:SECRET@db2.example:5433/postgres?sslmode=verify-full";
    const added = await send("POST", "/clusters", { name: "eu2", connection, ca });
    expect(added.body).toMatchObject({ http_status: 201, id: "eu2", server: "db2.example:5433", origin: "api", isolation_level: 2, databases: 0 });
    expect(world.operations.clusters[1]!.connection).toEqual({ ...at, ca });
    const changed = await send("PATCH", "/clusters/eu2", { connection: { host: "db3.example", user: "postgres" } });
    expect(changed.body).toMatchObject({ code: "ok", server: "db3.example:5432" });
    const defaults = { host: "db3.example", port: 5432, user: "postgres", password: "", database: "postgres", sslmode: "require" };
    expect(world.operations.clusters[1]!.connection).toEqual(defaults);
    expect(JSON.stringify([added.body, changed.body, world.logged])).not.toContain("SECRET");
    expect((await send("DELETE", "/clusters/eu2")).body).toMatchObject({ code: "ok", message: "Cluster 'eu2' removed" });
    expect((await send("DELETE", "/clusters/eu2")).body.code).toBe("not_found");
  });

  it("are changed on record, which the operator reads: where the server stands, never how it is logged in to, and in no project's record", async () => {
    const world = await makeWorld();
    const send = (method: string, path: string, body?: object) => world.send(method, path, { key: operatorToken, ...(body && { body }) });
    await send("POST", "/clusters", { name: "eu2", connection: at, ca });
    await send("POST", "/clusters", { name: "eu2", connection: at, ca }); // refused: changed nothing
    await send("PATCH", "/clusters/eu2", { connection: { ...at, host: "db3.example" } });
    await send("DELETE", "/clusters/eu2");
    const { body } = await send("GET", "/clusters/audit?since=1h&limit=10");
    const by = { actor: "operator", credential_id: null, account_id: null, target: "eu2", address: "192.0.2.1" };
    expect(body).toMatchObject({
      count: 3,
      next_cursor: null,
      changes: [
        { ...by, action: "DELETE /clusters/{id}", before: { server: "db3.example:5433" }, after: null },
        { ...by, action: "PATCH /clusters/{id}", before: { server: "db2.example:5433" }, after: { server: "db3.example:5433" } },
        { ...by, action: "POST /clusters", before: null, after: { name: "eu2", server: "db2.example:5433" }, http_status: 201 },
      ],
    });
    expect(JSON.stringify(world.operations.recorded)).not.toContain("SECRET");
    expect((await world.send("GET", "/audit", { key: world.key })).body.count).toBe(0);
    expect((await world.send("GET", "/clusters/audit", { key: world.key })).body.code).toBe("forbidden");
    expect((await send("GET", "/clusters/audit?credential=key_5f")).body.code).toBe("bad_request");
  });

  it.each([
    [{ name: "Eu2", connection: at }, "name", "must be 1 to 40 of a-z, 0-9, _ and -, and start with a letter"],
    [{ connection: at }, "name", "is required (string)"],
    [{ name: "eu2" }, "connection", "Invalid input"],
    [{ name: "eu2", connection: "mysql://root:SECRET@db2.example/db" }, "connection", "must be of the form postgresql://"],
    [{ name: "eu2", connection: { ...at, port: 0 } }, "connection.port", "must be a port"],
    [{ name: "eu2", connection: { ...at, sslmode: "prefer" } }, "connection.sslmode", "must be disable, require or verify-full"],
    [{ name: "eu2", connection: { ...at, socket: "/tmp" } }, "connection.socket", "unknown field"],
    [{ name: "eu2", connection: at, ca: "/etc/passwd" }, "ca", "must be a certificate in PEM form"],
    [{ name: "eu2", connection: { ...at, sslmode: "require" }, ca }, "ca", "is for sslmode verify-full"],
  ])("are not added with bad input: %j", async (body, path, message) => {
    const world = await makeWorld();
    const answer = await world.send("POST", "/clusters", { key: operatorToken, body });
    expect(answer.body).toMatchObject({ code: "bad_request", issues: [{ path, message: expect.stringContaining(message) }] });
    expect(JSON.stringify([answer.body, world.logged])).not.toContain("SECRET");
    expect(world.operations.clusters).toHaveLength(1);
  });
});

describe("sessions and bans", () => {
  it("are listed and ended for the project's own", async () => {
    const { send, key, otherKey } = await makeWorld();
    const { body } = await send("GET", "/sessions", { key });
    expect(body.sessions).toEqual([
      {
        id: "9f2c41d07ab3",
        database_type: "PostgreSQL",
        database: "myapp__wayne",
        tenant_id: "wayne",
        credential_id: "key_00000001",
        credential_name: "wayne",
        key: "tenantsdb_sk_0000…",
        role: "admin",
        address: "192.0.2.17",
        state: "in_transaction",
        waiting_for: null,
        pinned_by: [],
        position: null,
        since: "2026-01-15T09:30:01.000Z",
        connected_at: "2026-01-15T09:30:00.000Z",
      },
    ]);
    expect((await send("GET", "/sessions", { key: otherKey })).body.count).toBe(0);
    expect((await send("DELETE", "/sessions/9f2c41d07ab3", { key: otherKey })).body.error).toBe("Session not found: 9f2c41d07ab3");
    expect((await send("DELETE", "/sessions/9f2c41d07ab3", { key })).status).toBe(200);
    expect((await send("DELETE", "/sessions/9f2c41d07ab3", { key })).body.code).toBe("not_found");
  });

  it("tell what a waiting client waits for, and its place in line", async () => {
    const { send, key, operations } = await makeWorld();
    const [session] = operations.sessions;
    operations.sessions.push(
      { ...session!, id: "w1", state: "waiting", waitingFor: "backend", position: 3 },
      { ...session!, id: "w2", state: "waiting", waitingFor: "login" },
    );
    const { body } = await send("GET", "/sessions", { key });
    const shown = body.sessions.map(({ id, state, waiting_for, position }: Record<string, unknown>) => [id, state, waiting_for, position]);
    expect(shown).toContainEqual(["w1", "waiting", "backend", 3]);
    expect(shown).toContainEqual(["w2", "waiting", "login", null]);
  });

  it("lifts a ban once", async () => {
    const { send, key } = await makeWorld();
    expect((await send("GET", "/bans", { key })).body.bans).toEqual([{ ip: "192.0.2.66", retry_after_s: 47 }]);
    expect((await send("DELETE", "/bans/192.0.2.66", { key })).status).toBe(200);
    expect((await send("DELETE", "/bans/192.0.2.66", { key })).body).toMatchObject({ code: "not_found", error: "Ban not found: 192.0.2.66" });
  });

  it("are forbidden where no gateway is behind the API", async () => {
    const { send, key } = await makeWorld({ operations: undefined });
    expect((await send("GET", "/sessions", { key })).body.code).toBe("forbidden");
    expect((await send("POST", "/tenants/wayne/suspend", { key })).status).toBe(200);
  });
});

describe("record of changes", () => {
  const last = (world: World) => world.operations.recorded[0];

  it("holds who, what, target, before and after, from where, when and the request", async () => {
    const world = await makeWorld();
    const { key, projectId } = world;
    const answer = await world.send("PATCH", "/workspaces/myapp/settings", {
      key,
      body: { max_connections: 20, allow_copy: true },
      from: "192.0.2.7",
    });
    expect(last(world)).toEqual({
      projectId,
      at: expect.any(Number),
      credentialId: expect.stringMatching(/^key_/),
      accountId: undefined,
      actor: "project",
      action: "PATCH /workspaces/{id}/settings",
      target: "myapp",
      before: { max_connections: null, allow_copy: null },
      after: { max_connections: 20, allow_copy: true },
      status: 200,
      address: "192.0.2.7",
      requestId: answer.headers.get("x-request-id"),
    });
    await world.send("PATCH", "/workspaces/myapp/settings", { key, body: { max_connections: 30 } });
    expect(last(world)).toMatchObject({ before: { max_connections: 20 }, after: { max_connections: 30 } });
    await world.send("POST", "/tenants/wayne/suspend", { key });
    expect(last(world)).toMatchObject({ action: "POST /tenants/{id}/suspend", target: "wayne", before: { status: "ready" }, after: undefined });
  });

  it("holds what was there before of everything that is replaced or taken away", async () => {
    const world = await makeWorld();
    const { key, keys, projectId } = world;
    const change = async (method: string, path: string, body?: object) => {
      const { status } = await world.send(method, path, { key, ...(body && { body }) });
      expect([path, status]).toEqual([path, expect.toSatisfy((code: number) => code < 300)]);
      return last(world);
    };
    expect(await change("PATCH", `/projects/${projectId}`, { name: "Engines" })).toMatchObject({ before: { name: "A" }, after: { name: "Engines" } });
    const nightly = { cron: "0 3 * * *", time_zone: "UTC", keep_count: 14, keep_days: 0 };
    const weekly = { ...nightly, cron: "0 3 * * 0" };
    const schedule = "/workspaces/myapp/backup-schedule";
    expect(await change("PUT", schedule, nightly)).toMatchObject({ before: undefined, after: nightly });
    expect(await change("PUT", schedule, weekly)).toMatchObject({ before: nightly, after: weekly });
    expect(await change("DELETE", schedule)).toMatchObject({ before: weekly, after: undefined });
    expect(await change("PATCH", "/workspaces/myapp/tables/plans", { deploy_data: false })).toMatchObject({ before: { deploy_data: true } });
    expect(await change("PATCH", "/workspaces/myapp/tables/other", { deploy_data: true })).toMatchObject({ before: { deploy_data: false } });
    expect(await change("PATCH", "/tenants/wayne/isolation", { isolation_level: 2 })).toMatchObject({ before: { isolation_level: 1 } });
    expect(await change("POST", `/deployments/${world.deploymentId}/cancel`)).toMatchObject({ before: { status: "queued" } });
    const made = (await world.send("POST", "/apikeys", { key, body: { name: "ci", scope_type: "tenant", scope_values: ["wayne"] } })).body;
    const shown = expect.stringMatching(/^tenantsdb_sk_[0-9a-f]{0,8}…$/);
    expect(await change("POST", `/apikeys/${made.id}/rotate`, { grace_s: 60 })).toMatchObject({ before: { key: shown }, after: { grace_s: 60 } });
    expect((await change("DELETE", `/apikeys/${made.id}`))?.before).toEqual({
      ...{ name: "ci", key: shown, role: "admin" },
      ...{ scope_type: "tenant", scope_values: ["wayne"], expires_at: null },
    });
    const trusted = [{ subject: "CN=clients", fingerprint: "ab".repeat(32), authority: true, expires_at: expect.stringMatching(/Z$/) }];
    const certificates = `/projects/${projectId}/client-certificates`;
    expect(await change("PUT", certificates, { certificates: "PEM with a SECRET key" })).toMatchObject({
      ...{ action: "PUT /projects/{id}/client-certificates", target: projectId },
      ...{ before: { certificates: [] }, after: { certificates: trusted } },
    });
    expect(await change("DELETE", certificates)).toMatchObject({ before: { certificates: trusted }, after: { certificates: [] } });
    const text = JSON.stringify(world.operations.recorded);
    for (const secret of ["SECRET", key, made.key, made.proxy_password, keys.project.admin]) expect(text).not.toContain(secret);
  });

  it("names what was made, and never a secret or a statement", async () => {
    const world = await makeWorld();
    const { key, keys } = world;
    const made = await world.send("POST", "/apikeys", { key, body: { name: "ci", role: "read" } });
    expect(last(world)).toMatchObject({ target: made.body.id, after: { name: "ci", role: "read" } });
    await world.send("POST", "/tenants", { key, body: { tenant_id: "acme", databases: [{ blueprint: "myapp" }] } });
    expect(last(world)).toMatchObject({ target: "acme", after: { tenant_id: "acme", databases: [{ blueprint: "myapp" }] }, status: 201 });
    await world.send("POST", "/tenants/wayne/query", { key: keys.tenant.write, body: { query: "SELECT 'SECRET'", params: ["SECRET"] } });
    const signup = { email: "eve@example.com", password: "SECRET battery", project_name: "E" };
    const { body } = await world.send("POST", "/signup", { body: signup });
    expect(last(world)).toMatchObject({ action: "POST /signup", actor: "eve@example.com", projectId: body.project_id, target: body.project_id });
    const text = JSON.stringify(world.operations.recorded);
    expect(text).not.toContain("SECRET");
    for (const secret of [key, made.body.key, made.body.proxy_password, body.api_key]) expect(text).not.toContain(secret);
  });

  it("leaves out what changed nothing: reads, refusals, statements that read", async () => {
    const world = await makeWorld();
    const { key, keys } = world;
    await world.send("GET", "/tenants", { key });
    await world.send("POST", "/tenants/wayne/suspend", { key: keys.project.read });
    await world.send("POST", "/tenants", { key, body: { tenant_id: "A B" } });
    await world.send("DELETE", "/tenants/nobody", { key });
    await world.send("POST", "/tenants/wayne/query", { key, body: { query: "SELECT 1" } });
    expect(world.operations.recorded).toEqual([]);
  });

  it("knows an account by its e-mail address", async () => {
    const world = await makeWorld();
    const { body } = await world.send("POST", "/login", { body: { email: "ada@example.com", password: "correct horse" } });
    await world.send("POST", "/tenants/wayne/suspend", { key: body.token });
    expect(last(world)).toMatchObject({ actor: "ada@example.com", accountId: expect.stringMatching(/^acc_/), credentialId: undefined });
  });

  it("does not take the answer with it when it cannot be written", async () => {
    const world = await makeWorld();
    world.operations.failure = new Error("store is away");
    expect((await world.send("POST", "/tenants/wayne/suspend", { key: world.key })).status).toBe(200);
    const told = world.logged.find(({ event }) => event === "change not recorded");
    expect(told?.fields).toMatchObject({ level: "error", action: "POST /tenants/{id}/suspend", target: "wayne", error: "Error: store is away" });
  });

  it("is read with filters, by the project's own", async () => {
    const world = await makeWorld();
    const { key, otherKey } = world;
    await world.send("POST", "/tenants/wayne/suspend", { key, from: "192.0.2.7" });
    const { body } = await world.send("GET", "/audit?since=1h&until=2030-01-01T00:00:00Z&credential=key_5f&limit=5", { key });
    expect(body).toMatchObject({ count: 1, next_cursor: null });
    expect(body.changes[0]).toMatchObject({
      actor: "project",
      action: "POST /tenants/{id}/suspend",
      before: { status: "ready" },
      address: "192.0.2.7",
    });
    const [page] = world.operations.pages;
    expect(page).toMatchObject({ limit: 5, credentialId: "key_5f", until: Date.UTC(2030, 0, 1) });
    expect((await world.send("GET", "/audit", { key: otherKey })).body.count).toBe(0);
    for (const bad of ["since=yesterday", "until=2030-99-99T00:00:00Z", "limit=0", "colour=red"]) {
      expect((await world.send("GET", `/audit?${bad}`, { key })).body.code, bad).toBe("bad_request");
    }
  });
});
