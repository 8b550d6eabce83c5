/** The PROXY protocol header, versions 1 and 2, that a load balancer puts in front of a connection: who its client is. */
import type { PeerAddress } from "./byte-pipe.ts";
import { GatewayError } from "./errors.ts";
import { expandIpv6, isLoopback } from "./limit.ts";

/** Longest header of version 1, its line end included. */
const maxTextBytes = 107;
const fixedBytes = 16;
const cr = 0x0d;
const lf = 0x0a;
const textStart = Uint8Array.of(0x50, 0x52, 0x4f, 0x58, 0x59, 0x20); // "PROXY "
const binaryStart = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);

/** Address blocks of version 2 by family and transport: bytes of one address, bytes of the whole block. UDP is not spoken here. */
const blocks = new Map([
  [0x11, { addressBytes: 4, blockBytes: 12 }],
  [0x21, { addressBytes: 16, blockBytes: 36 }],
]);
const unspecified = 0x00;
const unixStream = 0x31;
const unixBlockBytes = 216;

export type ProxyHeader =
  /** Not whole yet: come back with at least so many bytes from the start. */
  | { readonly needs: number }
  /** `source` is undefined where the balancer speaks for itself (LOCAL) or knows no address: its own stands. */
  | { readonly bytes: number; readonly source: PeerAddress | undefined };

/**
 * The header at the start of `received`. Version 1: text, at most 107 bytes. Version 2: 12 bytes of signature, version and command, family and
 * transport, uint16 length, addresses, TLVs.
 * @throws {GatewayError} protocol_violation, as soon as the bytes cannot become a header.
 * @see https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
 */
export function decodeProxyHeader(received: Uint8Array): ProxyHeader {
  if (received.length === 0) return { needs: 1 };
  if (received[0] === textStart[0]) return decodeText(received);
  if (received[0] === binaryStart[0]) return decodeBinary(received);
  throw malformed("it does not begin with one");
}

function decodeText(received: Uint8Array): ProxyHeader {
  assertStart(received, textStart);
  const end = received.indexOf(lf);
  if (end < 0) {
    if (received.length >= maxTextBytes) throw malformed("no line end within 107 bytes");
    return { needs: received.length + 1 };
  }
  if (end >= maxTextBytes || received[end - 1] !== cr) throw malformed("bad line end");
  const bytes = end + 1;
  const line = String.fromCharCode(...received.subarray(0, end - 1));
  if (line === "PROXY UNKNOWN" || line.startsWith("PROXY UNKNOWN ")) return { bytes, source: undefined };
  const words = line.split(" ");
  const [, family, source = "", destination = "", sourcePort = "", destinationPort = ""] = words;
  const read = family === "TCP4" ? readIpv4 : family === "TCP6" ? readIpv6 : undefined;
  if (!read || words.length !== 6) throw malformed("bad number of fields or family");
  if (read(destination) === undefined || readPort(destinationPort) === undefined) throw malformed("bad destination");
  return { bytes, source: checkSource(read(source), readPort(sourcePort)) };
}

function decodeBinary(received: Uint8Array): ProxyHeader {
  assertStart(received, binaryStart);
  if (received.length < fixedBytes) return { needs: fixedBytes };
  const command = received[12]!;
  if (command !== 0x20 && command !== 0x21) throw malformed("bad version or command");
  const length = (received[14]! << 8) | received[15]!;
  const bytes = fixedBytes + length;
  if (received.length < bytes) return { needs: bytes };
  if (command === 0x20) return { bytes, source: undefined };
  return { bytes, source: decodeSource(received[13]!, received.subarray(fixedBytes, bytes)) };
}

function decodeSource(family: number, rest: Uint8Array): PeerAddress | undefined {
  if (family === unspecified) return undefined;
  if (family === unixStream) {
    assertTlvs(rest, unixBlockBytes);
    return undefined;
  }
  const block = blocks.get(family);
  if (!block) throw malformed("bad family or transport");
  const { addressBytes, blockBytes } = block;
  assertTlvs(rest, blockBytes);
  const address = rest.subarray(0, addressBytes);
  const port = (rest[2 * addressBytes]! << 8) | rest[2 * addressBytes + 1]!;
  return checkSource(addressBytes === 4 ? address.join(".") : formatIpv6(address), port);
}

/** Type, uint16 length, value: none is of use here, all must lie within the header. */
function assertTlvs(rest: Uint8Array, start: number): void {
  if (rest.length < start) throw malformed("addresses are cut short");
  let at = start;
  while (at < rest.length) {
    if (rest.length - at < 3) throw malformed("a TLV is cut short");
    at += 3 + ((rest[at + 1]! << 8) | rest[at + 2]!);
  }
  if (at !== rest.length) throw malformed("a TLV is longer than the header");
}

function assertStart(received: Uint8Array, start: Uint8Array): void {
  const length = Math.min(received.length, start.length);
  for (let at = 0; at < length; at++) if (received[at] !== start[at]) throw malformed("it does not begin with one");
}

/** A client from afar that claims to be this machine would be let in without TLS and limits. */
function checkSource(address: string | undefined, port: number | undefined): PeerAddress {
  if (address === undefined || port === undefined) throw malformed("bad source");
  if (isLoopback(address)) throw malformed("a loopback address as its source");
  return { address, port };
}

function readIpv4(text: string): string | undefined {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => isDecimal(part, 255)) ? text : undefined;
}

/** The last 32 bits may be written as IPv4, as in `::ffff:192.0.2.1`. */
function readIpv6(text: string): string | undefined {
  const colon = text.lastIndexOf(":");
  const tail = text.slice(colon + 1);
  let plain = text;
  if (tail.includes(".")) {
    if (readIpv4(tail) === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = tail.split(".").map(Number);
    plain = `${text.slice(0, colon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const groups = expandIpv6(plain);
  return groups && formatIpv6(Uint8Array.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255])));
}

/** RFC 5952: the longest run of zero groups as `::`; an IPv4-mapped address as IPv4, as everywhere behind this. */
function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  if (groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff") return bytes.subarray(12).join(".");
  const runs = groups.join(":").match(/\b0(?::0)+\b/g) ?? [];
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), "");
  if (longest === "") return groups.join(":");
  const text = groups.join(":");
  const at = new RegExp(`(?<![0-9a-f])${longest}(?![0-9a-f])`).exec(text)!.index;
  return `${text.slice(0, at).replace(/:$/, "")}::${text.slice(at + longest.length).replace(/^:/, "")}`;
}

function readPort(text: string): number | undefined {
  return isDecimal(text, 65_535) ? Number(text) : undefined;
}

/** Digits without leading zeros. */
function isDecimal(text: string, max: number): boolean {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= max;
}

function malformed(reason: string): GatewayError {
  return new GatewayError("protocol_violation", `no PROXY protocol header: ${reason}`);
}
