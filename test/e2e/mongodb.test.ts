/** MongoDB's listener and real clients: what each user sees, word for word, gathered for docs/engines.md. */
import { once } from "node:events";
import { connect } from "node:net";
import { MongoClient as Driver } from "mongodb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type MongoClient, mongoClients } from "../drivers/mongodb/clients.ts";
import { opMsg } from "../engines/mongodb/support/wire.ts";
import { EngineTable } from "../support/engine-table.ts";
import { makeApi } from "./support/api.ts";
import { psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { startGateway } from "./support/gateway.ts";

interface Server {
  readonly port: number;
  readonly user: string;
  readonly caFile: string;
}

interface Case {
  readonly situation: string;
  readonly database: string;
  /** Undefined for no credentials at all. */
  readonly password?: string;
  readonly tls?: boolean;
  /** More of the connection string's options. */
  readonly options?: string;
  readonly expected: readonly [code: number, codeName: string, text: string];
}

/** As the API hands them out, and as people write them: SCRAM, with nothing said of the server's kind. */
const mechanisms = { PLAIN: "authMechanism=PLAIN&directConnection=true&", SCRAM: "" } as const;
type Mechanism = keyof typeof mechanisms;

const redirect = 'blueprint "shop" is MongoDB; this gateway does not proxy MongoDB yet. Connect to it directly at db.example:27017.';
const wrongEngine = 'blueprint "myapp" is PostgreSQL, not MongoDB. Connect via the postgres proxy instead.';
/** Enough to see each TLS library there is meet the other runtimes' listeners. */
const differentTls = ["mongodb (Node)", "mongodb (Bun)", "pymongo", "Go driver", "Java driver (last cause)"];
const table = new EngineTable("MongoDB");
const ready: MongoClient[] = [];
let fleet: Fleet;
let server: Server;

beforeAll(async () => {
  fleet = await makeFleet("node", ["--mongo-port=0", "--auth-ban-threshold=3"]);
  const { api, gateway } = fleet;
  const { project_id: user, ca_file: caFile } = gateway.credentials;
  const shop = await api("POST", "/workspaces", { name: "shop", database: "MongoDB", redirect_to: "db.example:27017" });
  server = { port: shop.body.connection.port, user, caFile };
  expect(shop.body.connection_string).toBe(
    `mongodb://${user}:<proxy_password>@localhost:${server.port}/shop_workspace?authMechanism=PLAIN&directConnection=true&tls=true`,
  );
  expect((await api("POST", "/workspaces", { name: "plain_shop", database: "MongoDB" })).status).toBe(201);
  for (const client of mongoClients) {
    const reason = await client.prepare();
    if (reason === undefined) ready.push(client);
    else table.skipped(client.name, reason);
  }
}, 300_000);

afterAll(async () => {
  await table.write();
  await fleet?.dispose();
});

function formatUri({ port, user, caFile }: Server, mechanism: Mechanism, attempt: Omit<Case, "situation" | "expected">): string {
  const { password, database, tls = true, options = "" } = attempt;
  const who = password === undefined ? "" : `${user}:${password}@`;
  const how = password === undefined ? "" : mechanisms[mechanism];
  const security = tls ? `tls=true&tlsCAFile=${encodeURIComponent(caFile)}` : "tls=false";
  return `mongodb://${who}localhost:${port}/${database}?${how}${options}${security}`;
}

function casesOf(password: string, wayne: string): Case[] {
  const elsewhere = (text: string) => [8000, "AtlasError", text] as const;
  const denied = (text: string) => [13, "Unauthorized", text] as const;
  return [
    { situation: "right engine, address known", database: "shop_workspace", password, expected: elsewhere(redirect) },
    {
      situation: "right engine, no address",
      database: "plain_shop_workspace",
      password,
      expected: elsewhere('blueprint "plain_shop" is MongoDB; this gateway does not proxy MongoDB yet.'),
    },
    { situation: "wrong engine", database: "myapp_workspace", password, expected: elsewhere(wrongEngine) },
    { situation: "no such database", database: "nowhere_workspace", password, expected: denied('database "nowhere_workspace" does not exist') },
    {
      situation: "wrong password",
      database: "shop_workspace",
      password: "tdb_0000000000000000",
      expected: [18, "AuthenticationFailed", `password authentication failed for user "${server.user}"`],
    },
    {
      situation: "tenant's password, another database",
      database: "myapp_workspace",
      password: wayne,
      expected: denied('credential scoped to tenants [wayne], attempted workspace "myapp"'),
    },
    {
      situation: "project's password, a tenant",
      database: "myapp__wayne",
      password,
      expected: denied("credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"),
    },
    { situation: "no credentials", database: "shop_workspace", expected: denied("command find requires authentication") },
    { situation: "without TLS, from this machine", database: "shop_workspace", password, tls: false, expected: elsewhere(redirect) },
  ];
}

/** Tries every case with both mechanisms, which must show the same; notes what it saw before it is judged. */
async function check(client: MongoClient, cases: readonly Case[], to: Server = server): Promise<void> {
  const expected = cases.map((each) => client.shown(...each.expected));
  for (const mechanism of ["SCRAM", "PLAIN"] as const) {
    const uris = cases.map((each) => formatUri(to, mechanism, each));
    const seen = await client.run(uris, to.caFile);
    if (to === server && mechanism === "SCRAM") for (const [at, text] of seen.entries()) table.saw(client.name, cases[at]!.situation, text);
    expect(seen.map((text) => withoutPrefix(client, text))).toEqual(expected);
  }
}

function withoutPrefix({ loginPrefix }: MongoClient, text: string): string {
  return loginPrefix ? text.replace(loginPrefix, "") : text;
}

/** Does `work` with settings in force, and takes them back. */
async function withConfig(config: Readonly<Record<string, unknown>>, work: () => Promise<void>): Promise<void> {
  await fleet.reload(config);
  try {
    await work();
  } finally {
    await fleet.reload({});
  }
}

describe("MongoDB's clients", { timeout: 300_000 }, () => {
  it.for(mongoClients)("$name: redirects and refusals, by PLAIN and SCRAM", async (client, { skip }) => {
    if (!ready.includes(client)) skip("its toolchain is missing; see docs/engines.md");
    await check(client, casesOf(fleet.project().password, fleet.tenant("wayne").password));
  });

  it("log in to an authSource that is no database of ours, and are told with the first command", async () => {
    const attempt = { database: "shop_workspace", password: fleet.project().password, options: "authSource=admin&" };
    for (const client of ready) {
      const [seen] = await client.run([formatUri(server, "SCRAM", attempt)], server.caFile);
      expect(seen).toBe(client.shown(8000, "AtlasError", redirect));
    }
  });

  it("list what the credential reaches", async () => {
    const { password } = fleet.project();
    const client = new Driver(formatUri(server, "PLAIN", { database: "admin", password }));
    try {
      const { databases } = await client.db().admin().listDatabases();
      expect(databases.map(({ name }) => name).sort()).toEqual(["myapp_workspace", "other_app_workspace", "plain_shop_workspace", "shop_workspace"]);
    } finally {
      await client.close();
    }
  });

  it("go on watching the server beyond the login timeout, without noticing it", async () => {
    const options = "heartbeatFrequencyMS=500&";
    const client = new Driver(formatUri(server, "PLAIN", { database: "admin", password: fleet.project().password, options }));
    const troubles: string[] = [];
    for (const event of ["serverHeartbeatFailed", "connectionPoolCleared"] as const) client.on(event, () => troubles.push(event));
    await withConfig({ login_timeout_ms: 1000 }, async () => {
      await client.connect();
      for (let beats = 0; beats < 6; beats++) await once(client, "serverHeartbeatSucceeded");
      expect(await client.db().command({ ping: 1 })).toMatchObject({ ok: 1 });
      expect(troubles).toEqual([]);
    }).finally(() => client.close());
  });

  it("are told that TLS is required", async () => {
    const attempt = { database: "shop_workspace", password: fleet.project().password, tls: false };
    const expected = [18, "AuthenticationFailed", "TLS is required: connect with tls=true"] as const;
    await withConfig({ tls: { required: "always" } }, async () => {
      for (const client of ready) await check(client, [{ situation: "without TLS where it is required", ...attempt, expected }]);
    });
  });

  it("see that there are too many connections", async () => {
    const attempt = { database: "shop_workspace", password: fleet.project().password };
    const expected = [18, "AuthenticationFailed", "connection rejected: too many connections from your IP (limit 1)"] as const;
    await withConfig({ ip: { max_connections: 1 } }, async () => {
      const holding = connect(server.port, "127.0.0.1");
      holding.write(opMsg({ hello: 1, $db: "admin" }));
      await once(holding, "data"); // answered, so counted
      for (const client of ready) await check(client, [{ situation: "too many connections", ...attempt, expected }]);
      holding.destroy();
      await once(holding, "close");
    });
  });

  it("see a ban, which holds on the PostgreSQL port too", async () => {
    const [first] = ready as [MongoClient];
    const uri = (password: string) => formatUri(server, "PLAIN", { database: "shop_workspace", password });
    await first.run([uri("wrong"), uri("wrong"), uri("wrong")], server.caFile);
    const text = /connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in (\d+)s/;
    for (const client of ready) {
      const [seen = ""] = await client.run([uri(fleet.project().password)], server.caFile);
      table.saw(client.name, "banned address", seen);
      const [message, seconds] = text.exec(seen) ?? [];
      expect(withoutPrefix(client, seen)).toBe(client.shown(18, "AuthenticationFailed", String(message)));
      expect(Number(seconds)).toBeLessThanOrEqual(60);
    }
    const other = await psql(fleet.gateway, fleet.project(), "SELECT 1");
    expect(other.stderr).toMatch(/FATAL: {2}connection rejected: your IP is temporarily rate-limited/);
  });
});

describe.for(["deno", "bun"] as const)("MongoDB's listener under %s", { timeout: 300_000 }, (runtime) => {
  it("speaks TLS and plaintext, and redirects", async () => {
    const gateway = await startGateway({ runtime, args: ["--mongo-port=0"] });
    try {
      const { credentials } = gateway;
      const api = makeApi(credentials.api_url, credentials.api_key);
      const { body } = await api("POST", "/workspaces", { name: "shop", database: "MongoDB", redirect_to: "db.example:27017" });
      const to = { port: body.connection.port, user: credentials.project_id, caFile: credentials.ca_file };
      const attempt = { situation: "", database: "shop_workspace", password: credentials.proxy_password };
      const cases: Case[] = [true, false].map((tls) => ({ ...attempt, tls, expected: [8000, "AtlasError", redirect] }));
      for (const client of ready.filter(({ name }) => differentTls.includes(name))) await check(client, cases, to);
    } finally {
      await gateway.dispose();
    }
  });
});
