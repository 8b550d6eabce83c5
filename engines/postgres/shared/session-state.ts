/**
 * What a SQL text leaves behind in its session: settings that can be made again elsewhere, and what ties a client to its backend.
 * A courtesy, as statement.ts is: what it does not see is undone before another client uses the backend, never met by it.
 */
import { utf8 } from "../bytes.ts";
import { isWordStart, skipBlockComment, skipDollar, skipLine, skipQuoted, wordEnd } from "../lexemes.ts";

/** Why a client keeps its backend between transactions. */
export type Pin = "setting" | "listen" | "temporary object" | "prepared statement" | "cursor" | "advisory lock" | "library" | "statement too large";

export type SettingChange =
  /** `sql` makes it again, on any backend, whenever. */
  | { readonly kind: "set"; readonly name: string; readonly sql: string }
  | { readonly kind: "reset"; readonly name: string }
  | { readonly kind: "reset all" };

/** A prepared statement that SQL text names, and where: `from` and `to` are byte positions in the text. */
export interface NamedStatement {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** DEALLOCATE; otherwise EXECUTE. */
  readonly deallocates: boolean;
}

export interface StateReading {
  readonly changes: readonly SettingChange[];
  readonly pins: readonly Pin[];
  readonly unpins: readonly Pin[];
  readonly statement: NamedStatement | undefined;
}

interface Token {
  /** `word` in upper case; `name` for quoted identifiers; `string` without quotes; else the character itself. */
  readonly kind: "word" | "name" | "string" | "other";
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

const leading = new Set("SET RESET DISCARD LISTEN UNLISTEN PREPARE DEALLOCATE EXECUTE DECLARE CLOSE LOAD DO CALL".split(" "));
const transactional = new Set("BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE PREPARE CALL DO".split(" "));
const sessionLocks = new Set(["PG_ADVISORY_LOCK", "PG_ADVISORY_LOCK_SHARED", "PG_TRY_ADVISORY_LOCK", "PG_TRY_ADVISORY_LOCK_SHARED"]);

/** @returns undefined for the many texts that leave nothing behind. `[from, to)` is the text in a chunk. */
export function readState(sql: Uint8Array, from = 0, to = sql.length): StateReading | undefined {
  if (!mayHaveState(sql, from, to)) return undefined;
  const changes: SettingChange[] = [];
  const pins = new Set<Pin>();
  const unpins = new Set<Pin>();
  const names: NamedStatement[] = [];
  const statements = splitStatements(sql, from, to);
  for (const tokens of statements) readStatement(tokens, { sql, changes, pins, unpins, names });
  // Only a text of one statement is rewritten; and settings in a text of several transactions may be kept or not.
  const statement = statements.length === 1 ? names[0] : undefined;
  if (changes.length > 0 && statements.length > 1 && statements.some(([first]) => first?.kind === "word" && transactional.has(first.text))) {
    changes.length = 0;
    pins.add("setting");
  }
  if (changes.length + pins.size + unpins.size === 0 && !statement) return undefined;
  return { changes, pins: [...pins], unpins: [...unpins], statement };
}

/** One pass without allocation: a statement begins with a telling word, or a telling word stands anywhere, quoted texts of DO included. */
function mayHaveState(sql: Uint8Array, from: number, to: number): boolean {
  let at = from;
  let begins = true;
  while (at < to) {
    const c = sql[at]!;
    if (isWordStart(c)) {
      const end = wordEnd(sql, at, to);
      if (begins ? isLeading(sql, at, end) || isTelling(sql, at, end) : isTelling(sql, at, end)) return true;
      begins = false;
      at = end;
    } else if (c === 0x3b) {
      begins = true;
      at++;
    } else if (c === 0x27) at = skipQuoted(sql, at, 0x27, isEscapeString(sql, at, from), to);
    else if (c === 0x24) at = skipDollar(sql, at, to);
    else if (c === 0x2d && sql[at + 1] === 0x2d) at = skipLine(sql, at, to);
    else if (c === 0x2f && sql[at + 1] === 0x2a) at = skipBlockComment(sql, at, to);
    else at++; // a quoted identifier is read like a word
  }
  return false;
}

function isLeading(sql: Uint8Array, from: number, to: number): boolean {
  if (to - from > 10) return false;
  const first = sql[from]! & 0xdf;
  // C D E L P R S U: of the commonest verbs only SELECT, DELETE and COMMIT share them.
  if (first !== 0x43 && first !== 0x44 && first !== 0x45 && first !== 0x4c && first !== 0x50 && first !== 0x52 && first !== 0x53 && first !== 0x55)
    return false;
  return leading.has(upperText(sql, from, to));
}

/** TEMP, TEMPORARY, PG_TEMP…, SET_CONFIG, PG_…ADVISORY… */
function isTelling(sql: Uint8Array, from: number, to: number): boolean {
  const length = to - from;
  const first = sql[from]! & 0xdf;
  if (first === 0x54) return (length === 4 || length === 9) && upperText(sql, from, from + 4) === "TEMP";
  if (first === 0x53) return length === 10 && upperText(sql, from, to) === "SET_CONFIG";
  return first === 0x50 && length >= 7 && sql[from + 2] === 0x5f && /^PG_(TEMP|ADVISORY|TRY_ADVISORY)/.test(upperText(sql, from, to));
}

interface Findings {
  readonly sql: Uint8Array;
  readonly changes: SettingChange[];
  readonly pins: Set<Pin>;
  readonly unpins: Set<Pin>;
  readonly names: NamedStatement[];
}

function readStatement(tokens: readonly Token[], found: Findings): void {
  const words = tokens.map(({ kind, text }) => (kind === "word" ? text : ""));
  const [first = "", second = ""] = words;
  switch (first) {
    case "SET":
      readSet(tokens, found);
      return;
    case "RESET":
      if (second === "ALL") {
        found.changes.push({ kind: "reset all" });
        found.unpins.add("setting");
      } else found.changes.push({ kind: "reset", name: settingName(tokens, 1).name });
      return;
    case "LISTEN":
      found.pins.add("listen");
      return;
    case "UNLISTEN":
      if (tokens[1]?.text === "*") found.unpins.add("listen");
      return;
    case "DISCARD":
      if (second === "TEMP" || second === "TEMPORARY") found.unpins.add("temporary object");
      return;
    case "CLOSE":
      if (second === "ALL") found.unpins.add("cursor");
      return;
    case "PREPARE":
      if (second !== "TRANSACTION") found.pins.add("prepared statement");
      return;
    case "DEALLOCATE":
    case "EXECUTE":
      readNamed(tokens, first === "DEALLOCATE", found);
      return;
    case "DECLARE":
      if (words.some((word, at) => word === "WITH" && words[at + 1] === "HOLD")) found.pins.add("cursor");
      return;
    case "LOAD":
      found.pins.add("library");
      return;
    case "DO":
    case "CALL":
      readBodies(tokens, found.pins);
  }
  readWords(tokens, words, found);
}

/** SET name, SET SESSION name, SET TIME ZONE, SET NAMES, SET SCHEMA, SET SESSION CHARACTERISTICS; not SET LOCAL, which ends with the transaction. */
function readSet(tokens: readonly Token[], found: Findings): void {
  const word = (at: number) => (tokens[at]?.kind === "word" ? tokens[at].text : "");
  if (word(1) === "LOCAL" || word(1) === "TRANSACTION" || word(1) === "CONSTRAINTS") return;
  const at = word(1) === "SESSION" && word(2) !== "AUTHORIZATION" && word(2) !== "CHARACTERISTICS" ? 2 : 1;
  if (word(at) === "TRANSACTION") return;
  const { name, isPlain } = settingName(tokens, at);
  const sql = isPlain ? textOf(tokens, found.sql) : undefined;
  if (sql === undefined) found.pins.add("setting");
  else found.changes.push({ kind: "set", name, sql });
}

/** The setting named at `at`, lower-cased as PostgreSQL compares it. Not plain: what no other backend can be told in the same words. */
function settingName(tokens: readonly Token[], at: number): { readonly name: string; readonly isPlain: boolean } {
  const word = (index: number) => tokens[index]?.text.toUpperCase() ?? "";
  if (word(at) === "TIME" && word(at + 1) === "ZONE") return { name: "timezone", isPlain: true };
  if (word(at) === "NAMES") return { name: "client_encoding", isPlain: true };
  if (word(at) === "SCHEMA") return { name: "search_path", isPlain: true };
  if (word(at) === "SESSION" && word(at + 1) === "CHARACTERISTICS") return { name: "session characteristics", isPlain: true };
  if (word(at) === "SESSION" || word(at) === "ROLE" || word(at) === "SEED") return { name: word(at).toLowerCase(), isPlain: false };
  let name = "";
  for (let index = at; index < tokens.length; index++) {
    const { kind, text } = tokens[index]!;
    if (kind === "other" && text !== ".") break;
    if (kind === "word" && (text === "TO" || text === "FROM")) break;
    name += text.toLowerCase();
  }
  return { name, isPlain: name !== "" && name !== "role" && name !== "session_authorization" };
}

/** The statement as it was written. @returns undefined where it would mean something else in another session: encoding, backslashes. */
function textOf(tokens: readonly Token[], sql: Uint8Array): string | undefined {
  const isFixed = tokens.every(({ kind, from, to }) => kind !== "string" || sql[from] !== 0x27 || !sql.subarray(from, to).includes(0x5c));
  const text = utf8(sql.subarray(tokens[0]!.from, tokens.at(-1)!.to));
  return isFixed && isAscii(text) ? text : undefined;
}

function readNamed(tokens: readonly Token[], deallocates: boolean, found: Findings): void {
  const at = deallocates && tokens[1]?.text === "PREPARE" && tokens[2] ? 2 : 1;
  const token = tokens[at];
  if (!token || (token.kind !== "word" && token.kind !== "name")) return;
  if (deallocates && token.kind === "word" && token.text === "ALL") {
    found.unpins.add("prepared statement");
    return;
  }
  found.names.push({ name: token.kind === "word" ? token.text.toLowerCase() : token.text, from: token.from, to: token.to, deallocates });
}

/** What may stand anywhere in a statement. */
function readWords(tokens: readonly Token[], words: readonly string[], found: Findings): void {
  tokens.forEach(({ kind, text }, at) => {
    if (kind !== "word" && kind !== "name") return;
    const word = text.toUpperCase();
    if (sessionLocks.has(word)) found.pins.add("advisory lock");
    else if (word === "PG_ADVISORY_UNLOCK_ALL") found.unpins.add("advisory lock");
    else if (word === "SET_CONFIG") readSetConfig(tokens, at, found);
    else if (word.startsWith("PG_TEMP") && (words[0] === "CREATE" || words[at - 1] === "INTO")) found.pins.add("temporary object");
  });
  if (makesTemporary(words) && !endsWithTransaction(words)) found.pins.add("temporary object");
}

/** CREATE [OR REPLACE] [GLOBAL | LOCAL] TEMP …, SELECT … INTO TEMP …. */
function makesTemporary(words: readonly string[]): boolean {
  const isTemp = (word: string | undefined) => word === "TEMP" || word === "TEMPORARY";
  if (words[0] === "CREATE") return words.slice(1, 5).some(isTemp);
  return words.some((word, at) => word === "INTO" && isTemp(words[at + 1]));
}

/** ON COMMIT DROP */
function endsWithTransaction(words: readonly string[]): boolean {
  return words.some((word, at) => word === "COMMIT" && words[at - 1] === "ON" && words[at + 1] === "DROP");
}

/** set_config(name, value, is_local) with literals can be said again; with `true` at its end it ends with the transaction. */
function readSetConfig(tokens: readonly Token[], at: number, found: Findings): void {
  const [open, name, comma, value, comma2, isLocal, close, ...rest] = tokens.slice(at + 1);
  const isCall = open?.text === "(" && comma?.text === "," && comma2?.text === "," && close?.text === ")";
  const flag = isLocal?.text.toLowerCase() ?? "";
  if (isCall && ["true", "t", "on", "1"].includes(flag)) return;
  const stands = tokens[0]?.text === "SELECT" && (at === 1 || (at === 3 && tokens[1]?.text === "PG_CATALOG" && tokens[2]?.text === "."));
  const isAlone = stands && isCall && (rest.length === 0 || (rest.length <= 2 && rest.every(({ kind }) => kind === "word" || kind === "name")));
  const sql = name?.kind === "string" && value?.kind === "string" && flag === "false" && isAlone ? textOf(tokens, found.sql) : undefined;
  if (sql === undefined) found.pins.add("setting");
  else found.changes.push({ kind: "set", name: name!.text.toLowerCase(), sql });
}

/** A DO block's text: words in it are looked for as they stand. */
function readBodies(tokens: readonly Token[], pins: Set<Pin>): void {
  for (const { kind, text } of tokens) {
    if (kind !== "string") continue;
    if (/\bset_config\b|(^|;|\b(BEGIN|THEN|ELSE|LOOP)\b)\s*SET\s+(?!LOCAL\b)[\w.]+\s*(=|TO\b)/i.test(text)) pins.add("setting");
    if (/\bLISTEN\b/i.test(text)) pins.add("listen");
    if (/\bTEMP(ORARY)?\b/i.test(text) && !/\bON\s+COMMIT\s+DROP\b/i.test(text)) pins.add("temporary object");
    if (/\bpg_(try_)?advisory_lock(_shared)?\b/i.test(text)) pins.add("advisory lock");
    if (/\bPREPARE\b/i.test(text)) pins.add("prepared statement");
    if (/\bWITH\s+HOLD\b/i.test(text)) pins.add("cursor");
  }
}

function splitStatements(sql: Uint8Array, from: number, to: number): Token[][] {
  const statements: Token[][] = [];
  let current: Token[] = [];
  for (const token of tokenize(sql, from, to)) {
    if (token.text === ";" && token.kind === "other") {
      if (current.length > 0) statements.push(current);
      current = [];
    } else current.push(token);
  }
  if (current.length > 0) statements.push(current);
  return statements;
}

function* tokenize(sql: Uint8Array, from: number, to: number): Generator<Token> {
  let at = from;
  while (at < to) {
    const c = sql[at]!;
    const start = at;
    const token = (kind: Token["kind"], text: string): Token => ({ kind, text, from: start, to: at });
    if (isWordStart(c)) {
      at = wordEnd(sql, at, to);
      if (at - start === 1 && sql[at] === 0x27 && (c & 0xdf) === 0x45) {
        at = skipQuoted(sql, at, 0x27, true, to);
        yield token("string", utf8(sql.subarray(start + 2, at - 1)).replaceAll("''", "'"));
      } else yield token("word", utf8(sql.subarray(start, at)).toUpperCase());
    } else if (isDigit(c)) {
      while (at < to && (isDigit(sql[at]!) || sql[at] === 0x2e || isWordStart(sql[at]!))) at++;
      yield token("other", utf8(sql.subarray(start, at)));
    } else if (c === 0x27) {
      at = skipQuoted(sql, at, 0x27, false, to);
      yield token("string", utf8(sql.subarray(start + 1, at - 1)).replaceAll("''", "'"));
    } else if (c === 0x22) {
      at = skipQuoted(sql, at, 0x22, false, to);
      yield token("name", utf8(sql.subarray(start + 1, at - 1)).replaceAll('""', '"'));
    } else if (c === 0x24 && isDigit(sql[at + 1] ?? 0)) {
      at++;
      while (at < to && isDigit(sql[at]!)) at++;
      yield token("other", utf8(sql.subarray(start, at)));
    } else if (c === 0x24) {
      at = skipDollar(sql, at, to);
      const tag = sql.indexOf(0x24, start + 1);
      const isQuote = at - start >= 2 * (tag + 1 - start) && tag > 0;
      yield isQuote ? token("string", utf8(sql.subarray(tag + 1, at - (tag + 1 - start)))) : token("other", utf8(sql.subarray(start, at)));
    } else if (c === 0x2d && sql[at + 1] === 0x2d) at = skipLine(sql, at, to);
    else if (c === 0x2f && sql[at + 1] === 0x2a) at = skipBlockComment(sql, at, to);
    else {
      at++;
      if (c > 0x20) yield token("other", String.fromCharCode(c));
    }
  }
}

/** E'…': the quote's own letter is just before it, and no word ends there. */
function isEscapeString(sql: Uint8Array, at: number, from: number): boolean {
  return at > from && (sql[at - 1]! & 0xdf) === 0x45 && (at - 1 === from || !isWordStart(sql[at - 2]!));
}

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7e) return false;
  return true;
}

function upperText(sql: Uint8Array, from: number, to: number): string {
  let text = "";
  for (let at = from; at < to; at++) {
    const c = sql[at]!;
    text += String.fromCharCode(c >= 0x61 && c <= 0x7a ? c - 32 : c);
  }
  return text;
}
