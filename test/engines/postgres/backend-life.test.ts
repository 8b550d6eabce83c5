/** A backend between clients and on its way in: login to the server, reset, idling. Proven clean, or closed. */
import { describe, expect, it, vi } from "vitest";
import { type BytePipe, pipePair } from "../../../core/byte-pipe.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { BackendRequest } from "../../../core/pool.ts";
import { readClientFirst, ScramServer } from "../../../core/scram.ts";
import { toBase64 } from "../../../core/secrets.ts";
import { createPostgresDialer, judgeServer } from "../../../engines/postgres/dial.ts";
import type { FakeConnection } from "./support/fake-server.ts";
import { type Frame, header, int32, message, reply, settle, testCrypto } from "./support/wire.ts";
import { atRest, makeCredential, projectId, secrets, World } from "./support/world.ts";

const login = { user: projectId, database: "myapp__wayne", password: "tenant-pw" };
const database = { clusterId: "main", name: "tdb_myappwayne", passwordGeneration: 1 };
const unreachable = { severity: "FATAL", sqlstate: "08006", message: 'database server for "myapp__wayne" is not reachable' };

/** A client that tried, and the world it tried in. */
async function attempt(world: World) {
  const client = world.connect();
  await client.login(login);
  await settle();
  return client;
}

/** A server that asks for SCRAM with the password it was given for the role; `lie` changes its last message, or leaves it out. */
async function scramServer(world: World, password: string, lie: (final: string) => string | undefined = (final) => final): Promise<void> {
  const salt = Buffer.alloc(16, 1);
  const { makeScramKeys } = await import("../../../core/secrets.ts");
  const keys = await makeScramKeys(testCrypto, password, salt, 4096);
  let server: ScramServer | undefined;
  world.server.loginAnswer = () => {
    server = undefined;
    return [message("R", int32(10), "SCRAM-SHA-256\0\0")];
  };
  world.server.answer = (frame: Frame, connection: FakeConnection) => {
    if (frame.type !== "p") return undefined;
    if (!server) {
      server = new ScramServer(testCrypto, readClientFirst(frame.body.subarray(18), false, false), salt, 4096, undefined);
      return [message("R", int32(11), server.serverFirst)];
    }
    const proof = server.readClientFinal(frame.body);
    if (!proof.matches(keys)) return [reply.error("28P01", "password authentication failed", "FATAL")];
    const final = lie(proof.serverFinal(keys));
    return [...(final === undefined ? [] : [message("R", int32(12), final)]), ...world.server.welcome(connection)];
  };
}

function dialOverTls(pipe: BytePipe, signal: AbortSignal) {
  const dialer = createPostgresDialer({
    secrets,
    addressOf: () => ({ connect: { path: "/tmp/.s" }, tls: { servername: "db.example", verify: true } }),
    connect: async () => pipe,
    reassertPassword: async () => undefined,
    sleep: async () => undefined,
  });
  const request = { database, role: "admin", displayName: "myapp__wayne", parameters: new Map() } as unknown as BackendRequest;
  return dialer.dial(request, signal);
}

describe("logging in to a server", () => {
  it("proves the derived password by SCRAM", async () => {
    const world = await World.create();
    await scramServer(world, secrets.nativeRolePassword(database, "admin"));
    expect((await attempt(world)).types).toMatch(/Z$/);
    expect(world.reasserted).toBe(0);
  });

  it("sets the password again, once, when the role's own was changed", async () => {
    const world = await World.create();
    await scramServer(world, "hijacked");
    expect((await attempt(world)).error).toMatchObject(unreachable);
    expect([world.reasserted, world.server.connections.length]).toEqual([1, 2]);
    expect(world.pool.counts().open).toBe(0);
  });

  it("refuses a server that does not know the password either", async () => {
    const world = await World.create();
    await scramServer(world, secrets.nativeRolePassword(database, "admin"), () => `v=${toBase64(new Uint8Array(32))}`);
    expect((await attempt(world)).error).toMatchObject(unreachable);
  });

  it("refuses a server that leaves its own proof out", async () => {
    const world = await World.create();
    await scramServer(world, secrets.nativeRolePassword(database, "admin"), () => undefined);
    expect((await attempt(world)).error).toMatchObject(unreachable);
    expect(world.counts()).toEqual(atRest);
  });

  it("believes nothing that comes in clear behind a server's consent to TLS", async () => {
    const [near, far] = pipePair();
    const startTls = vi.spyOn(near, "startTlsClient");
    far.sink = { data: () => void far.write(Buffer.concat([Buffer.from("S"), message("R", int32(0)), reply.ready()])), drain() {}, closed() {} };
    far.resume();
    await expect(dialOverTls(near, new AbortController().signal)).rejects.toMatchObject({
      kind: "backend_unreachable",
      details: { cause: { message: "the database server does not accept TLS" } },
    });
    expect(startTls).not.toHaveBeenCalled();
    expect(near.isClosed).toBe(true);
  });

  it("leaves no connection open to a server that never answers the request for TLS", async () => {
    const [near] = pipePair();
    const giveUp = new AbortController();
    const dialing = dialOverTls(near, giveUp.signal);
    await settle();
    giveUp.abort(new Error("the client has gone"));
    await expect(dialing).rejects.toThrow();
    expect(near.isClosed).toBe(true);
  });

  it.each<[string, Uint8Array[]]>([
    ["wants a proof and takes none", [message("R", int32(10), "SCRAM-SHA-256\0\0"), message("R", int32(0)), reply.ready()]],
    ["asks for a clear-text password", [message("R", int32(3))]],
    ["asks for MD5", [message("R", int32(5), "salt")]],
    ["offers other mechanisms only", [message("R", int32(10), "PLAIN\0\0")]],
    ["continues what did not begin", [message("R", int32(11), "r=x")]],
    ["is no PostgreSQL server", [Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")]],
    ["sends an error without a SQLSTATE", [message("E", "\0")]],
    ["sends a malformed error", [message("E", "Sno end")]],
    ["claims a message of two gigabytes", [header("R", 0x7fffffff)]],
    ["claims a message of no length", [header("R", 0)]],
    ["sends a row before it is ready", [message("R", int32(0)), reply.row("1")]],
    ["sends bytes behind ReadyForQuery", [Buffer.concat([message("R", int32(0)), reply.ready(), Buffer.from("x")])]],
    ["has no database of that name", [reply.error("3D000", 'database "tdb_myappwayne" does not exist', "FATAL")]],
  ])("gives no password to a server that %s, and says no more than that it is not reachable", async (_, answer) => {
    const world = await World.create();
    world.server.loginAnswer = () => answer;
    expect((await attempt(world)).error).toMatchObject(unreachable);
    expect(world.server.connections.every((connection) => !connection.received.includes(secrets.nativeRolePassword(database, "admin")))).toBe(true);
    expect(world.counts()).toEqual(atRest);
  });

  it("says that the server is full where it is", async () => {
    const world = await World.create();
    world.server.loginAnswer = () => [reply.error("53300", "sorry, too many clients already", "FATAL")];
    expect((await attempt(world)).error).toMatchObject({
      sqlstate: "53300",
      message: 'the database server has no free connection for "myapp__wayne"',
    });
  });

  it.each(["starting up", "shutting down", "in recovery mode"])("says so when the server is %s, without its own words", async (state) => {
    const world = await World.create();
    world.server.loginAnswer = () => [reply.error("57P03", `the database system is ${state}`, "FATAL")];
    expect((await attempt(world)).error).toEqual({
      severity: "FATAL",
      sqlstate: "57P03",
      message: 'database server for "myapp__wayne" is starting up or shutting down',
      hint: "Try again shortly.",
    });
    expect(world.counts()).toEqual(atRest);
  });

  it("ends with the login timeout where a server says nothing", async () => {
    const world = await World.create({ loginTimeoutMs: 5000 });
    world.server.loginAnswer = () => [];
    const client = await attempt(world);
    expect(client.isClosed).toBe(false);
    world.clock.advance(5100);
    await settle();
    expect(client.error?.message).toBe("login was not finished within login_timeout_ms (5000)");
    expect(world.counts()).toEqual(atRest);
  });
});

describe("what a failed login says of the server", () => {
  /** Dials with five seconds for it; a server that is silent has them pass. @returns what it says, in words of its cause. */
  async function judgement(world: World, signal = new AbortController().signal): Promise<unknown> {
    const dialer = createPostgresDialer({
      secrets,
      addressOf: () => ({ connect: { path: "/tmp/.s" }, tls: undefined }),
      connect: world.server.connect,
      reassertPassword: async () => undefined,
      sleep: (ms, over) => world.clock.sleep(ms, over),
      connectTimeoutMs: () => 5000,
    });
    const dialing = dialer.dial({ database, role: "admin", displayName: "myapp__wayne", parameters: new Map() }, signal).then(
      () => "logged in",
      (error) => [judgeServer(error), error.details?.cause?.message],
    );
    await settle();
    world.clock.advance(5000);
    return await dialing;
  }
  const late = "the database server took longer than server_connect_timeout_ms (5000)";

  const closing = (connection: FakeConnection): Uint8Array[] => {
    connection.hangUp();
    return [];
  };
  const refusing = (sqlstate: string, text: string) => () => [reply.error(sqlstate, text, "FATAL")];

  it.each<[string, unknown, Partial<Pick<World["server"], "refuseConnect" | "loginAnswer">>]>([
    ["refuses connections", ["away", "connect ECONNREFUSED"], { refuseConnect: new Error("connect ECONNREFUSED") }],
    ["closes without a word", ["away", "the database server closed the connection without a word"], { loginAnswer: closing }],
    ["says nothing", ["away", late], { loginAnswer: () => [] }],
    ["stops in the middle", [undefined, late], { loginAnswer: () => [message("R", int32(0))] }],
    ["is starting", ["starting", "the database system is starting up"], { loginAnswer: refusing("57P03", "the database system is starting up") }],
    ["lacks the database", [undefined, "no such database"], { loginAnswer: refusing("3D000", "no such database") }],
    ["takes no such role", [undefined, "no such role"], { loginAnswer: refusing("28000", "no such role") }],
    ["is none", [undefined, "the database server sent a malformed message"], { loginAnswer: () => [header("R", 0)] }],
    ["lets in", "logged in", {}],
  ])("that %s", async (_, said, script) => {
    const world = await World.create();
    Object.assign(world.server, script);
    expect(await judgement(world)).toEqual(said);
    expect(world.server.connections.filter((connection) => !connection.isClosed)).toHaveLength(said === "logged in" ? 1 : 0);
  });

  it("is nothing where the client has left", async () => {
    const world = await World.create();
    world.server.loginAnswer = () => [];
    const abort = new AbortController();
    const judging = judgement(world, abort.signal);
    abort.abort(new GatewayError("shutdown", "left"));
    expect(await judging).toEqual([undefined, undefined]);
  });
});

describe("a credential revoked while its client logs in", () => {
  it("is not lent a backend once its session was ended, nor greeted", async () => {
    const world = await World.create();
    const first = await world.pair();
    first.client.pipe.end(message("X", "")); // leaves an idle backend
    await settle();
    const before = [...world.server.last.queries];
    const client = world.connect();
    world.sessions.onIdentified = () => {
      for (const session of world.sessions.list()) session.terminate(new GatewayError("shutdown", "terminating connection due to gateway shutdown"));
    };
    await client.login(login);
    await settle();
    expect([client.types, client.error?.sqlstate]).toEqual(["RRRRE", "57P01"]);
    expect(world.server.last.queries).toEqual(before);
    expect(world.counts()).toEqual(atRest);
  });

  it("does not slip in, however long the client took", async () => {
    const world = await World.create();
    const client = world.connect();
    const write = client.pipe.write.bind(client.pipe);
    let messages = 0;
    client.pipe.write = (chunk) => {
      if (++messages === 3) {
        world.routes.candidates = world.routes.candidates.map((one) => (one.id === "key_tenant" ? { ...one, revokedAt: 1 } : one));
        world.routes.announce({ projectId, credentialId: "key_tenant" });
      }
      return write(chunk);
    };
    await client.login(login);
    expect(client.types).not.toContain("Z");
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "57P01" });
    expect(world.counts()).toEqual(atRest);
  });

  it("is not mistaken for one of too many keys to be tried at logins, whose sessions go on", async () => {
    const world = await World.create();
    const { client } = await world.pair();
    world.routes.untried = world.routes.candidates.splice(0, 1);
    world.routes.announce({ projectId });
    await settle();
    expect([client.isClosed, client.error]).toEqual([false, undefined]);
    world.routes.isAway = true;
    world.routes.announce({ projectId });
    await settle();
    expect(client.isClosed).toBe(false);
    world.routes.isAway = false;
    world.routes.untried = [];
    world.routes.announce({ projectId });
    await settle();
    expect(client.error).toMatchObject({ sqlstate: "57P01", message: "terminating connection: the credential was revoked or has expired" });
    expect(world.counts()).toEqual(atRest);
  });

  it("ends its sessions within a second of the store's answering again, whoever else hears of nothing", async () => {
    const world = await World.create();
    const { client } = await world.pair();
    world.routes.candidates = [];
    world.routes.isUsableAway = true;
    world.routes.announce({ projectId });
    await settle();
    world.clock.advance(1000);
    await settle();
    expect(client.isClosed).toBe(false);
    world.routes.isUsableAway = false;
    world.clock.advance(1000);
    await settle();
    expect(client.error).toMatchObject({ sqlstate: "57P01", message: "terminating connection: the credential was revoked or has expired" });
    const { asked } = world.routes;
    world.clock.advance(5000);
    await settle();
    expect(world.routes.asked).toBe(asked); // sure again
  });

  it("is told within its open session too, its statement cancelled", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(message("Q", "select pg_sleep(100)\0"));
    world.routes.candidates = [await makeCredential("key_other", "x", { type: "project" })];
    world.routes.announce({ projectId });
    await settle();
    expect(client.error).toMatchObject({
      severity: "FATAL",
      sqlstate: "57P01",
      message: "terminating connection: the credential was revoked or has expired",
    });
    expect(world.server.cancels).toHaveLength(1);
    expect(world.counts()).toEqual(atRest);
  });
});

describe("reset", () => {
  it.each([
    ["an error", [reply.error("25001", "DISCARD ALL cannot run inside a transaction block"), reply.ready()]],
    ["another tag", [reply.complete("SELECT 1"), reply.ready()]],
    ["a transaction still open", [reply.complete("DISCARD ALL"), reply.ready("T")]],
    ["no tag", [reply.ready()]],
    ["a row", [reply.row("1"), reply.complete("DISCARD ALL"), reply.ready()]],
    ["bytes behind the end", [reply.complete("DISCARD ALL"), reply.ready(), Buffer.from("x")]],
    ["one answer too many", [reply.complete("DISCARD ALL"), reply.ready(), reply.ready()]],
    ["a malformed length", [header("C", 1)]],
    ["a malformed report", [message("S", "x"), reply.complete("DISCARD ALL"), reply.ready()]],
  ])("answered by %s closes the backend", async (_, answer) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    world.server.answer = (frame) => (frame.body.toString() === "DISCARD ALL\0" ? [Buffer.concat(answer)] : undefined);
    client.pipe.destroy();
    await settle();
    expect(backend.isClosed).toBe(true);
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });

  it("that is never answered ends after its time", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    client.pipe.destroy();
    await settle();
    expect(world.pool.counts().open).toBe(1);
    world.clock.advance(10_000);
    await settle();
    expect(world.pool.counts().open).toBe(0);
  });

  it("takes notices, reports and late notifications in", async () => {
    const world = await World.create();
    const { client } = await world.pair();
    world.server.answer = (frame) =>
      frame.type === "Q"
        ? [
            reply.notice("n"),
            reply.notification("c", "p"),
            reply.parameter("a", "b"),
            reply.complete(frame.body.toString().replace("\0", "")),
            reply.ready(),
          ]
        : undefined;
    client.pipe.destroy();
    await settle();
    expect(world.pool.counts()).toEqual({ open: 1, idle: 1, waiting: 0 });
  });
});

describe("an idle backend", () => {
  it.each([
    ["says goodbye", [reply.error("57P01", "terminating connection due to administrator command", "FATAL")]],
    ["sends a malformed report", [message("S", "no terminator")]],
    ["sends half a message", [reply.parameter("a", "b").subarray(0, 6)]],
    ["sends a row", [reply.row("1")]],
  ])("that %s is never lent again", async (_, messages) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    client.pipe.destroy();
    await settle();
    backend.send(...messages);
    await settle();
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
    await world.client();
    expect(world.server.connections).toHaveLength(2);
  });

  it("that has idled for long is asked by one Sync, and lent when it says no more than that it is ready", async () => {
    const world = await World.create({ checkAfterMs: 30_000 });
    const { client, backend } = await world.pair();
    client.pipe.destroy();
    await settle();
    const before = backend.types;
    world.clock.advance(30_000);
    world.server.answer = (frame) => (frame.type === "S" ? [reply.parameter("TimeZone", "UTC"), reply.notice("n"), reply.ready()] : undefined);
    await world.client();
    expect(backend.types.slice(before.length)).toBe("S");
    expect(world.server.connections).toHaveLength(1);
    expect(world.pool.countsOf("main").vanished).toBe(0);
  });

  it.each<[string, (backend: FakeConnection) => Uint8Array[]]>([
    ["says nothing", () => []],
    ["is not at rest", () => [reply.ready("T")]],
    ["says too much", () => [Buffer.concat([reply.ready(), reply.ready()])]],
    [
      "closes",
      (backend) => {
        backend.hangUp();
        return [];
      },
    ],
  ])("that %s when it is asked is not lent: the client gets another, within three seconds", async (_, spoil) => {
    const world = await World.create({ checkAfterMs: 30_000 });
    const { client, backend } = await world.pair();
    client.pipe.destroy();
    await settle();
    world.clock.advance(30_000);
    world.server.answer = (_frame, connection) => (connection === backend ? spoil(connection) : undefined);
    const next = world.connect();
    const entering = next.login(login);
    while (!backend.types.includes("S")) await settle();
    world.clock.advance(3000);
    await entering;
    await settle();
    expect(next.types).toMatch(/Z$/);
    expect(world.server.connections).toHaveLength(2);
    expect(world.pool.countsOf("main")).toMatchObject({ open: 1, vanished: 1, closing: 0 });
  });
});
