/**
 * What kinds of statement a SQL text holds, by a linear scan: a courtesy for good messages, not a wall.
 * Knows comments, quotes, dollar quotes and semicolons; never allocates more than a few words a statement, never recurses.
 */
import { skipBlockComment, skipDollar, skipLine, skipQuoted, wordBytes, wordEnd } from "./lexemes.ts";
import { type NamingVerb, namingVerbs, readNaming } from "./naming-statement.ts";
import { isPlainRead } from "./plain-read.ts";
import type { Deed } from "./statement-kinds.ts";

export const ddlNone = 0;
/** Permanent or temporary cannot be told from the text: the database decides. */
export const ddlPerhaps = 1;
/** Concerns objects that are never temporary. */
export const ddlCertain = 2;
export type DdlCertainty = typeof ddlNone | typeof ddlPerhaps | typeof ddlCertain;

export interface StatementSummary {
  /** The most certain of all statements in the text. */
  readonly ddl: DdlCertainty;
  readonly copy: boolean;
  /** A COPY has HEADER among its words: what it sends first may be no row. */
  readonly copyHeader: boolean;
  /** The text ends before the last statement has said what it does: WITH and no verb yet. */
  readonly undecided: boolean;
  /** For each statement, whether it is an INSERT, UPDATE, DELETE or MERGE, WITH in front of it or not. */
  readonly writes: readonly boolean[];
  /** The same, and of statements that name others what they do to those. */
  readonly deeds: readonly Deed[];
}

const reads: readonly boolean[] = Object.freeze([false]);
const plainRead: StatementSummary = Object.freeze({ ddl: ddlNone, copy: false, copyHeader: false, undecided: false, writes: reads, deeds: reads });

/** Objects that CREATE, ALTER and DROP name and that are never temporary. */
const neverTemporary = new Set(
  (
    "ACCESS CAST CONVERSION DATABASE DEFAULT EVENT EXTENSION FOREIGN GROUP LANGUAGE LARGE MATERIALIZED OWNED PROCEDURAL PUBLICATION ROLE SCHEMA " +
    "SERVER SUBSCRIPTION SYSTEM TABLESPACE TRANSFORM TRUSTED USER"
  ).split(" "),
);
const ownerOnly = new Set(["COMMENT", "REINDEX", "CLUSTER", "REFRESH"]);
const neverForTenants = new Set(["GRANT", "REVOKE", "REASSIGN", "SECURITY", "IMPORT"]);
const writing = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);
const verbs = new Set([...writing, "SELECT", "VALUES", "TABLE"]);
/** Words of WITH that a name follows: `WITH update AS (…)` is legal. */
const beforeName = new Set(["WITH", "RECURSIVE", ",", "BY", "SET", "USING"]);
const beforeObject = new Set(["OR", "REPLACE", "GLOBAL", "LOCAL"]);
/** Enough words to see past CREATE OR REPLACE GLOBAL TEMPORARY. */
const wordsKept = 8;

/** Words that mean nothing here are all one and the same: no text is made of them. */
const otherWord = "?";

interface Keyword {
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** By length and first letter, so that most words are told from every keyword without being looked at. */
const keywords: readonly (readonly Keyword[] | undefined)[] = indexKeywords([
  ...[...neverTemporary, ...ownerOnly, ...neverForTenants, ...verbs, ...beforeName, ...beforeObject],
  ...[...namingVerbs, "AS"],
  ...["CREATE", "ALTER", "DROP", "COPY", "EXPLAIN", "INTO", "TEMP", "TEMPORARY", "HEADER"],
]);

function indexKeywords(texts: Iterable<string>): Keyword[][] {
  const index: Keyword[][] = [];
  for (const text of new Set(texts)) {
    const slot = keywordSlot(text.length, text.charCodeAt(0));
    index[slot] = [...(index[slot] ?? []), { text, bytes: Uint8Array.from(text, (letter) => letter.charCodeAt(0)) }];
  }
  return Array.from({ length: 32 * 32 }, (_, slot) => index[slot] ?? []); // no holes: they are slow to read
}

/** Of words of up to 31 bytes. */
function keywordSlot(length: number, firstByte: number): number {
  return (length << 5) | (firstByte & 31);
}

/** State of one statement while its words go by. */
class StatementScan {
  readonly words: string[] = [];
  writes = false;
  /** SELECT … INTO a permanent table. */
  selectsInto = false;
  createsInside = false;
  mentionsPgTemp = false;
  hasHeader = false;
  /** PREPARE … AS a statement that writes. */
  preparesWrite = false;
  /** PREPARE … AS was read: what follows is the statement. */
  #prepares: StatementScan | undefined;
  #previous = "";
  #hasVerb = false;

  /** The first word says what a statement does, or after WITH the first verb that is not the name of a table expression. */
  #lookForVerb(word: string): void {
    if (this.words.length === 0 && word !== "WITH") this.#hasVerb = true;
    else if (!verbs.has(word) || beforeName.has(this.#previous)) return;
    this.#hasVerb = true;
    this.writes = writing.has(word);
  }

  comma(): void {
    this.#previous = ",";
    this.#prepares?.comma();
  }

  word(word: string, depth: number): void {
    const first = this.words[0] ?? word;
    if (first === "PREPARE" && depth === 0) this.#wordOfPrepare(word);
    if (depth === 0 && !this.#hasVerb) this.#lookForVerb(word);
    if (word.startsWith("PG_TEMP")) this.mentionsPgTemp = true;
    if (word === "CREATE" && first === "EXPLAIN") this.createsInside = true;
    if (word === "HEADER" && first === "COPY") this.hasHeader = true;
    if (depth === 0 && this.#previous === "INTO" && this.selectsInto && (word === "TEMP" || word === "TEMPORARY")) this.selectsInto = false;
    if (depth === 0 && word === "INTO" && (first === "SELECT" || first === "WITH") && this.#previous !== "INSERT" && this.#previous !== "MERGE") {
      this.selectsInto = true;
    }
    if (this.words.length < wordsKept) this.words.push(word);
    this.#previous = word;
  }

  #wordOfPrepare(word: string): void {
    this.#prepares?.word(word, 0);
    if (this.#prepares) this.preparesWrite = this.#prepares.writes;
    else if (word === "AS") this.#prepares = new StatementScan();
  }

  get isUndecided(): boolean {
    return !this.#hasVerb;
  }

  get ddl(): DdlCertainty {
    const [first = "", ...rest] = this.words;
    if (neverForTenants.has(first)) return this.mentionsPgTemp ? ddlPerhaps : ddlCertain;
    if (ownerOnly.has(first) || this.selectsInto || this.createsInside) return ddlPerhaps;
    if (first !== "CREATE" && first !== "ALTER" && first !== "DROP") return ddlNone;
    const object = rest.find((word) => !beforeObject.has(word)) ?? "";
    if (first === "CREATE" && (object === "TEMP" || object === "TEMPORARY")) return ddlNone;
    return neverTemporary.has(object) ? ddlCertain : ddlPerhaps;
  }
}

/** Summarises SQL text in any encoding whose ASCII bytes mean ASCII: the bytes from `from` up to `to`, so that no view of them has to be made. */
export function summarize(sql: Uint8Array, from = 0, to = sql.length): StatementSummary {
  if (isPlainRead(sql, from, to)) return plainRead;
  let ddl: DdlCertainty = ddlNone;
  let copy = false;
  let copyHeader = false;
  let undecided = false;
  const writes: boolean[] = [];
  let deeds: Deed[] | undefined;
  let scan = new StatementScan();
  let at = from;
  let verbEnd = from;
  let depth = 0;
  const finish = () => {
    if (scan.words.length === 0) return;
    if (scan.ddl > ddl) ddl = scan.ddl;
    if (scan.words[0] === "COPY") copy = true;
    if (scan.hasHeader) copyHeader = true;
    undecided = scan.isUndecided;
    const verb = scan.words[0]!;
    if (namingVerbs.has(verb)) {
      deeds ??= [...writes];
      deeds.push(readNaming(verb as NamingVerb, sql, verbEnd, at, scan.preparesWrite));
    } else deeds?.push(scan.writes);
    writes.push(scan.writes);
    scan = new StatementScan();
  };
  while (at < to) {
    const c = sql[at]!;
    if (wordBytes[c] === 1) {
      const end = wordEnd(sql, at, to);
      if (end - at === 1 && sql[end] === 0x27) {
        at = skipQuoted(sql, end, 0x27, c === 0x45 || c === 0x65, to); // E'…', B'…', X'…', N'…'
        continue;
      }
      if (scan.words.length === 0) verbEnd = end;
      scan.word(keywordAt(sql, at, end), depth);
      at = end;
    } else if (c === 0x3b) {
      finish();
      depth = 0;
      at++;
    } else if (c === 0x27) at = skipQuoted(sql, at, 0x27, false, to);
    else if (c === 0x22) {
      const end = skipQuoted(sql, at, 0x22, false, to);
      scan.word(`"${asciiUpper(sql, at + 1, Math.min(end - 1, at + 64))}`, depth);
      if (sql[at + 1] === 0x70 && asciiUpper(sql, at + 1, Math.min(end - 1, at + 8)).startsWith("PG_TEMP")) scan.mentionsPgTemp = true;
      at = end;
    } else if (c === 0x24) at = skipDollar(sql, at, to);
    else if (c === 0x2d && sql[at + 1] === 0x2d) at = skipLine(sql, at, to);
    else if (c === 0x2f && sql[at + 1] === 0x2a) at = skipBlockComment(sql, at, to);
    else {
      if (c === 0x28) depth++;
      else if (c === 0x29) depth--;
      else if (c === 0x2c && depth === 0) scan.comma();
      at++;
    }
  }
  finish();
  return { ddl, copy, copyHeader, undecided, writes, deeds: deeds ?? writes };
}

/** The keyword that stands there, in upper case; `PG_TEMP` for every word that begins so. */
function keywordAt(sql: Uint8Array, from: number, to: number): string {
  const length = to - from;
  if (length >= 7 && (sql[from]! | 0x20) === 0x70 && asciiUpper(sql, from, from + 7) === "PG_TEMP") return "PG_TEMP";
  if (length > 31) return otherWord;
  for (const { text, bytes } of keywords[keywordSlot(length, sql[from]!)]!) {
    let same = 0;
    while (same < length && upper(sql[from + same]!) === bytes[same]) same++;
    if (same === length) return text;
  }
  return otherWord;
}

function upper(c: number): number {
  return c >= 0x61 && c <= 0x7a ? c - 32 : c;
}

/** Upper-case text of a word; long ones are cut, no keyword is that long. */
function asciiUpper(sql: Uint8Array, from: number, to: number): string {
  let text = "";
  const end = Math.min(to, from + 32);
  for (let at = from; at < end; at++) {
    const c = sql[at]!;
    text += String.fromCharCode(upper(c));
  }
  return text;
}
