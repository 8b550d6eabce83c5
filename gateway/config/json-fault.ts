/** Where a text stops being JSON: runtimes word JSON.parse's errors differently, and not all of them say the line. */

export interface JsonFault {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  readonly message: string;
}

/** Thrown inside only, to leave the recursion. */
class Fault {
  readonly at: number;
  readonly message: string;

  constructor(at: number, message: string) {
    this.at = at;
    this.message = message;
  }
}

const maxDepth = 200;
const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const blank = /[ \t\r\n]*/y;

/** @returns undefined when nothing is wrong. */
export function findJsonFault(text: string): JsonFault | undefined {
  try {
    const end = skipBlank(text, skipValue(text, 0, 0));
    if (end < text.length) throw new Fault(end, `unexpected ${nameAt(text, end)} after the end of the value`);
    return undefined;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const before = text.slice(0, error.at);
    return { line: before.split("\n").length, column: error.at - before.lastIndexOf("\n"), message: error.message };
  }
}

/** @returns the index after the value that starts at or after `start`. */
function skipValue(text: string, start: number, depth: number): number {
  const at = skipBlank(text, start);
  const first = text[at];
  if (depth > maxDepth) throw new Fault(at, `nested deeper than ${maxDepth}`);
  if (first === "{") return skipList(text, at, "}", (from) => skipMember(text, from, depth));
  if (first === "[") return skipList(text, at, "]", (from) => skipValue(text, from, depth + 1));
  if (first === '"') return skipString(text, at);
  return match(scalar, text, at) ?? fail(text, at, "a value");
}

function skipMember(text: string, start: number, depth: number): number {
  const at = skipBlank(text, start);
  if (text[at] !== '"') fail(text, at, "a name in double quotes");
  const colon = skipBlank(text, skipString(text, at));
  if (text[colon] !== ":") fail(text, colon, '":"');
  return skipValue(text, colon + 1, depth + 1);
}

/** The inside of an object or array; `start` is at its opening bracket. */
function skipList(text: string, start: number, close: string, skipEntry: (from: number) => number): number {
  let at = skipBlank(text, start + 1);
  if (text[at] === close) return at + 1;
  for (;;) {
    at = skipBlank(text, skipEntry(at));
    if (text[at] === close) return at + 1;
    if (text[at] !== ",") fail(text, at, `"," or "${close}"`);
    const comma = at;
    at = skipBlank(text, at + 1);
    if (text[at] === close) throw new Fault(comma, `"," before "${close}": remove it`);
  }
}

function skipString(text: string, at: number): number {
  return match(string, text, at) ?? failWith(at, "a text that does not end, or holds a raw line break or a bad escape");
}

function skipBlank(text: string, at: number): number {
  return match(blank, text, at) ?? at;
}

/** @returns the index after what `pattern` matches at `at`. */
function match(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

function fail(text: string, at: number, wanted: string): never {
  const comment = text.startsWith("//", at) || text.startsWith("/*", at);
  throw new Fault(at, comment ? "JSON has no comments" : `expected ${wanted}, found ${nameAt(text, at)}`);
}

function failWith(at: number, message: string): never {
  throw new Fault(at, message);
}

function nameAt(text: string, at: number): string {
  return at < text.length ? JSON.stringify(String.fromCodePoint(text.codePointAt(at)!)) : "the end of the file";
}
