/** A real gateway and its administrator: who is connected, who is banned, what was measured, who changed what. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, ending, failure, from, spawnPsql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { collect, tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await makeFleet("node");
});
afterAll(() => fleet?.dispose());

interface SessionRow {
  readonly id: string;
  readonly [field: string]: unknown;
}

async function findSession(matches: (row: SessionRow) => boolean): Promise<SessionRow> {
  let found: SessionRow | undefined;
  await until(async () => {
    found = ((await fleet.api("GET", "/sessions")).body.sessions as SessionRow[]).find(matches);
    return found !== undefined;
  });
  return found!;
}

/** Every line of the metrics by its name and labels. */
async function scrape(): Promise<Map<string, number>> {
  const response = await fetch(`${fleet.gateway.credentials.api_url}/metrics`);
  expect(response.status).toBe(200);
  const lines = (await response.text()).trimEnd().split("\n");
  for (const line of lines) expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [-+0-9.eInf]+)$/);
  return new Map(
    lines.filter((line) => !line.startsWith("#")).map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

describe("sessions", () => {
  it("shows a psql that runs a statement, and ends it", async () => {
    const shell = collect(spawnPsql(fleet.gateway, fleet.tenant("wayne"), ["-c", "SELECT pg_sleep(300)"]));
    const session = await findSession((row) => row.database === "myapp__wayne" && row.state === "active");
    expect(session).toMatchObject({ tenant_id: "wayne", database_type: "PostgreSQL", role: "admin", address: expect.stringMatching(/^(127\.|::1)/) });
    expect(session.key).toMatch(/^tenantsdb_sk_[0-9a-f]{4}…$/);
    expect(Math.abs(Date.parse(session.connected_at as string) - Date.now())).toBeLessThan(3_600_000);
    expect((await fleet.api("DELETE", `/sessions/${session.id}`)).status).toBe(200);
    const { code, stderr } = await shell;
    expect(code).not.toBe(0);
    expect(stderr).toContain("FATAL:  57P01: terminating connection due to administrator command");
    await until(async () => (await fleet.api("DELETE", `/sessions/${session.id}`)).body.code === "not_found");
  });

  it("tells an open transaction from an idle client, and ends one by the command line", async () => {
    const client = await connect(fleet.gateway, fleet.tenant("globex"));
    const mine = (state: string) => findSession((row) => row.tenant_id === "globex" && row.state === state);
    await mine("idle");
    await client.query("BEGIN");
    const { id } = await mine("in_transaction");
    const ended = ending(client);
    const { api_url, api_key } = fleet.gateway.credentials;
    const killed = await tdb("node", ["sessions", "kill", id], { TDB_API_URL: api_url, TDB_API_KEY: api_key });
    expect(killed).toMatchObject({ code: 0, stdout: `✓ Session '${id}' ended\n` });
    expect(await ended).toMatchObject({ code: "57P01", message: "terminating connection due to administrator command" });
  });
});

describe("bans", () => {
  it("shows one, and lifts it", async () => {
    const wrong = { ...fleet.tenant("wayne"), password: "tdb_0000000000000000", sslmode: "disable" as const };
    const address = "127.0.0.77";
    for (let i = 0; i < 10; i++) await failure(connect(fleet.gateway, wrong, from(address)));
    const { body } = await fleet.api("GET", "/bans");
    expect(body.bans).toEqual([{ ip: address, retry_after_s: expect.any(Number) }]);
    expect((await scrape()).get("tenantry_bans")).toBe(1);
    const good = { ...fleet.tenant("wayne"), sslmode: "disable" as const };
    expect((await failure(connect(fleet.gateway, good, from(address)))).message).toContain("temporarily rate-limited");
    expect((await fleet.api("DELETE", `/bans/${address}`)).status).toBe(200);
    expect((await fleet.api("GET", "/bans")).body.count).toBe(0);
    await (await connect(fleet.gateway, good, from(address))).end();
    const metrics = await scrape();
    expect(metrics.get('tenantry_auth_failures_total{engine="PostgreSQL"}')).toBe(10);
    expect(metrics.get('tenantry_logins_total{engine="PostgreSQL",outcome="ip_banned"}')).toBe(1);
  });
});

describe("metrics", () => {
  it("move with what happens", async () => {
    const before = await scrape();
    const client = await connect(fleet.gateway, fleet.tenant("wayne"));
    for (let i = 0; i < 5; i++) await client.query("SELECT repeat('x', 1000)");
    const during = await scrape();
    const grown = (name: string) => during.get(name)! - before.get(name)!;
    expect(grown("tenantry_queries_total")).toBe(5);
    expect(grown("tenantry_client_sent_bytes_total")).toBeGreaterThan(5_000);
    expect(grown("tenantry_client_received_bytes_total")).toBeGreaterThan(100);
    expect(grown('tenantry_logins_total{engine="PostgreSQL",outcome="ok"}')).toBe(1);
    expect(grown("tenantry_connection_wait_seconds_count")).toBe(1);
    expect(during.get('tenantry_sessions{state="idle"}')).toBe(1);
    expect(during.get('tenantry_pool_connections{cluster="main",state="leased"}')).toBeGreaterThanOrEqual(1);
    for (const name of ["process_resident_memory_bytes", "tenantry_uptime_seconds", "tenantry_event_loop_lag_seconds_count"]) {
      expect(during.get(name), name).toBeGreaterThan(0);
    }
    expect([...during.keys()].filter((name) => name.includes("wayne"))).toEqual([]);
    await client.end();
  });

  it("count deployments by state", async () => {
    await fleet.api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
    expect((await scrape()).get('tenantry_deployments{state="done"}')).toBe(1);
  });
});

describe("clusters", () => {
  it("are the operator's, whose token takes effect on reload", async () => {
    const { api_url } = fleet.gateway.credentials;
    const ask = (token: string) => fetch(`${api_url}/clusters`, { headers: { authorization: `Bearer ${token}` } });
    expect((await ask("operator-secret")).status).toBe(401);
    await fleet.reload({ operator_token: "operator-secret" });
    const answer = await ask("operator-secret");
    expect(answer.status).toBe(200);
    const { clusters } = (await answer.json()) as { clusters: { databases: number }[] };
    expect(clusters).toMatchObject([{ name: "main", backend_budget: 200 }]);
    expect(clusters[0]!.databases).toBeGreaterThanOrEqual(5);
    expect((await fleet.api("GET", "/clusters")).status).toBe(403);
  });
});

describe("a reload", () => {
  it("takes effect where the settings table says it does", async () => {
    const signup = { email: "ada@example.com", password: "correct horse battery" };
    await fleet.reload({ signup_enabled: false, public_host: "db.example.com", log: { level: "debug" } });
    expect((await fleet.api("POST", "/signup", signup)).body.code).toBe("forbidden");
    const { body } = await fleet.api("GET", "/tenants/wayne");
    expect(body.databases[0].connection.host).toBe("db.example.com");
    expect(fleet.gateway.errors()).toContain('"api request"');
    await fleet.reload({});
    expect((await fleet.api("GET", "/tenants/wayne")).body.databases[0].connection.host).toBe("localhost");
  });
});

describe("the record of changes and the use of keys", () => {
  it("has every change, page by page, and no secret", async () => {
    const reader = await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["wayne"] });
    await fleet.setSettings({ max_connections: 40 });
    const inserted = await fleet.api("POST", "/tenants/wayne/query", { query: "INSERT INTO accounts (name) VALUES ('hidden-value')" });
    expect(inserted.status).toBe(200);
    const pages: unknown[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const { body } = await fleet.api("GET", `/audit?limit=2${cursor && `&cursor=${cursor}`}`);
      pages.push(...body.changes);
      cursor = body.next_cursor;
    }
    expect(pages.slice(0, 3)).toMatchObject([
      { action: "POST /tenants/{id}/query", target: "wayne", after: { command: "INSERT" } },
      { action: "PATCH /workspaces/{id}/settings", target: "myapp", before: { max_connections: null }, after: { max_connections: 40 } },
      { action: "POST /apikeys", target: reader.id, actor: expect.any(String), address: "127.0.0.1", request_id: expect.stringMatching(/^req_/) },
    ]);
    expect(pages.filter((row) => (row as { action: string }).action === "POST /tenants")).toHaveLength(3);
    const text = JSON.stringify(pages);
    const { api_key, proxy_password } = fleet.gateway.credentials;
    for (const secret of [api_key, proxy_password, reader.key, reader.password, fleet.tenant("wayne").password, "hidden-value"]) {
      expect(text).not.toContain(secret);
    }
    expect((await fleet.api("GET", "/audit?until=1d")).body.count).toBe(0);
    expect((await fleet.api("GET", `/audit?credential=${reader.id}`)).body.count).toBe(0);
    await fleet.api("POST", `/apikeys/${reader.id}/rotate`, {});
    await fleet.api("DELETE", `/apikeys/${reader.id}`);
    const shown = expect.stringMatching(/^tenantsdb_sk_.+…$/);
    const { changes } = (await fleet.api("GET", "/audit?limit=2")).body;
    expect(changes).toMatchObject([
      { action: "DELETE /apikeys/{id}", before: { name: "test", key: shown, role: "read", scope_type: "tenant", scope_values: ["wayne"] } },
      { action: "POST /apikeys/{id}/rotate", before: { key: shown } },
    ]);
    const first = `${reader.key.slice(0, changes[1].before.key.length - 1)}…`; // the key it was made with
    expect([changes[1].before.key, changes[0].before.key === first]).toEqual([first, false]);
  });

  it("knows when keys were last used, over the wire and over the API", async () => {
    await until(async () => {
      const { body } = await fleet.api("GET", "/apikeys");
      const rows = body.api_keys as { name: string; scope_type: string; last_used_at: string | null }[];
      return (
        rows.some((row) => row.scope_type === "project" && row.last_used_at) && rows.some((row) => row.name.includes("wayne") && row.last_used_at)
      );
    });
  });

  it("is answered to the command line, which takes a statement as it stands", async () => {
    const { api_url, api_key } = fleet.gateway.credentials;
    const env = { TDB_API_URL: api_url, TDB_API_KEY: api_key };
    expect((await tdb("node", ["query", "--tenant", "wayne", "SELECT 40 + 2 AS answer"], env)).stdout).toContain("42");
    expect((await tdb("node", ["audit", "--limit", "1"], env)).stdout).toContain("DELETE /apikeys/{id}");
  });
});

describe("the Grafana dashboard", () => {
  it("asks for metrics and labels that are there, and for every metric there is", async () => {
    const client = await connect(fleet.gateway, fleet.tenant("wayne"));
    await failure(client.query("SELECT nope")); // errors and refusals have no series before the first one
    await failure(client.query("DROP TABLE accounts"));
    await client.end();
    await failure(connect(fleet.gateway, { ...fleet.tenant("wayne"), password: "tdb_0000000000000000" }));
    const found = await scrape();
    const names = new Set([...found.keys()].map((name) => name.replace(/\{.*/, "")));
    const dashboard = JSON.parse(await readFile(new URL("../../docs/grafana/tenantry.json", import.meta.url), "utf8"));
    const targets = (dashboard.panels as { title: string; targets?: { expr: string; legendFormat: string }[] }[]).flatMap(
      (panel) => panel.targets?.map((target) => ({ title: panel.title, ...target })) ?? [],
    );
    expect(targets.length).toBeGreaterThan(30);
    const used = new Set<string>();
    for (const { title, expr, legendFormat } of targets) {
      const metrics = [...expr.matchAll(/\b(?:tenantry|process)_\w+/g)].map(([name]) => name);
      expect(metrics.length, `${title}: ${expr}`).toBeGreaterThan(0);
      for (const name of metrics) {
        expect(names, title).toContain(name);
        used.add(name.replace(/_(bucket|count|sum)$/, ""));
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          if (label === "instance") continue; // Prometheus' own
          expect(
            [...found.keys()].some((key) => key.startsWith(`${name}{`) && key.includes(`${label}="`)),
            `${title}: ${label}`,
          ).toBe(true);
        }
      }
    }
    const shown = new Set([...names].map((name) => name.replace(/_(bucket|count|sum)$/, "")));
    expect([...shown].filter((name) => !used.has(name))).toEqual([]);
  });
});
