/** SQL that makes, runs or ends prepared statements and cursors by name: PREPARE, EXECUTE, DEALLOCATE, DECLARE, CLOSE, DISCARD. */
import { isWordStart, skipBlockComment, skipLine, skipQuoted, wordEnd } from "./lexemes.ts";
import { nameOf } from "./names.ts";
import type { NamingStatement } from "./statement-kinds.ts";

export type NamingVerb = NamingStatement["verb"];
export const namingVerbs: ReadonlySet<string> = new Set<NamingVerb>(["PREPARE", "EXECUTE", "DEALLOCATE", "DECLARE", "CLOSE", "DISCARD"]);

/** What stands behind the verb, from `at` up to `to`. `writes`: of the statement that PREPARE prepares. */
export function readNaming(verb: NamingVerb, sql: Uint8Array, at: number, to: number, writes: boolean): NamingStatement {
  let word = readIdentifier(sql, skipSpace(sql, at, to), to);
  if (verb === "DEALLOCATE" && word?.bare === "prepare") {
    const next = readIdentifier(sql, skipSpace(sql, word.end, to), to);
    if (next) word = next; // otherwise that is the statement's name
  }
  const isAll = word?.bare === "all" && (verb === "DEALLOCATE" || verb === "CLOSE");
  return { verb, name: isAll || verb === "DISCARD" ? undefined : word?.name, writes };
}

interface Identifier {
  readonly name: string | undefined;
  /** Where it was written without quotes. */
  readonly bare: string | undefined;
  readonly end: number;
}

/** Without a name where it is written with Unicode escapes; undefined where there is none. */
function readIdentifier(sql: Uint8Array, at: number, to: number): Identifier | undefined {
  if (at >= to) return undefined;
  if (sql[at] === 0x22) {
    const end = skipQuoted(sql, at, 0x22, false, to);
    return { name: nameOf(undouble(sql.subarray(at + 1, end - 1))), bare: undefined, end };
  }
  if (!isWordStart(sql[at]!)) return undefined;
  const end = wordEnd(sql, at, to);
  if (end - at === 1 && sql[end] === 0x26) return { name: undefined, bare: undefined, end }; // U&"…"
  const bare = nameOf(sql.subarray(at, end).map((c) => (c >= 0x41 && c <= 0x5a ? c + 32 : c)));
  return { name: bare, bare, end };
}

/** A quote inside a quoted name is written twice. */
function undouble(bytes: Uint8Array): Uint8Array {
  return bytes.filter((c, i) => !(c === 0x22 && quotesBefore(bytes, i) % 2 === 1));
}

function quotesBefore(bytes: Uint8Array, at: number): number {
  let count = 0;
  while (at - count > 0 && bytes[at - count - 1] === 0x22) count++;
  return count;
}

function skipSpace(sql: Uint8Array, from: number, to: number): number {
  let at = from;
  for (;;) {
    const c = sql[at]!;
    if (at >= to) return to;
    if (c === 0x20 || (c >= 0x09 && c <= 0x0d)) at++;
    else if (c === 0x2d && sql[at + 1] === 0x2d) at = skipLine(sql, at, to);
    else if (c === 0x2f && sql[at + 1] === 0x2a) at = skipBlockComment(sql, at, to);
    else return at;
  }
}
