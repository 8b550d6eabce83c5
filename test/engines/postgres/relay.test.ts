/** The relay as a pipe: what either side sends arrives whole, unchanged and in order, however it is cut. */

import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import type { BytePipe } from "../../../core/byte-pipe.ts";
import { Prng } from "./support/prng.ts";
import { header, int16, int32, message, reply, settle } from "./support/wire.ts";
import { atRest, World } from "./support/world.ts";

/** A message a client may send in any state, harmless to every policy. */
function randomFrontend(random: Prng): Buffer {
  const text = () => `select '${"x".repeat(random.int(random.pick([3, 50, 3000])))}'`;
  const name = () => `s${random.int(5)}`;
  switch (random.int(10)) {
    case 0:
      return serialize.query(text());
    case 1:
      return serialize.parse({ name: name(), text: text(), types: Array.from({ length: random.int(4) }, () => random.int(30)) });
    case 2:
      return serialize.bind({
        portal: name(),
        statement: name(),
        values: Array.from({ length: random.int(4) }, () => random.pick(["a", null, "é".repeat(200)])),
      });
    case 3:
      return serialize.execute({ portal: name(), rows: random.int(3) });
    case 4:
      return serialize.describe({ type: random.pick(["S", "P"] as const), name: name() });
    case 5:
      return serialize.close({ type: random.pick(["S", "P"] as const), name: name() });
    case 6:
      return Buffer.from(serialize.flush());
    case 7:
      return Buffer.concat(Array.from({ length: 1 + random.int(4) }, () => serialize.copyData(Buffer.from(random.bytes(random.int(100))))));
    case 8:
      return message("F", int32(random.int(9999)), int16(0), int16(0), int16(0));
    default:
      return Buffer.from(serialize.sync());
  }
}

/** A message a backend may send, harmless to every policy. */
function randomBackend(random: Prng): Buffer {
  switch (random.int(12)) {
    case 0:
      return reply.row(...Array.from({ length: random.int(5) }, () => "v".repeat(random.int(random.pick([2, 80, 5000])))));
    case 1:
      return reply.rowDescription();
    case 2:
      return reply.complete("SELECT 1");
    case 3:
      return reply.ready(random.pick(["I", "T", "E"]));
    case 4:
      return reply.error("22012", "division by zero");
    case 5:
      return reply.notice("n".repeat(random.int(300)));
    case 6:
      return reply.parameter("application_name", "a".repeat(random.int(20)));
    case 7:
      return reply.notification("channel", "payload");
    case 8:
      return reply.copyData(random.bytes(random.int(50)));
    case 9:
      return random.pick([reply.empty, reply.suspended, reply.noData, reply.closeComplete, reply.parseComplete, reply.bindComplete]);
    case 10:
      return message("V", int32(4), int32(random.int(1000)));
    default:
      return message("t", int16(1), int32(25));
  }
}

const variants = [{}, { allow_copy: true }, { max_rows_per_query: 1e9 }, { query_timeout_ms: 1000, allow_copy: true }];

describe("relay", () => {
  it("passes 2,000 random streams on byte for byte in both directions, cut at random places", async () => {
    const world = await World.create();
    for (let seed = 0; seed < 2000; ) {
      const { client, backend } = await world.pair(variants[(seed / 20) % variants.length]);
      backend.isSilent = true;
      let toBackend = Buffer.alloc(0);
      let toClient = Buffer.alloc(0);
      for (let run = 0; run < 20; run++, seed++) {
        const random = new Prng(seed);
        const up = Buffer.concat(Array.from({ length: 1 + random.int(12) }, () => randomFrontend(random)));
        const down = Buffer.concat(Array.from({ length: 1 + random.int(12) }, () => randomBackend(random)));
        const pieces: (readonly [BytePipe, Uint8Array])[] = [
          ...random.cut(up).map((bytes) => [client.pipe, bytes] as const),
          ...random.cut(down).map((bytes) => [backend.pipe, bytes] as const),
        ];
        const sent = random.chance(0.5) ? pieces : interleave(pieces, random);
        for (const [pipe, bytes] of sent) {
          pipe.write(bytes);
          if (random.chance(0.1)) await Promise.resolve();
        }
        await settle();
        toBackend = Buffer.concat([toBackend, up]);
        toClient = Buffer.concat([toClient, down]);
        if (!backend.received.equals(toBackend) || !client.received.equals(toClient)) throw new Error(`seed ${seed} was not passed on unchanged`);
        toBackend = backend.received = Buffer.alloc(0);
        toClient = Buffer.alloc(0);
        client.clear();
      }
      client.pipe.destroy();
      await settle();
    }
    await world.end();
    expect(world.counts()).toEqual(atRest);
  });

  it("passes a session on whole, cut at every single byte", async () => {
    const up = Buffer.concat([
      serialize.query("select 1"),
      serialize.parse({ text: "select $1" }),
      serialize.bind({ values: ["é"] }),
      serialize.execute(),
      serialize.sync(),
    ]);
    const down = Buffer.concat([
      reply.rowDescription(),
      reply.row("1"),
      reply.complete("SELECT 1"),
      reply.parameter("a", "b"),
      reply.error("22012", "x"),
      reply.ready(),
    ]);
    const world = await World.create();
    const { client, backend } = await world.pair({ max_rows_per_query: 10 });
    backend.isSilent = true;
    for (let cut = 0; cut <= Math.max(up.length, down.length); cut++) {
      client.send(up.subarray(0, cut));
      backend.send(down.subarray(0, cut));
      await settle();
      client.send(up.subarray(cut));
      backend.send(down.subarray(cut));
      await settle();
      expect(backend.received.equals(up), `client cut at ${cut}`).toBe(true);
      expect(client.received.equals(down), `backend cut at ${cut}`).toBe(true);
      backend.received = Buffer.alloc(0);
      client.clear();
    }
  });

  it("passes rows of a COPY on whole, cut at every single byte, and reads what is behind them", async () => {
    const rows = ["1\n", "", "22\n", "333\n"].map((row) => Buffer.from(serialize.copyData(Buffer.from(row))));
    const up = Buffer.concat([serialize.query("copy t from stdin"), ...rows, serialize.copyDone(), serialize.query("select 1")]);
    const world = await World.create();
    const { client, backend } = await world.pair({ allow_copy: true });
    backend.isSilent = true;
    for (let cut = 0; cut <= up.length; cut++) {
      client.send(up.subarray(0, cut));
      await settle();
      client.send(up.subarray(cut));
      backend.send(reply.copyIn, reply.complete("COPY 4"), reply.ready(), reply.complete("SELECT 1"), reply.ready());
      await settle();
      expect(backend.received.equals(up), `cut at ${cut}`).toBe(true);
      backend.received = Buffer.alloc(0);
      client.clear();
    }
    expect(client.pipe.isClosed).toBe(false);
  });

  it.each([3, 0, 0x40000000, 0xffffffff])("ends a COPY with a row that claims %i bytes", async (length) => {
    const row = Buffer.from(serialize.copyData(Buffer.from("1\n")));
    const world = await World.create();
    const { client, backend } = await world.pair({ allow_copy: true });
    backend.isSilent = true;
    client.send(Buffer.concat([row, row, header("d", length)]));
    await settle();
    expect(client.error).toMatchObject({ sqlstate: "08P01", message: "invalid message length" });
    expect(client.pipe.isClosed).toBe(true);
  });

  it("answers fifty pipelined batches in order, errors among them", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    let executed = 0;
    world.server.answer = (frame) => (frame.type === "E" && [7, 30].includes(++executed) ? [reply.error("22012", `error ${executed}`)] : undefined);
    const batch = [serialize.parse({ text: "select 1" }), serialize.bind(), serialize.execute(), serialize.sync()];
    await client.say(...Array.from({ length: 50 }, () => batch).flat());
    const good = "12CZ";
    expect(client.types).toBe(`${good.repeat(6)}12EZ${good.repeat(22)}12EZ${good.repeat(20)}`);
    expect(backend.types).toBe("PBES".repeat(50));
    client.pipe.destroy();
    await settle();
    expect(backend.queries).toEqual(["ROLLBACK", "DISCARD ALL"]);
  });

  it("owes nothing for requests that an error makes PostgreSQL pass over, up to the next Sync", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.parse({ text: "nonsense" }), serialize.query("select 1"));
    backend.send(reply.error("42601", "syntax error"));
    await client.say(serialize.query("select 2"), serialize.parse({ text: "select 3" }), serialize.sync());
    backend.send(reply.ready());
    await settle();
    expect(client.types).toBe("EZ");
    backend.isSilent = false;
    client.pipe.destroy();
    await settle();
    expect(backend.queries.at(-1)).toBe("DISCARD ALL");
  });

  it("keeps up with a million pipelined Syncs", async () => {
    const { Replies } = await import("../../../engines/postgres/replies.ts");
    const replies = new Replies();
    for (let i = 0; i < 1_000_000; i++) replies.push("sync");
    for (let i = 0; i < 1_000_000; i++) replies.ready();
    expect(replies.owed).toBe(0);
    replies.ready();
    expect(replies.owed).toBe(0);
  });

  it("passes notifications on while nothing runs", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    await client.say(serialize.query("listen orders"));
    client.clear();
    backend.send(reply.notification("orders", "1"), reply.notification("orders", "2"));
    await settle();
    expect(client.types).toBe("AA");
  });

  it("tells the next client of the same backend the parameters as they are now", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.send(reply.parameter("TimeZone", "Mars"), reply.notice("n"));
    await settle();
    world.server.answer = (frame) =>
      frame.body.toString().startsWith("DISCARD") ? [reply.parameter("TimeZone", "UTC"), reply.complete("DISCARD ALL"), reply.ready()] : undefined;
    client.pipe.destroy();
    await settle();
    const next = await world.client();
    expect(world.server.connections).toHaveLength(1);
    expect(next.frames.filter((frame) => frame.type === "S").map((frame) => frame.body.toString())).toContain("TimeZone\0UTC\0");
  });

  it("streams a message larger than is ever looked at, and reads the one behind it again", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    const large = serialize.query(`select '${"x".repeat(300_000)}'`);
    for (let at = 0; at < large.length; at += 10_000) await client.say(large.subarray(at, at + 10_000));
    await client.say(serialize.query("create schema x"));
    expect(backend.frames[0]!.body).toHaveLength(large.length - 5);
    expect(backend.queries[1]).toContain("RAISE EXCEPTION");
  });

  it.each([0, 3, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff])(
    "ends a session whose client claims a message of %i bytes, and takes no memory for it",
    async (length) => {
      const world = await World.create();
      const { client, backend } = await world.pair();
      await client.say(serialize.query("select 1"), header("d", length), Buffer.from("rest"));
      expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "08P01", message: "invalid message length" });
      expect(client.isClosed).toBe(true);
      await settle();
      expect(backend.isClosed).toBe(true);
      expect(world.counts()).toEqual(atRest);
    },
  );

  it.each(["p", "\0", "G", "x", "\xff", "R", "Z"])("ends a session whose client sends a message of type %j", async (type) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    await client.say(header(type, 4));
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "08P01" });
    expect(backend.types).toBe("X");
    await settle();
    expect(world.counts()).toEqual(atRest);
  });

  it.each([
    ["a length of 0", header("D", 0)],
    ["a length of 3", header("Z", 3)],
    ["a ReadyForQuery of no bytes", header("Z", 4)],
    ["a ReadyForQuery of a gigabyte", Buffer.concat([header("Z", 0x3fffffff), Buffer.alloc(100)])],
  ])("ends only its own session when a backend sends %s", async (_, bytes) => {
    const world = await World.create();
    const other = await world.client();
    const { client, backend } = await world.pair();
    backend.send(bytes);
    await settle();
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "08006", message: "the connection to the database server was lost" });
    expect(backend.isClosed).toBe(true);
    other.clear();
    await other.say(serialize.query("select 1"));
    expect(other.types).toBe("CZ");
  });

  it("survives malformed bodies of every message it reads, with every policy on", async () => {
    const world = await World.create();
    for (let seed = 0; seed < 300; seed++) {
      const random = new Prng(seed);
      const { client, backend } = await world.pair({ max_rows_per_query: 1, query_timeout_ms: 10, allow_copy: random.chance(0.5) });
      backend.isSilent = true;
      for (let i = 0; i < 10; i++) {
        if (random.chance(0.5)) client.send(message(random.pick([..."QPBECDSHFdcf"]), random.bytes(random.int(30))));
        else backend.send(message(random.pick([..."123CDEINSTVWdcGHnst"]), random.bytes(random.int(30))));
        world.clock.advance(random.pick([0, 0, 60]));
        await settle();
      }
      client.pipe.destroy();
      backend.hangUp();
      await settle();
    }
    world.clock.advance(20_000);
    await world.end();
    expect(world.counts()).toEqual(atRest);
  });
});

/** Both directions mixed, each in its own order. */
function interleave<P, T>(pieces: readonly (readonly [P, T])[], random: Prng): (readonly [P, T])[] {
  const first = pieces[0]?.[0];
  const left = pieces.filter(([pipe]) => pipe === first);
  const right = pieces.filter(([pipe]) => pipe !== first);
  const mixed: (typeof pieces)[number][] = [];
  while (left.length + right.length > 0) mixed.push((right.length === 0 || (left.length > 0 && random.chance(0.5)) ? left : right).shift()!);
  return mixed;
}
