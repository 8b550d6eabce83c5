/** Messages too long to keep: the same name and database come out as from reading them whole, and memory stays flat. */
import { Binary, Code, DBRef, Decimal128, type Document, Long, MaxKey, MinKey, ObjectId, Timestamp } from "bson";
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../../core/errors.ts";
import { type Source, skimMessage } from "../../../engines/mongodb/skim.ts";
import { decodeBody, decodeHeader, type Request } from "../../../engines/mongodb/wire.ts";
import { Prng } from "../postgres/support/prng.ts";
import { bodySection, message, opMsg, opQuery, sequenceSection, uint32 } from "./support/wire.ts";

const limit = 48_000_000;

/** Gives out a message bit by bit and remembers the largest piece asked for. */
class Bytes implements Source {
  largest = 0;
  at = 16;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  async read(count: number): Promise<Uint8Array> {
    this.largest = Math.max(this.largest, count);
    if (this.at + count > this.#bytes.length) throw new RangeError("read past the message");
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }
}

async function skim(bytes: Uint8Array): Promise<{ request: Request; source: Bytes }> {
  const source = new Bytes(bytes);
  return { request: await skimMessage(decodeHeader(bytes.subarray(0, 16), limit), source), source };
}

const everyType: Document = {
  insert: "x",
  double: 1.5,
  text: "ü\0y",
  document: { a: { $db: "inner" } },
  array: [1, [2]],
  binary: new Binary(Buffer.from("abc")),
  id: new ObjectId(),
  yes: true,
  date: new Date(0),
  nothing: null,
  reference: new DBRef("c", new ObjectId()),
  code: new Code("f"),
  scoped: new Code("f", { a: 1 }),
  int: 7,
  timestamp: new Timestamp({ t: 1, i: 2 }),
  long: Long.fromNumber(2 ** 40),
  decimal: Decimal128.fromString("1.5"),
  least: new MinKey(),
  most: new MaxKey(),
};

describe("skim", () => {
  it("finds name and database behind values of every type", async () => {
    const { request, source } = await skim(opMsg({ ...everyType, $db: "shop_workspace" }, { requestId: 9 }));
    expect(request).toMatchObject({ requestId: 9, form: "msg", name: "insert", database: "shop_workspace", wantsReply: true });
    expect(source.at).toBe(opMsg({ ...everyType, $db: "shop_workspace" }).length);
  });

  it("never asks for more than a small piece, however long the message", async () => {
    const documents = sequenceSection("documents", [{ text: "x".repeat(3_000_000) }]);
    const body = bodySection({ insert: "x", big: "y".repeat(1_000_000), $db: "a" });
    const bytes = message(2013, Buffer.concat([uint32(3), documents, body, documents, uint32(0)]));
    const { request, source } = await skim(bytes);
    expect(request).toMatchObject({ name: "insert", database: "a", wantsReply: false });
    expect(source.largest).toBeLessThanOrEqual(16 * 1024);
    expect(source.at).toBe(bytes.length);
  });

  it("stops looking, not reading, behind many fields or a regular expression", async () => {
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`f${i}`, i]));
    for (const hiding of [many, { expression: /a/ }]) {
      const bytes = opMsg({ find: "x", ...hiding, $db: "a" });
      const { request, source } = await skim(bytes);
      expect(request).toMatchObject({ name: "find", database: "" });
      expect(source.at).toBe(bytes.length);
    }
  });

  it("refuses OP_QUERY, two bodies and none", async () => {
    const body = bodySection({ ping: 1 });
    for (const bytes of [
      opQuery("a.$cmd", { ping: 1 }),
      opMsg({ ping: 1 }, { sections: [body] }),
      message(2013, Buffer.concat([uint32(0), sequenceSection("d", [{}])])),
    ]) {
      await expect(skim(bytes)).rejects.toThrow(GatewayError);
    }
  });

  it("reads what reading whole reads, or refuses; never past the message", async () => {
    const random = new Prng(77);
    const seeds = [opMsg({ ...everyType, $db: "a" }), opMsg({ insert: "x", $db: "a" }, { sections: [sequenceSection("documents", [{ _id: 1 }])] })];
    for (let i = 0; i < 5000; i++) {
      const bytes = Buffer.from(random.pick(seeds));
      for (let change = random.int(3); change > 0; change--)
        bytes[16 + random.int(bytes.length - 16)] = random.pick([0, 1, 5, 0x7f, 0xff, random.int(256)]);
      const whole = attempt(() => decodeBody(decodeHeader(bytes.subarray(0, 16), limit), bytes.subarray(16)));
      const skimmed = await skim(bytes).then(
        ({ request }) => request,
        (error: Error) => error,
      );
      if (skimmed instanceof Error) expect(skimmed).toBeInstanceOf(GatewayError);
      else if (!(whole instanceof Error)) expect([skimmed.name, skimmed.wantsReply]).toEqual([whole.name, whole.wantsReply]);
    }
  });
});

function attempt(read: () => Request): Request | Error {
  try {
    return read();
  } catch (error) {
    return error as Error;
  }
}
