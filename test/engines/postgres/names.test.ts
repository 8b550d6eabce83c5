/** Names of statements and portals: read in place as far as they are there, and never one for another. */
import { describe, expect, it } from "vitest";
import { endOfName, nameAt, nameIn, nameOf, nextString } from "../../../engines/postgres/names.ts";
import { Prng } from "./support/prng.ts";

const bytes = (hex: string) => Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

describe("names", () => {
  it("of a Bind are read as far as they are there", () => {
    const body = bytes("70 71 00 73 00 0000");
    const names = (to: number) => [nameAt(body, 0, to), nameAt(body, nextString(body, 0, to), to)];
    expect(names(body.length)).toEqual(["pq", "s"]);
    expect(Array.from({ length: 5 }, (_, cut) => names(cut))).toEqual([
      ["", ""],
      ["p", ""],
      ["pq", ""],
      ["pq", ""],
      ["pq", "s"],
    ]);
  });

  it("are compared in their first 63 bytes, and as bytes", () => {
    expect(nameAt(Buffer.from(`${"n".repeat(64)}\0`), 0, 65)).toBe("n".repeat(63));
    expect(nameOf(bytes("c3 a9"))).toBe("\u00c3\u00a9");
    expect(nameOf(new Uint8Array(0))).toBe("");
  });

  it("end at the first NUL, however far it is, and not behind `to`", () => {
    for (const length of [0, 1, 62, 63, 64, 65, 200]) {
      const text = Uint8Array.from({ length: length + 4 }, (_, at) => (at < length ? 65 : 0));
      expect(endOfName(text, 0, text.length)).toBe(length);
      expect(endOfName(text, 0, length)).toBe(-1);
      expect(endOfName(text, length, text.length)).toBe(length);
    }
  });

  it("are never taken for one another, whatever was seen before", () => {
    const random = new Prng(7);
    for (let i = 0; i < 50_000; i++) {
      const length = random.int(4) === 0 ? random.int(80) : random.int(4);
      const name = Uint8Array.from({ length }, () => random.pick([1, 31, 32, 62, 65, 66, 96, 255]));
      const from = random.int(3);
      const chunk = Uint8Array.from([...new Uint8Array(from).fill(9), ...name, 0, 7]);
      const expected = Buffer.from(name.subarray(0, 63)).toString("latin1");
      expect(nameIn(chunk, from, from + length)).toBe(expected);
      expect(nameAt(chunk, from, chunk.length)).toBe(expected);
    }
  });
});
