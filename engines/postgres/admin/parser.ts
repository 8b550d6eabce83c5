/** PostgreSQL's own parser (libpg-query, WebAssembly): text to statements, with their exact text. For the control plane only. */
import createModule, { type PgQueryModule } from "libpg-query/wasm/libpg-query.js";

/** One node of a parse tree: `{ CreateStmt: { … } }`. */
export type Node = { readonly [kind: string]: Fields };
export type Fields = { readonly [field: string]: unknown };

export interface Statement {
  /** `CreateStmt`, `SelectStmt`, … @see https://github.com/pganalyze/libpg_query/blob/18-latest/protobuf/pg_query.proto */
  readonly kind: string;
  readonly fields: Fields;
  /** Without the comments and blanks around it, without the semicolon. */
  readonly text: string;
  /** Words and quoted identifiers of `text`, upper case, in order; comments and literals left out. */
  readonly words: readonly string[];
}

/** More than this is refused: parsing blocks the thread, about 0.4 s for each MB. */
export const maxParseBytes = 4 * 1024 * 1024;

export class ParseError extends Error {
  /** `syntax`: PostgreSQL would refuse it too. `limit`: too long or too deep for us, perhaps not for PostgreSQL. */
  readonly reason: "syntax" | "limit";

  constructor(reason: "syntax" | "limit", message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ParseError";
    this.reason = reason;
  }
}

let instance: Promise<PgQueryModule> | undefined;

/** @throws {ParseError} */
export async function parseStatements(sql: string): Promise<Statement[]> {
  const bytes = new TextEncoder().encode(sql);
  if (bytes.length > maxParseBytes) throw new ParseError("limit", `statement text is over ${maxParseBytes} bytes`);
  if (sql.trim() === "") return [];
  if (sql.includes("\0")) throw new ParseError("syntax", "statement text holds a NUL character");
  instance ??= createModule();
  const wasm = await instance;
  try {
    return readStatements(wasm, sql, bytes);
  } catch (error) {
    if (error instanceof ParseError) throw error;
    // An overflow of the JavaScript stack leaves the WebAssembly stack where it was: the instance fails for good after a few dozen.
    instance = undefined;
    throw new ParseError("limit", "statement is too complex to be parsed", error);
  }
}

function readStatements(wasm: PgQueryModule, sql: string, bytes: Uint8Array): Statement[] {
  const decoder = new TextDecoder();
  const tree = parseTree(wasm, sql);
  return tree.stmts.flatMap(({ stmt, stmt_location = 0, stmt_len }) => {
    const kind = Object.keys(stmt)[0];
    // Offsets are in bytes; a length is missing from a last statement without a semicolon.
    const raw = bytes.subarray(stmt_location, stmt_len === undefined ? bytes.length : stmt_location + stmt_len);
    const tokens = scanTokens(wasm, decoder.decode(raw)).filter((token) => !/COMMENT|ASCII_59/.test(token.tokenName));
    const first = tokens[0];
    const last = tokens.at(-1);
    if (kind === undefined || !first || !last) return [];
    const words = tokens.flatMap(({ start, end }) => {
      const word = decoder.decode(raw.subarray(start, end));
      return /^[\p{L}_"]/u.test(word) ? [word.toUpperCase()] : [];
    });
    return [{ kind, fields: stmt[kind] ?? {}, text: decoder.decode(raw.subarray(first.start, last.end)), words }];
  });
}

interface ParseTree {
  readonly stmts: readonly { readonly stmt: Node; readonly stmt_location?: number; readonly stmt_len?: number }[];
}

function parseTree(wasm: PgQueryModule, sql: string): ParseTree {
  return withText(wasm, sql, (pointer) => {
    const result = wasm._wasm_parse_query_raw(pointer);
    if (!result) throw new Error("the parser is out of memory");
    try {
      const error = wasm.getValue(result + 8, "i32");
      if (error) throw new ParseError("syntax", wasm.UTF8ToString(wasm.getValue(error, "i32")));
      const tree: Partial<ParseTree> = JSON.parse(wasm.UTF8ToString(wasm.getValue(result, "i32")));
      return { stmts: tree.stmts ?? [] };
    } finally {
      wasm._wasm_free_parse_result(result);
    }
  });
}

interface Token {
  readonly start: number;
  readonly end: number;
  readonly tokenName: string;
}

function scanTokens(wasm: PgQueryModule, sql: string): readonly Token[] {
  return withText(wasm, sql, (pointer) => {
    const result = wasm._wasm_scan(pointer);
    try {
      const parsed: { tokens?: readonly Token[] } = JSON.parse(wasm.UTF8ToString(result));
      return parsed.tokens ?? [];
    } finally {
      wasm._wasm_free_string(result);
    }
  });
}

function withText<T>(wasm: PgQueryModule, text: string, use: (pointer: number) => T): T {
  const bytes = wasm.lengthBytesUTF8(text) + 1;
  const pointer = wasm._malloc(bytes);
  try {
    wasm.stringToUTF8(text, pointer, bytes);
    return use(pointer);
  } finally {
    wasm._free(pointer);
  }
}
