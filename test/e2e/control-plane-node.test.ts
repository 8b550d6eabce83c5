/** Rows of the API's table that no other suite asks of a whole gateway: each changes something in PostgreSQL, and is looked at there. */
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "./support/api.ts";
import { connect, parseTarget, psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { until } from "./support/until.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await makeFleet("node");
}, 180_000);
afterAll(() => fleet?.dispose());

/** The answer of a call that must succeed. */
async function ask(method: string, path: string, body?: unknown) {
  const answer = await fleet.api(method, path, body);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}

const inTenant = async (id: string, query: string) => (await ask("POST", `/tenants/${id}/query`, { query })).rows;
const inWorkspace = async (query: string) => (await ask("POST", "/workspaces/myapp/queries", { query })).rows;

describe("accounts and projects", () => {
  it("logs in and out; renames and deletes a project with everything below it, when it is confirmed", async () => {
    const anyone = makeApi(fleet.gateway.credentials.api_url, "");
    const account = { email: "ada@example.com", password: "correct horse" };
    const { body: made } = await anyone("POST", "/signup", { ...account, project_name: "Ada's" });
    const { body: session } = await anyone("POST", "/login", account);
    expect(session.projects).toMatchObject([{ project_id: made.project_id, name: "Ada's" }]);
    expect((await anyone("POST", "/login", { ...account, password: "wrong horse" })).body.code).toBe("unauthorized");
    const own = makeApi(fleet.gateway.credentials.api_url, session.token);
    expect((await own("PATCH", `/projects/${made.project_id}`, { name: "Engines" })).body.name).toBe("Engines");
    await own("POST", "/workspaces", { name: "hers" });
    const target = { user: made.project_id, password: made.proxy_password, database: "hers_workspace" };
    await (await connect(fleet.gateway, target)).end();
    expect((await own("DELETE", `/projects/${made.project_id}`)).body.issues).toMatchObject([{ path: "confirm" }]);
    expect((await own("DELETE", `/projects/${made.project_id}?confirm=${made.project_id}`)).status).toBe(200);
    await expect(connect(fleet.gateway, target)).rejects.toMatchObject({ code: "28P01" });
    expect((await own("POST", "/logout", {})).body.sessions_ended).toBe(1);
    expect((await own("GET", "/projects")).status).toBe(401);
  });
});

describe("schema changes", () => {
  it("shows what is not deployed, skips one, undoes one, and says what a version is", async () => {
    await psql(fleet.gateway, fleet.project(), "CREATE TABLE kept (id int)", "CREATE TABLE skipped (id int)", "CREATE TABLE undone (id int)");
    const { body: workspace } = await fleet.api("GET", "/workspaces/myapp");
    expect(workspace.undeployed_changes).toBe(3);
    const diff = await ask("GET", "/workspaces/myapp/diff");
    const changes: { ddl_id: number; version: number; sql: string }[] = diff.changes;
    const first = await ask("GET", "/workspaces/myapp/diff?limit=2");
    const second = await ask("GET", `/workspaces/myapp/diff?limit=2&cursor=${first.next_cursor}`);
    expect([first.count, second.count, second.next_cursor, diff.next_cursor]).toEqual([2, 1, null, null]);
    expect([...first.changes, ...second.changes]).toEqual(changes);
    const idOf = (table: string) => changes.find(({ sql }) => sql.includes(table))!.ddl_id;
    expect((await ask("DELETE", `/workspaces/myapp/diff/${idOf("skipped")}`)).message).toMatch(/is skipped/);
    expect(await ask("POST", `/workspaces/myapp/diff/${idOf("undone")}/revert`)).toMatchObject({
      skipped: true,
      undone_by: [{ sql: expect.stringMatching(/^DROP TABLE/) }],
    });
    expect(await inWorkspace("SELECT to_regclass('kept') IS NULL, to_regclass('skipped') IS NULL, to_regclass('undone') IS NULL")).toEqual([
      [false, false, true],
    ]);
    const version = changes.find(({ sql }) => sql.includes("kept"))!.version;
    expect(await ask("GET", `/blueprints/myapp/versions/${version}`)).toMatchObject({ version, sql: "CREATE TABLE kept (id int)" });
    expect((await fleet.api("GET", "/blueprints/myapp/versions/99")).body.code).toBe("not_found");
    expect((await ask("GET", "/blueprints")).blueprints.map(({ name }: { name: string }) => name)).toEqual(["myapp", "other_app"]);
    const deployed = await ask("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
    expect(deployed.status).toBe("done");
    expect(await inTenant("wayne", "SELECT to_regclass('kept') IS NULL, to_regclass('skipped') IS NULL")).toEqual([[false, true]]);
    expect((await ask("GET", "/blueprints/myapp/drift")).count).toBe(0);
  }, 120_000);

  it("carries the rows of a marked table to tenants", async () => {
    await psql(
      fleet.gateway,
      fleet.project(),
      "CREATE TABLE plans (id int PRIMARY KEY, name text)",
      "INSERT INTO plans VALUES (1, 'free'), (2, 'pro')",
    );
    expect(await ask("PATCH", "/workspaces/myapp/tables/plans", { deploy_data: true })).toMatchObject({ name: "plans", deploy_data: true });
    await ask("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
    expect(await inTenant("globex", "SELECT * FROM plans ORDER BY id")).toEqual([
      [1, "free"],
      [2, "pro"],
    ]);
    await fleet.addTenant("fresh");
    expect(await inTenant("fresh", "SELECT count(*)::int FROM plans")).toEqual([[2]]);
  }, 120_000);

  it("cancels a deployment in progress, leaves what it has not begun, and retries it", async () => {
    await psql(fleet.gateway, fleet.project(), "ALTER TABLE accounts ADD note text");
    const client = await connect(fleet.gateway, fleet.tenant("fresh"));
    await client.query("BEGIN; SELECT * FROM accounts"); // in the way of ALTER TABLE, until it commits
    const started = await ask("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, concurrency: 1, lock_timeout_ms: 60_000 });
    const stateOf = async () => await ask("GET", `/deployments/${started.id}`);
    await until(async () => (await stateOf()).results.some((result: { tenant_id: string; status: string }) => result.status === "running"));
    await ask("POST", `/deployments/${started.id}/cancel`);
    await client.query("COMMIT");
    await until(async () => (await stateOf()).finished_at !== null);
    const ended = await stateOf();
    expect(ended.status).toBe("cancelled");
    expect(ended.results.map(({ status }: { status: string }) => status)).toContain("cancelled");
    await ask("POST", `/deployments/${started.id}/retry`);
    await until(async () => (await stateOf()).status === "done");
    await client.end();
    for (const id of ["fresh", "globex", "wayne"]) expect(await inTenant(id, "SELECT count(note)::int FROM accounts")).toEqual([[0]]);
    const own = await ask("GET", "/tenants/wayne/deployments");
    expect(own.deployments[0]).toMatchObject({ id: started.id, status: "done", result: { tenant_id: "wayne", status: "done" } });
  }, 120_000);
});

describe("a change that one tenant's rows forbid", () => {
  const tenants = ["fresh", "globex", "wayne"];
  const constraints = async () => {
    const counts: unknown[] = [];
    for (const id of tenants) counts.push((await inTenant(id, "SELECT count(*)::int FROM pg_constraint WHERE conname = 'named'"))[0][0]);
    return counts;
  };

  it("is found out on copies, and held by its canary; put right, a retry brings it to all", async () => {
    await inTenant("globex", "INSERT INTO accounts (name) VALUES ('twin'), ('twin')");
    await psql(fleet.gateway, fleet.project(), "ALTER TABLE accounts ADD CONSTRAINT named UNIQUE (name)");
    const tried = await ask("POST", "/deployments", { blueprint_name: "myapp", tenant_ids: ["globex", "wayne"], dry_run: true, wait: true });
    expect(tried).toMatchObject({ status: "failed", dry_run: true, tenants_completed: 1, tenants_failed: 1 });
    expect(tried.results).toMatchObject([
      { tenant_id: "globex", status: "failed", sqlstate: "23505" },
      { tenant_id: "wayne", status: "done", statements: [{ command: "ALTER TABLE", duration_ms: expect.any(Number) }] },
    ]);
    expect(tried.results[1].statements[0].locks).toContain("public.accounts AccessExclusiveLock");
    expect(await constraints()).toEqual([0, 0, 0]);

    const first = { tenant_ids: ["globex", "fresh", "wayne"], canary: 1, canary_watch_s: 0 };
    const held = await ask("POST", "/deployments", { blueprint_name: "myapp", ...first, wait: true });
    const shown = async (results: string) => (await ask("GET", `/deployments/${held.id}?results=${results}`)).results;
    expect([await shown("all"), await shown("failed"), await shown("none")]).toEqual([held.results, [held.results[1]], []]);
    expect((await fleet.api("GET", `/deployments/${held.id}?results=some`)).body.issues).toMatchObject([{ path: "results" }]);
    expect(held).toMatchObject({ status: "failed", held_because: "it failed on canary 'globex'" });
    expect(held.results).toMatchObject([
      { tenant_id: "fresh", status: "cancelled", canary: false },
      { tenant_id: "globex", status: "failed", canary: true, sqlstate: "23505", duration_ms: expect.any(Number) },
      { tenant_id: "wayne", status: "cancelled", canary: false },
    ]);
    expect(await constraints()).toEqual([0, 0, 0]);

    await inTenant("globex", "DELETE FROM accounts WHERE name = 'twin'");
    await ask("POST", `/deployments/${held.id}/retry`);
    await until(async () => (await ask("GET", `/deployments/${held.id}`)).status === "done");
    expect(await constraints()).toEqual([1, 1, 1]);
  }, 120_000);
});

describe("answers that come piece by piece", () => {
  it("follow a deployment as server-sent events: each tenant's result as it ends, then the end", async () => {
    await psql(fleet.gateway, fleet.project(), "ALTER TABLE accounts ADD followed text");
    const client = await connect(fleet.gateway, fleet.tenant("wayne"));
    await client.query("BEGIN; SELECT * FROM accounts"); // in the way of ALTER TABLE, until it commits
    const started = await ask("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, lock_timeout_ms: 60_000 });
    const { api_url, api_key } = fleet.gateway.credentials;
    const response = await fetch(`${api_url}/deployments/${started.id}/events`, { headers: { authorization: `Bearer ${api_key}` } });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    let text = "";
    let isFree = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      if (isFree || !text.includes('"tenant_id":"globex"')) continue;
      expect(text).not.toContain('"tenant_id":"wayne"'); // globex is told of while wayne is still waited for
      await client.query("COMMIT");
      isFree = true;
    }
    await client.end();
    const events = text
      .split("\n\n")
      .filter((block) => block.startsWith("event:"))
      .map((block) => ({ event: /^event: (\w+)/.exec(block)![1], data: JSON.parse(/^data: (.+)$/m.exec(block)![1]!) }));
    const told = events.filter(({ event }) => event === "result").map(({ data }) => `${data.tenant_id} ${data.status}`);
    const { results } = await ask("GET", `/deployments/${started.id}`);
    expect(told.sort()).toEqual(results.map(({ tenant_id }: { tenant_id: string }) => `${tenant_id} done`).sort());
    expect(told).toContain("wayne done");
    expect(events.at(-1)).toMatchObject({ event: "end", data: { id: started.id, status: "done", tenants_failed: 0 } });
  }, 120_000);

  it("tell of every tenant's database in a line of its own, failures among them", async () => {
    await inTenant("wayne", "INSERT INTO accounts (name) VALUES ('zero')");
    const { api_url, api_key } = fleet.gateway.credentials;
    const askAll = async (query: string) => {
      const response = await fetch(`${api_url}/admin/query`, {
        method: "POST",
        headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json", accept: "application/x-ndjson" },
        body: JSON.stringify({ blueprint: "myapp", query, all_tenants: true }),
      });
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/x-ndjson"]);
      const lines = (await response.text()).trimEnd().split("\n");
      return lines.map((line) => JSON.parse(line) as { tenant_id: string; code: string; sqlstate: string | null; rows?: unknown[][] });
    };
    const databases = await askAll("SELECT current_database()");
    expect(databases.map(({ tenant_id }) => tenant_id).sort()).toEqual(["fresh", "globex", "wayne"]);
    expect(new Set(databases.map(({ rows }) => rows![0]![0])).size).toBe(3);
    const counts = await askAll("SELECT 1 / (CASE WHEN EXISTS (SELECT FROM accounts WHERE name = 'zero') THEN 0 ELSE 1 END)");
    expect(counts.map(({ tenant_id, code, sqlstate }) => `${tenant_id} ${code} ${sqlstate}`).sort()).toEqual([
      "fresh ok null",
      "globex ok null",
      "wayne bad_request 22012",
    ]);
    await inTenant("wayne", "DELETE FROM accounts WHERE name = 'zero'");
  }, 120_000);
});

describe("backups", () => {
  it("are listed, downloaded, restored as another tenant, deleted; a tenant is cloned", async () => {
    await inTenant("wayne", "INSERT INTO accounts (name) VALUES ('kept in the backup')");
    const made = await ask("POST", "/tenants/wayne/backup", { wait: true, format: "own" });
    await inTenant("wayne", "INSERT INTO accounts (name) VALUES ('made later')");
    expect((await ask("GET", "/tenants/wayne/backups")).backups).toMatchObject([{ id: made.id, status: "ready", trigger: "manual" }]);
    expect(await ask("GET", `/tenants/wayne/backups/${made.id}`)).toMatchObject({ id: made.id, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const { api_url, api_key } = fleet.gateway.credentials;
    const file = await fetch(`${api_url}/tenants/wayne/backups/${made.id}/download`, { headers: { authorization: `Bearer ${api_key}` } });
    const script = gunzipSync(Buffer.from(await file.arrayBuffer())).toString();
    expect(script).toContain("kept in the backup");
    expect(script).not.toContain("made later");
    const names = "SELECT name FROM accounts ORDER BY id";
    const restored = await ask("POST", `/tenants/wayne/backups/${made.id}/restore`, { tenant_id: "wayne_then" });
    const client = await connect(fleet.gateway, parseTarget(restored.databases[0].connection_string));
    expect((await client.query(names)).rows).toEqual([{ name: "kept in the backup" }]);
    await client.end();
    await ask("POST", "/tenants/wayne/clone", { tenant_id: "wayne_now" });
    expect(await inTenant("wayne_now", names)).toEqual([["kept in the backup"], ["made later"]]);
    const rolled = await ask("POST", "/tenants/wayne/rollback", { date: made.snapshot_at, wait: true });
    expect(rolled).toMatchObject({ status: "done", backup_id: made.id });
    expect(await inTenant("wayne", names)).toEqual([["kept in the backup"]]);
    expect((await ask("GET", "/tenants/wayne/rollbacks")).rollbacks).toMatchObject([{ id: rolled.id, status: "done" }]);
    await ask("DELETE", `/tenants/wayne/backups/${made.id}`);
    await until(async () => (await ask("GET", "/tenants/wayne/backups")).count === 0);
  }, 120_000);

  it("have a schedule, which is shown, replaced and taken away", async () => {
    const schedule = { cron: "0 3 * * *", time_zone: "Europe/Berlin", keep_count: 14 };
    expect(await ask("PUT", "/workspaces/myapp/backup-schedule", schedule)).toMatchObject({ schedule });
    expect(await ask("PUT", "/workspaces/myapp/backup-schedule", { ...schedule, cron: "30 4 * * *" })).toMatchObject({
      schedule: { cron: "30 4 * * *" },
    });
    expect(await ask("GET", "/workspaces/myapp/backup-schedule")).toMatchObject({ schedule: { cron: "30 4 * * *", keep_count: 14 } });
    await ask("DELETE", "/workspaces/myapp/backup-schedule");
    expect((await fleet.api("DELETE", "/workspaces/myapp/backup-schedule")).status).toBe(404);
  });
});

describe("settings, logs and errors", () => {
  it("adds up a workspace's own statements", async () => {
    await inWorkspace("SELECT 'counted here'");
    await until(async () =>
      (await ask("GET", "/workspaces/myapp/logs/stats")).top_statements.some(({ statement }: { statement: string }) => statement === "SELECT ?"),
    );
  });

  it("refuses in the contract's words, with its codes", async () => {
    const refusal = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const { status, body: answer } = await fleet.api(method, path, body, headers);
      expect(answer).toMatchObject({ success: false, http_status: status });
      return [status, answer.code, answer.error];
    };
    expect(await refusal("GET", "/tenants", undefined, { authorization: "Bearer tenantsdb_sk_0" })).toEqual([
      401,
      "unauthorized",
      expect.any(String),
    ]);
    expect(await refusal("POST", "/tenants/wayne/query", { query: "CREATE TABLE mine (i int)" })).toEqual([
      400,
      "bad_request",
      "DDL not allowed on tenant databases. Deploy schema through blueprints.",
    ]);
    for (const [query, params] of [
      ["SELECT $1::int", []],
      ["SELECT 1", [1]],
    ] as const) {
      const { body } = await fleet.api("POST", "/tenants/wayne/query", { query, params });
      expect(body).toMatchObject({ http_status: 400, code: "bad_request", sqlstate: "08P01", error: expect.stringContaining("parameters") });
    }
    await ask("POST", "/workspaces", { name: "plain", mode: "control" });
    expect(await refusal("POST", "/tenants", { tenant_id: "late", databases: [{ blueprint: "plain" }] })).toEqual([
      400,
      "bad_request",
      expect.stringContaining("control mode"),
    ]);
    expect(await refusal("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] })).toEqual([
      409,
      "conflict",
      expect.any(String),
    ]);
    await ask("DELETE", "/tenants/fresh");
    expect(await refusal("POST", "/tenants", { tenant_id: "fresh", databases: [{ blueprint: "myapp" }] })).toEqual([
      409,
      "conflict",
      "Tenant 'fresh' is in trash. Use POST /tenants/fresh/restore or DELETE /tenants/fresh?hard=true",
    ]);
    const reader = { authorization: `Bearer ${(await fleet.makeKey({ role: "read", scope_type: "project" })).key}` };
    expect((await refusal("POST", "/tenants/fresh/restore", undefined, reader)).slice(0, 2)).toEqual([403, "role_required"]);
    await ask("PATCH", "/tenants/globex/settings", { query_timeout_ms: 200, max_rows_per_query: 2 });
    expect(await refusal("POST", "/tenants/globex/query", { query: "SELECT pg_sleep(30)" })).toEqual([
      504,
      "timeout",
      "query exceeded query_timeout_ms (200)",
    ]);
    expect(await refusal("POST", "/tenants/globex/query", { query: "SELECT generate_series(1, 3)" })).toEqual([
      400,
      "bad_request",
      "query exceeded max_rows_per_query (2)",
    ]);
    await ask("PATCH", "/tenants/globex/settings", { query_timeout_ms: null, max_rows_per_query: null });
    const many = await ask("POST", "/tenants/globex/query", { query: "SELECT generate_series(1, 10001)" });
    expect([many.row_count, many.truncated]).toEqual([10_000, true]);
  }, 120_000);

  it("lists every code there is", async () => {
    const errors = await ask("GET", "/errors");
    expect(JSON.stringify(errors)).toContain("ddl_denied");
    expect(JSON.stringify(errors)).toContain("scope_denied");
  });
});
