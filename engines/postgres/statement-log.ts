/** Follows one session's statements for its journal: which text runs, since when, with what outcome. Reads what passes; holds nothing up, never throws. */
import { type EndedStatement, maxStatementBytes as maxTextBytes, type StatementJournal, type StatementText } from "../../core/query-log.ts";
import { backend as B, frontend as F, transactionStatus } from "./message-types.ts";
import { endOfName, nameIn } from "./names.ts";

/** Prepared statements and portals whose text is remembered per session, and how much of it. */
const maxNames = 10_000;
const maxNamedBytes = 1024 * 1024;
/** A client that pipelines more is not followed until it is at rest. */
const maxPending = 10_000;
/** Backend messages by type: 1 ends a statement well, 2 ends it otherwise; of all others nothing is told. */
export const endsStatement = new Uint8Array(256);
for (const type of [B.CommandComplete, B.EmptyQueryResponse, B.PortalSuspended]) endsStatement[type] = 1;
for (const type of [B.ErrorResponse, B.ReadyForQuery]) endsStatement[type] = 2;
/** A chunk of the client's up to this long is held for as long as its statement runs, while no more than this many are pending. */
const maxHeldBytes = 16 * 1024;
const maxHeld = 64;
const maxSpares = 4;
/** Copied byte by byte: a view costs more than that many bytes. */
const shortBytes = 256;

const unknownText: StatementText = { bytes: new Uint8Array(0), isCut: true, backslashes: false };

/** What the backend will answer. A Sync has the text of what was parsed or bound before it, for errors that come without an Execute. */
class Pending implements EndedStatement {
  kind: "query" | "execute" | "sync" = "query";
  startedMs = 0;
  endedMs = 0;
  rows = 0;
  bytesReceived = 0;
  bytesSent = 0;
  sqlstate: string | undefined = undefined;
  transaction = 0;
  /** Rows an Execute asks for at most; 0 = all. */
  maxRows = 0;
  next: Pending | undefined = undefined;
  #text: StatementText | undefined = undefined;
  /** The client's chunk, where the text stands in it and was not copied. */
  #chunk: Uint8Array | undefined = undefined;
  #from = 0;
  #to = 0;
  #isWhole = false;
  #backslashes = false;

  begin(kind: Pending["kind"], startedMs: number, text: StatementText | undefined): this {
    this.kind = kind;
    this.startedMs = startedMs;
    this.rows = 0;
    this.sqlstate = undefined;
    this.maxRows = 0;
    this.next = undefined;
    this.#text = text;
    return this;
  }

  /** The text stays where it is, which costs less than a copy that most often nobody asks for. */
  pointAt(chunk: Uint8Array, from: number, to: number, isWhole: boolean, backslashes: boolean): void {
    this.#chunk = chunk;
    this.#from = from;
    this.#to = to;
    this.#isWhole = isWhole;
    this.#backslashes = backslashes;
  }

  get hasText(): boolean {
    return this.#text !== undefined || this.#chunk !== undefined;
  }

  get text(): StatementText | undefined {
    if (this.#chunk) this.#text ??= textIn(this.#chunk, this.#from, this.#to, this.#isWhole, this.#backslashes);
    return this.#text;
  }

  set text(text: StatementText | undefined) {
    this.#text = text;
  }

  /** Over, and told. Holds on to nothing. */
  clear(): void {
    this.#text = undefined;
    this.#chunk = undefined;
  }
}

export class StatementLog {
  readonly #journal: StatementJournal;
  /** Where what the backend last reported of its settings is. */
  readonly #reports: { readonly parameters: ReadonlyMap<string, string> };
  /** Bytes of the client so far, and when the last statement ended. */
  #received = 0;
  #receivedBefore = 0;
  /** Bytes of the backend: up to this chunk, up to the message that is read, and when the last statement ended. */
  #chunksSent = 0;
  #sent = 0;
  #sentBefore = 0;
  #head: Pending | undefined;
  #tail: Pending | undefined;
  #count = 0;
  /** Too much is pending to be followed. */
  #isLost = false;
  /** After an error the backend skips everything up to a Sync that has not come yet. */
  #isSkipping = false;
  #lastEndMs = 0;
  #transaction = 1;
  /** Time of the client's chunk, asked for once. */
  #chunkMs = 0;
  /** Since the last Sync something was asked for: when, and the last text. */
  #cycleMs = 0;
  #cycleText: StatementText | undefined;
  // Unnamed ones apart: most drivers use no others, and they need no look-up.
  #statement: StatementText | undefined;
  #portal: StatementText | undefined;
  // Named ones, once there are any.
  #statements: Map<string, StatementText> | undefined;
  #portals: Map<string, StatementText> | undefined;
  /** Those that are over, for the next ones. */
  #spare: Pending | undefined;
  #spares = 0;
  #namedBytes = 0;

  constructor(journal: StatementJournal, reports: { readonly parameters: ReadonlyMap<string, string> }) {
    this.#journal = journal;
    this.#reports = reports;
  }

  /** Whether the body of this client message must be whole to be read. */
  wants(type: number): boolean {
    return this.#journal.wantsText && (type === F.Query || type === F.Parse || type === F.Bind || type === F.Execute);
  }

  /** A chunk of the client's comes. */
  chunk(length: number): void {
    this.#received += length;
    this.#chunkMs = 0;
  }

  // ---- client to backend

  /** One message of the client; its body from `from` up to `to`, cut short where `isWhole` is false. */
  client(type: number, chunk: Uint8Array, from: number, to: number, isWhole: boolean): void {
    switch (type) {
      case F.Query:
        this.#onQuery(chunk, from, to, isWhole);
        return;
      case F.FunctionCall:
        this.#push(this.#begin("query", this.#now(), this.#journal.wantsText ? unknownText : undefined));
        return;
      case F.Parse:
        this.#cycleMs ||= this.#now();
        if (this.#journal.wantsText) this.#onParse(chunk, from, to, isWhole);
        return;
      case F.Bind:
        this.#cycleMs ||= this.#now();
        if (this.#journal.wantsText) this.#onBind(chunk, from, to);
        return;
      case F.Execute:
        this.#onExecute(chunk, from, to);
        return;
      case F.Sync:
        this.#isSkipping = false;
        this.#push(this.#begin("sync", this.#cycleMs, this.#cycleText));
        this.#cycleMs = 0;
        this.#cycleText = undefined;
        return;
      case F.Close:
        this.#onClose(chunk, from, to);
    }
  }

  #onQuery(chunk: Uint8Array, from: number, to: number, isWhole: boolean): void {
    const query = this.#begin("query", this.#now(), undefined);
    if (this.#journal.wantsText) {
      const backslashes = this.#readsBackslashes;
      if (chunk.length > maxHeldBytes || this.#count >= maxHeld) query.text = textIn(chunk, from, to, isWhole, backslashes);
      else query.pointAt(chunk, from, to, isWhole, backslashes);
    }
    this.#push(query);
  }

  #onParse(chunk: Uint8Array, from: number, to: number, isWhole: boolean): void {
    const end = endOfName(chunk, from, to);
    const text = end < 0 ? unknownText : this.#textAt(chunk, end + 1, to, isWhole);
    this.#cycleText = text;
    if (end === from) this.#statement = text;
    else if (end > from) this.#rememberStatement(nameIn(chunk, from, end), text);
  }

  #onBind(chunk: Uint8Array, from: number, to: number): void {
    const portalEnd = endOfName(chunk, from, to);
    const end = portalEnd < 0 ? -1 : endOfName(chunk, portalEnd + 1, to);
    const text =
      (end === portalEnd + 1 ? this.#statement : end < 0 ? undefined : this.#statements?.get(nameIn(chunk, portalEnd + 1, end))) ?? unknownText;
    this.#cycleText = text;
    if (portalEnd === from) this.#portal = text;
    else if (portalEnd > from) this.#rememberPortal(nameIn(chunk, from, portalEnd), text);
  }

  #onExecute(chunk: Uint8Array, from: number, to: number): void {
    const now = this.#now();
    this.#cycleMs ||= now;
    if (!this.#journal.wantsText) {
      this.#push(this.#begin("execute", now, undefined));
      return;
    }
    const end = endOfName(chunk, from, to);
    const text = end === from ? this.#portal : end < 0 ? undefined : this.#portals?.get(nameIn(chunk, from, end));
    const execute = this.#begin("execute", now, text ?? unknownText);
    if (end >= 0 && end + 5 <= to) execute.maxRows = (chunk[end + 1]! << 24) | (chunk[end + 2]! << 16) | (chunk[end + 3]! << 8) | chunk[end + 4]!;
    this.#push(execute);
  }

  #onClose(chunk: Uint8Array, from: number, to: number): void {
    const end = endOfName(chunk, from + 1, to);
    if (end <= from + 1) return;
    const name = nameIn(chunk, from + 1, end);
    if (chunk[from] === 0x53) this.#forgetStatement(name);
    else this.#portals?.delete(name);
  }

  #rememberStatement(name: string, text: StatementText): void {
    this.#forgetStatement(name);
    this.#statements ??= new Map();
    if (this.#statements.size >= maxNames || this.#namedBytes + text.bytes.length > maxNamedBytes) return;
    this.#namedBytes += text.bytes.length;
    this.#statements.set(name, text);
  }

  #forgetStatement(name: string): void {
    this.#namedBytes -= this.#statements?.get(name)?.bytes.length ?? 0;
    this.#statements?.delete(name);
  }

  #rememberPortal(name: string, text: StatementText): void {
    this.#portals ??= new Map();
    if (this.#portals.size < maxNames || this.#portals.has(name)) this.#portals.set(name, text);
  }

  #textAt(chunk: Uint8Array, from: number, to: number, isWhole: boolean): StatementText {
    return textIn(chunk, from, to, isWhole, this.#readsBackslashes);
  }

  get #readsBackslashes(): boolean {
    return this.#reports.parameters.get("standard_conforming_strings") === "off";
  }

  #begin(kind: Pending["kind"], startedMs: number, text: StatementText | undefined): Pending {
    const spare = this.#spare;
    if (!spare) return new Pending().begin(kind, startedMs, text);
    this.#spare = spare.next;
    this.#spares--;
    return spare.begin(kind, startedMs, text);
  }

  #done(pending: Pending): void {
    if (this.#spares === maxSpares) return;
    pending.clear();
    pending.next = this.#spare;
    this.#spare = pending;
    this.#spares++;
  }

  #push(pending: Pending): void {
    if (this.#isLost || (this.#isSkipping && pending.kind === "execute")) return;
    if (++this.#count > maxPending) {
      this.#isLost = true;
      this.#head = undefined;
      this.#tail = undefined;
      return;
    }
    if (this.#tail) this.#tail.next = pending;
    else this.#head = pending;
    this.#tail = pending;
  }

  #now(): number {
    this.#chunkMs ||= this.#journal.nowMs();
    return this.#chunkMs;
  }

  // ---- backend to client

  /** A message that ends a statement, its body from `from` up to `to`. `isItsOwn`: its outcome is not replaced by a refusal of ours. */
  backend(type: number, chunk: Uint8Array, from: number, to: number, isItsOwn: boolean): void {
    this.#sent = this.#chunksSent + to;
    if (isItsOwn && endsStatement[type] === 1) this.#completed(type, chunk, from, to);
  }

  /** `length` bytes of a chunk of the backend's have been read. */
  chunkSent(length: number): void {
    this.#chunksSent += length;
  }

  #completed(type: number, chunk: Uint8Array, from: number, to: number): void {
    const head = this.#head;
    if (!head || head.kind === "sync") return;
    if (type === B.CommandComplete) head.rows += rowsOf(chunk, from, to);
    else if (type === B.PortalSuspended) head.rows += head.maxRows;
    if (head.kind === "query") return; // ends with ReadyForQuery
    this.#take();
    this.#tell(head);
    this.#done(head);
  }

  /** The statement that runs has failed, in the backend's words or in ours. */
  failed(sqlstate: string): void {
    if (this.#isLost || this.#isSkipping) return;
    const head = this.#head;
    if (head?.kind === "query") {
      head.sqlstate ??= sqlstate;
      return;
    }
    // Without an Execute it was Parse, Bind or Describe, or what is done at the end of a transaction.
    const failed = head?.kind === "execute" ? head : this.#begin("execute", head?.startedMs ?? this.#cycleMs, head ? head.text : this.#cycleText);
    if (failed.startedMs > 0) {
      failed.sqlstate = sqlstate;
      this.#tell(failed);
    }
    while (this.#head?.kind === "execute") this.#take();
    if (!this.#head) this.#isSkipping = true;
  }

  ready(status: number, isAtRest: boolean): void {
    for (;;) {
      const done = this.#take();
      if (!done) break;
      const { kind } = done; // an execute that is still here was skipped after an error
      if (kind === "query") this.#tell(done);
      this.#done(done);
      if (kind !== "execute") break;
    }
    if (status === transactionStatus.idle) this.#transaction++;
    if (!isAtRest) return;
    this.#head = undefined;
    this.#tail = undefined;
    this.#count = 0;
    this.#isLost = false;
    this.#isSkipping = false;
  }

  /** The session is over; what was running has no outcome but this. */
  end(sqlstate: string): void {
    const head = this.#head;
    if (head && head.kind !== "sync" && !this.#isLost) {
      head.sqlstate ??= sqlstate;
      this.#sent = Math.max(this.#sent, this.#chunksSent);
      this.#tell(head);
    }
    this.#head = undefined;
    this.#journal.close();
  }

  #take(): Pending | undefined {
    const head = this.#head;
    if (!head) return undefined;
    this.#head = head.next;
    head.next = undefined;
    this.#count--;
    if (!this.#head) this.#tail = undefined;
    return head;
  }

  #tell(statement: Pending): void {
    const now = this.#journal.nowMs();
    statement.startedMs = Math.max(statement.startedMs, this.#lastEndMs); // a pipelined one begins when the one before it ends
    statement.endedMs = now;
    statement.transaction = this.#transaction;
    statement.bytesReceived = this.#received - this.#receivedBefore;
    statement.bytesSent = this.#sent - this.#sentBefore;
    if (!statement.hasText && this.#journal.wantsText) statement.text = unknownText;
    this.#lastEndMs = now;
    this.#receivedBefore = this.#received;
    this.#sentBefore = this.#sent;
    this.#journal.ended(statement);
  }
}

/** The text that begins at `from`, up to its NUL, copied: the chunk is somebody else's. */
function textIn(chunk: Uint8Array, from: number, to: number, isWhole: boolean, backslashes: boolean): StatementText {
  const nul = endOfName(chunk, from, to);
  const end = Math.min(nul < 0 ? to : nul, from + maxTextBytes);
  const isCut = nul < 0 ? !isWhole || end < to : end < nul;
  return { bytes: copy(chunk, from, end), isCut, backslashes };
}

function copy(chunk: Uint8Array, from: number, to: number): Uint8Array {
  const out = new Uint8Array(to - from);
  if (out.length > shortBytes) out.set(chunk.subarray(from, to));
  else for (let i = 0; i < out.length; i++) out[i] = chunk[from + i]!;
  return out;
}

/** The number at the end of a command tag: `INSERT 0 5`, `SELECT 3`; none in `BEGIN`. */
function rowsOf(chunk: Uint8Array, from: number, to: number): number {
  let rows = 0;
  let scale = 1;
  for (let at = to - 2; at >= from; at--) {
    const digit = chunk[at]! - 0x30;
    if (digit < 0 || digit > 9) break;
    rows += digit * scale;
    scale *= 10;
  }
  return rows;
}
