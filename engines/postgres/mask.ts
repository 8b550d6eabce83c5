/** Statements as the query log shows them: literals and comments taken out, and one fingerprint for all that differ in nothing else. Linear, never throws. */
import type { MaskedStatement } from "../../core/query-log.ts";
import { isWordStart, skipBlockComment, skipDollar, skipLine, skipQuoted, wordEnd } from "./lexemes.ts";

const question = 0x3f;
const space = 0x20;
const comma = 0x2c;
const open = 0x28;
const close = 0x29;
const decoder = new TextDecoder("utf-8");

export interface MaskOptions {
  /** Backslashes escape in plain literals too: standard_conforming_strings is off. */
  readonly backslashes: boolean;
  /** Literals stay where they are; only the fingerprint leaves them out. */
  readonly keepLiterals: boolean;
}

/** Reads a statement in any encoding whose ASCII bytes mean ASCII; shown as UTF-8. */
export function maskStatement(sql: Uint8Array, options: MaskOptions): MaskedStatement {
  const shown = new Uint8Array(sql.length + 1);
  const pattern = new Pattern(sql.length);
  let length = 0;
  const put = (from: number, to: number) => {
    for (let i = from; i < to; i++) shown[length++] = sql[i]!;
  };
  const gap = () => {
    if (length > 0 && shown[length - 1] !== space) shown[length++] = space;
  };
  let at = 0;
  let hasSecret = false;
  while (at < sql.length) {
    const token = readToken(sql, at, options.backslashes);
    const end = Math.min(token.end, sql.length);
    if (token.kind === "space") gap();
    else if (token.kind === "literal") {
      shown[length++] = question;
      pattern.literal();
    } else {
      if (token.kind === "parameter") pattern.literal();
      else if (token.kind === "word") {
        pattern.word(sql, at, end);
        hasSecret ||= isPasswordWord(sql, at, end);
      } else if (token.kind === "name") pattern.name(sql, at, end);
      else pattern.sign(sql[at]!);
      put(at, end);
    }
    at = end;
  }
  if (length > 0 && shown[length - 1] === space) length--;
  const masked = readable(shown.subarray(0, length));
  // Whatever is configured, a password is never kept.
  const text = options.keepLiterals && !hasSecret ? readable(sql).trim() : masked;
  return { text, fingerprint: pattern.fingerprint() };
}

interface Token {
  readonly kind: "space" | "literal" | "parameter" | "word" | "name" | "sign";
  readonly end: number;
}

function readToken(sql: Uint8Array, at: number, backslashes: boolean): Token {
  const c = sql[at]!;
  const next = sql[at + 1];
  if (isSpace(c)) return { kind: "space", end: at + 1 };
  if (isWordStart(c)) return readWord(sql, at, c);
  if (isDigit(c) || (c === 0x2e && isDigit(next))) return { kind: "literal", end: numberEnd(sql, at) };
  if (c === 0x27) return { kind: "literal", end: skipQuoted(sql, at, 0x27, backslashes, sql.length) };
  if (c === 0x22) return { kind: "name", end: skipQuoted(sql, at, 0x22, false, sql.length) };
  if (c === 0x24 && isDigit(next)) return { kind: "parameter", end: digitsEnd(sql, at + 1) };
  if (c === 0x24) {
    const end = skipDollar(sql, at, sql.length);
    return { kind: end > at + 1 ? "literal" : "sign", end: Math.max(end, at + 1) };
  }
  if (c === 0x2d && next === 0x2d) return { kind: "space", end: skipLine(sql, at, sql.length) };
  if (c === 0x2f && next === 0x2a) return { kind: "space", end: skipBlockComment(sql, at, sql.length) };
  return { kind: "sign", end: at + 1 };
}

/** A word, or a literal with a letter in front: E'…', B'…', X'…', N'…', U&'…', and U&"…", which is a name. */
function readWord(sql: Uint8Array, at: number, c: number): Token {
  const end = wordEnd(sql, at, sql.length);
  if (end - at === 1) {
    if (sql[end] === 0x27) return { kind: "literal", end: skipQuoted(sql, end, 0x27, c === 0x45 || c === 0x65, sql.length) };
    if ((c === 0x55 || c === 0x75) && sql[end] === 0x26) {
      if (sql[end + 1] === 0x27) return { kind: "literal", end: skipQuoted(sql, end + 1, 0x27, false, sql.length) };
      if (sql[end + 1] === 0x22) return { kind: "name", end: skipQuoted(sql, end + 1, 0x22, false, sql.length) };
    }
  }
  return { kind: "word", end };
}

/** What two statements must share to have one fingerprint: words in lower case, signs, a mark for each literal or parameter, lists of those as one. */
class Pattern {
  readonly #bytes: Uint8Array;
  #length = 0;
  #afterWord = false;

  constructor(sqlLength: number) {
    this.#bytes = new Uint8Array(sqlLength * 2 + 2);
  }

  word(sql: Uint8Array, from: number, to: number): void {
    this.#part();
    for (let i = from; i < to; i++) this.#push(lower(sql[i]!));
    this.#afterWord = true;
  }

  name(sql: Uint8Array, from: number, to: number): void {
    this.#part();
    for (let i = from; i < to; i++) this.#push(sql[i]!);
    this.#afterWord = true;
  }

  /** `?, ?` becomes `?`. */
  literal(): void {
    if (this.#endsWith(question, comma)) this.#length--;
    else {
      this.#part();
      this.#push(question);
    }
    this.#afterWord = true;
  }

  /** `(?), (?)` becomes `(?)`. */
  sign(c: number): void {
    this.#push(c);
    this.#afterWord = false;
    if (c === close && this.#endsWith(open, question, close, comma, open, question, close)) this.#length -= 4;
  }

  fingerprint(): string {
    while (this.#length > 0 && this.#bytes[this.#length - 1] === 0x3b) this.#length--;
    return hash64(this.#bytes.subarray(0, this.#length));
  }

  /** A blank between words, however they were apart. */
  #part(): void {
    if (this.#afterWord) this.#push(space);
  }

  #push(c: number): void {
    this.#bytes[this.#length++] = c;
  }

  #endsWith(...tail: readonly number[]): boolean {
    const from = this.#length - tail.length;
    return from >= 0 && tail.every((c, i) => this.#bytes[from + i] === c);
  }
}

/** Two FNV-1a hashes of 32 bits with different beginnings: no two of a tenant's statements meet by chance. */
function hash64(bytes: Uint8Array): string {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!;
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b ^ c, 0x85ebca6b);
    b ^= b >>> 13;
  }
  return hex32(a) + hex32(b);
}

function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}

function readable(bytes: Uint8Array): string {
  return decoder.decode(bytes).replaceAll("\0", "");
}

const passwordWord = "password";

function isPasswordWord(sql: Uint8Array, from: number, to: number): boolean {
  if (to - from !== passwordWord.length) return false;
  for (let i = 0; i < passwordWord.length; i++) if (lower(sql[from + i]!) !== passwordWord.charCodeAt(i)) return false;
  return true;
}

function lower(c: number): number {
  return c >= 0x41 && c <= 0x5a ? c + 32 : c;
}

function isSpace(c: number): boolean {
  return c === space || (c >= 0x09 && c <= 0x0d);
}

function isDigit(c: number | undefined): boolean {
  return c !== undefined && c >= 0x30 && c <= 0x39;
}

function digitsEnd(sql: Uint8Array, at: number): number {
  let end = at;
  while (isDigit(sql[end])) end++;
  return end;
}

/** `12`, `1.5e-3`, `.5`, `0xff`, `1_000`: whatever follows a digit and can belong to a number. */
function numberEnd(sql: Uint8Array, at: number): number {
  let end = at;
  while (end < sql.length) {
    const c = sql[end]!;
    const isSignOfExponent = (c === 0x2b || c === 0x2d) && lower(sql[end - 1]!) === 0x65 && isDigit(sql[end + 1]) && lower(sql[at + 1] ?? 0) !== 0x78;
    if (!isDigit(c) && !isWordStart(c) && c !== 0x2e && !isSignOfExponent) break;
    end++;
  }
  return end;
}
