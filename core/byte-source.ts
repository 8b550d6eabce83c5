/** Lines, counted bytes and COPY data out of a backup's chunks, which are cut anywhere. Trusts nothing it reads. */
import { GatewayError } from "./errors.ts";

/** The file cannot be what was written. */
export function damaged(what: string): GatewayError {
  return new GatewayError("backup_unusable", `The backup cannot be read: ${what}`, { hint: "Use another backup; this one is damaged." });
}

const maxLineBytes = 256 * 1024 * 1024;
const newline = 0x0a;
const backslash = 0x5c;
const dot = 0x2e;

/** Lines, counted bytes and COPY data out of chunks that are cut anywhere. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #buffer: Uint8Array = new Uint8Array(0);
  #ended = false;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Without its line feed; undefined at the end. @throws {GatewayError} backup_unusable for one that is longer than `maxBytes` */
  async readLine(maxBytes = maxLineBytes): Promise<string | undefined> {
    for (let from = 0; ; ) {
      const end = this.#buffer.indexOf(newline, from);
      if (Math.max(end, this.#buffer.length * Number(end < 0)) > maxBytes) throw damaged("a line is too long");
      if (end >= 0) return decode(this.#take(end + 1).subarray(0, end));
      from = this.#buffer.length;
      if (await this.#fill()) continue;
      if (this.#buffer.length > 0) throw damaged("its last line is cut");
      return undefined;
    }
  }

  async readText(bytes: number): Promise<string> {
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > maxLineBytes) throw damaged("a length is wrong");
    while (this.#buffer.length < bytes) if (!(await this.#fill())) throw damaged("it is cut short");
    return decode(this.#take(bytes));
  }

  /** Up to the line `\.`, which is taken too. */
  async *readCopyData(): AsyncGenerator<Uint8Array, void, undefined> {
    let atLineStart = true;
    for (;;) {
      const end = findEnd(this.#buffer, atLineStart);
      if (end.found) {
        if (end.at > 0) yield this.#take(end.at);
        this.#take(3);
        return;
      }
      if (end.at > 0) {
        const data = this.#take(end.at);
        atLineStart = data[data.length - 1] === newline;
        yield data;
      }
      if (!(await this.#fill())) throw damaged("the data of a table is cut short");
    }
  }

  async close(): Promise<void> {
    if (!this.#ended) await this.#chunks.return?.();
  }

  #take(bytes: number): Uint8Array {
    const taken = this.#buffer.subarray(0, bytes);
    this.#buffer = this.#buffer.subarray(bytes);
    return taken;
  }

  async #fill(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#chunks.next();
    if (done) {
      this.#ended = true;
      return false;
    }
    if (this.#buffer.length === 0) this.#buffer = value;
    else {
      const joined = new Uint8Array(this.#buffer.length + value.length);
      joined.set(this.#buffer);
      joined.set(value, this.#buffer.length);
      this.#buffer = joined;
    }
    return true;
  }
}

/** Where the line `\.` begins; where it is not there, how many bytes are data for sure. COPY writes a backslash of the data as two. */
function findEnd(buffer: Uint8Array, atLineStart: boolean): { readonly found: boolean; readonly at: number } {
  for (let at = buffer.indexOf(backslash); at >= 0; at = buffer.indexOf(backslash, at + 1)) {
    if (at === 0 ? !atLineStart : buffer[at - 1] !== newline) continue;
    if (at + 1 === buffer.length) return { found: false, at };
    if (buffer[at + 1] !== dot) continue;
    if (at + 2 === buffer.length) return { found: false, at };
    if (buffer[at + 2] === newline) return { found: true, at };
  }
  return { found: false, at: buffer.length };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw damaged("it is not UTF-8");
  }
}
