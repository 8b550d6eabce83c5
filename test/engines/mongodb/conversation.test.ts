/** What a connection may ask with and without a login, verdicts on data, limits, and messages in pieces. */
import { describe, expect, it } from "vitest";
import { settle } from "../postgres/support/wire.ts";
import { projectId } from "../postgres/support/world.ts";
import { denied, elsewhere, redirect, wrongEngine } from "./support/refusals.ts";
import { bodySection, message, opMsg, opQuery, sequenceSection, uint32 } from "./support/wire.ts";
import { loginTimeoutMs, World } from "./support/world.ts";

describe("commands", () => {
  it("that need no login are answered, the others not", async () => {
    const world = await World.create();
    const client = world.connect();
    for (const command of [{ ping: 1 }, { endSessions: [] }, { logout: 1 }]) expect(await client.ask(command)).toEqual({ ok: 1 });
    expect(await client.ask({ buildInfo: 1 })).toMatchObject({ version: "7.0.0", ok: 1 });
    expect(await client.ask({ listDatabases: 1 })).toEqual(denied("command listDatabases requires authentication"));
    expect(await client.ask({ find: "x" }, "shop_workspace")).toEqual(denied("command find requires authentication"));
    expect(await client.ask({ "fi\nnd\u202e": "x" })).toEqual(denied("command fi?nd? requires authentication"));
    expect(client.isClosed).toBe(false);
  });

  it("about data get the verdict on their database, each its own, on an open connection", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.plain(projectId, "project-pw");
    expect(await client.ask({ find: "x" }, "shop_workspace")).toEqual(elsewhere(redirect));
    expect(await client.ask({ insert: "x" }, "shop_workspace")).toEqual(elsewhere(redirect));
    expect(await client.ask({ ping: 1 }, "shop_workspace")).toEqual(elsewhere(redirect));
    expect(await client.ask({ aggregate: "x" }, "myapp_workspace")).toEqual(elsewhere(wrongEngine));
    expect(await client.ask({ find: "x" }, "shop__wayne")).toMatchObject({ code: 13 });
    expect(await client.ask({ find: "x" }, "test")).toEqual(denied('database "test" does not exist'));
    expect(await client.ask({ ping: 1 })).toEqual({ ok: 1 });
    expect(world.reasons("command refused")).toHaveLength(4);
  });

  it("of shells and tools show what the credential reaches", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.plain(projectId, "project-pw");
    const names = (await client.ask({ listDatabases: 1 })).databases.map((one: { name: string }) => one.name);
    expect(names).toEqual(["shop_workspace", "shop__wayne"]);
    expect((await client.ask({ connectionStatus: 1 })).authInfo.authenticatedUsers).toMatchObject([{ user: projectId }]);
    expect(await client.ask({ getParameter: 1 })).toEqual({ ok: 1 });
    await client.ask({ logout: 1 });
    expect(await client.ask({ find: "x" }, "shop_workspace")).toEqual(denied("command find requires authentication"));
  });

  it("follow what becomes of credential, tenant and store", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.plain(projectId, "tenant-pw");
    const change = () => world.routes.announce({ projectId });
    const target = world.routes.targets.get("shop__wayne")!;
    world.routes.targets.set("shop__wayne", { ...target, tenant: { id: "wayne", state: "suspended" } });
    change();
    expect(await client.ask({ find: "x" }, "shop__wayne")).toEqual(elsewhere('tenant "wayne" is suspended'));
    world.routes.candidates = [];
    change();
    expect(await client.ask({ find: "x" }, "shop__wayne")).toEqual(denied("terminating connection: the credential was revoked or has expired"));
  });

  it("that want no answer get none, even refused ones", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.say(opMsg({ insert: "x", $db: "shop_workspace" }, { flags: 2, requestId: 1 }));
    expect(client.received).toHaveLength(0);
    expect(await client.ask({ ping: 1 })).toEqual({ ok: 1 });
    expect(client.replies).toHaveLength(1);
  });

  it("in OP_QUERY are answered in OP_REPLY", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.say(opQuery("shop_workspace.$cmd", { count: "x" }, 1), opQuery("shop_workspace.orders", {}, 2));
    const text = (name: string) => `command ${name} requires authentication`;
    expect(client.replies.map((reply) => [reply.opCode, reply.responseTo, reply.document.errmsg, reply.document.$err])).toEqual([
      [1, 1, text("count"), undefined],
      [1, 2, text("find"), text("find")],
    ]);
  });

  it("may be long after a login, and are not kept", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.plain(projectId, "project-pw");
    const documents = sequenceSection("documents", [{ text: "x".repeat(2_000_000) }]);
    client.pipe.write(message(2013, Buffer.concat([uint32(0), bodySection({ insert: "x", $db: "shop_workspace" }), documents]), 5000));
    expect(await client.ask({ ping: 1 })).toEqual({ ok: 1 });
    expect(client.replies.find((reply) => reply.responseTo === 5000)?.document).toEqual(elsewhere(redirect));
  });
});

describe("limits", () => {
  it("ends a connection that sends more than 16 KiB before a login, or claims to", async () => {
    const world = await World.create();
    for (const length of [16 * 1024 + 1, 48_000_000]) {
      const client = world.connect();
      const claim = opMsg({ ping: 1 });
      claim.writeInt32LE(length, 0);
      await client.say(claim);
      expect(client.isClosed).toBe(true);
      expect(client.received).toHaveLength(0);
    }
    expect(world.reasons("visit ended")).toHaveLength(2);
  });

  it("lets a connection that only watches stay, and asks nothing of it", async () => {
    const world = await World.create();
    const client = world.connect();
    for (let i = 0; i < 20; i++) {
      expect(await client.ask(i === 0 ? { ismaster: 1 } : { hello: 1 })).toMatchObject({ ok: 1 });
      world.clock.advance(loginTimeoutMs);
      await settle();
    }
    expect(client.isClosed).toBe(false);
  });

  it("ends one that began to log in and stopped, and one that never spoke", async () => {
    const world = await World.create();
    const silent = world.connect();
    const slow = world.connect();
    await slow.ask({ hello: 1, saslSupportedMechs: `admin.${projectId}` });
    world.clock.advance(loginTimeoutMs + 100);
    await settle();
    expect([silent.isClosed, slow.isClosed, world.running]).toEqual([true, true, 0]);
  });

  it("ends watchers that have long been silent, and the most silent of too many", async () => {
    const world = await World.create({ watchers: { maxWatchers: 3, maxSilenceMs: 1000 } });
    const clients = [world.connect(), world.connect(), world.connect(), world.connect()];
    for (const client of clients) await client.ask({ hello: 1 });
    expect(clients.map((client) => client.isClosed)).toEqual([true, false, false, false]);
    world.clock.advance(1001);
    await clients[3]!.ask({ hello: 1 });
    await settle();
    expect(clients.map((client) => client.isClosed)).toEqual([true, true, true, false]);
    expect(world.reasons("visit ended")).toHaveLength(3);
  });

  it("does not count those that have logged in", async () => {
    const world = await World.create({ watchers: { maxWatchers: 1, maxSilenceMs: 1000 } });
    const clients = [world.connect(), world.connect(), world.connect()];
    for (const client of clients) await client.plain(projectId, "project-pw");
    world.clock.advance(1_000_000);
    const watcher = world.connect();
    await watcher.ask({ hello: 1 });
    expect(clients.map((client) => client.isClosed)).toEqual([false, false, false]);
  });

  it("makes a client that does not read wait", async () => {
    const world = await World.create();
    const client = world.connect();
    client.pipe.pause();
    const asked = 2000;
    await client.say(Buffer.concat(Array.from({ length: asked }, () => opMsg({ buildInfo: 1 }))));
    const early = world.written;
    client.pipe.resume();
    while (client.replies.length < asked) await settle();
    expect(early).toBeLessThan(100_000);
    expect(world.written).toBe(client.received.length);
  });

  it("is ended by the gateway's stop", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.ask({ hello: 1 });
    await world.sessions.drain(0);
    await settle();
    expect([client.isClosed, world.running]).toEqual([true, 0]);
  });
});

describe("pieces", () => {
  it("make no difference, wherever a message is cut", async () => {
    const world = await World.create();
    const bytes = opMsg({ find: "x", $db: "shop_workspace" }, { requestId: 3, sections: [sequenceSection("documents", [{ _id: 1 }])] });
    for (let cut = 1; cut < bytes.length; cut++) {
      const client = world.connect();
      await client.say(bytes.subarray(0, cut), bytes.subarray(cut));
      expect(client.replies.map((reply) => reply.document.errmsg)).toEqual(["command find requires authentication"]);
      client.pipe.destroy();
    }
    const client = world.connect();
    await client.say(...[...bytes].map((byte) => Uint8Array.of(byte)));
    expect(client.replies).toHaveLength(1);
  });

  it("may hold several messages, answered in order", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.say(
      Buffer.concat([opMsg({ ping: 1 }, { requestId: 1 }), opQuery("admin.$cmd", { ismaster: 1 }, 2), opMsg({ find: "x" }, { requestId: 3 })]),
    );
    expect(client.replies.map((reply) => reply.responseTo)).toEqual([1, 2, 3]);
  });
});
