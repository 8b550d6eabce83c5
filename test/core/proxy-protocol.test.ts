/** PROXY protocol headers, written by hand: what is read, what is refused, every cut, what comes behind them. */
import { describe, expect, it } from "vitest";
import { type BytePipe, pipePair } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";
import { readProxied } from "../../core/proxied-pipe.ts";
import { decodeProxyHeader } from "../../core/proxy-protocol.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { int16, settle } from "../engines/postgres/support/wire.ts";

const text = (line: string) => Buffer.from(line, "latin1");
const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

function binary(command: number, family: number, ...rest: Uint8Array[]): Buffer {
  const body = Buffer.concat(rest);
  return Buffer.concat([signature, Uint8Array.of(command, family), int16(body.length), body]);
}

const ports = Buffer.concat([int16(50_001), int16(5432)]);
const v4 = Buffer.concat([Uint8Array.of(203, 0, 113, 9, 10, 0, 0, 1), ports]);
const v6 = Buffer.concat([Buffer.from("20010db8000000000000000000000009", "hex"), Buffer.alloc(16, 1), ports]);
const tlv = (type: number, value: Uint8Array) => Buffer.concat([Uint8Array.of(type), int16(value.length), value]);

const good: [name: string, bytes: Buffer, address: string | undefined][] = [
  ["v1 TCP4", text("PROXY TCP4 203.0.113.9 10.0.0.1 50001 5432\r\n"), "203.0.113.9"],
  ["v1 TCP6", text("PROXY TCP6 2001:DB8:0:0::9 2001:db8::1 50001 5432\r\n"), "2001:db8::9"],
  ["v1 TCP6, IPv4-mapped", text("PROXY TCP6 ::ffff:203.0.113.9 ::ffff:10.0.0.1 50001 5432\r\n"), "203.0.113.9"],
  ["v1 UNKNOWN", text("PROXY UNKNOWN\r\n"), undefined],
  ["v1 UNKNOWN with anything", text("PROXY UNKNOWN ffff::1 what ever 1 2 3\r\n"), undefined],
  ["v2 TCP4", binary(0x21, 0x11, v4), "203.0.113.9"],
  ["v2 TCP6", binary(0x21, 0x21, v6), "2001:db8::9"],
  ["v2 TCP6, IPv4-mapped", binary(0x21, 0x21, Buffer.from("00000000000000000000ffffcb007109", "hex"), Buffer.alloc(16), ports), "203.0.113.9"],
  ["v2 TCP4 with TLVs", binary(0x21, 0x11, v4, tlv(0x02, text("db.example")), tlv(0x04, Buffer.alloc(0))), "203.0.113.9"],
  ["v2 LOCAL", binary(0x20, 0x00), undefined],
  ["v2 LOCAL with addresses", binary(0x20, 0x11, v4), undefined],
  ["v2 LOCAL with what nobody knows", binary(0x20, 0xff, Buffer.alloc(5, 7)), undefined],
  ["v2 UNSPEC", binary(0x21, 0x00, Buffer.alloc(9, 1)), undefined],
  ["v2 UNIX", binary(0x21, 0x31, Buffer.alloc(216, 65), tlv(0x01, text("h2"))), undefined],
];

const bad: [name: string, bytes: Buffer][] = [
  ["a PostgreSQL start-up packet", Buffer.from("00000008000003000000", "hex")],
  ["a TLS handshake", Buffer.from("1603010200", "hex")],
  ["HTTP", text("POST / HTTP/1.1\r\n")],
  ["PROXY alone", text("PROXY\r\n")],
  ["lower case", text("proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n")],
  ["another family", text("PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n")],
  ["IPv6 as TCP4", text("PROXY TCP4 2001:db8::9 10.0.0.1 1 2\r\n")],
  ["IPv4 as TCP6", text("PROXY TCP6 203.0.113.9 10.0.0.1 1 2\r\n")],
  ["a number too large", text("PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n")],
  ["leading zeros", text("PROXY TCP4 203.0.113.010 10.0.0.1 1 2\r\n")],
  ["a port too large", text("PROXY TCP4 203.0.113.9 10.0.0.1 65536 2\r\n")],
  ["a port that is none", text("PROXY TCP4 203.0.113.9 10.0.0.1 -1 2\r\n")],
  ["a field too few", text("PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n")],
  ["a field too many", text("PROXY TCP4 203.0.113.9 10.0.0.1 1 2 3\r\n")],
  ["two spaces", text("PROXY TCP4  203.0.113.9 10.0.0.1 1 2\r\n")],
  ["no carriage return", text("PROXY TCP4 203.0.113.9 10.0.0.1 1 2\n")],
  ["108 bytes", text(`PROXY UNKNOWN ${"x".repeat(92)}\r\n`)],
  ["107 bytes and no end", text(`PROXY UNKNOWN ${"x".repeat(93)}`)],
  ["a bad destination", text("PROXY TCP4 203.0.113.9 10.0.0 1 2\r\n")],
  ["a dotted tail in the wrong place", text("PROXY TCP6 ::1.2.3.4:1 ::1 1 2\r\n")],
  ["version 1 in binary", binary(0x11, 0x11, v4)],
  ["version 3", binary(0x31, 0x11, v4)],
  ["another command", binary(0x22, 0x11, v4)],
  ["a broken signature", Buffer.from("0d0a0d0a000d0b", "hex")],
  ["UDP", binary(0x21, 0x12, v4)],
  ["another family in binary", binary(0x21, 0x41, v4)],
  ["IPv4 addresses cut short", binary(0x21, 0x11, v4.subarray(0, 11))],
  ["IPv6 addresses cut short", binary(0x21, 0x21, v6.subarray(0, 35))],
  ["UNIX addresses cut short", binary(0x21, 0x31, Buffer.alloc(215))],
  ["a TLV cut short", binary(0x21, 0x11, v4, Uint8Array.of(1, 0))],
  ["a TLV longer than the header", binary(0x21, 0x11, v4, Uint8Array.of(1, 0, 2, 9))],
  ["loopback", text("PROXY TCP4 127.0.0.1 10.0.0.1 1 2\r\n")],
  ["loopback, another one", text("PROXY TCP4 127.9.9.9 10.0.0.1 1 2\r\n")],
  ["loopback in IPv6", text("PROXY TCP6 ::1 2001:db8::1 1 2\r\n")],
  ["loopback, IPv4-mapped", text("PROXY TCP6 ::ffff:127.0.0.1 2001:db8::1 1 2\r\n")],
  ["loopback in binary", binary(0x21, 0x11, Uint8Array.of(127, 0, 0, 1, 10, 0, 0, 1), ports)],
  ["IPv4-mapped loopback in binary", binary(0x21, 0x21, Buffer.from("00000000000000000000ffff7f000001", "hex"), Buffer.alloc(16), ports)],
];

const violation = expect.objectContaining({ kind: "protocol_violation" });

describe("PROXY protocol header", () => {
  it.each(good)("%s is read, whole and not before", (_, bytes, address) => {
    const behind = Buffer.concat([bytes, text("behind")]);
    const expected = { bytes: bytes.length, source: address === undefined ? undefined : { address, port: 50_001 } };
    expect(decodeProxyHeader(bytes)).toEqual(expected);
    expect(decodeProxyHeader(behind)).toEqual(expected);
    for (let cut = 0; cut < bytes.length; cut++) {
      const header = decodeProxyHeader(bytes.subarray(0, cut));
      expect(header, `cut at ${cut}`).toEqual({ needs: expect.any(Number) });
      const { needs } = header as { needs: number };
      expect(needs).toBeGreaterThan(cut);
      expect(needs).toBeLessThanOrEqual(bytes.length);
    }
  });

  it.each(bad)("%s is refused", (_, bytes) => expect(() => decodeProxyHeader(bytes)).toThrow(violation));

  it("is refused by the first byte that cannot belong to one", () => {
    expect(() => decodeProxyHeader(text("Q"))).toThrow(violation);
    expect(() => decodeProxyHeader(text("PROXZ"))).toThrow(violation);
    expect(() => decodeProxyHeader(Uint8Array.of(13, 10, 0))).toThrow(violation);
  });

  it("may have 65,535 bytes behind its fixed part, and asks for no more than that", () => {
    const filler = 65_535 - v4.length - 3;
    const largest = binary(0x21, 0x11, v4, tlv(0xee, Buffer.alloc(filler, 0xff)));
    expect(largest.length).toBe(16 + 65_535);
    expect(decodeProxyHeader(largest)).toEqual({ bytes: largest.length, source: { address: "203.0.113.9", port: 50_001 } });
    expect(decodeProxyHeader(largest.subarray(0, 16))).toEqual({ needs: largest.length });
    const lying = Buffer.from(largest);
    lying.writeUInt16BE(filler + 1, 16 + v4.length + 1);
    expect(() => decodeProxyHeader(lying)).toThrow(violation);
  });

  it.each([
    ["20010db8000000000000000000000000", "2001:db8::"],
    ["00000000000000000000000000000002", "::2"],
    ["20010db8000000010000000000000001", "2001:db8:0:1::1"],
    ["20010db8000100010001000100010000", "2001:db8:1:1:1:1:1:0"],
    ["10000000000010000000000000000010", "1000:0:0:1000::10"],
  ])("writes %s as %s", (hex, address) => {
    expect(decodeProxyHeader(binary(0x21, 0x21, Buffer.from(hex, "hex"), Buffer.alloc(16), ports))).toMatchObject({ source: { address } });
  });

  it("never fails otherwise, whatever the bytes", () => {
    for (let seed = 0; seed < 20_000; seed++) {
      const random = new Prng(seed);
      const [, model] = good[random.int(good.length)]!;
      const bytes = Buffer.concat([model, random.bytes(random.int(8))]);
      for (let changes = random.int(4); changes > 0; changes--) bytes[random.int(bytes.length)] = random.int(256);
      try {
        const header = decodeProxyHeader(bytes.subarray(0, random.int(bytes.length + 1)));
        if ("needs" in header) expect(header.needs).toBeLessThanOrEqual(16 + 65_535);
        else expect(header.bytes).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(GatewayError);
      }
    }
  });
});

describe("proxied pipe", () => {
  const header = good[0]![1];
  const behind = text("what the client says");

  async function readAll(pipe: BytePipe): Promise<string> {
    const reader = new PipeReader(pipe, 1000, new AbortController().signal);
    const read = Buffer.from(await reader.read(behind.length)).toString("latin1");
    expect(reader.buffered).toBe(0);
    return read;
  }

  it("has the client's address and gives on what came behind the header, wherever the bytes were cut", async () => {
    const all = Buffer.concat([header, behind]);
    for (let cut = 1; cut < all.length; cut++) {
      const [near, far] = pipePair({ address: "10.0.0.1", port: 40_000 });
      near.write(all.subarray(0, cut));
      const opening = readProxied(far, new AbortController().signal);
      await settle();
      near.write(all.subarray(cut));
      const pipe = await opening;
      expect(pipe.peer).toEqual({ address: "203.0.113.9", port: 50_001 });
      expect(await readAll(pipe), `cut at ${cut}`).toBe("what the client says");
    }
  });

  it("reads a header byte by byte", async () => {
    const [near, far] = pipePair();
    const opening = readProxied(far, new AbortController().signal);
    for (const byte of Buffer.concat([good[8]![1], behind])) near.write(Uint8Array.of(byte));
    expect(await readAll(await opening)).toBe("what the client says");
  });

  it("keeps the balancer's address where it speaks for itself", async () => {
    const [near, far] = pipePair({ address: "10.0.0.1", port: 40_000 });
    near.write(binary(0x20, 0x00));
    expect((await readProxied(far, new AbortController().signal)).peer).toEqual({ address: "10.0.0.1", port: 40_000 });
  });

  it("delivers only while it is read, then the end", async () => {
    const [near, far] = pipePair();
    near.end(Buffer.concat([header, behind]));
    const pipe = await readProxied(far, new AbortController().signal);
    const seen: string[] = [];
    pipe.sink = {
      data: (chunk) => void seen.push(Buffer.from(chunk).toString("latin1")),
      drain: () => undefined,
      closed: () => void seen.push("end"),
    };
    pipe.resume();
    pipe.pause();
    await settle();
    expect(seen).toEqual([]);
    pipe.resume();
    await settle();
    expect(seen).toEqual(["what the client says", "end"]);
    expect(pipe.isClosed).toBe(true);
  });

  it("ends with the balancer, or when told to", async () => {
    const [near, far] = pipePair();
    near.end(header.subarray(0, 20));
    await expect(readProxied(far, new AbortController().signal)).rejects.toThrow("the peer closed the connection");
    const abort = new AbortController();
    const [, silent] = pipePair();
    const opening = readProxied(silent, abort.signal);
    abort.abort(new Error("too slow"));
    await expect(opening).rejects.toThrow("too slow");
    expect(silent.sink).toBeUndefined();
    await expect(readProxied(silent, abort.signal)).rejects.toThrow("too slow");
  });
});
