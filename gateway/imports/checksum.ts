/** A sum over rows that is the same whatever their order: two 32-bit hashes of each row of COPY text, added up. Finds damage, not malice. */

const newline = 10;
const tab = 9;
const seedA = 0x811c9dc5 | 0;
const seedB = 0x2545f491 | 0;

/** Copied rows come in chunks that begin and end anywhere. */
export class RowSum {
  rows = 0;
  readonly #exactFields: number;
  #first = 0;
  #second = 0;
  #a = seedA;
  #b = seedB;
  #open = false;
  /** Of the row being read; only kept where some fields are not compared by their text. */
  #field = 0;
  #fieldLength = 0;
  #isNull = false;

  /** Of the fields behind the first `exactFields` only this counts: NULL or not. Their text differs between types that hold the same value. */
  constructor(exactFields: number = Number.POSITIVE_INFINITY) {
    this.#exactFields = exactFields;
  }

  /** Any bytes of COPY's text format. Tabs and newlines inside values are escaped there, so each one ends a field or a row. */
  add(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#open = chunk[chunk.length - 1] !== newline;
    if (this.#exactFields === Number.POSITIVE_INFINITY) this.#addExact(chunk);
    else this.#addByField(chunk);
  }

  #addExact(chunk: Uint8Array): void {
    let a = this.#a;
    let b = this.#b;
    const { length } = chunk;
    for (let i = 0; i < length; i++) {
      const byte = chunk[i] as number;
      if (byte === newline) {
        this.#endRow(a, b);
        a = seedA;
        b = seedB;
      } else {
        a = Math.imul(a ^ byte, 16_777_619);
        b = Math.imul(b + byte, 0x9e3779b1) ^ (b >>> 15);
      }
    }
    this.#a = a;
    this.#b = b;
  }

  #addByField(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number;
      if (byte === newline || byte === tab) {
        if (this.#field >= this.#exactFields) this.#mix(this.#isNull && this.#fieldLength === 2 ? 1 : 2);
        this.#mix(byte);
        this.#field++;
        this.#fieldLength = 0;
        if (byte === newline) {
          this.#endRow(this.#a, this.#b);
          this.#a = seedA;
          this.#b = seedB;
          this.#field = 0;
        }
        continue;
      }
      if (this.#field < this.#exactFields) this.#mix(byte);
      else if (this.#fieldLength === 0) this.#isNull = byte === 0x5c;
      else if (this.#fieldLength === 1) this.#isNull &&= byte === 0x4e;
      this.#fieldLength++;
    }
  }

  #mix(byte: number): void {
    this.#a = Math.imul(this.#a ^ byte, 16_777_619);
    this.#b = Math.imul(this.#b + byte, 0x9e3779b1) ^ (this.#b >>> 15);
  }

  #endRow(a: number, b: number): void {
    this.rows++;
    this.#first = (this.#first + spread(a)) | 0;
    this.#second = (this.#second + spread(b)) | 0;
  }

  /** 16 hex digits. @throws RangeError in the middle of a row */
  digest(): string {
    if (this.#open) throw new RangeError("the last row is not complete");
    return hex(this.#first) + hex(this.#second);
  }
}

/** Over all bits, as sums of weak hashes cancel out. */
function spread(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
