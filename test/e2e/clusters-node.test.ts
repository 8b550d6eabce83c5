/** Servers added, changed and removed over the API, with two gateways over one control database: what one is told, both do. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Door, openDoor } from "../gateway/imports/door.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Api, makeApi } from "./support/api.ts";
import { connect, parseTarget, type Target } from "./support/clients.ts";
import { type GatewayProcess, tdb } from "./support/gateway.ts";
import { at, type Pair, startPair } from "./support/instances.ts";
import { until } from "./support/until.ts";

const operatorToken = "operator-token-of-this-test";

let dir: string;
let pair: Pair;
let added: TestPostgres;
/** The added server, at two addresses. */
let door: Door;
let otherDoor: Door;
/** The first cluster's server, as somebody might add it a second time. */
let mainDoor: Door;
let apis: { one: Api; two: Api };
let operator: Api;

const apiOf = (gateway: GatewayProcess, key = gateway.credentials.api_key) => makeApi(at(gateway).credentials.api_url, key);
const socketOf = ({ target }: TestPostgres) => join(target.socketDir!, `.s.PGSQL.${target.port}`);
const passwordOf = ({ target }: TestPostgres) => target.password as string;
/** Where the added server is, as fields; a password of its own where it is to be wrong. */
const through = (port: number, more: object = {}) => ({
  host: "127.0.0.1",
  port,
  user: "postgres",
  password: passwordOf(added),
  sslmode: "disable",
  ...more,
});

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "tdb-clusters-"));
  const config = join(dir, "tenantry.json");
  const rules = { operator_token: operatorToken, cluster_allow_addresses: ["127.0.0.1"], api: { rate_per_s: 1_000_000 } };
  await writeFile(config, JSON.stringify(rules));
  [pair, added] = await Promise.all([startPair(["--config", config]), startTestPostgres()]);
  [door, otherDoor, mainDoor] = await Promise.all([openDoor(socketOf(added)), openDoor(socketOf(added)), openDoor(socketOf(pair.server))]);
  apis = { one: apiOf(pair.one), two: apiOf(pair.two) };
  operator = apiOf(pair.one, operatorToken);
  await apis.one("POST", "/workspaces", { name: "myapp" });
  const table = { name: "accounts", columns: [{ name: "id", type: "integer", primary_key: true }] };
  expect((await apis.one("POST", "/workspaces/myapp/schema", { source: "json", tables: [table] })).body.code).toBe("created");
}, 180_000);
afterAll(async () => {
  await pair?.dispose();
  await Promise.all([door?.close(), otherDoor?.close(), mainDoor?.close()]);
  await added?.stop();
  await rm(dir, { recursive: true, force: true });
});

async function makeTenant(api: Api, tenant_id: string, where: object = {}): Promise<Target> {
  const { body } = await api("POST", "/tenants", { tenant_id, databases: [{ blueprint: "myapp", ...where }] });
  expect(body).toMatchObject({ code: "created" });
  return parseTarget(body.databases[0].connection_string);
}

/** Which server a tenant's client really is on, and how many accounts it finds there. */
async function visit(gateway: GatewayProcess, tenant: Target): Promise<{ server: string; accounts: number }> {
  const client = await connect(at(gateway), tenant);
  const { rows } = await client.query("SELECT system_identifier::text AS id, (SELECT count(*)::int FROM accounts) AS n FROM pg_control_system()");
  await client.end();
  return { server: rows[0].id === (await systemId(added)) ? "added" : "main", accounts: rows[0].n };
}

async function ask(server: TestPostgres, sql: string): Promise<Record<string, unknown>[]> {
  const admin = await server.dialer.asAdmin(server.clusterId);
  const { rows } = await admin.query(sql);
  await admin.close();
  return [...rows];
}
const systemId = async (server: TestPostgres) => (await ask(server, "SELECT system_identifier::text AS id FROM pg_control_system()"))[0]!.id;

describe("a server that is not fit", () => {
  it.each([
    ["a wrong password", () => through(door.port, { password: "no" }), "bad_request", 'password authentication failed for user "postgres"'],
    ["nobody there", () => through(1), "bad_request", "cannot connect to it: connect ECONNREFUSED 127.0.0.1:1"],
    ["a role without rights", () => through(door.port, { user: "plain", password: "plain" }), "bad_request", "its role may not create databases"],
    ["no TLS where it is asked for", () => through(door.port, { sslmode: "require" }), "bad_request", "sslmode disable connects in clear"],
    ["an address that is not allowed", () => through(door.port, { host: "127.0.0.2" }), "forbidden", "cluster_allow_addresses"],
    ["cloud metadata", () => through(80, { host: "169.254.169.254" }), "forbidden", "a cloud metadata address"],
    [
      "the first cluster once more",
      () => through(mainDoor.port, { password: passwordOf(pair.server) }),
      "conflict",
      "that server is cluster 'main' already",
    ],
    ["another database system", () => "mysql://root:secret@127.0.0.1:3306/db", "bad_request", "postgresql://"],
  ])("is refused: %s", async (_, where, code, words) => {
    await ask(added, "DO $$ BEGIN CREATE ROLE plain LOGIN PASSWORD 'plain'; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    const { body } = await operator("POST", "/clusters", { name: "eu2", connection: where() });
    expect(body).toMatchObject({ code, error: expect.stringContaining(words) });
    expect(JSON.stringify(body)).not.toContain(passwordOf(added));
    expect((await operator("GET", "/clusters")).body.clusters.map((each: { id: string }) => each.id)).toEqual(["main"]);
  });

  it("is nobody's business but the operator's", async () => {
    const { status, body } = await apis.one("POST", "/clusters", { name: "eu2", connection: through(door.port) });
    expect([status, body.code]).toEqual([403, "forbidden"]);
    expect((await apis.one("DELETE", "/clusters/main")).status).toBe(403);
  });
});

describe("an added server", () => {
  let wayne: Target;
  let globex: Target;

  it("is used at once, on the instance that was told and on the other", async () => {
    globex = await makeTenant(apis.one, "globex");
    const { status, body } = await operator("POST", "/clusters", { name: "eu2", connection: through(door.port) });
    expect([status, body]).toMatchObject([201, { name: "eu2", origin: "api", isolation_level: 2, databases: 0, server: `127.0.0.1:${door.port}` }]);
    wayne = await makeTenant(apis.two, "wayne", { cluster: "eu2" });
    for (const gateway of [pair.one, pair.two]) expect(await visit(gateway, wayne)).toEqual({ server: "added", accounts: 0 });
    const list = async () => (await apiOf(pair.two, operatorToken)("GET", "/clusters")).body.clusters;
    await until(async () => (await list())[0].backends.leased === 0); // the client has left, its backend may still be reset
    expect(await list()).toMatchObject([
      { id: "eu2", origin: "api", databases: 2, backends: { open: 1, idle: 1, leased: 0 } },
      { id: "main", origin: "configuration", isolation_level: 1 },
    ]);
    expect((await apis.two("GET", "/ready")).body.checks).toMatchObject({ "cluster eu2": "ok" });
  }, 120_000);

  it("is reached with a password nobody finds in the store or in an answer", async () => {
    const [row] = await ask(pair.server, "SELECT id, connection FROM tenantry.clusters WHERE connection IS NOT NULL");
    const password = passwordOf(added);
    expect(Buffer.from(String(row!.connection), "base64").toString("latin1")).not.toContain(password);
    expect(JSON.stringify([row, (await operator("GET", "/clusters")).body, pair.one.output(), pair.one.errors()])).not.toContain(password);
  });

  it("is not added twice, by name or by server", async () => {
    const again = await operator("POST", "/clusters", { name: "eu2", connection: through(door.port) });
    expect([again.status, again.body.error]).toEqual([409, "Cluster 'eu2' exists already"]);
    const renamed = await operator("POST", "/clusters", { name: "eu3", connection: through(otherDoor.port) });
    expect([renamed.status, renamed.body.error]).toEqual([409, "that server is cluster 'eu2' already"]);
  });

  it("takes tenants that move, and gives them back", async () => {
    const client = await connect(at(pair.two), globex);
    await client.query("INSERT INTO accounts SELECT generate_series(1, 7)");
    await client.end();
    expect((await apis.one("PATCH", "/tenants/globex/isolation", { isolation_level: 2 })).body.code).toBe("ok");
    expect(await visit(pair.two, globex)).toEqual({ server: "added", accounts: 7 });
    expect((await apis.two("PATCH", "/tenants/globex/isolation", { cluster: "main" })).body.code).toBe("ok");
    expect(await visit(pair.one, globex)).toEqual({ server: "main", accounts: 7 });
  }, 120_000);

  it("is still there after a restart", async () => {
    await pair.one.stop("SIGKILL");
    pair.one = await pair.startOne();
    operator = apiOf(pair.one, operatorToken);
    apis.one = apiOf(pair.one);
    expect(await visit(pair.one, wayne)).toEqual({ server: "added", accounts: 0 });
  }, 120_000);

  it("moves to another address with all its databases, and to no other server", async () => {
    const other = { ...through(mainDoor.port), password: passwordOf(pair.server) };
    const refused = await operator("PATCH", "/clusters/eu2", { connection: other });
    expect([refused.status, refused.body.error]).toEqual([409, "the server lacks 2 of the 2 databases that cluster 'eu2' has"]);
    const flags = ["--api-url", at(pair.one).credentials.api_url, "--api-key", operatorToken];
    const url = `postgresql://postgres:${passwordOf(added)}@127.0.0.1:${otherDoor.port}/postgres?sslmode=disable`;
    const changed = await tdb("node", ["clusters", "update", "eu2", ...flags], { TDB_CLUSTER_CONNECTION: url });
    expect([changed.code, changed.stderr, changed.stdout]).toEqual([0, "", expect.stringContaining(`127.0.0.1:${otherDoor.port}`)]);
    door.shutAfter(0);
    for (const gateway of [pair.one, pair.two]) expect(await visit(gateway, wayne)).toEqual({ server: "added", accounts: 0 });
  }, 120_000);

  it("is removed when nobody is left on it, and leaves nothing there", async () => {
    const full = await operator("DELETE", "/clusters/eu2");
    expect([full.status, full.body.error]).toEqual([409, "Cluster 'eu2' has 1 database: move or delete its tenants first"]);
    expect((await apis.two("DELETE", "/tenants/wayne?hard=true")).status).toBe(200);
    expect((await operator("DELETE", "/clusters/eu2")).body.code).toBe("ok");
    expect(await ask(added, "SELECT datname FROM pg_database WHERE datname LIKE 'tdb\\_%'")).toEqual([]);
    const { body } = await apis.two("POST", "/tenants", { tenant_id: "late", databases: [{ blueprint: "myapp", cluster: "eu2" }] });
    expect(body).toMatchObject({ code: "forbidden", error: expect.stringContaining("isolation_level 2 needs a second cluster") });
    for (const [id, code] of [
      ["eu2", "not_found"],
      ["main", "forbidden"],
    ] as const)
      expect((await operator("DELETE", `/clusters/${id}`)).body.code).toBe(code);
  });
});
