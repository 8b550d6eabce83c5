/** Two gateways over one control database: what is revoked, ended or lifted on one holds on the other. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "./support/api.ts";
import { connect, ending, failure, from, parseTarget, type Target } from "./support/clients.ts";
import type { GatewayProcess } from "./support/gateway.ts";
import { at, type Pair, startPair } from "./support/instances.ts";
import { until } from "./support/until.ts";

let pair: Pair;
let one: GatewayProcess;
let two: GatewayProcess;
let api: ReturnType<typeof makeApi>;
let tenants: Record<string, Target>;

beforeAll(async () => {
  pair = await startPair();
  ({ one, two } = pair);
  api = makeApi(one.credentials.api_url, one.credentials.api_key);
  await api("POST", "/workspaces", { name: "myapp" });
  const make = async (tenant_id: string) => {
    const { body } = await api("POST", "/tenants", { tenant_id, databases: [{ blueprint: "myapp" }] });
    return parseTarget(body.databases[0].connection_string);
  };
  tenants = { wayne: await make("wayne"), globex: await make("globex") };
}, 180_000);
afterAll(() => pair?.dispose());

async function makeKey(body: object): Promise<{ id: string; key: string; password: string }> {
  const { status, body: made } = await api("POST", "/apikeys", { name: "test", ...body });
  expect(status).toBe(201);
  return { id: made.id, key: made.key, password: made.proxy_password };
}

const onBoth = (target: Target) => Promise.all([one, two].map((gateway) => connect(at(gateway), target)));
const gone = { code: "57P01", message: "terminating connection: the credential was revoked or has expired" };

describe("two instances", () => {
  it("let a key with several values into each of its tenants and no other, and close all its sessions when it is revoked", async () => {
    const both = await makeKey({ scope_type: "tenant", scope_values: ["wayne", "globex"], role: "read" });
    const clients = (await Promise.all(["wayne", "globex"].map((id) => onBoth({ ...tenants[id]!, password: both.password })))).flat();
    for (const client of clients) expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    const ends = clients.map(ending);
    expect((await api("DELETE", `/apikeys/${both.id}`)).status).toBe(200);
    for (const end of await Promise.all(ends)) expect(end).toMatchObject(gone);
    for (const gateway of [one, two]) {
      expect((await failure(connect(at(gateway), { ...tenants.wayne!, password: both.password }))).code).toBe("28P01");
      const asked = makeApi(at(gateway).credentials.api_url, both.key);
      expect((await asked("GET", "/tenants/wayne")).body.code).toBe("unauthorized");
    }
  });

  it("let a workspace key with several values into each of them", async () => {
    await api("POST", "/workspaces", { name: "second" });
    await api("POST", "/workspaces", { name: "third" });
    const key = await makeKey({ scope_type: "workspace", scope_values: ["myapp", "second"], role: "read" });
    for (const gateway of [one, two]) {
      const asked = makeApi(at(gateway).credentials.api_url, key.key);
      const codes = await Promise.all(["myapp", "second", "third"].map(async (name) => (await asked("GET", `/workspaces/${name}`)).body.code));
      expect(codes).toEqual(["ok", "ok", "scope_denied"]);
      const target = (database: string) => ({ ...tenants.wayne!, database, password: key.password });
      for (const database of ["myapp_workspace", "second_workspace", "myapp__wayne"]) await (await connect(at(gateway), target(database))).end();
      expect((await failure(connect(at(gateway), target("third_workspace")))).message).toBe(
        'credential scoped to workspaces [myapp, second], attempted workspace "third"',
      );
    }
  });

  it("take a rotated secret's old one for its grace, and not without it", async () => {
    const key = await makeKey({ scope_type: "tenant", scope_values: ["wayne"] });
    const works = async (secret: string) => {
      const outcomes = await Promise.all(
        [one, two].map((gateway) =>
          connect(at(gateway), { ...tenants.wayne!, password: secret })
            .then((client) => client.end())
            .then(
              () => "in",
              (error) => error.code,
            ),
        ),
      );
      return [...new Set(outcomes)];
    };
    const { body: second } = await api("POST", `/apikeys/${key.id}/rotate`, { grace_s: 3600 });
    expect([await works(key.password), await works(second.proxy_password)]).toEqual([["in"], ["in"]]);
    const { body: third } = await api("POST", `/apikeys/${key.id}/rotate`, { grace_s: 0 });
    await until(async () => (await works(second.proxy_password)).join() === "28P01");
    expect([await works(key.password), await works(third.proxy_password)]).toEqual([["28P01"], ["in"]]);
  });

  it("end a key's sessions when its time is over", async () => {
    const key = await makeKey({ scope_type: "tenant", scope_values: ["wayne"], expires_at: new Date(Date.now() + 3000).toISOString() });
    const clients = await onBoth({ ...tenants.wayne!, password: key.password });
    for (const end of await Promise.all(clients.map(ending))) expect(end).toMatchObject(gone);
    for (const gateway of [one, two]) expect((await failure(connect(at(gateway), { ...tenants.wayne!, password: key.password }))).code).toBe("28P01");
    expect((await api("POST", "/apikeys", { name: "late", expires_at: "2020-01-01T00:00:00Z" })).body.issues[0].path).toBe("expires_at");
    const { body } = await api("GET", "/apikeys");
    expect(body.api_keys.find((row: { id: string }) => row.id === key.id)).toMatchObject({ is_active: false });
  });

  it("close a suspended tenant's sessions", async () => {
    const clients = await onBoth(tenants.globex!);
    const ends = clients.map(ending);
    await api("POST", "/tenants/globex/suspend");
    for (const end of await Promise.all(ends))
      expect(end).toMatchObject({ code: "57P01", message: 'terminating connection: tenant "globex" is suspended' });
    await api("POST", "/tenants/globex/resume");
    // A sweep that looked between the two steps of resuming takes CONNECT back once more, until the next one.
    await until(() =>
      connect(at(two), tenants.globex!).then(
        (client) => client.end().then(() => true),
        () => false,
      ),
    );
  });

  it("show each other's sessions, and end them", async () => {
    const clients = await onBoth(tenants.wayne!);
    for (const gateway of [one, two]) {
      const { body } = await makeApi(at(gateway).credentials.api_url, one.credentials.api_key)("GET", "/sessions");
      expect(body.sessions).toMatchObject([{ database: "myapp__wayne" }, { database: "myapp__wayne" }]);
    }
    const { body } = await api("GET", "/sessions");
    const ends = clients.map(ending);
    for (const { id } of body.sessions) expect((await api("DELETE", `/sessions/${id}`)).status).toBe(200);
    for (const end of await Promise.all(ends))
      expect(end).toMatchObject({ code: "57P01", message: "terminating connection due to administrator command" });
    await until(async () => (await api("GET", "/sessions")).body.count === 0);
    expect((await api("DELETE", `/sessions/${body.sessions[0].id}`)).status).toBe(404);
  });

  it("show each other's bans, and lift them", async () => {
    const wrong = { ...tenants.wayne!, password: "tdb_0000000000000000", sslmode: "disable" as const };
    const address = "127.0.0.91";
    for (let i = 0; i < 10; i++) await failure(connect(at(two), wrong, from(address)));
    expect((await api("GET", "/bans")).body.bans).toMatchObject([{ ip: address }]);
    expect((await api("DELETE", `/bans/${address}`)).status).toBe(200);
    expect((await api("GET", "/bans")).body.count).toBe(0);
    await (await connect(at(two), { ...tenants.wayne!, sslmode: "disable" }, from(address))).end();
    expect((await api("DELETE", `/bans/${address}`)).status).toBe(404);
  });

  it("tell when a key was last used, whichever was asked", async () => {
    const key = await makeKey({ scope_type: "tenant", scope_values: ["wayne"] });
    await (await connect(at(two), { ...tenants.wayne!, password: key.password })).end();
    await until(async () => {
      const { body } = await api("GET", "/apikeys");
      return body.api_keys.find((row: { id: string }) => row.id === key.id).last_used_at !== null;
    });
  });
});
