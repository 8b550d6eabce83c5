/** Which protocol first bytes are: every kind, every cut, and bytes of no kind at all. */
import { describe, expect, it } from "vitest";
import { detect, maxFirstLineBytes, type Protocol } from "../../engines/detect.ts";
import { Prng } from "./postgres/support/prng.ts";
import { cancelPacket, gssRequest, int32, sslRequest, startupPacket } from "./postgres/support/wire.ts";
import { openings } from "./support/openings.ts";

const more: readonly [string, Protocol, Uint8Array][] = [
  ["PostgreSQL GSSENCRequest", "PostgreSQL", gssRequest],
  ["PostgreSQL CancelRequest", "PostgreSQL", cancelPacket(7, Buffer.alloc(4))],
  ["PostgreSQL CancelRequest of 3.2", "PostgreSQL", cancelPacket(7, Buffer.alloc(256))],
  ["PostgreSQL 3.2", "PostgreSQL", startupPacket({ user: "u" }, 196610)],
  ["PostgreSQL 2.0", "PostgreSQL", startupPacket({ user: "u" }, 131072)],
  ["a start-up packet of 257 bytes, whose fourth byte is a MySQL client's", "PostgreSQL", startupPacket({ user: "u".repeat(242) })],
  ["a MongoDB message of 278 bytes, whose first byte is TLS's", "MongoDB", mongoHeader(0x0116)],
  ["a MongoDB message of 790 bytes, whose first bytes are TLS's", "MongoDB", mongoHeader(0x0316)],
  ["a MongoDB message of 42 bytes, whose first byte is Redis's", "MongoDB", mongoHeader(42)],
  ["a MongoDB message of 71 bytes, whose first byte is a letter", "MongoDB", mongoHeader(71)],
  ["a MongoDB message of 65,536 bytes, which begins as PostgreSQL", "MongoDB", mongoHeader(65_536)],
  ["OP_COMPRESSED", "MongoDB", mongoHeader(100, 2012)],
  ["TLS 1.0's record version", "TLS", Buffer.from("160301020001", "hex")],
  ["TLS 1.3's record version", "TLS", Buffer.from("160304020001", "hex")],
  ["a TLS alert", "unknown", Buffer.from("15030100020228000000000000000000", "hex")],
  ["a TLS record that is no ClientHello", "unknown", Buffer.from("1603010200020000000000000000000000", "hex")],
  ["a null array of Redis", "Redis", Buffer.from("*-1\r\n")],
  ["a Redis command by hand", "Redis", Buffer.from("GET /index HTTP\r\n")],
  ["a Redis command of one word", "Redis", Buffer.from("PING\n")],
  ["digits without end", "unknown", Buffer.from(`*${"1".repeat(30)}`)],
  ["a star and a word", "unknown", Buffer.from("*hello there, dear\r\n")],
  ["HTTP to a proxy", "HTTP", Buffer.from("GET http://x/ HTTP/1.0\r\n")],
  ["CONNECT", "HTTP", Buffer.from("CONNECT db:5432 HTTP/1.1\r\n")],
  ["HTTP/2 without TLS", "HTTP", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["a long URL", "HTTP", Buffer.from(`GET /${"a".repeat(8000)} HTTP/1.1\r\n`)],
  ["a URL without end", "HTTP", Buffer.from(`GET /${"a".repeat(20_000)}`)],
  ["a line without end", "unknown", Buffer.from(`set ${"a".repeat(20_000)}`)],
  ["a word without end", "unknown", Buffer.from("a".repeat(21))],
  ["a line that begins with punctuation", "unknown", Buffer.from("!hello there, dear\r\n")],
  ["PROXY v1", "PROXY", Buffer.from("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")],
  ["PROXY v2", "PROXY", Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\n"), Buffer.from("21110000", "hex")])],
  ["zeros", "unknown", Buffer.alloc(64)],
  ["ones", "unknown", Buffer.alloc(64, 255)],
  ["a length of 10,001", "unknown", Buffer.concat([int32(10_001), int32(196608), Buffer.alloc(16)])],
];

function mongoHeader(length: number, opCode = 2013): Buffer {
  const header = Buffer.alloc(20);
  header.writeInt32LE(length, 0);
  header.writeInt32LE(opCode, 12);
  return header;
}

describe("detect", () => {
  it.each([...openings, ...more])("knows %s as %s", (_, protocol, bytes) => {
    expect(detect(bytes)).toBe(protocol);
  });

  it.each([...openings, ...more])("comes to no other answer on the way to %s", (_, protocol, bytes) => {
    for (let cut = 0; cut <= Math.min(bytes.length, 300); cut++) expect([undefined, protocol]).toContain(detect(bytes.subarray(0, cut)));
  });

  it("answers within 16 bytes of what is binary", () => {
    const random = new Prng(1);
    for (let i = 0; i < 20_000; i++) {
      const bytes = random.bytes(16);
      bytes[1] = random.int(8); // no text
      expect(detect(bytes)).toBeDefined();
    }
  });

  it("keeps to its answer whatever follows, and always has one after the longest first line", () => {
    const random = new Prng(2);
    for (let i = 0; i < 20_000; i++) {
      const [, , bytes] = random.pick([...openings, ...more]);
      const start = Uint8Array.from(bytes.subarray(0, random.int(40)));
      if (random.chance(0.5) && start.length > 0) start[random.int(start.length)] = random.int(256);
      const answer = detect(start);
      const longer = Buffer.concat([start, random.bytes(20)]);
      if (answer !== undefined && start.length >= 16) expect(detect(longer)).toBe(answer);
    }
    for (const fill of ["a", " ", "*", "\x16", "\0", "G"]) expect(detect(Buffer.alloc(maxFirstLineBytes, fill))).toBeDefined();
    expect(detect(new Uint8Array(0))).toBeUndefined();
  });

  it("is the same for a view into a larger buffer", () => {
    for (const [, protocol, bytes] of [...openings, ...more]) {
      const large = Buffer.concat([Buffer.alloc(3, 0x16), bytes, Buffer.alloc(3)]);
      expect(detect(large.subarray(3, 3 + bytes.length))).toBe(protocol);
    }
    expect(detect(sslRequest)).toBe("PostgreSQL");
  });
});
