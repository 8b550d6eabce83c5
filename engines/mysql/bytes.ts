/** Bounds-checked reading and growing writing of MySQL's wire types: little-endian integers, NUL-ended and length-encoded strings. */
import { GatewayError } from "../../core/errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: false });
const encoder = new TextEncoder();

export function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Reads one payload field by field. @throws {GatewayError} protocol_violation past the end, or on a missing terminator. */
export class PayloadReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** `what` names the payload in errors: "HandshakeResponse". */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  uint8(): number {
    return this.bytes(1)[0]!;
  }

  uint32(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.bytes(4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  bytes(length: number): Uint8Array {
    if (length > this.left) throw new GatewayError("protocol_violation", `invalid ${this.#what} packet`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  rest(): Uint8Array {
    return this.bytes(this.left);
  }

  /** The text up to the next NUL, which is consumed. */
  cstring(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    const text = this.bytes(end < 0 ? this.left + 1 : end - this.#at);
    this.#at++;
    return utf8(text);
  }

  /** As `cstring`, for a last field whose NUL some clients leave out. */
  lastCstring(): string {
    return this.#bytes.includes(0, this.#at) ? this.cstring() : utf8(this.rest());
  }

  /** Length-encoded bytes of less than 64 KiB; nothing longer fits into the packets that are read. */
  lenencBytes(): Uint8Array {
    const first = this.uint8();
    if (first < 0xfb) return this.bytes(first);
    if (first !== 0xfc) return this.bytes(this.left + 1);
    const low = this.uint8();
    return this.bytes(low | (this.uint8() << 8));
  }
}

/** Builds one payload. */
export class PayloadWriter {
  #buffer = new Uint8Array(128);
  #at = 0;

  uint8(value: number): this {
    this.#grow(1);
    this.#buffer[this.#at++] = value;
    return this;
  }

  uint16(value: number): this {
    return this.uint8(value).uint8(value >>> 8);
  }

  uint32(value: number): this {
    return this.uint16(value).uint16(value >>> 16);
  }

  zeros(count: number): this {
    return this.bytes(new Uint8Array(count));
  }

  bytes(value: Uint8Array): this {
    this.#grow(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  text(value: string): this {
    return this.bytes(encoder.encode(value));
  }

  /** @throws RangeError when the text holds a NUL, which would end it early. */
  cstring(value: string): this {
    if (value.includes("\0")) throw new RangeError("a cstring cannot hold NUL");
    return this.text(value).uint8(0);
  }

  lenenc(value: number): this {
    if (value < 0xfb) return this.uint8(value);
    if (value < 0x10000) return this.uint8(0xfc).uint16(value);
    return this.uint8(0xfd)
      .uint16(value)
      .uint8(value >>> 16);
  }

  lenencText(value: string): this {
    const bytes = encoder.encode(value);
    return this.lenenc(bytes.length).bytes(bytes);
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
