/** Hello, logins of every kind and how they fail, and what is told at the door. */
import { Binary } from "bson";
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../../core/errors.ts";
import { makeCredential, projectId } from "../postgres/support/world.ts";
import { admin, denied, elsewhere, failed, redirect, shop, wrongEngine } from "./support/refusals.ts";
import { opQuery } from "./support/wire.ts";
import { World } from "./support/world.ts";

describe("hello", () => {
  it("describes a standalone server, without a topologyVersion, in each of its names", async () => {
    const world = await World.create();
    const client = world.connect();
    const hello = await client.ask({ hello: 1 });
    expect(hello).toMatchObject({
      isWritablePrimary: true,
      minWireVersion: 0,
      maxWireVersion: 21,
      maxBsonObjectSize: 16_777_216,
      readOnly: false,
      ok: 1,
    });
    for (const field of ["topologyVersion", "setName", "msg", "compression", "helloOk", "saslSupportedMechs"])
      expect(hello).not.toHaveProperty(field);
    expect(await client.ask({ ismaster: 1, helloOk: true })).toMatchObject({ ismaster: true, helloOk: true });
    await client.say(opQuery("admin.$cmd", { isMaster: 1, helloOk: true }, 55));
    expect(client.replies.at(-1)).toMatchObject({ opCode: 1, responseTo: 55, document: { ismaster: true, helloOk: true, ok: 1 } });
  });

  it("offers SCRAM-SHA-256 to whoever asks, known or not, and starts it at once with a salt that stays the same", async () => {
    const world = await World.create();
    const salts = new Set<string>();
    for (const user of [projectId, "tdb_00000000", "nobody", "tdb_00000000"]) {
      const client = world.connect();
      const start = { saslStart: 1, mechanism: "SCRAM-SHA-256", payload: new Binary(Buffer.from(`n,,n=${user},r=abc`)), db: "shop_workspace" };
      const hello = await client.ask({ hello: 1, saslSupportedMechs: `shop_workspace.${user}`, speculativeAuthenticate: start });
      expect(hello.saslSupportedMechs).toEqual(["SCRAM-SHA-256"]);
      expect(hello.speculativeAuthenticate).toMatchObject({ conversationId: 1, done: false, ok: 1 });
      const serverFirst = Buffer.from(hello.speculativeAuthenticate.payload.value()).toString();
      expect(serverFirst).toMatch(/^r=abc.{24},s=.{24},i=4096$/);
      salts.add(serverFirst.slice(serverFirst.indexOf(",s=")));
    }
    expect(salts.size).toBe(3);
  });

  it.each([
    ["a mechanism it has not", { saslStart: 1, mechanism: "SCRAM-SHA-1", payload: new Binary(Buffer.from("n,,n=a,r=b")) }],
    ["PLAIN, whose failure would not be seen", { saslStart: 1, mechanism: "PLAIN", payload: new Binary(Buffer.from("\0a\0b")) }],
    ["nonsense", { saslStart: 1, mechanism: "SCRAM-SHA-256", payload: "n" }],
    ["no document", "x"],
  ])("never tells an error: of %s it says nothing", async (_, speculativeAuthenticate) => {
    const world = await World.create();
    const hello = await world.connect().ask({ hello: 1, speculativeAuthenticate });
    expect(hello).toMatchObject({ isWritablePrimary: true, ok: 1 });
    expect(hello).not.toHaveProperty("speculativeAuthenticate");
    expect(world.bans.recordFailure("127.0.0.1")).toBe(false);
  });

  it("says nothing of the store's absence either; the login does", async () => {
    const world = await World.create();
    world.routes.findProjectKeys = async () => {
      throw new GatewayError("store_unavailable", "credentials cannot be looked up right now");
    };
    expect(await world.connect().scram({ ...admin, speculative: true })).toEqual({ ok: 0, errmsg: "not answered" });
    expect(await world.connect().scram(admin)).toEqual(elsewhere("credentials cannot be looked up right now"));
  });

  it("tells of a fault of ours only an id", async () => {
    const world = await World.create();
    world.routes.isAway = true;
    const client = world.connect();
    expect(await client.scram(admin)).toEqual(elsewhere("internal error (id s0)"));
    expect(client.isClosed).toBe(true);
    expect(world.lines.filter((line) => line.event === "internal error")).toHaveLength(1);
  });
});

describe("login", () => {
  it.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])("lets a right password in by SCRAM (speculative %s, skipEmptyExchange %s)", async (speculative, skipEmptyExchange) => {
    const world = await World.create();
    const client = world.connect();
    expect(await client.scram({ ...admin, speculative, skipEmptyExchange })).toMatchObject({ conversationId: 1, done: true, ok: 1 });
    expect(await client.ask({ find: "orders" }, "shop_workspace")).toEqual(elsewhere(redirect));
  });

  it("tells the verdict at once when it names the database", async () => {
    const world = await World.create();
    for (const [source, password, expected] of [
      ["shop_workspace", "project-pw", elsewhere(redirect)],
      ["cart_workspace", "project-pw", elsewhere('blueprint "cart" is MongoDB; this gateway does not proxy MongoDB yet.')],
      ["myapp_workspace", "project-pw", elsewhere(wrongEngine)],
      ["shop__wayne", "tenant-pw", elsewhere(redirect)],
      ["shop__globex", "tenant-pw", denied('credential scoped to tenants [wayne], attempted tenant "globex"')],
      ["shop_workspace", "workspace-pw", denied('credential scoped to workspaces [myapp], attempted workspace "shop"')],
      ["nothing_workspace", "project-pw", denied('database "nothing_workspace" does not exist')],
      [
        "shop__wayne",
        "project-pw",
        denied("credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"),
      ],
    ] as const) {
      for (const login of ["scram", "plain"] as const) {
        const client = world.connect();
        const answer = login === "scram" ? client.scram({ user: projectId, password, source }) : client.plain(projectId, password, source);
        expect(await answer).toEqual(expected);
        expect(client.isClosed).toBe(true);
      }
    }
    expect(world.bans.list()).toEqual([]);
  });

  it("takes PLAIN of any form: binary or base64 text, with the user named twice or once", async () => {
    const world = await World.create();
    for (const authzid of ["", projectId]) {
      const bytes = Buffer.from(`${authzid}\0${projectId}\0project-pw`);
      const binary = await world.connect().ask({ saslStart: 1, mechanism: "PLAIN", payload: new Binary(bytes) }, "$external");
      expect(binary).toMatchObject({ conversationId: 1, done: true, ok: 1 });
      const text = await world.connect().ask({ saslStart: 1, mechanism: "PLAIN", payload: bytes.toString("base64") }, "$external");
      expect(text).toEqual({ conversationId: 1, done: true, payload: "", ok: 1 });
    }
  });

  it("refuses a wrong password, an unknown project and an unknown database in the same words, and closes", async () => {
    const world = await World.create();
    for (const { user, source } of [
      { user: projectId, source: "shop_workspace" },
      { user: "tdb_00000000", source: "shop_workspace" },
      { user: projectId, source: "nothing__here" },
    ]) {
      for (const login of ["scram", "plain"] as const) {
        const client = world.connect();
        const answer = login === "scram" ? client.scram({ user, password: "wrong", source }) : client.plain(user, "wrong", source);
        expect(await answer).toEqual(failed(`password authentication failed for user "${user}"`));
        expect(client.isClosed).toBe(true);
      }
    }
    expect(world.reasons("visit ended")).toHaveLength(6);
    expect(world.running).toBe(0);
  });

  it.each([
    ["an unknown mechanism", { saslStart: 1, mechanism: "SCRAM-SHA-1", payload: new Binary(Buffer.from("n,,n=a,r=b")) }, 334],
    ["no mechanism", { saslStart: 1, payload: new Binary(Buffer.from("x")) }, 334],
    ["a payload that is none", { saslStart: 1, mechanism: "PLAIN", payload: 5 }, 18],
    ["a payload that is too long", { saslStart: 1, mechanism: "PLAIN", payload: new Binary(Buffer.alloc(5000)) }, 18],
    ["another's authorization", { saslStart: 1, mechanism: "PLAIN", payload: new Binary(Buffer.from("root\0a\0b")) }, 18],
    ["half a PLAIN", { saslStart: 1, mechanism: "PLAIN", payload: new Binary(Buffer.from("\0a")) }, 18],
    ["a SCRAM that is none", { saslStart: 1, mechanism: "SCRAM-SHA-256", payload: new Binary(Buffer.from("n=a")) }, 18],
    ["the middle before the start", { saslContinue: 1, conversationId: 1, payload: new Binary(Buffer.alloc(0)) }, 18],
  ])("refuses %s without counting it as a guess", async (_, command, code) => {
    const world = await World.create();
    const client = world.connect();
    expect(await client.ask(command)).toMatchObject({ ok: 0, code });
    expect(client.isClosed).toBe(true);
    for (let i = 0; i < 9; i++) expect(world.bans.recordFailure("127.0.0.1")).toBe(false);
  });

  it("has one guess per exchange: a proof cannot be sent twice", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.scram(admin);
    expect(await client.ask({ saslContinue: 1, conversationId: 1, payload: new Binary(Buffer.from("c=biws,r=x,p=x")) })).toMatchObject({ code: 18 });
    expect(client.isClosed).toBe(true);
  });

  it("goes on trying a hundred credentials of one project", async () => {
    const world = await World.create();
    for (let i = 0; i < 100; i++)
      world.routes.candidates.push(await makeCredential(`key_${i}`, `password ${i}`, { type: "tenant", values: ["wayne"] }));
    for (const i of [0, 57, 99]) {
      const answer = await world.connect().scram({ user: projectId, password: `password ${i}`, source: "shop__wayne" });
      expect(answer).toEqual(elsewhere(redirect));
    }
  });
});

describe("at the door", () => {
  it("tells a banned address so at the login and on commands, never in hello", async () => {
    const world = await World.create();
    for (let i = 0; i < 10; i++) await world.connect().plain(projectId, "wrong");
    const text = "connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in 60s";
    world.routes.asked = 0;
    expect(await world.connect().plain(projectId, "project-pw")).toEqual(failed(text));
    expect(await world.connect().scram(shop)).toEqual(failed(text));
    expect(await world.connect().scram({ ...shop, speculative: true })).toEqual({ ok: 0, errmsg: "not answered" });
    expect(await world.connect().ask({ find: "x" }, "shop_workspace")).toEqual(denied(text));
    expect(await world.connect().ask({ hello: 1 })).toMatchObject({ ok: 1 });
    expect(world.routes.asked).toBe(0);
    world.clock.advance(60_000);
    expect(await world.connect().plain(projectId, "project-pw")).toMatchObject({ ok: 1 });
  });

  it("tells an address with too many connections so", async () => {
    const world = await World.create({ maxConnections: 1 });
    world.connect();
    expect(await world.connect().plain(projectId, "project-pw")).toEqual(failed("connection rejected: too many connections from your IP (limit 1)"));
  });

  it("wants TLS from elsewhere, before it looks at any secret", async () => {
    const world = await World.create();
    const text = "TLS is required: connect with tls=true";
    expect(await world.connect("203.0.113.9").plain(projectId, "project-pw")).toEqual(failed(text));
    expect(await world.connect("203.0.113.9").scram(shop)).toEqual(failed(text));
    expect(await world.connect("203.0.113.9").ask({ find: "x" })).toEqual(denied(text));
    expect(world.routes.asked).toBe(0);
  });
});
