/** Clients of one protocol on the port of another, in memory and in clear: what each is told, at every cut of its first bytes. */
import { describe, expect, it } from "vitest";
import { pipePair } from "../../../core/byte-pipe.ts";
import { ManualClock } from "../../../core/clock.ts";
import type { RedirectEngine } from "../../../core/doorman.ts";
import type { EngineName } from "../../../core/model.ts";
import { PipeReader } from "../../../core/pipe-reader.ts";
import { waitForFirstBytes } from "../../../engines/foreign/first-bytes.ts";
import { createMongoEngine } from "../../../engines/mongodb/engine.ts";
import { createMysqlEngine } from "../../../engines/mysql/engine.ts";
import { createRedisEngine } from "../../../engines/redis/engine.ts";
import { cancelPacket, errorFields, gssRequest, settle, splitFrames, sslRequest, startupPacket } from "../postgres/support/wire.ts";
import { atRest, World } from "../postgres/support/world.ts";
import { type Caller, DoorWorld, nobodyLeft } from "../support/door-world.ts";
import { mongoCommand, mongoIsMaster, openings, respCommand as resp } from "../support/openings.ts";

const engines: Partial<Record<EngineName, () => RedirectEngine>> = { MySQL: createMysqlEngine, MongoDB: createMongoEngine, Redis: createRedisEngine };
const ports = Object.keys(engines) as EngineName[];
const startup = startupPacket({ user: "tdb_2abf90d3", database: "myapp__wayne" });

function open(port: EngineName, options = {}) {
  const world = new DoorWorld(options);
  return { world, caller: world.connect((engines[port] as () => RedirectEngine)()) };
}

async function leave(world: DoorWorld, caller: Caller) {
  caller.pipe.end();
  await settle();
  expect(world.counts()).toEqual(nobodyLeft);
  expect(world.lines.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
}

/** What a MongoDB reply says, read as text: field names and strings stand in it as they are. */
const told = (port: string, spoken: string, at: number) => `this is the ${port} port; connect to ${spoken} on port ${at}`;

describe.each(ports)("foreign clients on the %s port", (port) => {
  it("tells PostgreSQL's at its start-up packet, after N to SSLRequest and GSSENCRequest", async () => {
    const { world, caller } = open(port);
    expect(await caller.ask(gssRequest)).toBe("N");
    expect(await caller.ask(sslRequest)).toBe("N");
    await caller.ask(startup);
    const [frame] = splitFrames(caller.received).frames;
    expect(errorFields(frame?.body ?? Buffer.of())).toMatchObject({ S: "FATAL", C: "08P01", M: told(port, "PostgreSQL", 5432) });
    expect(caller.isClosed).toBe(true);
    expect(world.reasons("wrong protocol")).toEqual([`a PostgreSQL client came to the ${port} port`]);
    await leave(world, caller);
  });

  it("says nothing to a CancelRequest, and PostgreSQL's own words to a start-up packet that is none", async () => {
    const { world, caller } = open(port);
    expect(await caller.ask(cancelPacket(1, Buffer.alloc(4)))).toBe("");
    expect(caller.isClosed).toBe(true);
    await leave(world, caller);
    const other = open(port);
    expect(await other.caller.ask(startupPacket({ user: "u" }, 131072))).toContain("unsupported frontend protocol 2.0");
    await leave(other.world, other.caller);
  });

  it("tells web clients every port", async () => {
    const { world, caller } = open(port);
    const answer = await caller.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const [head = "", body] = answer.split("\r\n\r\n");
    expect(head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*Connection: close$/);
    expect(body).toBe(
      `this is the ${port} port, which does not speak HTTP; connect to PostgreSQL on port 5432, MySQL on port 3306, MongoDB on port 27017, Redis on port 6379. The management API has a port of its own\n`,
    );
    expect(head).toContain(`Content-Length: ${Buffer.byteLength(body ?? "")}`);
    expect(caller.isClosed).toBe(true);
    await leave(world, caller);
  });

  it.each([
    ["SSH", "SSH-2.0-OpenSSH_9.2\r\n", "an SSH client"],
    ["PROXY", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "a PROXY protocol header, which is not expected from this address,"],
    ["junk", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a client of an unknown protocol"],
  ])("closes %s without a word, and says so in the log", async (_, bytes, described) => {
    const { world, caller } = open(port);
    expect(await caller.ask(Buffer.from(bytes, "latin1"))).toBe("");
    expect(caller.isClosed).toBe(true);
    expect(world.reasons("wrong protocol")).toEqual([`${described} came to the ${port} port`]);
    await leave(world, caller);
  });

  it("closes a TLS client where TLS is off, and says so in the log", async () => {
    const { world, caller } = open(port);
    const hello = openings.find(([, protocol]) => protocol === "TLS")?.[2] as Uint8Array;
    expect(await caller.ask(hello)).toBe("");
    expect(caller.isClosed).toBe(true);
    expect(world.reasons("wrong protocol")).toEqual(["a TLS client came while TLS is off"]);
    await leave(world, caller);
  });

  it("says that the right port is off where it is", async () => {
    const { world, caller } = open(port, { ports: { [port]: 1 } });
    expect(await caller.ask(startup)).toContain(`this is the ${port} port; the PostgreSQL port of this gateway is off`);
    await leave(world, caller);
  });

  it("tells a banned address of its ban instead", async () => {
    const { world, caller } = open(port);
    for (let i = 0; i < 10; i++) world.bans.recordFailure("127.0.0.1");
    const banned = world.connect((engines[port] as () => RedirectEngine)());
    expect(await banned.ask(startup)).toContain("connection rejected: your IP is temporarily rate-limited");
    caller.pipe.end();
    await leave(world, banned);
  });

  it("answers alike wherever the first bytes are cut", async () => {
    for (const [, protocol, bytes] of openings) {
      if (protocol === port || protocol === "MySQL" || protocol === "TLS" || bytes === sslRequest) continue;
      const whole = open(port);
      const answer = await whole.caller.ask(bytes);
      await leave(whole.world, whole.caller);
      for (let cut = 1; cut < bytes.length; cut++) {
        const { world, caller } = open(port);
        await caller.ask(bytes.subarray(0, cut));
        const before = caller.received;
        await caller.ask(bytes.subarray(cut));
        const all = Buffer.concat([before, caller.received]);
        // hello tells the time
        if (protocol === "MongoDB") expect(all.length).toBe(Buffer.byteLength(answer, "utf8") === 0 ? 0 : all.length);
        else expect(all.toString("utf8")).toBe(answer);
        await leave(world, caller);
      }
    }
  });
});

describe.each(ports.filter((port) => port !== "Redis"))("Redis clients on the %s port", (port) => {
  it("are let settle, and told in answer to every command", async () => {
    const { world, caller } = open(port);
    const text = `-NOPERM ${told(port, "Redis", 6379)}\r\n`;
    expect(await caller.ask(resp("HELLO", "3", "AUTH", "u", "p"))).toMatch(/^%7\r\n/);
    expect(await caller.ask(resp("CLIENT", "SETINFO", "LIB-NAME", "x"), resp("INFO"), resp("GET", "a"), "PING\r\n")).toBe(`+OK\r\n${text.repeat(3)}`);
    expect(caller.isClosed).toBe(false);
    expect(await caller.ask(resp("SET", "a", "x".repeat(100_000)))).toBe(text);
    expect(caller.isClosed).toBe(true);
    expect(world.looked).toBe(0);
    await leave(world, caller);
  });
});

describe.each(ports.filter((port) => port !== "MongoDB"))("MongoDB clients on the %s port", (port) => {
  it("are greeted, and told in answer to every command", async () => {
    const { world, caller } = open(port);
    const hello = await caller.ask(mongoIsMaster());
    expect(caller.received.readInt32LE(12)).toBe(1);
    expect(hello).toContain("maxWireVersion");
    for (const name of ["saslStart", "find", "ping"]) {
      const answer = await caller.ask(mongoCommand({ [name]: 1, $db: "x" }, 42));
      expect(caller.received.readInt32LE(8)).toBe(42);
      expect(answer).toContain(told(port, "MongoDB", 27017));
      expect(answer).toContain("AtlasError");
    }
    expect(caller.isClosed).toBe(false);
    await leave(world, caller);
  });
});

describe("the PostgreSQL port", () => {
  const ports = { PostgreSQL: 5432, MySQL: 3306, MongoDB: 27017, Redis: 6379 };

  async function say(...sent: (Uint8Array | string)[]) {
    const world = await World.create({ ports });
    const client = world.connect();
    for (const each of sent) await client.say(Buffer.from(each as string));
    const received = client.received.toString("utf8");
    const { isClosed } = client;
    client.pipe.end();
    await settle();
    expect(world.counts()).toEqual(atRest);
    expect(world.lines.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
    return { received, isClosed, reasons: world.lines.map((line) => line.fields?.reason) };
  }

  it("tells Redis's clients", async () => {
    const { received, isClosed } = await say(resp("HELLO", "3", "AUTH", "u", "p"), resp("GET", "a"));
    expect(received).toMatch(/^%7[\s\S]*-NOPERM this is the PostgreSQL port; connect to Redis on port 6379\r\n$/);
    expect(isClosed).toBe(false);
  });

  it("tells MongoDB's clients", async () => {
    const { received } = await say(mongoIsMaster(), mongoCommand({ find: 1, $db: "x" }));
    expect(received).toContain("maxWireVersion");
    expect(received).toContain("this is the PostgreSQL port; connect to MongoDB on port 27017");
  });

  it("tells web clients", async () => {
    const { received, isClosed, reasons } = await say("GET / HTTP/1.1\r\n\r\n");
    expect(received).toMatch(/^HTTP\/1.1 400 Bad Request\r\n[\s\S]*this is the PostgreSQL port, which does not speak HTTP[^\r\n]*\n$/);
    expect(isClosed).toBe(true);
    expect(reasons).toContain("an HTTP client came to the PostgreSQL port");
  });

  it.each([
    ["SSH", "SSH-2.0-x\r\n", "an SSH client came to the PostgreSQL port"],
    ["TLS where it is off", Buffer.from("1603010200010001fc0303", "hex"), "a TLS client came while TLS is off"],
  ])("closes %s without a word", async (_, bytes, reason) => {
    const { received, isClosed, reasons } = await say(bytes);
    expect(received).toBe("");
    expect(isClosed).toBe(true);
    expect(reasons).toContain(reason);
  });

  it("refuses what it does not know in PostgreSQL's words, as ever", async () => {
    for (const bytes of [Buffer.alloc(40, 255), Buffer.from("what is this\n", "latin1").fill(1, 0, 1)]) {
      const { received, isClosed } = await say(bytes);
      expect(received).toContain("invalid length of startup packet");
      expect(isClosed).toBe(true);
    }
  });

  it("says what silence means in the log", async () => {
    const world = await World.create({ loginTimeoutMs: 5000 });
    const client = world.connect();
    world.clock.advance(5100);
    await settle();
    expect(client.isClosed).toBe(true);
    expect(world.lines.at(-1)?.fields).toMatchObject({
      cause: "the client sent nothing, as a MySQL client does that waits for the server to speak first",
    });
    client.pipe.end();
  });
});

describe("waiting for first bytes", () => {
  async function waiting(ms = 25) {
    const clock = new ManualClock();
    const abort = new AbortController();
    const [near, far] = pipePair();
    const reader = new PipeReader(far, 1024, abort.signal);
    const answer = waitForFirstBytes(reader, ms, clock, abort.signal);
    await settle();
    return { clock, abort, near, reader, answer };
  }

  it("says no when the time is over, and leaves the reader as it was", async () => {
    const { clock, near, reader, answer } = await waiting();
    clock.advance(24);
    await settle();
    clock.advance(1);
    expect(await answer).toBe(false);
    near.write(Uint8Array.of(1, 2));
    expect([...(await reader.read(2))]).toEqual([1, 2]);
  });

  it("says yes as soon as something comes, without taking it", async () => {
    const { near, reader, answer } = await waiting();
    near.write(Uint8Array.of(7));
    expect(await answer).toBe(true);
    expect([...(await reader.read(1))]).toEqual([7]);
  });

  it("asks once without waiting where there is no time", async () => {
    expect(await (await waiting(0)).answer).toBe(false);
  });

  it("ends when the client leaves, and throws when it is aborted", async () => {
    const left = await waiting();
    left.near.end();
    expect(await left.answer).toBe(false);
    const aborted = await waiting();
    aborted.abort.abort(new Error("enough"));
    await expect(aborted.answer).rejects.toThrow("enough");
  });
});
