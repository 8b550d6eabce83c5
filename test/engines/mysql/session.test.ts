/** Whole MySQL sessions over an in-memory connection: logins, refusals and their order, commands, endings, random clients. */
import { afterEach, describe, expect, test } from "vitest";
import { GatewayError } from "../../../core/errors.ts";
import { Prng } from "../postgres/support/prng.ts";
import { settle } from "../postgres/support/wire.ts";
import { makeCredential, projectId } from "../postgres/support/world.ts";
import { nobodyLeft } from "../support/door-world.ts";
import { type MysqlGuest, MysqlWorld } from "./support/guest.ts";
import { packet, readColumn, readError, responseBody, splitPackets, sslRequest } from "./support/wire.ts";

const redirect = 'blueprint "shop" is MySQL; this gateway does not proxy MySQL yet. Connect to it directly at db.example:3306.';
const worlds: MysqlWorld[] = [];

async function makeWorld(...options: Parameters<typeof MysqlWorld.create>): Promise<MysqlWorld> {
  const world = await MysqlWorld.create(...options);
  worlds.push(world);
  return world;
}

/** A client that is in, without a database. */
async function enter(world: MysqlWorld, password = "project-pw"): Promise<MysqlGuest> {
  const guest = await world.dial();
  const answer = await guest.login({ password });
  expect(answer.body.toString("hex")).toBe("00000002000000");
  return guest;
}

/** Every session has ended and nothing went wrong inside. */
afterEach(async () => {
  for (const world of worlds.splice(0)) {
    world.sessions.stop();
    world.gate.stop();
    expect(world.lines.filter(({ event }) => event === "internal error")).toEqual([]);
  }
});

describe("login", () => {
  test("greets, upgrades, asks for the password and redirects in place of OK, byte for byte", async () => {
    const world = await makeWorld();
    const guest = await world.dial();
    expect(guest.text).toMatch(/^[\s\S]{3}\0\n8\.4\.0-tenantry\0/);
    await guest.ask(sslRequest());
    expect(guest.received).toHaveLength(0);
    await guest.ask(packet(2, responseBody({ user: projectId, database: "shop_workspace" })));
    expect(guest.received.toString("hex")).toBe("02000003" + "0104");
    await guest.ask(packet(4, "project-pw\0"));
    expect(guest.received).toEqual(packet(5, Buffer.from([0xff, 0x19, 0x04]), `#42000${redirect}`));
    expect(guest.isClosed).toBe(true);
    expect(world.counts()).toEqual(nobodyLeft);
  });

  test.each([
    ["shop_workspace", "project-pw", 1049, "42000", redirect],
    ["plain_workspace", "project-pw", 1049, "42000", 'blueprint "plain" is MySQL; this gateway does not proxy MySQL yet.'],
    ["myapp_workspace", "project-pw", 1049, "42000", 'blueprint "myapp" is PostgreSQL, not MySQL. Connect via the postgres proxy instead.'],
    ["nowhere_workspace", "project-pw", 1049, "42000", 'database "nowhere_workspace" does not exist'],
    ["mysql", "project-pw", 1049, "42000", 'database "mysql" does not exist'],
    ["shop_workspace", "tenant-pw", 1044, "42000", 'credential scoped to tenants [wayne], attempted workspace "shop"'],
    ["shop_workspace", "wrong", 1045, "28000", `password authentication failed for user "${projectId}"`],
    ["nowhere_workspace", "wrong", 1045, "28000", `password authentication failed for user "${projectId}"`],
  ])("%s with %s is told %i", async (database, password, code, state, message) => {
    const world = await makeWorld();
    const guest = await world.dial();
    expect(await guest.loginError({ database, password })).toEqual({ number: 5, code, state, message });
    expect(world.counts()).toEqual(nobodyLeft);
  });

  test.each(["mysql_native_password", "mysql_clear_password", ""])("leads a client of plugin %j to the one that works", async (plugin) => {
    const guest = await (await makeWorld()).dial();
    const response = packet(2, responseBody({ user: projectId, plugin, database: "shop_workspace" }));
    const [change] = await guest.exchange(sslRequest(), response);
    expect(change!.body.toString("latin1")).toMatch(/^\xfecaching_sha2_password\0[A-Za-z0-9./]{20}\0$/);
    const [asked] = await guest.exchange(packet(4, Buffer.alloc(32, 1)));
    expect(asked!.body).toEqual(Buffer.from([1, 4]));
    const [last] = await guest.exchange(packet(6, "project-pw\0"));
    expect(readError(last!)).toMatchObject({ number: 7, code: 1049, message: redirect });
  });

  test("tells a client that knows no plugins that it is too old", async () => {
    const guest = await (await makeWorld()).dial();
    const [last] = await guest.exchange(sslRequest(), packet(2, responseBody({ user: projectId, plugin: null })));
    expect(readError(last!)?.message).toContain("does not support the authentication plugin caching_sha2_password");
  });

  test("counts an empty password as a wrong one, and asks for nothing more", async () => {
    const world = await makeWorld();
    for (const token of [new Uint8Array(0), Uint8Array.of(0)]) {
      const guest = await world.dial();
      expect(await guest.loginError({ token, password: "never sent" })).toMatchObject({ number: 3, code: 1045 });
    }
    expect(world.looked).toBe(2);
  });

  test("refuses another project's user name with a password that is good elsewhere", async () => {
    const guest = await (await makeWorld()).dial();
    expect(await guest.loginError({ user: "tdb_00000000", password: "project-pw" })).toMatchObject({ code: 1045, state: "28000" });
  });

  test("refuses what has expired", async () => {
    const world = await makeWorld();
    world.add(await makeCredential("key_old", "old-pw", { type: "project" }, { expiresAt: world.clock.wallMs() - 1 }), "shop_workspace");
    const guest = await world.dial();
    expect(await guest.loginError({ password: "old-pw" })).toMatchObject({ code: 1045 });
  });
});

describe("refusals before the password", () => {
  test("without TLS, wherever it comes from", async () => {
    for (const address of ["127.0.0.1", "192.0.2.1"]) {
      const world = await makeWorld({ tlsRequired: "never" });
      const guest = await world.dial(address);
      const [last] = await guest.exchange(packet(1, responseBody({ user: projectId })));
      const message = "TLS is required: connect with --ssl-mode=REQUIRED";
      expect(readError(last!)).toEqual({ number: 2, code: 1045, state: "28000", message });
      expect(world.looked).toBe(0);
    }
  });

  test("too many connections: told after TLS, before the password is asked for", async () => {
    const world = await makeWorld({ limits: { maxConnections: 1 } });
    await enter(world);
    const guest = await world.dial();
    const message = "connection rejected: too many connections from your IP (limit 1)";
    expect(await guest.loginError({ password: "project-pw" })).toEqual({ number: 3, code: 1040, state: "08004", message });
    expect(world.looked).toBe(1);
  });

  test("a ban, raised by wrong passwords, in clear too; other addresses are let in", async () => {
    const world = await makeWorld();
    for (let at = 0; at < 10; at++) await (await world.dial()).login({ password: "wrong" });
    const guest = await world.dial();
    const message = "connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in 60s";
    expect(await guest.loginError({ password: "project-pw" })).toMatchObject({ code: 1040, state: "08004", message });
    const plain = await (await world.dial()).exchange(packet(1, responseBody({ user: projectId })));
    expect(readError(plain[0]!)).toMatchObject({ number: 2, code: 1040, message });
    const other = await world.dial("192.0.2.2");
    expect(await other.loginError({ password: "project-pw", database: "shop_workspace" })).toMatchObject({ code: 1049 });
    world.clock.advance(60_000);
    expect(await (await world.dial()).loginError({ password: "project-pw", database: "shop_workspace" })).toMatchObject({ code: 1049 });
  });

  test.each([
    ["a wrong number", Buffer.concat([packet(0, responseBody({ user: "u" }))]), "the client sent something else"],
    ["a packet that is too long", Buffer.from([0, 0, 2, 1]), "longer than is read here"],
    ["a response cut short", packet(1, responseBody({ user: "u" }).subarray(0, 20)), "invalid HandshakeResponse packet"],
  ])("%s", async (_, bytes, text) => {
    const world = await makeWorld();
    const guest = await world.dial();
    const answer = readError((await guest.exchange(bytes)).at(-1)!);
    expect(answer).toMatchObject({ code: 1043, state: "08S01" });
    expect(answer?.message).toContain(text);
    expect(world.counts()).toEqual(nobodyLeft);
  });
});

describe("without a database", () => {
  test("answers what clients ask as they start", async () => {
    const guest = await enter(await makeWorld());
    expect(readColumn(await guest.query("SELECT 1"))).toEqual(["1"]);
    expect(readColumn(await guest.query("select @@version"))).toEqual(["8.4.0-tenantry"]);
    expect(readColumn(await guest.query("SELECT DATABASE()"))).toEqual([null]);
    expect(readColumn(await guest.query("SELECT USER()"))).toEqual([`${projectId}@%`]);
    expect(readColumn(await guest.query("SHOW VARIABLES LIKE 'net\\_%'"))).toEqual(["net_buffer_length", "net_write_timeout"]);
    expect(readColumn(await guest.query("SHOW WARNINGS"))).toEqual([]);
    for (const packets of [await guest.query("SET NAMES utf8mb4"), await guest.command(0x0e), await guest.command(0x1f)]) {
      expect(packets.map(({ number, body }) => [number, body[0]])).toEqual([[1, 0]]);
    }
    expect(readError((await guest.query("SELECT @@nonsense"))[0]!)).toMatchObject({ code: 1193, message: "Unknown system variable 'nonsense'" });
    expect(readError((await guest.query(";"))[0]!)).toMatchObject({ code: 1065 });
  });

  test("lists what the credential reaches", async () => {
    const world = await makeWorld();
    expect(readColumn(await (await enter(world)).query("SHOW DATABASES"))).toEqual(["myapp_workspace", "plain_workspace", "shop_workspace"]);
    expect(readColumn(await (await enter(world, "tenant-pw")).query("SHOW DATABASES"))).toEqual(["myapp__wayne"]);
    expect(readColumn(await (await enter(world)).query("SHOW SCHEMAS LIKE 'shop%'"))).toEqual(["shop_workspace"]);
  });

  test("tells where to go, and lets the client try another", async () => {
    const guest = await enter(await makeWorld());
    const refusals = [
      await guest.command(2, "shop_workspace"),
      await guest.query("USE `shop_workspace`"),
      await guest.query("USE myapp__wayne"),
      await guest.query("SELECT * FROM orders"),
      await guest.command(0x16, "SELECT ?"),
      await guest.command(0x11, "user\0"),
    ].map((packets) => readError(packets[0]!));
    expect(refusals).toMatchObject([
      { number: 1, code: 1049, message: redirect },
      { number: 1, code: 1049, message: redirect },
      { code: 1044, message: "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key" },
      { code: 1046, state: "3D000" },
      { code: 1046, state: "3D000" },
      { code: 1047, state: "08S01" },
    ]);
    expect(readColumn(await guest.query("SELECT 1"))).toEqual(["1"]);
  });

  test("takes the only database in reach for the one that is meant", async () => {
    const guest = await enter(await makeWorld(), "tenant-pw");
    expect(readError((await guest.query("SELECT * FROM orders"))[0]!)).toMatchObject({
      code: 1049,
      message: 'blueprint "myapp" is PostgreSQL, not MySQL. Connect via the postgres proxy instead.',
    });
  });

  test("answers pipelined commands one by one, and those without an answer not at all", async () => {
    const guest = await enter(await makeWorld());
    const packets = await guest.exchange(
      packet(0, "\x0e"),
      packet(0, Buffer.from([0x19, 1, 0, 0, 0])),
      packet(0, "\x0e"),
      packet(0, "\x18"),
      packet(0, "\x0e"),
    );
    expect(packets.map(({ body }) => body[0])).toEqual([0, 0, 0]);
  });

  test("ends when the client quits, and when it leaves", async () => {
    const world = await makeWorld();
    const polite = await enter(world);
    expect(await polite.command(1)).toEqual([]);
    expect(polite.isClosed).toBe(true);
    const rude = await enter(world);
    rude.pipe.destroy();
    await settle();
    expect(world.counts()).toEqual(nobodyLeft);
  });

  test("keeps the connection while the store is away", async () => {
    const world = await makeWorld();
    const guest = await enter(world);
    const away = new GatewayError("store_unavailable", "credentials cannot be looked up right now, try again");
    world.isAway = away;
    const message = away.message;
    expect(readError((await guest.query("SHOW DATABASES"))[0]!)).toMatchObject({ code: 1105, state: "HY000", message });
    expect(readError((await guest.query("SELECT * FROM t"))[0]!)).toMatchObject({ code: 1105, message });
    world.isAway = undefined;
    expect(readColumn(await guest.query("SHOW DATABASES"))).toHaveLength(3);
  });
});

describe("endings", () => {
  test("a client that does not log in is told so at the login timeout; one that has may stay", async () => {
    const world = await makeWorld({ loginTimeoutMs: 5000 });
    const slow = await world.dial();
    const inside = await enter(world);
    await slow.ask();
    world.clock.advance(5100);
    await settle();
    expect(readError(splitPackets(slow.received)[0]!)).toEqual({
      number: 1,
      code: 1159,
      state: "08S01",
      message: "login was not finished within login_timeout_ms (5000)",
    });
    expect(readColumn(await inside.query("SELECT 1"))).toEqual(["1"]);
  });

  test("a client that is in is told when the gateway stops", async () => {
    const world = await makeWorld();
    const guest = await enter(world);
    await guest.ask();
    await world.sessions.drain(0);
    await settle();
    const message = "terminating connection due to gateway shutdown";
    expect(readError(splitPackets(guest.received)[0]!)).toEqual({ number: 1, code: 1053, state: "08S01", message });
    expect(world.counts()).toEqual(nobodyLeft);
  });
});

describe("any way the bytes come", () => {
  const script = (): Buffer =>
    Buffer.concat([
      sslRequest(),
      packet(2, responseBody({ user: projectId })),
      packet(4, "project-pw\0"),
      packet(0, "\x03SHOW DATABASES"),
      packet(0, "\x02shop_workspace"),
      packet(0, "\x01"),
    ]);

  test("cut anywhere, the answers are the same", async () => {
    const world = await makeWorld();
    const play = async (...pieces: Uint8Array[]) => {
      const guest = await world.dial();
      for (const piece of pieces) guest.pipe.write(piece);
      await settle();
      // The greeting's nonce differs.
      return guest.received.subarray(guest.received.readUIntLE(0, 3) + 4).toString("hex");
    };
    const whole = await play(script());
    expect(whole).toContain(Buffer.from(redirect).toString("hex"));
    for (let at = 1; at < script().length; at++) expect(await play(script().subarray(0, at), script().subarray(at)), `cut at ${at}`).toBe(whole);
    expect(await play(...Array.from(script(), (byte) => Buffer.of(byte)))).toBe(whole);
    expect(world.counts()).toEqual(nobodyLeft);
  });

  test("ended anywhere, nothing is left behind", async () => {
    const world = await makeWorld();
    for (let length = 0; length <= script().length; length++) {
      const guest = await world.dial();
      guest.pipe.end(script().subarray(0, length));
    }
    await settle();
    expect(world.counts()).toEqual(nobodyLeft);
  });

  test("random clients crash nothing and leave nothing behind", async () => {
    const world = await makeWorld();
    for (let seed = 0; seed < 3000; seed++) {
      const prng = new Prng(seed);
      const bytes = Buffer.from(script());
      for (let flips = prng.int(6); flips > 0; flips--) bytes[prng.int(bytes.length)] = prng.int(256);
      const sent = prng.chance(0.2) ? prng.bytes(prng.int(200)) : bytes.subarray(0, prng.int(bytes.length + 1));
      const guest = await world.dial(`10.${seed >> 8}.${seed & 255}.1`);
      for (const piece of prng.cut(sent)) guest.pipe.write(piece);
      guest.pipe.end();
    }
    await settle();
    expect(world.counts()).toEqual(nobodyLeft);
  });
});
