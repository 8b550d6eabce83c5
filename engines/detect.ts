/** First bytes → protocol. Looks at 16 bytes of what is binary and at one line of what is text; decides as soon as it is certain. */
import type { EngineName } from "../core/model.ts";

export type Protocol = EngineName | "TLS" | "HTTP" | "SSH" | "PROXY" | "unknown";

/** The longest first line waited for: a URL of a web client. */
export const maxFirstLineBytes = 8 * 1024;
/** What the binary protocols are told apart by. */
const binaryBytes = 16;
const maxMongoMessageBytes = 48_000_000;
const maxStartupBytes = 10_000;
const lineFeed = 0x0a;

/** @returns undefined while more bytes are needed; never when there are `maxFirstLineBytes`. */
export function detect(bytes: Uint8Array): Protocol | undefined {
  const first = bytes[0];
  if (first === undefined) return undefined;
  if (bytes.length >= binaryBytes && isMongoMessage(bytes)) return "MongoDB";
  if (first === 0x16 && bytes.subarray(1, 3).every((byte, i) => (i === 0 ? byte === 3 : byte >= 1 && byte <= 4))) return detectTls(bytes);
  if (first === 0x2a && (bytes[1] === undefined || isDigit(bytes[1]) || bytes[1] === 0x2d)) return detectArray(bytes);
  return isLetter(first) ? detectText(bytes) : detectBinary(bytes);
}

/** handshake(22) · version 3.1 to 3.4 · uint16 length · client_hello(1). */
function detectTls(bytes: Uint8Array): Protocol | undefined {
  if (bytes.length < 6) return undefined;
  return bytes[5] === 1 ? "TLS" : detectBinary(bytes);
}

/** RESP: `*` digits CR LF. */
function detectArray(bytes: Uint8Array): Protocol | undefined {
  const head = latin1(bytes.subarray(0, binaryBytes));
  if (/^\*-?\d{1,10}\r\n/.test(head)) return "Redis";
  return bytes.length < binaryBytes && /^\*(-?\d{0,10}|-?\d{1,10}\r)$/.test(head) ? undefined : "unknown";
}

/** A request line of HTTP first: a Redis command may be called GET too, but no HTTP version follows its arguments. */
function detectText(bytes: Uint8Array): Protocol | undefined {
  const seen = bytes.subarray(0, maxFirstLineBytes);
  const text = seen.subarray(0, textLength(seen));
  const line = latin1(text);
  if (line.startsWith("SSH-")) return "SSH";
  if (line.startsWith("PROXY ")) return "PROXY";
  if (/^[A-Z]{3,20} [^ ]{1,8192} HTTP\/\d/.test(line)) return "HTTP";
  const next = seen[text.length];
  if (next !== undefined && next !== lineFeed) return detectBinary(bytes);
  if (next === lineFeed) return /^[A-Za-z]{2,20}(?=[ \t\r]|$)/.test(line) ? "Redis" : "unknown";
  if (seen.length === maxFirstLineBytes) return /^[A-Z]{3,20} (\/|https?:)/.test(line) ? "HTTP" : "unknown";
  return /^[A-Za-z]{21}/.test(line) ? "unknown" : undefined;
}

function detectBinary(bytes: Uint8Array): Protocol | undefined {
  if (bytes[0] === 0x0d && latin1(bytes.subarray(0, 12)) === "\r\n\r\n\0\r\nQUIT\n") return "PROXY";
  const mayBePostgres = isPostgresSoFar(bytes);
  if (mayBePostgres && bytes.length >= 8) return "PostgreSQL";
  if (bytes.length >= binaryBytes) return isMysqlPacket(bytes) ? "MySQL" : "unknown";
  if (mayBePostgres || bytes.length < 4 || bytes[0] === 0x0d) return undefined;
  const length = littleEndian32(bytes, 0);
  return length >= binaryBytes && length <= maxMongoMessageBytes ? undefined : "unknown";
}

/** int32 length of 8 to 10,000 · a protocol of major version 1 to 4, or one of the request codes 1234.5678 to 1234.5680. */
function isPostgresSoFar(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || (bytes[1] ?? 0) !== 0) return false;
  if (bytes.length < 4) return true;
  const length = (bytes[2]! << 8) | bytes[3]!;
  if (length < 8 || length > maxStartupBytes) return false;
  if (bytes.length < 8) return true;
  const major = (bytes[4]! << 8) | bytes[5]!;
  const minor = (bytes[6]! << 8) | bytes[7]!;
  return (major >= 1 && major <= 4) || (major === 1234 && minor >= 5678 && minor <= 5680);
}

/** int32 length · requestID · responseTo · opCode, little-endian: OP_MSG, OP_QUERY, OP_COMPRESSED. */
function isMongoMessage(bytes: Uint8Array): boolean {
  const length = littleEndian32(bytes, 0);
  return length >= binaryBytes && length <= maxMongoMessageBytes && [2013, 2004, 2012].includes(littleEndian32(bytes, 12));
}

/** The first packet of a MySQL client, which only follows a greeting: uint24 length, little-endian · sequence number 1. */
function isMysqlPacket(bytes: Uint8Array): boolean {
  return bytes[3] === 1 && bytes[2] === 0 && ((bytes[1]! << 8) | bytes[0]!) >= 32;
}

/** Bytes before the first control character other than TAB and CR. */
function textLength(bytes: Uint8Array): number {
  const end = bytes.findIndex((byte) => (byte < 0x20 && byte !== 0x09 && byte !== 0x0d) || byte === 0x7f);
  return end < 0 ? bytes.length : end;
}

function littleEndian32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
