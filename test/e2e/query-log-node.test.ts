/** The query log of a real gateway: what drivers sent, as GET /tenants/{id}/logs tells it, and what it must never tell. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await makeFleet("node");
});
afterAll(() => fleet?.dispose());

interface Entry {
  readonly [field: string]: unknown;
  readonly statement: string;
  readonly transaction_id: string;
  readonly fingerprint: string;
}

/** Waits until the log of `path` holds a statement like this; all of the first page, oldest first. */
async function logged(path: string, pattern: RegExp): Promise<Entry[]> {
  let found: Entry[] = [];
  await until(async () => {
    const { status, body } = await fleet.api("GET", path);
    expect(status).toBe(200);
    found = (body.logs as Entry[]).toReversed();
    return found.some((entry) => pattern.test(entry.statement));
  });
  return found;
}

describe("the query log", () => {
  it("tells what a driver ran, simple and extended, in which transaction, with which outcome, and no value", async () => {
    const client = await connect(fleet.gateway, fleet.tenant("wayne"));
    await client.query("BEGIN");
    await client.query("INSERT INTO accounts (name) VALUES ($1), ($2)", ["Secret-One", "Secret-Two"]);
    await client.query("SELECT name FROM accounts WHERE name = 'Secret-One' -- Secret-Three");
    await client.query("COMMIT");
    expect((await failure(client.query("SELECT nope"))).code).toBe("42703");
    expect((await failure(client.query("SELECT 1 / $1::int", [0]))).code).toBe("22012");
    expect((await failure(client.query("CREATE TABLE mine (i int)"))).code).toBe("42501");
    for (const id of [1, 2]) await client.query({ name: "by-id", text: "SELECT * FROM accounts WHERE id = $1", values: [id] });
    await client.query("SELECT generate_series(1, 1000); SELECT 'the-end'");
    await client.end();

    const entries = await logged("/tenants/wayne/logs", /generate_series/);
    const texts = entries.map(({ statement, rows, sqlstate }) => [statement, rows, sqlstate]);
    expect(texts).toEqual([
      ["BEGIN", 0, null],
      ["INSERT INTO accounts (name) VALUES ($1), ($2)", 2, null],
      ["SELECT name FROM accounts WHERE name = ?", 1, null],
      ["COMMIT", 0, null],
      ["SELECT nope", 0, "42703"],
      ["SELECT ? / $1::int", 0, "22012"],
      ["CREATE TABLE mine (i int)", 0, "42501"],
      ["SELECT * FROM accounts WHERE id = $1", 1, null],
      ["SELECT * FROM accounts WHERE id = $1", 1, null],
      ["SELECT generate_series(?, ?); SELECT ?", 1001, null],
    ]);
    const transactions = entries.map((entry) => entry.transaction_id);
    expect(new Set(transactions.slice(0, 4)).size).toBe(1);
    expect(new Set(transactions).size).toBe(7);
    expect(entries[7]!.fingerprint).toBe(entries[8]!.fingerprint);
    const last = entries.at(-1)!;
    expect(last).toMatchObject({
      address: expect.stringMatching(/^(127\.|::1)/),
      credential_id: expect.stringMatching(/^key_/),
      slow: false,
      truncated: false,
    });
    expect(last.bytes_sent).toBeGreaterThan(1000 * 10);
    expect(last.bytes_received).toBeGreaterThan(40);
    expect(Math.abs(Date.parse(last.at as string) - Date.now())).toBeLessThan(3_600_000);
    const { body } = await fleet.api("GET", "/tenants/wayne/logs");
    expect(JSON.stringify(body)).not.toMatch(/Secret/);
  });

  it("tells what came over the API like the rest, as such", async () => {
    const query = "SELECT name FROM accounts WHERE name = 'Secret-Four' OR name = $1";
    const asked = { blueprint: "myapp", query, params: ["Secret-Five"] };
    expect((await fleet.api("POST", "/tenants/globex/query", asked)).body.code).toBe("ok");
    expect((await fleet.api("POST", "/admin/query", { ...asked, tenant_id: "globex" })).body.code).toBe("ok");
    expect((await fleet.api("POST", "/admin/query", { ...asked, blueprint: "other_app", all_tenants: true })).body.code).toBe("ok");
    expect((await fleet.api("POST", "/tenants/globex/query", { query: "SELECT 1 / 0" })).body.sqlstate).toBe("22012");
    expect((await fleet.api("POST", "/tenants/globex/query", { query: "DROP TABLE accounts" })).body.code).toBe("bad_request");
    expect((await fleet.api("POST", "/workspaces/myapp/queries", { query: "SELECT 'Secret-Six', repeat('x', 50000)" })).body.code).toBe("ok");

    const inTenant = await logged("/tenants/globex/logs?via=api", /DROP TABLE/);
    const masked = "SELECT name FROM accounts WHERE name = ? OR name = $1";
    expect(inTenant.map(({ statement, rows, sqlstate }) => [statement, rows, sqlstate])).toEqual([
      [masked, 0, null],
      [masked, 0, null],
      ["SELECT ? / ?", 0, "22012"],
      ["DROP TABLE accounts", 0, "42501"],
    ]);
    const session_id = expect.stringMatching(/^req_[0-9a-f]{16}$/);
    const address = expect.stringMatching(/^(127\.|::1)/);
    for (const entry of inTenant) expect(entry).toMatchObject({ via: "api", session_id, address, credential_id: expect.stringMatching(/^key_/) });
    expect(new Set(inTenant.map((entry) => entry.session_id)).size).toBe(4);
    const [inWorkspace] = await logged("/workspaces/myapp/logs?via=api", /repeat/);
    expect(inWorkspace).toMatchObject({ statement: "SELECT ?, repeat(?, ?)", rows: 1, bytes_sent: 50_010 });
    expect((await logged("/tenants/wayne/logs?via=wire", /generate_series/)).every(({ via }) => via === "wire")).toBe(true);
    expect((await fleet.api("GET", "/tenants/wayne/logs?via=api")).body.count).toBe(0);
    expect((await logged("/tenants/acme/logs?via=api", /accounts/)).map(({ statement }) => statement)).toEqual([masked]);
    expect(JSON.stringify([inTenant, inWorkspace])).not.toMatch(/Secret/);
  });

  it("is filtered and paged", async () => {
    const ask = async (query: string) => (await fleet.api("GET", `/tenants/wayne/logs?${query}`)).body;
    expect((await ask("type=error")).logs.map((row: Entry) => row.sqlstate)).toEqual(["42501", "22012", "42703"]);
    expect((await ask("type=slow")).count).toBe(0);
    expect((await ask("sqlstate=22012")).count).toBe(1);
    expect((await ask("search=GENERATE_SERIES")).count).toBe(1);
    expect((await ask("search=%25")).count).toBe(0);
    const { logs } = await ask("search=insert");
    expect((await ask(`transaction=${logs[0].transaction_id}`)).count).toBe(4);
    expect((await ask(`fingerprint=${logs[0].fingerprint}`)).count).toBe(1);
    expect((await ask(`session=${logs[0].session_id}`)).count).toBe(10);
    expect((await ask(`credential=${logs[0].credential_id}`)).count).toBe(10);
    expect((await ask("credential=key_0")).count).toBe(0);
    expect((await ask("since=1d")).count).toBe(10);
    expect((await ask("until=1d")).count).toBe(0);
    const pages: number[] = [];
    let cursor: string | null = "";
    for (; cursor !== null; ) {
      const page: { logs: { id: number }[]; next_cursor: string | null } = await ask(`limit=3${cursor && `&cursor=${cursor}`}`);
      pages.push(...page.logs.map((row) => row.id));
      cursor = page.next_cursor;
    }
    expect(new Set(pages).size).toBe(10);
    expect(pages).toEqual(pages.toSorted((a, b) => b - a));
  });

  it("calls slow what takes as long as slow_query_ms of the tenant", async () => {
    await fleet.api("PATCH", "/tenants/globex/settings", { slow_query_ms: 150 });
    const client = await connect(fleet.gateway, fleet.tenant("globex"));
    await client.query("SELECT 'quick'");
    await client.query("SELECT pg_sleep(0.2)");
    await client.end();
    await logged("/tenants/globex/logs", /pg_sleep/);
    const { body } = await fleet.api("GET", "/tenants/globex/logs?type=slow");
    expect(body.logs).toMatchObject([{ statement: "SELECT pg_sleep(?)", slow: true, rows: 1 }]);
    expect(body.logs[0].duration_ms).toBeGreaterThanOrEqual(150);
  });

  it("tells of limits the gateway keeps, and of a client that leaves in the middle", async () => {
    const target = fleet.tenant("globex");
    await fleet.api("PATCH", "/tenants/globex/settings", { max_rows_per_query: 10, query_timeout_ms: 300 });
    const client = await connect(fleet.gateway, target);
    await until(async () => (await client.query("SELECT generate_series(1, 11)").catch((error) => error)).code === "54000");
    expect((await failure(client.query("SELECT pg_sleep(30), 'timeout'"))).code).toBe("57014");
    await client.end();
    const leaver = await connect(fleet.gateway, target);
    leaver.query("SELECT pg_sleep(30), pg_sleep(1)").catch(() => undefined);
    await until(async () => ((await fleet.api("GET", "/sessions")).body.sessions as { state: string }[]).some((row) => row.state === "active"));
    (leaver as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    const entries = await logged("/tenants/globex/logs", /pg_sleep\(\?\), pg_sleep/);
    const outcome = (pattern: RegExp) => entries.findLast((entry) => pattern.test(entry.statement))?.sqlstate;
    expect(outcome(/generate_series/)).toBe("54000");
    expect(outcome(/pg_sleep\(\?\), \?/)).toBe("57014");
    expect(outcome(/pg_sleep\(\?\), pg_sleep/)).toBe("57014");
    await fleet.api("PATCH", "/tenants/globex/settings", { max_rows_per_query: null, query_timeout_ms: null });
  });

  it("adds up: statements by time, errors by SQLSTATE, usage by interval", async () => {
    const { body: stats } = await fleet.api("GET", "/tenants/wayne/logs/stats");
    const prepared = stats.top_statements.find((row: Entry) => row.statement.includes("WHERE id = $1"));
    expect(prepared).toMatchObject({ calls: 2, errors: 0, rows: 2 });
    expect(prepared.total_ms).toBeCloseTo(prepared.mean_ms * 2, 2);
    const times = stats.top_statements.map((row: { total_ms: number }) => row.total_ms);
    expect(times).toEqual(times.toSorted((a: number, b: number) => b - a));
    expect(stats.errors.map((row: { sqlstate: string; count: number }) => [row.sqlstate, row.count])).toEqual([
      ["22012", 1],
      ["42501", 1],
      ["42703", 1],
    ]);
    expect(stats.dropped).toBe(0);
    await until(async () => (await fleet.api("GET", "/tenants/wayne/metrics")).body.total.statements === 10);
    const { body: metrics } = await fleet.api("GET", "/tenants/wayne/metrics");
    expect(metrics.total).toMatchObject({ statements: 10, errors: 3, slow: 0, rows: 1006 });
    expect(metrics.total.p50_ms).toBeGreaterThan(0);
    expect(metrics.total.p99_ms).toBeGreaterThanOrEqual(metrics.total.p50_ms);
    expect(metrics.series.reduce((sum: number, row: { rows: number }) => sum + row.rows, 0)).toBe(1006);
    expect((await fleet.api("GET", "/tenants/wayne/metrics?since=1h&until=2h")).status).toBe(400);
  });

  it("is seen by those whose scope covers the database, and by nobody else", async () => {
    const keys = {
      own: await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["wayne"] }),
      several: await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["globex", "wayne"] }),
      blueprint: await fleet.makeKey({ role: "read", scope_type: "workspace", scope_values: ["myapp"] }),
      stranger: await fleet.makeKey({ role: "admin", scope_type: "tenant", scope_values: ["globex"] }),
      otherBlueprint: await fleet.makeKey({ role: "admin", scope_type: "workspace", scope_values: ["other_app"] }),
    };
    for (const what of ["logs", "logs/stats", "metrics"]) {
      const ask = async (key: string) => (await fleet.api("GET", `/tenants/wayne/${what}`, undefined, { authorization: `Bearer ${key}` })).body.code;
      for (const name of ["own", "several", "blueprint"] as const) expect(await ask(keys[name].key), name).toBe("ok");
      for (const name of ["stranger", "otherBlueprint"] as const) expect(await ask(keys[name].key), name).toBe("scope_denied");
    }
    const workspace = (key: string) => fleet.api("GET", "/workspaces/myapp/logs", undefined, { authorization: `Bearer ${key}` });
    expect((await workspace(keys.own.key)).body.code).toBe("scope_denied");
    expect((await workspace(keys.blueprint.key)).body.logs.length).toBeGreaterThan(0);
  });

  it("keeps workspaces apart from tenants, and a tenant of the same name apart from an earlier one", async () => {
    const entries = await logged("/workspaces/myapp/logs", /CREATE TABLE accounts/);
    expect(entries.every((entry) => !entry.statement.includes("generate_series"))).toBe(true);
    const target = await fleet.addTenant("shortlived");
    const client = await connect(fleet.gateway, target);
    await client.query("SELECT 'of the first'");
    await client.end();
    await logged("/tenants/shortlived/logs", /SELECT/);
    expect((await fleet.api("DELETE", "/tenants/shortlived?hard=true")).status).toBe(200);
    await fleet.addTenant("shortlived");
    expect((await fleet.api("GET", "/tenants/shortlived/logs")).body.count).toBe(0);
    expect((await fleet.api("GET", "/tenants/shortlived/metrics")).body.total.statements).toBe(0);
  });

  it("refuses what it cannot understand, naming it", async () => {
    for (const [query, path] of [
      ["type=everything", "type"],
      ["since=yesterday", "since"],
      ["since=9999-99-99T00:00", "since"],
      ["cursor=nonsense", "cursor"],
      ["cursor=WyJub3doZXJlIiwxXQ", "cursor"],
      ["limit=0", "limit"],
      ["fingerprint=xyz", "fingerprint"],
      ["sqlstate=1", "sqlstate"],
      ["bogus=1", "bogus"],
    ]) {
      const { status, body } = await fleet.api("GET", `/tenants/wayne/logs?${query}`);
      expect([status, body.code, body.issues?.[0]?.path], query).toEqual([400, "bad_request", path]);
    }
  });

  it("can be asked by the command line", async () => {
    const { api_url, api_key } = fleet.gateway.credentials;
    const env = { TDB_API_URL: api_url, TDB_API_KEY: api_key };
    expect((await tdb("node", ["tenants", "logs", "wayne", "--type", "error", "--quiet"], env)).stdout).toBe(
      "CREATE TABLE mine (i int)\nSELECT ? / $1::int\nSELECT nope\n",
    );
    expect((await tdb("node", ["tenants", "stats", "wayne", "--since", "1h"], env)).stdout).toContain("22012");
    expect((await tdb("node", ["tenants", "metrics", "wayne"], env)).stdout).toMatch(/statements +10/);
    expect(JSON.parse((await tdb("node", ["workspaces", "logs", "myapp", "--limit", "1", "--json"], env)).stdout)).toMatchObject({ count: 1 });
  });

  it("keeps literals where the operator wants them, never a password, and nothing when it is off; on open sessions too", async () => {
    const client = await connect(fleet.gateway, fleet.tenant("wayne"));
    await fleet.reload({ query_log: { mask: false } });
    await client.query("SELECT 'kept-literal'");
    await failure(client.query("ALTER ROLE nobody PASSWORD 'never-kept'"));
    const entries = await logged("/tenants/wayne/logs", /ALTER ROLE/);
    expect(entries.at(-2)!.statement).toBe("SELECT 'kept-literal'");
    expect(entries.at(-1)!.statement).toBe("ALTER ROLE nobody PASSWORD ?");
    await fleet.reload({ query_log: { enabled: false } });
    await client.query("SELECT 'while off'");
    await fleet.reload({});
    await client.query("SELECT 'on again'");
    const after = await logged("/tenants/wayne/logs?since=1h&limit=1", /^SELECT \?$/);
    expect(after).toHaveLength(1);
    const { body } = await fleet.api("GET", "/tenants/wayne/logs?limit=3");
    expect(body.logs.map((row: Entry) => row.statement)).toEqual(["SELECT ?", "ALTER ROLE nobody PASSWORD ?", "SELECT 'kept-literal'"]);
    await client.end();
  });
});
