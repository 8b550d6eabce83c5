/** Bounds-checked reading and growing writing of PostgreSQL's wire types: int16, int32, cstring, counted bytes; all big-endian. */
import { GatewayError } from "../../core/errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: false });
const encoder = new TextEncoder();

/** @returns the uint32 at `at`; the caller has checked that four bytes are there. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function fromUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Reads one message body field by field. @throws {GatewayError} protocol_violation past the end, or on a missing terminator. */
export class BodyReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** `what` names the message in errors: "Parse". */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  uint8(): number {
    this.#need(1);
    return this.#bytes[this.#at++]!;
  }

  uint16(): number {
    this.#need(2);
    const value = (this.#bytes[this.#at]! << 8) | this.#bytes[this.#at + 1]!;
    this.#at += 2;
    return value;
  }

  uint32(): number {
    this.#need(4);
    const value = readUint32(this.#bytes, this.#at);
    this.#at += 4;
    return value;
  }

  int32(): number {
    return this.uint32() | 0;
  }

  /** The bytes up to the next NUL, which is consumed. */
  cstringBytes(): Uint8Array {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw this.#short();
    const value = this.#bytes.subarray(this.#at, end);
    this.#at = end + 1;
    return value;
  }

  cstring(): string {
    return utf8(this.cstringBytes());
  }

  bytes(length: number): Uint8Array {
    if (length < 0) throw this.#short();
    this.#need(length);
    const value = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  /** @throws when bytes are left over. */
  end(): void {
    if (this.left !== 0) throw this.#short();
  }

  #need(length: number): void {
    if (this.left < length) throw this.#short();
  }

  #short(): GatewayError {
    return new GatewayError("protocol_violation", `invalid ${this.#what} message`);
  }
}

/** Builds messages; each `begin` … `end` makes one frame with its length filled in. */
export class MessageWriter {
  #buffer: Uint8Array;
  #at = 0;
  #frameStart = 0;

  constructor(initialBytes = 256) {
    this.#buffer = new Uint8Array(initialBytes);
  }

  /** Opens a frame: the type byte (0 for none, as in start-up packets) and a place for the length. */
  begin(type: number): this {
    if (type !== 0) this.uint8(type);
    this.#frameStart = this.#at;
    return this.uint32(0);
  }

  end(): this {
    const length = this.#at - this.#frameStart;
    const at = this.#frameStart;
    this.#buffer[at] = length >>> 24;
    this.#buffer[at + 1] = length >>> 16;
    this.#buffer[at + 2] = length >>> 8;
    this.#buffer[at + 3] = length;
    return this;
  }

  uint8(value: number): this {
    this.#grow(1);
    this.#buffer[this.#at++] = value;
    return this;
  }

  uint16(value: number): this {
    return this.uint8(value >>> 8).uint8(value & 255);
  }

  uint32(value: number): this {
    this.#grow(4);
    this.#buffer[this.#at++] = value >>> 24;
    this.#buffer[this.#at++] = value >>> 16;
    this.#buffer[this.#at++] = value >>> 8;
    this.#buffer[this.#at++] = value;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#grow(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** @throws RangeError when the text holds a NUL, which would end it early and start another field. */
  cstring(value: string): this {
    if (value.includes("\0")) throw new RangeError("a cstring cannot hold NUL");
    return this.bytes(encoder.encode(value)).uint8(0);
  }

  /** What was written; the writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#at);
  }

  #grow(more: number): void {
    if (this.#at + more <= this.#buffer.length) return;
    const bigger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#at + more));
    bigger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = bigger;
  }
}

/** What a body says, or undefined where it is malformed: such a message is passed on, PostgreSQL has its own answer to it. */
export function readable<T>(body: Uint8Array, decode: (body: Uint8Array) => T): T | undefined {
  try {
    return decode(body);
  } catch (error) {
    if (error instanceof GatewayError) return undefined;
    throw error;
  }
}
