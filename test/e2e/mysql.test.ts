/** MySQL's listener and real clients: what each user sees, word for word, gathered for docs/engines.md. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Attempt, type MysqlClient, mysqlClients, type Server } from "../drivers/mysql/clients.ts";
import { EngineTable } from "../support/engine-table.ts";
import { makeApi } from "./support/api.ts";
import { psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { makeDataDir, removeDataDir, startGateway, tdb } from "./support/gateway.ts";

interface Case {
  readonly situation: string;
  readonly attempt: Attempt;
  /** A result's first column, or an error packet. */
  readonly expected: string | readonly [code: number, state: string, text: string];
}

const redirect = 'blueprint "shop" is MySQL; this gateway does not proxy MySQL yet. Connect to it directly at db.example:3306.';
const table = new EngineTable("MySQL");
const ready: MysqlClient[] = [];
let fleet: Fleet;
let server: Server;

beforeAll(async () => {
  fleet = await makeFleet("node", ["--mysql-port=0", "--auth-ban-threshold=3"]);
  const { api, gateway } = fleet;
  const shop = await api("POST", "/workspaces", { name: "shop", database: "MySQL", redirect_to: "db.example:3306" });
  expect(shop.body).toMatchObject({ success: true, connection: { database: "shop_workspace", user: gateway.credentials.project_id } });
  expect((await api("POST", "/workspaces", { name: "plain_shop", database: "MySQL" })).status).toBe(201);
  server = { port: shop.body.connection.port, user: gateway.credentials.project_id, caFile: gateway.credentials.ca_file };
  for (const client of mysqlClients) {
    const reason = await client.prepare();
    if (reason === undefined) ready.push(client);
    else table.skipped(client.name, reason);
  }
}, 300_000);

afterAll(async () => {
  await table.write();
  await fleet?.dispose();
});

function casesOf(password: string, wayne: string): Case[] {
  const at = (database: string, more: Partial<Attempt> = {}): Attempt => ({ password, database, ...more });
  const user = server.user;
  return [
    { situation: "right engine, address known", attempt: at("shop_workspace"), expected: [1049, "42000", redirect] },
    {
      situation: "right engine, no address",
      attempt: at("plain_shop_workspace"),
      expected: [1049, "42000", 'blueprint "plain_shop" is MySQL; this gateway does not proxy MySQL yet.'],
    },
    {
      situation: "wrong engine",
      attempt: at("myapp_workspace"),
      expected: [1049, "42000", 'blueprint "myapp" is PostgreSQL, not MySQL. Connect via the postgres proxy instead.'],
    },
    { situation: "no such database", attempt: at("nowhere_workspace"), expected: [1049, "42000", 'database "nowhere_workspace" does not exist'] },
    {
      situation: "wrong password",
      attempt: at("shop_workspace", { password: "tdb_0000000000000000" }),
      expected: [1045, "28000", `password authentication failed for user "${user}"`],
    },
    {
      situation: "tenant's password, another database",
      attempt: at("myapp_workspace", { password: wayne }),
      expected: [1044, "42000", 'credential scoped to tenants [wayne], attempted workspace "myapp"'],
    },
    {
      situation: "project's password, a tenant",
      attempt: at("myapp__wayne"),
      expected: [1044, "42000", "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"],
    },
    {
      situation: "without TLS",
      attempt: at("shop_workspace", { tls: false }),
      expected: [1045, "28000", "TLS is required: connect with --ssl-mode=REQUIRED"],
    },
    { situation: "no database: SELECT 1", attempt: at(""), expected: "1" },
    {
      situation: "no database: SHOW DATABASES",
      attempt: at("", { sql: "SHOW DATABASES" }),
      expected: "myapp_workspace,other_app_workspace,plain_shop_workspace,shop_workspace",
    },
    {
      situation: "no database: SHOW DATABASES, tenant's password",
      attempt: at("", { password: wayne, sql: "SHOW DATABASES" }),
      expected: "myapp__wayne",
    },
    {
      situation: "no database: the list as JDBC asks for it",
      attempt: at("", { sql: "SELECT SCHEMA_NAME AS TABLE_CAT FROM INFORMATION_SCHEMA.SCHEMATA" }),
      expected: "myapp_workspace,other_app_workspace,plain_shop_workspace,shop_workspace",
    },
    { situation: "no database: USE", attempt: at("", { sql: "USE shop_workspace" }), expected: [1049, "42000", redirect] },
    {
      situation: "no database: a query",
      attempt: at("", { sql: "SELECT * FROM orders" }),
      expected: [
        1046,
        "3D000",
        "No database selected. This gateway does not run MySQL queries: name a database in the connection to be told where it is",
      ],
    },
    {
      situation: "no database: a query, one database in reach",
      attempt: at("", { password: wayne, sql: "SELECT * FROM orders" }),
      expected: [1049, "42000", 'blueprint "myapp" is PostgreSQL, not MySQL. Connect via the postgres proxy instead.'],
    },
  ];
}

/** Notes what it saw before it is judged, so that the table tells the truth of a failing run too. */
async function check(client: MysqlClient, cases: readonly Case[], to: Server = server): Promise<void> {
  const seen = await client.run(
    to,
    cases.map(({ attempt }) => attempt),
  );
  const expected = cases.map((each) => (typeof each.expected === "string" ? each.expected : client.shown(...each.expected)));
  if (to === server) for (const [at, text] of seen.entries()) table.saw(client.name, cases[at]!.situation, text);
  expect(seen).toEqual(expected);
}

describe("MySQL's clients", () => {
  it.for(mysqlClients)("$name: redirects, refusals, and what works without a database", async (client, { skip }) => {
    if (!ready.includes(client)) skip("its toolchain is missing; see docs/engines.md");
    await check(client, casesOf(fleet.project().password, fleet.tenant("wayne").password));
  });

  it("see that there are too many connections", async () => {
    await fleet.reload({ ip: { max_connections: 1 } });
    const holding = connect(server.port, "127.0.0.1");
    await once(holding, "data"); // greeted, so counted
    const text = "connection rejected: too many connections from your IP (limit 1)";
    const attempt = { password: fleet.project().password, database: "shop_workspace" };
    for (const client of ready) await check(client, [{ situation: "too many connections", attempt, expected: [1040, "08004", text] }]);
    holding.destroy();
    await once(holding, "close");
    await fleet.reload({});
  });

  it("see a ban, which holds on the PostgreSQL port too", async () => {
    const [first] = ready as [MysqlClient];
    const wrong = { password: "wrong", database: "shop_workspace" };
    await first.run(server, [wrong, wrong, wrong]);
    const text = /^(.*)connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in (\d+)s(.*)$/;
    for (const client of ready) {
      const [seen = ""] = await client.run(server, [{ ...wrong, password: fleet.project().password }]);
      table.saw(client.name, "banned address", seen);
      expect(seen).toMatch(text);
      const [, before, seconds, after] = text.exec(seen)!;
      expect(Number(seconds)).toBeLessThanOrEqual(60);
      expect([before, after]).toEqual(client.shown(1040, "08004", "|").split("|"));
    }
    const other = await psql(fleet.gateway, fleet.project(), "SELECT 1");
    expect(other.stderr).toMatch(/FATAL: {2}connection rejected: your IP is temporarily rate-limited/);
  });
});

describe("the port", () => {
  it("names its option when something else has it", async () => {
    const dataDir = await makeDataDir();
    const done = await tdb("node", [
      "up",
      "--pg-port=0",
      "--api-port=0",
      `--mysql-port=${server.port}`,
      "--mongo-port=-1",
      "--redis-port=-1",
      "--data-dir",
      dataDir,
    ]);
    await removeDataDir(dataDir);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain(
      `--mysql-port: port ${server.port} on 127.0.0.1 is in use; stop what uses it or choose another (0 = any free port, -1 = off)`,
    );
  });

  it("is shown at the start, as are those that are off", () => {
    expect(fleet.gateway.output()).toMatch(new RegExp(`^ {2}MySQL +127\\.0\\.0\\.1:${server.port}\\n {2}MongoDB +off\\n {2}Redis +off$`, "m"));
  });
});

describe.for(["deno", "bun"] as const)("MySQL's listener under %s", (runtime) => {
  it("upgrades to TLS and redirects", async () => {
    const gateway = await startGateway({ runtime, args: ["--mysql-port=0"] });
    try {
      const { credentials } = gateway;
      const api = makeApi(credentials.api_url, credentials.api_key);
      const { body } = await api("POST", "/workspaces", { name: "shop", database: "MySQL", redirect_to: "db.example:3306" });
      const to = { port: body.connection.port, user: credentials.project_id, caFile: credentials.ca_file };
      const cases: Case[] = [
        { situation: "", attempt: { password: credentials.proxy_password, database: "shop_workspace" }, expected: [1049, "42000", redirect] },
        { situation: "", attempt: { password: credentials.proxy_password, database: "", sql: "SHOW DATABASES" }, expected: "shop_workspace" },
      ];
      for (const client of ready) await check(client, cases, to);
    } finally {
      await gateway.dispose();
    }
  });
});
