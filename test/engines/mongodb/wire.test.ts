/** OP_MSG, OP_QUERY and OP_REPLY, byte by byte: what is read, what is refused, what is written. */
import { deserialize } from "bson";
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../../core/errors.ts";
import { crc32c } from "../../../engines/mongodb/crc32c.ts";
import { decodeBody, decodeHeader, encodeReply, type Request } from "../../../engines/mongodb/wire.ts";
import { Prng } from "../postgres/support/prng.ts";
import { bodySection, int32, message, opMsg, opQuery, readReplies, sequenceSection, uint32 } from "./support/wire.ts";

const limit = 16 * 1024;
const hex = (...parts: string[]) => Buffer.from(parts.join("").replaceAll(" ", ""), "hex");

/** { ping: 1, $db: "a" } in BSON: int32 length, type 0x10 int32, type 0x02 string, end. */
const pingBson = hex("1a000000", "10 70696e6700 01000000", "02 24646200 02000000 6100", "00");
const pingMessage = hex("2f000000 2a000000 00000000 dd070000", "00000000", "00", pingBson.toString("hex"));

function decode(bytes: Uint8Array): Request {
  return decodeBody(decodeHeader(bytes.subarray(0, 16), limit), bytes.subarray(16));
}

const refused = expect.objectContaining({ kind: "protocol_violation" });

function failureOf(bytes: Uint8Array): unknown {
  try {
    decode(bytes);
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("wire: OP_MSG", () => {
  it("reads one written by hand", () => {
    expect(decode(pingMessage)).toEqual({ requestId: 42, form: "msg", name: "ping", database: "a", body: { ping: 1, $db: "a" }, wantsReply: true });
  });

  it("takes moreToCome for a wish for silence", () => {
    expect(decode(opMsg({ insert: "x", $db: "a" }, { flags: 2 })).wantsReply).toBe(false);
    expect(decode(opMsg({ hello: 1, $db: "a" }, { flags: 1 << 16 })).wantsReply).toBe(true);
  });

  it("passes over document sequences, before and behind the body", () => {
    const documents = sequenceSection("documents", [{ _id: 1 }, { _id: 2, text: "x".repeat(300) }]);
    const body = bodySection({ insert: "x", $db: "a" });
    for (const sections of [
      [documents, body],
      [body, documents, sequenceSection("more", [])],
    ]) {
      expect(decode(message(2013, Buffer.concat([uint32(0), ...sections]))).name).toBe("insert");
    }
  });

  it("checks the checksum", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    const start = message(2013, Buffer.concat([uint32(1), bodySection({ ping: 1, $db: "a" }), uint32(0)]));
    start.writeUInt32LE(crc32c(start.subarray(0, -4)), start.length - 4);
    expect(decode(start).name).toBe("ping");
    start[start.length - 1]! ^= 1;
    expect(failureOf(start)).toEqual(refused);
  });

  it.each([
    ["a required flag it does not know", opMsg({ ping: 1 }, { flags: 4 })],
    ["no body", message(2013, Buffer.concat([uint32(0), sequenceSection("documents", [{}])]))],
    ["two bodies", opMsg({ ping: 1 }, { sections: [bodySection({ ping: 1 })] })],
    ["an empty body", opMsg({})],
    ["an unknown section", message(2013, Buffer.concat([uint32(0), Buffer.of(2), pingBson]))],
    ["nothing but flags", message(2013, uint32(0))],
    ["a checksum that is not there", message(2013, Buffer.concat([uint32(1), Buffer.of(0)]))],
    ["a sequence without a name", message(2013, Buffer.concat([uint32(0), Buffer.of(1), int32(8), Buffer.from("abcd")]))],
    [
      "a sequence with a document cut short",
      message(2013, Buffer.concat([uint32(0), Buffer.of(1), int32(15), Buffer.from("d\0"), int32(99), pingBson])),
    ],
    ["BSON of an unknown type", message(2013, Buffer.concat([uint32(0), Buffer.of(0), hex("08000000 20 6100 00")]))],
  ])("refuses %s", (_, bytes) => {
    expect(failureOf(bytes)).toEqual(refused);
  });

  it("refuses every cut and every lie about a length", () => {
    const whole = opMsg({ insert: "x", $db: "a" }, { sections: [sequenceSection("documents", [{ _id: 1 }])] });
    const sequence = whole.indexOf("documents") - 5;
    for (let end = 16; end < whole.length; end++) if (end !== sequence) expect(failureOf(whole.subarray(0, end))).toEqual(refused);
    for (const at of [21, sequence + 1, whole.length - 14]) {
      for (const lie of [-1, 0, 3, 4, whole.length, 0x7fffffff, -0x80000000]) {
        const bytes = Buffer.from(whole);
        bytes.writeInt32LE(lie, at);
        expect(failureOf(bytes)).toEqual(refused);
      }
    }
  });
});

describe("wire: header", () => {
  const header = (length: number, opCode: number) => Buffer.concat([int32(length), int32(1), int32(0), int32(opCode)]);

  it.each([0, 15, -1, limit + 1, 48_000_001, 0x7fffffff, -0x80000000])("refuses a length of %i before anything is kept", (length) => {
    expect(() => decodeHeader(header(length, 2013), limit)).toThrow(GatewayError);
  });

  it.each([1, 2001, 2002, 2005, 2006, 2012, 0, -1])("refuses operation %i", (opCode) => {
    expect(() => decodeHeader(header(100, opCode), limit)).toThrow("malformed MongoDB message");
  });

  it("may lie in a larger buffer", () => {
    const around = Buffer.concat([Buffer.alloc(5, 0xff), pingMessage, Buffer.alloc(5, 0xff)]);
    expect(decode(around.subarray(5, 5 + pingMessage.length)).database).toBe("a");
  });
});

describe("wire: OP_QUERY", () => {
  it("reads a legacy hello, wrapped or not", () => {
    const request = { requestId: 7, form: "query", name: "isMaster", database: "admin", wantsReply: true };
    expect(decode(opQuery("admin.$cmd", { isMaster: 1 }))).toMatchObject({ ...request, body: { isMaster: 1 } });
    expect(decode(opQuery("admin.$cmd", { $query: { isMaster: 1 }, $readPreference: {} }))).toMatchObject({ ...request, body: { isMaster: 1 } });
    expect(decode(opQuery("a.$cmd", { count: "x", query: { b: 1 } }))).toMatchObject({ name: "count", database: "a" });
  });

  it("takes a query on a collection for a find", () => {
    expect(decode(opQuery("shop_workspace.orders.old", {}))).toMatchObject({ form: "find", name: "find", database: "shop_workspace" });
  });

  it("refuses every cut, bytes left over and a name without end", () => {
    const whole = opQuery("admin.$cmd", { isMaster: 1 });
    for (let end = 16; end < whole.length; end++) expect(failureOf(whole.subarray(0, end))).toEqual(refused);
    expect(failureOf(Buffer.concat([whole, Buffer.of(0)]))).toEqual(refused);
    expect(failureOf(message(2004, Buffer.concat([int32(0), Buffer.alloc(400, 0x61), pingBson])))).toEqual(refused);
  });
});

describe("wire: answers", () => {
  const request: Request = { requestId: 42, form: "msg", name: "ping", database: "a", body: {}, wantsReply: true };

  it("are OP_MSG to OP_MSG", () => {
    expect(Buffer.from(encodeReply(request, 3, { ok: 1 })).toString("hex")).toBe(
      hex("22000000 03000000 2a000000 dd070000", "00000000 00", "0d000000 10 6f6b00 01000000 00").toString("hex"),
    );
  });

  it("are OP_REPLY to OP_QUERY, with the error where old drivers look for it", () => {
    expect(Buffer.from(encodeReply({ ...request, form: "query" }, 3, { ok: 1 })).toString("hex")).toBe(
      hex("31000000 03000000 2a000000 01000000", "08000000 0000000000000000 00000000 01000000", "0d000000 10 6f6b00 01000000 00").toString("hex"),
    );
    const failed = encodeReply({ ...request, form: "find" }, 3, { ok: 0, errmsg: "no", code: 13 });
    expect(failed[16]).toBe(2);
    expect(deserialize(failed.subarray(36))).toEqual({ $err: "no", ok: 0, errmsg: "no", code: 13 });
    expect(readReplies(Buffer.from(failed))[0]?.responseTo).toBe(42);
  });
});

describe("wire: whatever comes", () => {
  it("is a request or a protocol violation, nothing else", () => {
    const random = new Prng(20_240);
    const seeds = [
      pingMessage,
      opMsg({ find: "x", filter: { a: [1, { b: "c" }] }, $db: "a" }),
      opMsg({ insert: "x", $db: "a" }, { sections: [sequenceSection("documents", [{ _id: 1 }, { _id: 2 }])] }),
      opQuery("admin.$cmd", { isMaster: 1, client: { driver: { name: "x" } } }),
    ];
    let read = 0;
    for (let i = 0; i < 20_000; i++) {
      const bytes = random.chance(0.1) ? Buffer.from(random.bytes(16 + random.int(80))) : Buffer.from(random.pick(seeds));
      for (let change = random.int(4); change >= 0; change--)
        bytes[random.int(bytes.length)] = random.pick([0, 1, 2, 3, 0x7f, 0x80, 0xff, random.int(256)]);
      const failure = failureOf(random.chance(0.2) ? bytes.subarray(0, Math.max(16, random.int(bytes.length))) : bytes);
      if (failure === undefined) read++;
      else expect(failure).toEqual(refused);
    }
    expect(read).toBeGreaterThan(1000);
  });

  it("is not led into endless depth", () => {
    let nested = Buffer.from(hex("05000000 00"));
    while (nested.length < limit - 100) nested = Buffer.concat([int32(nested.length + 8), hex("03 6100"), nested, Buffer.of(0)]);
    const failure = failureOf(message(2013, Buffer.concat([uint32(0), Buffer.of(0), nested])));
    if (failure !== undefined) expect(failure).toEqual(refused);
  });
});
