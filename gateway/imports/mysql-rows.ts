/** Rows of MySQL's text protocol as COPY text, in chunks worth a write. */
import type { ReadColumn } from "./source.ts";

const chunkBytes = 64 * 1024;
const [tab, newline, backslash, carriageReturn, letterN] = [9, 10, 92, 13, 78];

export class RowWriter {
  readonly #columns: readonly ReadColumn[];
  #chunk = Buffer.allocUnsafe(2 * chunkBytes);
  #end = 0;

  constructor(columns: readonly ReadColumn[]) {
    this.#columns = columns;
  }

  /** @returns a full chunk, now and then. */
  add(row: readonly (Buffer | null)[]): Buffer | undefined {
    row.forEach((value, index) => {
      if (index > 0) this.#byte(tab);
      const text = value === null ? undefined : writeValue(value, this.#columns[index]!);
      if (text === undefined) {
        this.#byte(backslash);
        this.#byte(letterN);
      } else this.#escaped(text);
    });
    this.#byte(newline);
    return this.#end >= chunkBytes ? this.take() : undefined;
  }

  /** What is left. */
  take(): Buffer {
    const full = this.#chunk.subarray(0, this.#end);
    this.#chunk = Buffer.allocUnsafe(2 * chunkBytes);
    this.#end = 0;
    return full;
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#chunk[this.#end++] = byte;
  }

  #escaped(text: Buffer): void {
    this.#reserve(2 * text.length);
    const chunk = this.#chunk;
    let end = this.#end;
    for (const byte of text) {
      if (byte === backslash || byte === tab || byte === newline || byte === carriageReturn) {
        chunk[end++] = backslash;
        chunk[end++] = byte === backslash ? backslash : byte === tab ? 0x74 : byte === newline ? 0x6e : 0x72;
      } else chunk[end++] = byte;
    }
    this.#end = end;
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#chunk.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#chunk.length, this.#end + bytes));
    this.#chunk.copy(larger, 0, 0, this.#end);
    this.#chunk = larger;
  }
}

/** @returns undefined for NULL, which a date of zeros becomes. */
function writeValue(value: Buffer, { as, width = 0 }: ReadColumn): Buffer | undefined {
  switch (as) {
    case "text":
      return value;
    case "boolean":
      return Buffer.from(isTrue(value) ? "t" : "f");
    case "bytea":
      return Buffer.from(`\\x${value.toString("hex")}`);
    case "bits":
      return Buffer.from(
        [...value]
          .map((byte) => byte.toString(2).padStart(8, "0"))
          .join("")
          .slice(-width),
      );
    case "date":
      return value.toString("latin1").startsWith("0000-00-00") ? undefined : value;
    case "set":
      return Buffer.from(`{${value.length === 0 ? "" : value.toString("utf8").split(",").map(quoteElement).join(",")}}`);
  }
}

/** TINYINT comes as digits, BIT as bytes. */
function isTrue(value: Buffer): boolean {
  return value.some((byte) => byte !== 0 && byte !== 0x30);
}

function quoteElement(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
