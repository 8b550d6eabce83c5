/** What clients of each protocol send first, by hand or as recorded from them. */
import type { Protocol } from "../../../engines/detect.ts";
import { sslRequest, startupPacket } from "../postgres/support/wire.ts";

/** OP_MSG with one document; numbers and texts are all a command needs here. */
export function mongoCommand(fields: Readonly<Record<string, string | number>>, requestId = 1): Buffer {
  const elements = Object.entries(fields).map(([name, value]) => {
    const key = Buffer.from(`${name}\0`);
    if (typeof value === "number") return Buffer.concat([Buffer.of(0x10), key, int32le(value)]);
    return Buffer.concat([Buffer.of(0x02), key, int32le(Buffer.byteLength(value) + 1), Buffer.from(`${value}\0`)]);
  });
  const inner = Buffer.concat(elements);
  const document = Buffer.concat([int32le(inner.length + 5), inner, Buffer.of(0)]);
  const body = Buffer.concat([int32le(0), Buffer.of(0), document]);
  return Buffer.concat([int32le(16 + body.length), int32le(requestId), int32le(0), int32le(2013), body]);
}

/** The first hello of drivers: OP_QUERY on admin.$cmd. */
export function mongoIsMaster(): Buffer {
  const document = mongoCommand({ ismaster: 1, helloOk: 1 }).subarray(21);
  const body = Buffer.concat([int32le(0), Buffer.from("admin.$cmd\0"), int32le(0), int32le(-1), document]);
  return Buffer.concat([int32le(16 + body.length), int32le(1), int32le(0), int32le(2004), body]);
}

export function respCommand(...args: string[]): Buffer {
  return Buffer.from(`*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join("")}`);
}

/** HandshakeResponse41 without anything behind its fixed part. */
const mysqlResponse = Buffer.concat([Buffer.of(33, 0, 0, 1), Buffer.from("8da2bf09", "hex"), Buffer.alloc(28), Buffer.of(0)]);

export const openings: readonly [string, Protocol, Uint8Array][] = [
  ["an SSLRequest", "PostgreSQL", sslRequest],
  ["a StartupMessage", "PostgreSQL", startupPacket({ user: "tdb_2abf90d3", database: "myapp__wayne" })],
  ["an OP_QUERY isMaster", "MongoDB", mongoIsMaster()],
  ["an OP_MSG hello", "MongoDB", mongoCommand({ hello: 1, $db: "admin" })],
  ["HELLO 3", "Redis", respCommand("HELLO", "3", "AUTH", "u", "p")],
  ["an inline PING", "Redis", Buffer.from("PING\r\n")],
  ["a ClientHello", "TLS", Buffer.concat([Buffer.from("1603010200010001fc0303", "hex"), Buffer.alloc(32, 7)])],
  ["HTTP", "HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
  ["a MySQL HandshakeResponse", "MySQL", mysqlResponse],
  ["SSH", "SSH", Buffer.from("SSH-2.0-OpenSSH_9.2\r\n")],
];

function int32le(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
