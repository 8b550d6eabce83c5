/** How sessions end, and what becomes of their backends: cancel requests, vanishing clients, shutdown, slow readers. */
import { serialize } from "pg-protocol";
import { describe, expect, it, vi } from "vitest";
import { type BytePipe, pipePair } from "../../../core/byte-pipe.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { LiveDatabase } from "../../../core/live.ts";
import { defaultDatabaseSettings } from "../../../core/model.ts";
import { PostgresBackend } from "../../../engines/postgres/backend-session.ts";
import { Relay } from "../../../engines/postgres/relay.ts";
import { cancelPacket, header, message, reply, settle } from "./support/wire.ts";
import { atRest, projectId, World } from "./support/world.ts";

const reset = ["ROLLBACK", "DISCARD ALL"];

async function busy(settings = {}) {
  const world = await World.create();
  const { client, backend } = await world.pair(settings);
  backend.isSilent = true;
  await client.say(serialize.query("select pg_sleep(100)"));
  return { world, client, backend };
}

describe("cancel request", () => {
  for (const [name, version] of [
    ["4 bytes", 196608],
    ["32 bytes", 196610],
  ] as const) {
    it(`with the right key of ${name} reaches the server under its own key`, async () => {
      const world = await World.create();
      const client = world.connect();
      await client.login({ user: projectId, database: "myapp__wayne", password: "tenant-pw", version });
      const backend = world.server.last;
      backend.isSilent = true;
      await client.say(serialize.query("select pg_sleep(100)"));
      await world.connect().say(cancelPacket(client.key.pid, client.key.secret));
      expect(world.server.cancels).toEqual([{ pid: backend.pid, secret: backend.secret }]);
      client.clear();
      backend.send(reply.error("57014", "canceling statement due to user request"), reply.ready());
      await settle();
      expect(client.error).toMatchObject({ sqlstate: "57014", message: "canceling statement due to user request" });
    });
  }

  it("with a wrong key, a wrong length or a wrong number does nothing", async () => {
    const world = await World.create();
    const client = await world.client();
    const { pid, secret } = client.key;
    world.server.last.isSilent = true;
    await client.say(serialize.query("select pg_sleep(100)"));
    const wrong = Buffer.from(secret.map((byte) => byte ^ 1));
    for (const packet of [
      cancelPacket(pid, wrong),
      cancelPacket(pid + 1, secret),
      cancelPacket(pid, Buffer.concat([secret, secret])),
      cancelPacket(0, secret),
    ]) {
      const other = world.connect();
      await other.say(packet);
      expect(other.received).toHaveLength(0);
    }
    expect(world.server.cancels).toEqual([]);
  });

  it("does nothing to a session that runs nothing, nor to one that has ended", async () => {
    const world = await World.create();
    const client = await world.client();
    const { pid, secret } = client.key;
    await world.connect().say(cancelPacket(pid, secret));
    await client.say(serialize.query("select 1"));
    client.pipe.destroy();
    await settle();
    const next = await world.client();
    world.server.last.isSilent = true;
    await next.say(serialize.query("select 2"));
    await world.connect().say(cancelPacket(pid, secret));
    expect(world.server.connections).toHaveLength(1);
    expect(world.server.cancels).toEqual([]);
  });

  it("that is still on its way keeps the backend from the next client", async () => {
    const { world, client, backend } = await busy();
    world.server.holdCancels = true;
    [...sessionsOf(world)][0]!.cancel();
    await settle();
    expect(world.server.openCancels).toHaveLength(1);
    backend.isSilent = false;
    backend.send(reply.complete("SELECT 1"), reply.ready());
    await settle();
    client.pipe.destroy();
    await settle();
    expect(backend.queries).toEqual(["select pg_sleep(100)"]);
    expect(world.pool.counts()).toEqual({ open: 1, idle: 0, waiting: 0 });
    world.server.finishCancels();
    await settle();
    expect(backend.queries).toEqual(["select pg_sleep(100)", ...reset]);
    expect(world.pool.counts()).toEqual({ open: 1, idle: 1, waiting: 0 });
  });

  it("comes to the server one at a time, however many a client sends, and needs no place in the budget", async () => {
    const world = await World.create({ budget: 1 });
    const client = await world.client();
    world.server.last.isSilent = true;
    world.server.holdCancels = true;
    await client.say(serialize.query("select pg_sleep(100)"));
    const { pid, secret } = client.key;
    for (let i = 0; i < 20; i++) await world.connect().say(cancelPacket(pid, secret));
    expect(world.server.openCancels).toHaveLength(1);
    world.server.finishCancels();
    await settle();
    await world.connect().say(cancelPacket(pid, secret));
    expect([world.server.openCancels.length, world.server.cancels.length]).toEqual([1, 2]);
  });

  it("that the server neither answers nor closes is given up, and its session goes on", async () => {
    const late = new AbortController();
    const timeout = vi.spyOn(AbortSignal, "timeout").mockReturnValue(late.signal);
    const { world, client, backend } = await busy();
    world.server.holdCancels = true;
    [...sessionsOf(world)][0]!.cancel();
    backend.send(reply.complete("SELECT 1"), reply.ready());
    await client.say(serialize.query("select 2"));
    expect(backend.queries).toEqual(["select pg_sleep(100)"]);
    expect(timeout).toHaveBeenCalledWith(5000);
    late.abort(new Error("too late"));
    await settle();
    timeout.mockRestore();
    expect(backend.queries).toEqual(["select pg_sleep(100)", "select 2"]);
    expect(world.lines.some((line) => line.event === "cancel request failed")).toBe(true);
  });

  it("is no reason to stop when it cannot be delivered", async () => {
    const { world, client, backend } = await busy();
    world.server.refuseConnect = new Error("no route");
    const session = [...sessionsOf(world)][0]!;
    session.cancel();
    await settle();
    expect(world.lines.some((line) => line.event === "cancel request failed")).toBe(true);
    backend.send(reply.complete("SELECT 1"), reply.ready());
    await settle();
    expect(client.types).toBe("CZ");
  });
});

describe("a client that goes", () => {
  it.each([
    ["with Terminate", (client: Awaited<ReturnType<typeof busy>>["client"]) => client.say(message("X"))],
    ["without a word", async (client: Awaited<ReturnType<typeof busy>>["client"]) => client.pipe.destroy()],
  ])("%s while idle leaves a backend that is reset and reused", async (_, leave) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    await client.say(serialize.query("begin"));
    await leave(client);
    await settle();
    expect(backend.queries).toEqual(["begin", ...reset]);
    expect(backend.types).not.toContain("X");
    const next = await world.client();
    expect(world.server.connections).toHaveLength(1);
    next.pipe.destroy();
    await world.end();
    expect(world.counts()).toEqual(atRest);
  });

  it("without a word in the middle of a statement has it cancelled, and its backend closed", async () => {
    const { world, client, backend } = await busy();
    client.pipe.destroy();
    await settle();
    expect(world.server.cancels.map((cancel) => cancel.pid)).toEqual([backend.pid]);
    expect(backend.queries).toEqual(["select pg_sleep(100)"]);
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
    expect(world.counts()).toEqual(atRest);
  });

  it("behind a Flush has its running statement cancelled as well", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.parse({ text: "select pg_sleep(100)" }), serialize.bind(), serialize.execute(), serialize.flush());
    client.pipe.destroy();
    await settle();
    expect(world.server.cancels).toHaveLength(1);
    expect(world.pool.counts().open).toBe(0);
  });

  it("with Terminate in the middle of a statement lets the backend finish it", async () => {
    const { world, client, backend } = await busy();
    await client.say(message("X"));
    expect(world.server.cancels).toEqual([]);
    expect(backend.types).toBe("QX");
    expect(backend.queries).not.toContain("DISCARD ALL");
  });

  it.each([
    ["a partial message", Buffer.from(serialize.query("select 1")).subarray(0, 7)],
    ["a header", header("d", 1000)],
    ["no Sync", serialize.parse({ text: "select 1" })],
  ])("behind %s never gives its backend to another", async (_, bytes) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    await client.say(bytes);
    client.pipe.destroy();
    await settle();
    expect(backend.queries.includes("DISCARD ALL") && backend.received.includes(bytes)).toBe(false);
    expect(world.counts()).toEqual(atRest);
  });

  it("while it waits for a backend leaves the line", async () => {
    const world = await World.create({ budget: 1 });
    const first = await world.client();
    const waiting = world.connect();
    await waiting.login({ user: projectId, database: "myapp__wayne", password: "tenant-pw" });
    expect(world.pool.counts().waiting).toBe(1);
    waiting.pipe.destroy();
    await settle();
    expect(world.pool.counts().waiting).toBe(0);
    first.pipe.destroy();
    await settle();
    expect(world.counts()).toEqual(atRest);
  });

  it("in the moment it gets its backend gives it back", async () => {
    const world = await World.create();
    const client = world.connect();
    world.server.loginAnswer = (connection) => {
      client.pipe.destroy();
      return world.server.welcome(connection);
    };
    await client.login({ user: projectId, database: "myapp__wayne", password: "tenant-pw" });
    await settle();
    expect(world.counts()).toEqual(atRest);
  });
});

describe("a relay", () => {
  /** As the engine makes one, on pipes that may be closed already. */
  async function startOn(close: (client: BytePipe, backend: BytePipe) => void) {
    const [clientPipe] = pipePair();
    const [backendPipe] = pipePair();
    const backend = new PostgresBackend(backendPipe, new Map(), { pid: 1, secret: new Uint8Array(4) }, async () => undefined);
    close(clientPipe, backendPipe);
    const relay = new Relay({
      client: clientPipe,
      backend,
      settings: () => defaultDatabaseSettings,
      refuseDdl: true,
      nowMs: () => 0,
      onCancelFailure: () => undefined,
    });
    relay.start(new Uint8Array(0));
    return relay.ended;
  }

  it("that begins when its client has left ends at once", async () => {
    expect(await startOn((client) => client.destroy())).toEqual({ error: undefined, reusable: true });
  });

  it("that begins when its backend has died ends at once", async () => {
    expect(await startOn((_, backend) => backend.destroy())).toMatchObject({ error: { kind: "backend_unreachable" }, reusable: false });
  });

  it("whose backend is in the middle of a message is not at rest", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.send(reply.notification("orders", "x".repeat(1000)).subarray(0, 500));
    await settle();
    client.pipe.destroy();
    await settle();
    expect(backend.queries).toEqual([]);
    expect(world.pool.counts().open).toBe(0);
  });
});

describe("ending a session", () => {
  const gone = new GatewayError("shutdown", "terminating connection due to gateway shutdown");

  it("puts nothing into the middle of a message that is on its way", async () => {
    const { world, client, backend } = await busy();
    const row = reply.row("x".repeat(1000));
    backend.send(row.subarray(0, 500));
    await settle();
    [...sessionsOf(world)][0]!.terminate(gone);
    await settle();
    expect(client.received).toEqual(row.subarray(0, 500));
    expect(client.isClosed).toBe(true);
    expect(world.counts()).toEqual(atRest);
  });

  it("tells the client why between two messages, and cancels what runs", async () => {
    const { world, client, backend } = await busy();
    backend.send(reply.row("x"));
    await settle();
    [...sessionsOf(world)][0]!.terminate(gone);
    await settle();
    expect(client.types).toBe("DE");
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "57P01" });
    expect(world.server.cancels).toHaveLength(1);
    expect(world.pool.counts().open).toBe(0);
  });

  it("drains: idle ones at once, the others when their transaction ends, the rest after the grace", async () => {
    const world = await World.create();
    const idle = await world.client();
    const inside = await world.pair();
    await inside.client.say(serialize.query("begin"));
    const stuck = await world.pair();
    stuck.backend.isSilent = true;
    await stuck.client.say(serialize.query("select pg_sleep(100)"));
    const halfway = world.connect();
    const drained = world.sessions.drain(30_000);
    await settle();
    expect([idle.isClosed, inside.client.isClosed, stuck.client.isClosed, halfway.isClosed]).toEqual([true, false, false, true]);
    expect(idle.error).toMatchObject({ severity: "FATAL", sqlstate: "57P01", message: gone.message });
    await inside.client.say(serialize.query("commit"));
    expect(inside.client.error?.sqlstate).toBe("57P01");
    const late = world.connect();
    await late.login({ user: projectId, database: "myapp__wayne", password: "tenant-pw" });
    expect(late.error?.sqlstate).toBe("57P01");
    expect(stuck.client.isClosed).toBe(false);
    world.clock.advance(30_000);
    await drained;
    await settle();
    expect(stuck.client.error?.sqlstate).toBe("57P01");
    expect(world.counts()).toEqual(atRest);
  });

  it("tells an idle client of client_idle_timeout, and resets its backend", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    world.clock.advance(1_800_000);
    await settle();
    expect(client.isClosed).toBe(false);
    world.clock.advance(200);
    await settle();
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "57P05", message: "terminating connection due to client_idle_timeout" });
    expect(backend.queries).toEqual(reset);
  });

  it("tells a client of idle_in_transaction_timeout in a transaction only, failed ones and pipelines without Sync included", async () => {
    const world = await World.create({ idleInTransactionTimeoutMs: 5000 });
    const open = async (...messages: Uint8Array[]) => {
      const { client, backend } = await world.pair();
      await client.say(...messages);
      return { client, backend };
    };
    const idle = await open(serialize.query("select 1"));
    const busy = await open(serialize.query("begin"));
    busy.backend.isSilent = true;
    await busy.client.say(serialize.query("select pg_sleep(100)"));
    const inside = await open(serialize.query("begin"));
    const failed = await open(serialize.query("begin"));
    failed.backend.transaction = "E";
    await failed.client.say(serialize.query("select 1/0"));
    const pipeline = await open(serialize.parse({ text: "update t set a = 1" }), serialize.bind(), serialize.execute(), serialize.flush());
    // PostgreSQL has carried it out and keeps the answer until it is asked for.
    const unasked = await world.pair();
    unasked.backend.isSilent = true;
    await unasked.client.say(serialize.parse({ text: "lock table t" }), serialize.bind(), serialize.execute());
    world.clock.advance(4900);
    await inside.client.say(serialize.query("select 2"));
    world.clock.advance(300);
    await settle();
    expect([idle, busy, inside, failed, pipeline].map(({ client }) => client.isClosed)).toEqual([false, false, false, true, true]);
    world.clock.advance(5000);
    await settle();
    expect([idle, busy, inside].map(({ client }) => client.isClosed)).toEqual([false, false, true]);
    for (const { client } of [inside, failed, pipeline, unasked]) {
      expect(client.error).toMatchObject({
        severity: "FATAL",
        sqlstate: "25P03",
        message: "terminating connection due to idle-in-transaction timeout",
      });
    }
    expect(inside.backend.queries).toEqual(["begin", "select 2", ...reset]);
    expect(pipeline.backend.isClosed).toBe(true);
  });

  it("leaves PostgreSQL's own goodbye as the last word", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    const goodbye = reply.error("57P01", "terminating connection due to administrator command", "FATAL");
    backend.send(goodbye);
    backend.hangUp();
    await settle();
    expect(client.received).toEqual(goodbye);
    expect(client.isClosed).toBe(true);
    expect(world.counts()).toEqual(atRest);
  });

  it("says that the database server was lost when it leaves without a word", async () => {
    const { world, client, backend } = await busy();
    backend.hangUp();
    await settle();
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "08006" });
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });
});

describe("backpressure", () => {
  it("stops reading the backend while the client does not read, and loses nothing", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    client.pipe.pause();
    const row = reply.row("x".repeat(10_000));
    let sent = 0;
    while (sent < 1000) {
      sent++;
      if (!backend.pipe.write(Buffer.concat([row]))) break;
      await settle();
    }
    expect(sent).toBeLessThan(40);
    client.pipe.resume();
    await settle();
    expect(client.received).toHaveLength(sent * row.length);
  });

  it("stops reading the client while the backend does not read, and loses nothing", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair({ allow_copy: true });
    backend.isSilent = true;
    backend.pipe.pause();
    const data = Buffer.from(serialize.copyData(Buffer.alloc(10_000)));
    let sent = 0;
    while (sent < 1000) {
      sent++;
      if (!client.pipe.write(Buffer.concat([data]))) break;
      await settle();
    }
    expect(sent).toBeLessThan(40);
    backend.pipe.resume();
    await settle();
    expect(backend.received).toHaveLength(sent * data.length);
  });
});

/** The sessions of a world, oldest first, for calls that come from elsewhere than the wire. */
function sessionsOf(world: World) {
  const live = world.live.enter(projectId, "myapp__wayne", world.routes.targets.get("myapp__wayne")!) as LiveDatabase; // its places are its own
  return live.sessions as unknown as ReadonlySet<{
    cancel(): void;
    terminate(error: GatewayError): void;
  }>;
}
