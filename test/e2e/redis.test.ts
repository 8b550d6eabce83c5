/** Redis's listener and real clients: what each user sees, word for word, gathered for docs/engines.md. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Attempt, type RedisClient, redisClients, type Server } from "../drivers/redis/clients.ts";
import { respCommand } from "../engines/support/openings.ts";
import { EngineTable } from "../support/engine-table.ts";
import { psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";

interface Case extends Attempt {
  readonly situation: string;
  readonly expected: readonly [code: string, text: string];
  /** Told while logging in. */
  readonly atLogin?: true;
}

const redirect = `blueprint "cache" is Redis; this gateway does not proxy Redis yet. Connect to it directly at cache.example:6379.`;
const wrongEngine = `blueprint "myapp" is PostgreSQL, not Redis. Connect via the postgres proxy instead.`;
const table = new EngineTable("Redis");
const ready: RedisClient[] = [];
let fleet: Fleet;
let server: Server;
/** The password of tenant enterprise, whose database is in Redis. */
let enterprise: string;

beforeAll(async () => {
  fleet = await makeFleet("node", ["--redis-port=0"]);
  const { api, gateway } = fleet;
  const cache = await api("POST", "/workspaces", { name: "cache", database: "Redis", redirect_to: "cache.example:6379" });
  server = { port: cache.body.connection.port, caFile: gateway.credentials.ca_file };
  expect(cache.body.connection_string).toBe(`rediss://cache:<proxy_password>@localhost:${server.port}/0`);
  expect((await api("POST", "/workspaces", { name: "plain_cache", database: "Redis" })).status).toBe(201);
  const tenant = await api("POST", "/tenants", { tenant_id: "enterprise", databases: [{ blueprint: "cache" }] });
  enterprise = new URL(tenant.body.databases[0].connection_string).password;
  for (const client of redisClients) {
    const reason = await client.prepare();
    if (reason === undefined) ready.push(client);
    else table.skipped(client.name, reason);
  }
}, 300_000);

afterAll(async () => {
  await table.write();
  await fleet?.dispose();
});

function makeCases(): Case[] {
  const { password } = fleet.project();
  const wayne = fleet.tenant("wayne").password;
  return [
    { situation: "right engine, address known", user: "cache", password, expected: ["NOPERM", redirect] },
    { situation: "right engine, in clear from this machine", user: "cache", password, tls: false, expected: ["NOPERM", redirect] },
    {
      situation: "right engine, no address",
      user: "plain_cache",
      password,
      expected: ["NOPERM", `blueprint "plain_cache" is Redis; this gateway does not proxy Redis yet.`],
    },
    { situation: "a tenant, right engine", user: "enterprise", password: enterprise, expected: ["NOPERM", redirect] },
    { situation: "a tenant, its password alone", user: "", password: enterprise, expected: ["NOPERM", redirect] },
    { situation: "wrong engine", user: "myapp", password, expected: ["NOPERM", wrongEngine] },
    { situation: "a tenant, wrong engine", user: "wayne", password: wayne, expected: ["NOPERM", wrongEngine] },
    {
      situation: "no such blueprint or tenant",
      user: "nowhere",
      password,
      expected: ["NOPERM", `blueprint or tenant "nowhere" does not exist`],
    },
    {
      situation: "tenant's password, another tenant",
      user: "globex",
      password: wayne,
      expected: ["NOPERM", `credential scoped to tenants [wayne], attempted tenant "globex"`],
    },
    {
      situation: "project's password, a tenant",
      user: "wayne",
      password,
      expected: ["NOPERM", "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"],
    },
    {
      situation: "project's password alone",
      user: "",
      password,
      expected: [
        "ERR",
        "no user name given: connect with the blueprint or the tenant as user name, rediss://{blueprint or tenant}:{password}@host:port/0",
      ],
    },
  ];
}

/** Notes what it saw before it is judged, so that the table tells the truth of a failing run too. */
async function check(client: RedisClient, cases: readonly Case[]): Promise<void> {
  const seen = await client.run(server, cases);
  for (const [at, text] of seen.entries()) table.saw(client.name, cases[at]!.situation, text);
  expect(seen).toEqual(cases.map(({ expected, atLogin }) => (atLogin ? client.shownAtLogin(...expected) : client.shown(...expected))));
}

describe("Redis's clients", () => {
  it.for(redisClients)("$name: redirects and refusals", async (client, { skip }) => {
    if (!ready.includes(client)) skip("its toolchain is missing; see docs/engines.md");
    await check(client, makeCases());
  });

  it("see that TLS is required", async () => {
    await fleet.reload({ tls: { required: "always" } });
    const { password } = fleet.project();
    for (const client of ready) {
      await check(client, [
        { situation: "without TLS", user: "cache", password, tls: false, expected: ["ERR", "TLS is required: connect with rediss://"] },
      ]);
    }
    await fleet.reload({});
  });

  it("see that there are too many connections", async () => {
    await fleet.reload({ ip: { max_connections: 1 } });
    const holding = connect(server.port, "127.0.0.1");
    holding.write(respCommand("AUTH", "cache", fleet.project().password));
    await new Promise((answered) => holding.once("data", answered));
    const expected = ["ERR", "connection rejected: too many connections from your IP (limit 1)"] as const;
    const { password } = fleet.project();
    for (const client of ready) await check(client, [{ situation: "too many connections", user: "cache", password, expected }]);
    holding.destroy();
    await fleet.reload({});
  });

  it("see that a password is wrong, each in its own way, and soon a ban that holds on the PostgreSQL port too", async () => {
    const wrong: Case = {
      situation: "wrong password",
      user: "cache",
      password: "tdb_0000000000000000",
      expected: ["WRONGPASS", `password authentication failed for user "cache"`],
      atLogin: true,
    };
    await fleet.reload({ auth_ban: { threshold: 1000 } });
    for (const client of ready) await check(client, [wrong]);
    await fleet.reload({ auth_ban: { threshold: 1 } });
    const cli = ready.find(({ name }) => name === "redis-cli") ?? ready[0]!;
    await cli.run(server, [wrong]);
    const banned = /connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in \d+s$/;
    for (const client of ready) {
      const [text = ""] = await client.run(server, [{ user: "cache", password: fleet.project().password }]);
      table.saw(client.name, "banned address", text);
      expect(text).toMatch(banned);
    }
    expect((await psql(fleet.gateway, fleet.project(), "SELECT 1")).stderr).toContain("connection rejected: your IP is temporarily rate-limited");
  });
});
