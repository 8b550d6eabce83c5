/** Where words, quotes and comments of a SQL text end. Linear, without a copy. */

/** 1: may begin a word, 2: may only be inside one. */
export const wordBytes = Uint8Array.from({ length: 256 }, (_, c) => (isWordStart(c) ? 1 : (c >= 0x30 && c <= 0x39) || c === 0x24 ? 2 : 0));

export function isWordStart(c: number): boolean {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a) || c === 0x5f || c >= 0x80;
}

export function wordEnd(sql: Uint8Array, at: number, to: number): number {
  let end = at + 1;
  while (end < to && wordBytes[sql[end]!] !== 0) end++;
  return end;
}

/** From an opening quote to behind the closing one; a doubled quote stays inside. */
export function skipQuoted(sql: Uint8Array, at: number, quote: number, backslashes: boolean, to: number): number {
  let i = at + 1;
  while (i < to) {
    const c = sql[i]!;
    if (backslashes && c === 0x5c) i += 2;
    else if (c !== quote) i++;
    else if (sql[i + 1] === quote) i += 2;
    else return i + 1;
  }
  return to;
}

export function skipLine(sql: Uint8Array, at: number, to: number): number {
  let end = at;
  while (end < to && sql[end] !== 0x0a) end++;
  return Math.min(end + 1, to);
}

/** Comments nest in PostgreSQL. */
export function skipBlockComment(sql: Uint8Array, at: number, to: number): number {
  let depth = 1;
  let i = at + 2;
  while (i < to) {
    if (sql[i] === 0x2a && sql[i + 1] === 0x2f) {
      i += 2;
      if (--depth === 0) return i;
    } else if (sql[i] === 0x2f && sql[i + 1] === 0x2a) {
      depth++;
      i += 2;
    } else i++;
  }
  return to;
}

/** `$tag$ … $tag$`, or a parameter `$1`, which is one character further. */
export function skipDollar(sql: Uint8Array, at: number, to: number): number {
  let end = at + 1;
  if (sql[end] !== 0x24) {
    if (end >= to || !isWordStart(sql[end]!)) return end;
    while (end < to && (isWordStart(sql[end]!) || (sql[end]! >= 0x30 && sql[end]! <= 0x39))) end++;
    if (sql[end] !== 0x24) return end;
  }
  const tagLength = end + 1 - at;
  for (let i = end + 1; i + tagLength <= to; i++) {
    while (i < to && sql[i] !== 0x24) i++; // not indexOf: behind `to` other statements may follow, and they are not read twice
    let same = 0;
    while (same < tagLength && i + same < to && sql[i + same] === sql[at + same]) same++;
    if (same === tagLength) return i + tagLength;
  }
  return to;
}
