/**
 * What pg_restore makes of an archive's data, read strictly: the few statements it writes, each known by its whole form. Nothing of the text is ever
 * run. Whatever else stands there, the archive is refused: it is not what pg_dump made, or a version wrote it that we do not know.
 */
import { ByteSource, damaged } from "./byte-source.ts";

export type ScriptPart =
  /** `data` is COPY's text format, to be read to its end before the next part is asked for. */
  | {
      readonly type: "copy";
      readonly schema: string;
      readonly name: string;
      readonly columns: readonly string[];
      readonly data: AsyncIterable<Uint8Array>;
    }
  | { readonly type: "sequence"; readonly schema: string; readonly name: string; readonly lastValue: string; readonly isCalled: boolean }
  /** A piece of a large object's content, in lower-case hex, where the last one of it ended. */
  | { readonly type: "object data"; readonly oid: string; readonly position: number; readonly hex: string };

/** Of a statement: 1,600 columns with the longest names, quoted, take a tenth of it; a piece of a large object takes 32 KiB. */
const maxStatementBytes = 2 * 1024 * 1024;
const lastComment = "-- PostgreSQL database dump complete";

/** Settings it makes for whoever runs it. Two decide what the bytes mean, and must be as we read them. */
const settings: Readonly<Record<string, RegExp>> = {
  statement_timeout: /^0$/,
  lock_timeout: /^0$/,
  idle_in_transaction_session_timeout: /^0$/,
  transaction_timeout: /^0$/,
  client_encoding: /^'UTF8'$/,
  standard_conforming_strings: /^on$/,
  check_function_bodies: /^(false|off)$/,
  xmloption: /^content$/,
  client_min_messages: /^warning$/,
  row_security: /^off$/,
  default_tablespace: /^''$/,
  default_table_access_method: /^heap$/,
};

/** @throws {GatewayError} backup_unusable for anything that is not exactly what pg_restore writes, or ends early. */
export async function* readArchiveScript(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ScriptPart, void, undefined> {
  const source = new ByteSource(chunks);
  try {
    yield* readStatements(source);
  } finally {
    await source.close();
  }
}

async function* readStatements(source: ByteSource): AsyncGenerator<ScriptPart, void, undefined> {
  const objects = new ObjectReader();
  let isOver = false;
  for (;;) {
    const line = await source.readLine(maxStatementBytes);
    if (line === undefined) break;
    if (line === "" || /^\\(un)?restrict [A-Za-z0-9]+$/.test(line)) continue;
    if (line.startsWith("--")) {
      isOver ||= line === lastComment;
      continue;
    }
    if (isOver) throw damaged("its archive goes on behind its end");
    const tokens = tokenize(await readStatement(source, line));
    if (isSetting(tokens) || objects.isFrame(tokens)) continue;
    const copy = readCopy(tokens);
    if (copy) {
      objects.requireNone();
      const data = source.readCopyData();
      yield { type: "copy", ...copy, data };
      for await (const _ of data) throw damaged("a table was not read to its end");
      continue;
    }
    const part = readSequence(tokens) ?? objects.readWrite(tokens);
    if (!part) throw damaged("its archive holds something that is no data");
    yield part;
  }
  objects.requireNone();
  if (!isOver) throw damaged("its archive ends before its last line");
}

/** A statement ends with its line; a quoted name may hold line feeds of its own. */
async function readStatement(source: ByteSource, first: string): Promise<string> {
  let text = first;
  const quotes = new QuoteScan();
  for (let unseen = first; quotes.isOpenAfter(unseen); ) {
    const line = await source.readLine(maxStatementBytes);
    if (line === undefined || text.length + line.length > maxStatementBytes) throw damaged("a statement of its archive does not end");
    unseen = `\n${line}`;
    text += unseen;
  }
  return text;
}

/** Whether text so far ends within quotes; a doubled quote closes and opens again. */
class QuoteScan {
  #open = "";

  isOpenAfter(text: string): boolean {
    for (const character of text) {
      if (this.#open === "") {
        if (character === '"' || character === "'") this.#open = character;
      } else if (character === this.#open) this.#open = "";
    }
    return this.#open !== "";
  }
}

interface Token {
  readonly kind: "word" | "name" | "text" | "number" | "sign";
  /** Without its quotes. */
  readonly value: string;
}

const tokenForms: readonly (readonly [Token["kind"], RegExp])[] = [
  ["word", /[A-Za-z_][A-Za-z0-9_]*/y],
  ["name", /"([^"\0]*(?:""[^"\0]*)*)"/y],
  ["text", /'([^'\0]*(?:''[^'\0]*)*)'/y],
  ["number", /-?[0-9]{1,20}/y],
  ["sign", /[.,()=;]/y],
];

function tokenize(statement: string): readonly Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < statement.length; ) {
    if (statement[at] === " ") {
      at++;
      continue;
    }
    const token = tokenAt(statement, at);
    tokens.push(token.token);
    at = token.end;
  }
  return tokens;
}

function tokenAt(statement: string, at: number): { token: Token; end: number } {
  for (const [kind, form] of tokenForms) {
    form.lastIndex = at;
    const found = form.exec(statement);
    if (!found) continue;
    const quoted = found[1];
    const quote = kind === "name" ? '"' : "'";
    const value = quoted === undefined ? found[0] : quoted.replaceAll(quote + quote, quote);
    return { token: { kind, value }, end: form.lastIndex };
  }
  throw damaged("its archive holds something that is no data");
}

/**
 * Compares a statement with its form: words and signs as they are, `$name`, `$text` and `$number` for what is taken out.
 * @returns what was taken out, or undefined where it is another statement
 */
function match(tokens: readonly Token[], ...form: readonly string[]): readonly string[] | undefined {
  if (tokens.length !== form.length) return undefined;
  const taken: string[] = [];
  for (const [at, want] of form.entries()) {
    const token = tokens[at]!;
    if (want === "$name" ? isName(token) : want === `$${token.kind}`) taken.push(token.value);
    else if ((token.kind !== "word" && token.kind !== "sign") || token.value !== want) return undefined;
  }
  return taken;
}

/** Names stand without quotes only in lower case. */
function isName({ kind, value }: Token): boolean {
  return (kind === "name" && value !== "") || (kind === "word" && value === value.toLowerCase());
}

const callOf = (name: string, ...args: readonly string[]) => ["SELECT", "pg_catalog", ".", name, "(", ...args, ")", ";"];

function isSetting(tokens: readonly Token[]): boolean {
  const path = match(tokens, ...callOf("set_config", "$text", ",", "$text", ",", "false"));
  if (path) return path[0] === "search_path" && path[1] === "";
  const [set, name, equals, value, end] = tokens;
  if (tokens.length !== 5 || set?.value !== "SET" || set.kind !== "word" || equals?.value !== "=" || end?.value !== ";") return false;
  const allowed = name?.kind === "word" && Object.hasOwn(settings, name.value) ? settings[name.value] : undefined;
  const written = value?.kind === "text" ? `'${value.value}'` : (value?.value ?? "");
  if (!allowed?.test(written)) throw damaged(`its archive makes a setting that is not expected`);
  return true;
}

/** `COPY schema.table (columns) FROM stdin;`, its list of columns left out where there are none. */
function readCopy(tokens: readonly Token[]): { schema: string; name: string; columns: readonly string[] } | undefined {
  const head = match(tokens.slice(0, 4), "COPY", "$name", ".", "$name");
  const tail = match(tokens.slice(-3), "FROM", "stdin", ";");
  if (!head || !tail || tokens.length < 7) return undefined;
  const [schema = "", name = ""] = head;
  const list = tokens.slice(4, -3);
  if (list.length === 0) return { schema, name, columns: [] };
  const columns = list.filter((_, at) => at % 2 === 1);
  const signs = list.filter((_, at) => at % 2 === 0);
  const isList =
    list.length % 2 === 1 &&
    columns.length > 0 &&
    columns.every(isName) &&
    signs.every(({ kind, value }, at) => kind === "sign" && value === (at === 0 ? "(" : at === signs.length - 1 ? ")" : ","));
  return isList ? { schema, name, columns: columns.map(({ value }) => value) } : undefined;
}

function readSequence(tokens: readonly Token[]): ScriptPart | undefined {
  for (const called of ["true", "false"]) {
    const found = match(tokens, ...callOf("setval", "$text", ",", "$number", ",", called));
    if (!found) continue;
    const [target = "", lastValue = ""] = found;
    const name = match(tokenize(target), "$name", ".", "$name");
    if (!name) throw damaged("its archive sets something that is no sequence");
    return { type: "sequence", schema: name[0]!, name: name[1]!, lastValue, isCalled: called === "true" };
  }
  return undefined;
}

/** Large objects: made one by one, then opened, written piece by piece and closed, all within transactions. Whose they are is not said here. */
class ObjectReader {
  #oid: string | undefined;
  #position = 0;
  #isInTransaction = false;

  /** True for what only frames the content. */
  isFrame(tokens: readonly Token[]): boolean {
    if (match(tokens, "BEGIN", ";") && !this.#isInTransaction) this.#isInTransaction = true;
    else if (match(tokens, "COMMIT", ";") && this.#isInTransaction && this.#oid === undefined) this.#isInTransaction = false;
    else if (this.#oid !== undefined && match(tokens, ...callOf("lo_close", "$number"))?.[0] === "0") this.#oid = undefined;
    else if (isOid(match(tokens, ...callOf("lo_create", "$text"))?.[0])) this.requireNone();
    else return this.#open(tokens);
    return true;
  }

  /** Mode 131072 is INV_WRITE. */
  #open(tokens: readonly Token[]): boolean {
    const found = match(tokens, ...callOf("lo_open", "$text", ",", "$number"));
    if (!found || !isOid(found[0]) || found[1] !== "131072" || !this.#isInTransaction || this.#oid !== undefined) return false;
    this.#oid = found[0];
    this.#position = 0;
    return true;
  }

  readWrite(tokens: readonly Token[]): ScriptPart | undefined {
    const found = match(tokens, ...callOf("lowrite", "$number", ",", "$text"));
    if (found?.[0] !== "0" || this.#oid === undefined || !/^\\x(?:[0-9a-f]{2})*$/.test(found[1] ?? "")) return undefined;
    const hex = found[1]!.slice(2);
    const part: ScriptPart = { type: "object data", oid: this.#oid, position: this.#position, hex };
    this.#position += hex.length / 2;
    return part;
  }

  requireNone(): void {
    if (this.#isInTransaction) throw damaged("its large objects do not end");
  }
}

function isOid(text: string | undefined): text is string {
  return text !== undefined && /^[0-9]{1,10}$/.test(text) && Number(text) > 0 && Number(text) < 2 ** 32;
}
