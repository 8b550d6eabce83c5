/** What the relay reads of a client's statements: which to refuse, which write, and in whose words an error is told. Decides only; never writes. */
import type { GatewayError } from "../../core/errors.ts";
import type { DatabaseSettings } from "../../core/model.ts";
import { decodeErrorFields, type ErrorFields } from "./backend.ts";
import { concatBytes, fromUtf8, MessageWriter, readable } from "./bytes.ts";
import { decodeParse, describesPortal, encodeParse, encodeQuery, failingExecute, unboundPortal } from "./frontend.ts";
import { backend as B, frontend as F } from "./message-types.ts";
import { nameAt, nextString } from "./names.ts";
import { copyRefusal, ddlRefusal, encodeRefusal, raisingSql } from "./refusal.ts";
import type { Replies } from "./replies.ts";
import { ddlCertain, ddlNone, type StatementSummary, summarize } from "./statement.ts";
import { type Deed, isNaming } from "./statement-kinds.ts";

/** Prepared statements remembered as DDL, per session. */
const maxDdlNames = 1000;

export interface QueryReading {
  /** Sent to the backend instead; undefined = the message as it came. */
  readonly replacement: Uint8Array | undefined;
  /** Of each statement: row limits do not apply to those that write. Undefined where the text was not read, or nobody needs to know. */
  readonly deeds: readonly Deed[] | undefined;
}

const unread: QueryReading = { replacement: undefined, deeds: undefined };
const readsUnseen: QueryReading = { replacement: undefined, deeds: [] };

export interface WordedError {
  /** The whole message. */
  readonly bytes: Uint8Array;
  /** The refusal that it is; undefined where it is PostgreSQL's own. */
  readonly error: GatewayError | undefined;
}

const unboundName = fromUtf8(`"${unboundPortal}"`);

/** The error of `failingExecute`, told of the unnamed portal that the client asked for. */
function asUnnamed(body: Uint8Array): Uint8Array | undefined {
  if (body.length < unboundName.length || readable(body, decodeErrorFields)?.get("C") !== "34000") return undefined;
  for (let at = body.indexOf(0x22); at >= 0; at = body.indexOf(0x22, at + 1)) {
    if (!unboundName.every((byte, i) => body[at + i] === byte)) continue;
    const words = concatBytes(body.subarray(0, at + 1), body.subarray(at + unboundName.length - 1));
    return new MessageWriter(words.length + 5).begin(B.ErrorResponse).bytes(words).end().finish();
  }
  return undefined;
}

export class StatementGuard {
  readonly #settings: () => DatabaseSettings;
  readonly #refuseDdl: boolean;
  /** Told of what goes out of the extended protocol. */
  readonly #replies: Replies;
  /** A statement is in flight whose "permission denied" means that it was DDL. */
  #ddlInFlight = false;
  /** Prepared ones that are DDL. */
  #ddlStatements: Set<string> | undefined;
  /** Of the last COPY read. */
  copyHasHeader = false;

  /** `refuseDdl`: tenant databases do, workspaces do not. */
  constructor(settings: () => DatabaseSettings, refuseDdl: boolean, replies: Replies) {
    this.#replies = replies;
    this.#settings = settings;
    this.#refuseDdl = refuseDdl;
  }

  get limitsRows(): boolean {
    return this.#settings().max_rows_per_query > 0;
  }

  /** Whether the body of this message must be whole to be read. */
  wants(type: number): boolean {
    if (type === F.Query) return this.#readsSql;
    return type === F.Parse || type === F.Bind || type === F.Execute || type === F.Close;
  }

  /**
   * Reads the body from `from` up to `to` of a Query; `to` = 0 where it is too large to be read, and only its beginning tells whether it writes.
   * Malformed ones are passed on, as in `readable`.
   */
  readQuery(chunk: Uint8Array, from: number, to: number): QueryReading {
    if (to === 0) return this.limitsRows && !mayWrite(chunk, from) ? readsUnseen : unread;
    if (!this.#readsSql || chunk[to - 1] !== 0 || chunk.indexOf(0, from) !== to - 1) return unread;
    const summary = summarize(chunk, from, to - 1);
    if (summary.copy) this.copyHasHeader = summary.copyHeader;
    const refusal = this.#refusalFor(summary);
    if (refusal) return { replacement: encodeQuery(raisingSql(refusal)), deeds: [true] };
    if (summary.ddl !== ddlNone && this.#refuseDdl) this.#ddlInFlight = true;
    return { replacement: undefined, deeds: this.limitsRows || summary.deeds.some(isNaming) ? summary.deeds : undefined };
  }

  /**
   * Also without a limit: it may be set while the statement lives. `isWhole`: false where only the beginning is there.
   * @returns what is sent to the backend instead; undefined = the message as it came.
   */
  readParse(body: Uint8Array, isWhole: boolean): Uint8Array | undefined {
    const name = nameAt(body, 0, body.length);
    const parse = isWhole ? readable(body, decodeParse) : undefined;
    if (!parse) {
      this.#replies.pushParse(name, mayWrite(body, nextString(body, 0, body.length)));
      return undefined;
    }
    const summary = summarize(parse.sql);
    const refusal = this.#refusalFor(summary);
    this.#replies.pushParse(name, refusal !== undefined || (summary.deeds[0] ?? false));
    if (summary.copy) this.copyHasHeader = summary.copyHeader;
    this.#ddlStatements?.delete(name);
    if (refusal) return encodeParse(parse, raisingSql(refusal));
    if (summary.ddl !== ddlNone && this.#refuseDdl) {
      this.#ddlInFlight = true;
      if (name !== "") this.#noteDdl(name);
    }
    return undefined;
  }

  #noteDdl(statement: string): void {
    this.#ddlStatements ??= new Set();
    if (this.#ddlStatements.size < maxDdlNames) this.#ddlStatements.add(statement);
  }

  /** The bodies of this and the following stand from `from` up to `to`. */
  readBind(chunk: Uint8Array, from: number, to: number): void {
    if (!this.limitsRows && !this.#ddlStatements) {
      this.#replies.push(from < to && chunk[from] === 0 ? "bindUnnamed" : "bind");
      return;
    }
    const behindPortal = nextString(chunk, from, to);
    const statement = nameAt(chunk, behindPortal, to);
    if (this.#ddlStatements?.has(statement)) this.#ddlInFlight = true;
    this.#replies.pushBind(nameAt(chunk, from, to), statement);
  }

  /** @returns as readParse */
  readExecute(chunk: Uint8Array, from: number, to: number): Uint8Array | undefined {
    const isUnnamed = from < to && chunk[from] === 0;
    const replacement = isUnnamed && this.#replies.unnamedIsStale ? failingExecute : undefined;
    if (!this.limitsRows) this.#replies.push("execute");
    else if (isUnnamed) this.#replies.push("executeUnnamed");
    else this.#replies.pushExecute(nameAt(chunk, from, to));
    return replacement;
  }

  /** Describe and Close; of Flush nothing is to be known. */
  readOther(type: number, chunk: Uint8Array, from: number, to: number): void {
    if (type === F.Describe) this.#replies.push("describe");
    else if (type === F.Close) this.#replies.pushClose(from === to || chunk[from] !== describesPortal, nameAt(chunk, from + 1, to));
  }

  /** Nothing is in flight any more. */
  settled(): void {
    this.#ddlInFlight = false;
  }

  /**
   * An error the backend sent, in the product's words: errors of our own making lose PL/pgSQL's context, a statement stopped by `timeout` says
   * so, DDL that PostgreSQL itself refused gets the product's message. @returns undefined = as it came.
   */
  wordError(body: Uint8Array, timeout: GatewayError | undefined): WordedError | undefined {
    const unbound = asUnnamed(body);
    if (unbound) return { bytes: unbound, error: undefined };
    if (!timeout && !this.#refuseDdl && this.#settings().allow_copy) return undefined;
    const fields = readable(body, decodeErrorFields);
    const sqlstate = fields?.get("C");
    const text = fields?.get("M") ?? "";
    if (timeout && sqlstate === "57014") return inOurWords(timeout);
    if (sqlstate === "0A000" && text === copyRefusal().message) return inOurWords(copyRefusal());
    if (sqlstate !== "42501" || !this.#refuseDdl) return undefined;
    const isDdl = this.#ddlInFlight || text === ddlRefusal().message || text.startsWith("must be owner of ") || ranDdl(fields);
    return isDdl ? inOurWords(ddlRefusal()) : undefined;
  }

  get #readsSql(): boolean {
    return this.#refuseDdl || !this.#settings().allow_copy || this.limitsRows;
  }

  #refusalFor(summary: StatementSummary): GatewayError | undefined {
    if (summary.ddl === ddlCertain && this.#refuseDdl) return ddlRefusal();
    return summary.copy && !this.#settings().allow_copy ? copyRefusal() : undefined;
  }
}

function inOurWords(error: GatewayError) {
  return { bytes: encodeRefusal(error), error };
}

/**
 * Whether an error says that a function or DO block was running a DDL statement: as the internal query where the error has a position in it,
 * else in its context, `SQL statement "CREATE TABLE …"`.
 */
function ranDdl(fields: ErrorFields | undefined): boolean {
  const context = fields?.get("W")?.split('"\nPL/pgSQL function ')[0]?.concat('"') ?? "";
  const statement = fields?.get("q") ?? /^SQL statement "([\s\S]*)"$/.exec(context)?.[1];
  return statement !== undefined && summarize(fromUtf8(statement)).ddl !== ddlNone;
}

/** Of a text whose beginning is all there is: unless that shows a statement that reads, it may write. */
function mayWrite(sql: Uint8Array, from: number): boolean {
  const { writes, undecided } = summarize(sql, from, sql.length);
  return writes[0] !== false || (writes.length === 1 && undecided);
}
