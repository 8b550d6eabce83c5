/** Reading and making PostgreSQL messages by hand in tests, apart from the code under test. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";
import type { Crypto } from "../../../../core/crypto.ts";

export interface Frame {
  readonly type: string;
  readonly body: Buffer;
}

/** Whole frames at the front of `bytes`; what is left over comes back as `rest`. */
export function splitFrames(bytes: Uint8Array): { frames: Frame[]; rest: Buffer } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const frames: Frame[] = [];
  let at = 0;
  while (buffer.length - at >= 5) {
    const end = at + 1 + buffer.readUInt32BE(at + 1);
    if (end > buffer.length || end < at + 5) break;
    frames.push({ type: String.fromCharCode(buffer[at]!), body: buffer.subarray(at + 5, end) });
    at = end;
  }
  return { frames, rest: buffer.subarray(at) };
}

/** One message: type letter ("" for start-up packets) and body. */
export function message(type: string, ...parts: (Uint8Array | string)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  const head = Buffer.alloc(type.length + 4, type, "latin1");
  head.writeUInt32BE(body.length + 4, type.length);
  return Buffer.concat([head, body]);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
}

/** A header alone, whatever it claims. */
export function header(type: string, length: number): Buffer {
  return Buffer.concat([Buffer.from(type, "latin1"), int32(length)]);
}

export function startupPacket(parameters: Readonly<Record<string, string>>, version = 196608): Buffer {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  return message("", int32(version), ...pairs, "\0");
}

export const sslRequest = message("", int32(80877103));
export const gssRequest = message("", int32(80877104));

export function cancelPacket(pid: number, secret: Uint8Array): Buffer {
  return message("", int32(80877102), int32(pid), secret);
}

/** What a backend says. */
export const reply = {
  ready: (status = "I") => message("Z", status),
  complete: (tag: string) => message("C", `${tag}\0`),
  row: (...values: string[]) => message("D", int16(values.length), ...values.flatMap((value) => [int32(Buffer.byteLength(value)), value])),
  rowDescription: () => message("T", int16(1), "c\0", int32(0), int16(0), int32(25), int16(0xffff), int32(0xffffffff), int16(0)),
  error: (sqlstate: string, text: string, severity = "ERROR", context = "") =>
    message("E", `S${severity}\0V${severity}\0C${sqlstate}\0M${text}\0${context && `W${context}\0`}\0`),
  notice: (text: string) => message("N", `SNOTICE\0VNOTICE\0C00000\0M${text}\0\0`),
  parameter: (name: string, value: string) => message("S", `${name}\0${value}\0`),
  notification: (channel: string, payload: string) => message("A", int32(4711), `${channel}\0${payload}\0`),
  parseComplete: message("1"),
  bindComplete: message("2"),
  closeComplete: message("3"),
  noData: message("n"),
  empty: message("I"),
  suspended: message("s"),
  copyIn: message("G", "\0", int16(1), int16(0)),
  copyOut: (binary = false) => message("H", binary ? "\x01" : "\0", int16(1), int16(binary ? 1 : 0)),
  copyData: (text: string | Uint8Array) => message("d", text),
  copyDone: message("c"),
};

/** Fields of an ErrorResponse body by letter. */
export function errorFields(body: Uint8Array): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const part of Buffer.from(body).toString("utf8").split("\0")) if (part) fields[part[0]!] = part.slice(1);
  return fields;
}

/** Crypto that answers at once, so that tests wait for nothing but microtasks. PBKDF2 results are kept: clients log in by the thousand. */
const derived = new Map<string, Uint8Array>();
export const testCrypto: Crypto = {
  sha256: (data) => createHash("sha256").update(data).digest(),
  hmacSha256: (key, data) => createHmac("sha256", key).update(data).digest(),
  async pbkdf2Sha256(password, salt, iterations) {
    const key = `${Buffer.from(password).toString("hex")}:${Buffer.from(salt).toString("hex")}:${iterations}`;
    const known = derived.get(key) ?? pbkdf2Sync(password, salt, iterations, 32, "sha256");
    if (derived.size < 10_000) derived.set(key, known);
    return known;
  },
  randomBytes: (length) => randomBytes(length),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
};

/** Lets everything run that waits for nothing but other code: pipes in memory deliver in microtasks. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
