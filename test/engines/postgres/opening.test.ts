/** The first bytes of a connection, legal and not: negotiation, lengths, order, versions, cuts. */
import { describe, expect, it } from "vitest";
import { cancelPacket, gssRequest, header, int32, message, settle, splitFrames, sslRequest, startupPacket } from "./support/wire.ts";
import { atRest, projectId, World } from "./support/world.ts";

const startup = startupPacket({ user: projectId, database: "myapp__wayne" });
const login = { user: projectId, database: "myapp__wayne", password: "tenant-pw" };

async function refused(world: World, ...sent: Uint8Array[]) {
  const client = world.connect();
  await client.say(...sent);
  const { error, types } = client;
  await settle();
  client.pipe.destroy();
  await settle();
  expect(world.counts()).toEqual(atRest);
  return { error, types, client };
}

describe("opening", () => {
  it("answers SSLRequest and GSSENCRequest with N where there is no TLS, then goes on", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.say(gssRequest);
    await client.say(sslRequest);
    expect(client.received.toString()).toBe("NN");
    client.clear();
    await client.login(login);
    expect(client.types).toMatch(/Z$/);
  });

  it.each([
    ["SSLRequest", sslRequest],
    ["GSSENCRequest", gssRequest],
  ])("refuses a %s with one byte more behind it, and parses none of it", async (_, request) => {
    const world = await World.create();
    for (const stuffed of [startup, Buffer.from("x")]) {
      const { error } = await refused(world, request, stuffed);
      expect(error).toMatchObject({ severity: "FATAL", sqlstate: "08P01", message: "received unencrypted data after SSL request" });
    }
    expect(world.routes.asked).toBe(0);
  });

  it("closes at the third negotiation, however many are sent", async () => {
    const world = await World.create();
    const client = world.connect();
    let sent = 0;
    while (!client.isClosed && sent < 10_000) {
      await client.say(sent % 2 ? gssRequest : sslRequest);
      sent++;
    }
    expect(sent).toBe(3);
    expect(client.received.toString("latin1")).toMatch(/^NNE/);
    expect(world.counts()).toEqual(atRest);
  });

  it.each([0, 3, 7, 10_001, 0x7fffffff, 0x80000000, 0xffffffff, 0x47455420])(
    "refuses a packet that claims %i bytes on its header alone",
    async (length) => {
      const world = await World.create();
      const { error } = await refused(world, int32(length));
      expect(error).toMatchObject({ severity: "FATAL", sqlstate: "08P01", message: "invalid length of startup packet" });
    },
  );

  it.each([
    ["at once", []],
    ["after a negotiation", [sslRequest]],
  ])("a Terminate before the StartupMessage, %s: closes without a word, as PostgreSQL does", async (_, before) => {
    const world = await World.create();
    const client = world.connect();
    for (const packet of before) await client.say(packet);
    client.clear();
    await client.say(header("X", 4));
    expect(client.isClosed).toBe(true);
    expect(client.received.length).toBe(0);
    expect(world.counts()).toEqual(atRest);
  });

  it.each([0, 3, 1029, 10_001, 0x7fffffff, 0xffffffff])("refuses a SASL message that claims %i bytes on its header alone", async (length) => {
    const world = await World.create();
    const { error, types } = await refused(world, startup, header("p", length));
    expect(error).toMatchObject({ severity: "FATAL", sqlstate: "08P01" });
    expect(types).toBe("RE");
  });

  it.each([
    ["another StartupMessage", startupPacket({ user: "tdb_00000000", database: "postgres" })],
    ["an SSLRequest", sslRequest],
    ["a Query", message("Q", "select 1\0")],
    ["a Terminate", message("X")],
    ["a Sync", message("S")],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ])("refuses %s while it waits for SASL", async (_, bytes) => {
    const world = await World.create();
    expect((await refused(world, startup, bytes)).types).toBe("RE");
    const data = Buffer.from("n,,n=,r=abc");
    const later = await refused(world, startup, message("p", "SCRAM-SHA-256\0", int32(data.length), data), bytes);
    expect(later.types).toBe("RRE");
    expect(later.error).toMatchObject({ severity: "FATAL", sqlstate: "08P01" });
    expect(world.server.connections).toHaveLength(0);
  });

  it("refuses what is sent behind the last SASL message before the answer, and lets no statement through", async () => {
    const world = await World.create();
    const client = world.connect();
    const write = client.pipe.write.bind(client.pipe);
    let messages = 0;
    client.pipe.write = (chunk) => write(++messages === 3 ? Buffer.concat([chunk, message("Q", "drop table x\0")]) : chunk);
    await client.login(login);
    expect(client.types).toBe("RRE");
    expect(client.error).toMatchObject({ sqlstate: "08P01", message: "received data before authentication was complete" });
    expect(world.server.connections).toHaveLength(0);
  });

  it("refuses what is sent while the session is made ready, before the client has been told that it is in", async () => {
    const world = await World.create();
    const client = world.connect();
    world.server.loginAnswer = (connection) => {
      client.send(message("Q", "select 1\0"));
      return world.server.welcome(connection);
    };
    await client.login(login);
    await settle();
    expect(client.types).toBe("RRRRE");
    expect(client.error).toMatchObject({ sqlstate: "08P01", message: "received data before authentication was complete" });
    expect(world.server.last.queries).not.toContain("select 1");
  });

  it.each([
    [196608, {}, undefined, 4],
    [196609, {}, [196608, []], 4],
    [196610, {}, undefined, 32],
    [196611, {}, [196610, []], 32],
    [196608 + 9999, { "_pq_.foo": "1", "_pq_.bar": "" }, [196610, ["_pq_.foo", "_pq_.bar"]], 32],
    [196608, { "_pq_.foo": "1" }, [196608, ["_pq_.foo"]], 4],
  ] as const)("speaks protocol %i with options %j", async (version, options, negotiated, keyBytes) => {
    const world = await World.create();
    const client = world.connect();
    await client.login({ ...login, version, parameters: options });
    expect(client.types).toMatch(/Z$/);
    expect(client.key.secret).toHaveLength(keyBytes);
    const answer = client.frames.find((frame) => frame.type === "v")?.body;
    const expected =
      negotiated && Buffer.concat([int32(negotiated[0]), int32(negotiated[1].length), ...negotiated[1].map((name) => Buffer.from(`${name}\0`))]);
    expect(answer).toEqual(expected);
    expect([...world.server.last.startup.keys()].sort()).toEqual(["database", "user"]);
  });

  it.each([
    ["2.0", 131072],
    ["4.0", 262144],
    ["1234.5681", 80877105],
  ])("refuses protocol %s", async (version, code) => {
    const world = await World.create();
    const { error } = await refused(world, startupPacket({ user: projectId }, code));
    expect(error).toMatchObject({ sqlstate: "08P01", message: `unsupported frontend protocol ${version}: server supports 3.0 to 3.2` });
  });

  it.each([
    ["no terminator", message("", int32(196608), "user\0x\0")],
    ["no value", message("", int32(196608), "user\0")],
    ["bytes behind the terminator", message("", int32(196608), "user\0x\0\0y")],
    ["65 parameters", message("", int32(196608), ...Array.from({ length: 65 }, (_, i) => `p${i}\0v\0`), "\0")],
    ["a CancelRequest without a key", message("", int32(80877102), int32(1))],
    ["a CancelRequest with 257 bytes of key", message("", int32(80877102), int32(1), Buffer.alloc(257))],
    ["an SSLRequest of nine bytes", message("", int32(80877103), "x")],
  ])("refuses a packet with %s", async (_, packet) => {
    const world = await World.create();
    expect((await refused(world, packet)).error).toMatchObject({ severity: "FATAL", sqlstate: "08P01" });
  });

  it("refuses a packet without a user", async () => {
    const world = await World.create();
    expect((await refused(world, startupPacket({ database: "myapp__wayne" }))).error).toMatchObject({ sqlstate: "28000" });
  });

  it.each(["__proto__", "constructor", "a\nb", "\u001b[31mred", "\u202Ebidi", "x".repeat(9000), '"; drop'])(
    "treats the user %j as a wrong password",
    async (user) => {
      const world = await World.create();
      const client = world.connect();
      await client.login({ user, database: "__proto__", password: "x" });
      expect(client.error?.sqlstate).toBe("28P01");
      expect(client.error?.message).toMatch(/^password authentication failed for user "[^\p{Cc}\p{Cf}]{1,63}"$/u);
      expect(world.lines.every((line) => !/\p{Cc}/u.test(String(line.fields?.user)))).toBe(true);
    },
  );

  it("takes a login byte by byte", async () => {
    const world = await World.create();
    const client = world.connect();
    const write = client.pipe.write.bind(client.pipe);
    client.pipe.write = (chunk) => {
      for (const byte of chunk) write(Uint8Array.of(byte));
      return true;
    };
    await client.login(login);
    expect(client.types).toMatch(/Z$/);
  });

  it("forgets a client that leaves at any byte of the way in", async () => {
    const world = await World.create();
    const recorded: Buffer[] = [];
    const first = world.connect();
    const write = first.pipe.write.bind(first.pipe);
    first.pipe.write = (chunk) => {
      recorded.push(Buffer.from(chunk));
      return write(chunk);
    };
    await first.login(login);
    first.pipe.destroy();
    const all = Buffer.concat(recorded);
    for (let cut = 0; cut <= all.length; cut++) {
      const client = world.connect();
      client.send(all.subarray(0, cut));
      client.pipe.end();
      await settle();
    }
    expect(world.counts()).toEqual(atRest);
    expect(world.lines.filter((line) => line.level === "error" || line.level === "warn")).toEqual([]);
    expect(world.bans.list()).toEqual([]);
  });

  it("closes a client that does not log in within login_timeout_ms, and says so", async () => {
    const world = await World.create({ loginTimeoutMs: 5000 });
    const silent = world.connect();
    const half = world.connect();
    await half.say(startup);
    world.clock.advance(5100);
    await settle();
    for (const client of [silent, half])
      expect(client.error).toMatchObject({ sqlstate: "08P01", message: "login was not finished within login_timeout_ms (5000)" });
    expect(world.counts()).toEqual(atRest);
  });

  it("sends the slowest away when too many are logging in, in a burst too, and touches nobody who is in", async () => {
    const world = await World.create({ maxUnauthenticated: 3 });
    const settled = await world.client();
    const burst = Array.from({ length: 10 }, () => world.connect());
    await settle();
    expect(burst.map((client) => client.isClosed)).toEqual([...Array(7).fill(true), false, false, false]);
    expect(settled.isClosed).toBe(false);
    await burst[9]!.login(login);
    expect(burst[9]!.types).toMatch(/Z$/);
  });

  it("sends nobody away for the many of another address that are logging in, an exempt one apart", async () => {
    const world = await World.create({ maxUnauthenticated: 6, limits: { exempt: ["192.0.2.1"] } });
    const slow = ["192.0.2.2", "2001:db8:1:2::1", "192.0.2.1"].map((address) => world.connect(address));
    const many = Array.from({ length: 20 }, (_, i) => world.connect(`2001:db8::${i}`)); // one /64
    await settle();
    expect(slow.map((client) => client.isClosed)).toEqual([false, false, false]);
    expect(many.map((client) => client.isClosed)).toEqual([...Array(17).fill(true), false, false, false]);
    const exempt = Array.from({ length: 2 }, () => world.connect("192.0.2.1"));
    await settle();
    expect([...slow, ...exempt].map((client) => client.isClosed)).toEqual(Array(5).fill(false));
    expect(many.filter((client) => !client.isClosed)).toHaveLength(1);
  });

  it("answers a CancelRequest with nothing but the end of the connection", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.say(cancelPacket(1, Buffer.alloc(4)));
    expect(client.received).toHaveLength(0);
    expect(client.isClosed).toBe(true);
  });

  it("answers nothing that is no message", async () => {
    const world = await World.create();
    const client = world.connect();
    await client.login({ ...login, password: "wrong" });
    const { rest } = splitFrames(client.received);
    expect(rest).toHaveLength(0);
    expect(client.isClosed).toBe(true);
  });
});
