/** Tells from its bytes alone whether a text is one SELECT that only reads: most statements are, and nothing has to be made of their words. */
import { skipQuoted, wordBytes } from "./lexemes.ts";

const select = Uint8Array.from("SELECT", (letter) => letter.charCodeAt(0));
const into = Uint8Array.from("INTO", (letter) => letter.charCodeAt(0));

/** Bytes that may begin something other than a plain word, sign or number. */
const isTelling = new Uint8Array(256);
for (const sign of `iI'"$-/;`) isTelling[sign.charCodeAt(0)] = 1;

/**
 * Whether the text from `from` up to `to` is a single SELECT without INTO. False also where that would take a closer look, as with comments and
 * escaped or dollar-quoted strings.
 */
export function isPlainRead(sql: Uint8Array, from: number, to: number): boolean {
  let at = skipBlanks(sql, from, to);
  if (!isWord(sql, at, to, select)) return false;
  at += select.length;
  if (at < to && wordBytes[sql[at]!] !== 0) return false;
  while (at < to) {
    const c = sql[at]!;
    if (isTelling[c] === 0) at++;
    else if (c === 0x3b) return skipBlanks(sql, at + 1, to) === to;
    else {
      at = skipTelling(sql, at, to);
      if (at < 0) return false;
    }
  }
  return true;
}

/** Behind what begins there; −1 where it is not plain. */
function skipTelling(sql: Uint8Array, at: number, to: number): number {
  const next = at + 1 < to ? sql[at + 1]! : 0;
  switch (sql[at]!) {
    case 0x22:
      return skipQuoted(sql, at, 0x22, false, to);
    case 0x27: // E'…', B'…', U&'…': what stands before the quote decides how it ends
      return wordBytes[sql[at - 1]!] === 0 && sql[at - 1] !== 0x26 ? skipQuoted(sql, at, 0x27, false, to) : -1;
    case 0x24:
      return next >= 0x30 && next <= 0x39 ? at + 1 : -1;
    case 0x2d:
      return next === 0x2d ? -1 : at + 1;
    case 0x2f:
      return next === 0x2a ? -1 : at + 1;
    default:
      return isWord(sql, at, to, into) ? -1 : at + 1;
  }
}

function skipBlanks(sql: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && (sql[at] === 0x20 || (sql[at]! >= 0x09 && sql[at]! <= 0x0d))) at++;
  return at;
}

/** Whether the word stands there, in upper or lower case. */
function isWord(sql: Uint8Array, at: number, to: number, word: Uint8Array): boolean {
  if (to - at < word.length) return false;
  for (let i = 0; i < word.length; i++) if ((sql[at + i]! & 0xdf) !== word[i]) return false;
  return true;
}
