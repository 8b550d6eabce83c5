/** Reads what a client of a shared backend sends: names of statements become the backend's, what a session would keep is noted. Decides; never writes. */
import { GatewayError } from "../../../core/errors.ts";
import { decodeErrorFields } from "../backend.ts";
import { concatBytes, fromUtf8, MessageWriter, readable, readUint32, utf8 } from "../bytes.ts";
import { inspectionBytes } from "../frame-rules.ts";
import { decodeParse, describesPortal, failingParse } from "../frontend.ts";
import { frontend as F } from "../message-types.ts";
import { endOfName, nameAt, nameIn, nameOf } from "../names.ts";
import { encodeRefusal } from "../refusal.ts";
import type { BackendState } from "./backend-state.ts";
import { ClientStatements, encodeForStatement, makeStatement, maxStatements, type Statement, unnamedStatement } from "./client-statements.ts";
import { Expected, kinds, type Outcome } from "./expected.ts";
import { SessionSettings } from "./session-settings.ts";
import { type NamedStatement, readState, type StateReading } from "./session-state.ts";

/** A Parse above this is passed on unread, and ties the client to its backend. */
const maxParseBytes = 1024 * 1024;
/** Of a Bind that is not whole: its names stand at its head. */
const maxHeadBytes = 16 * 1024;

/** The statement in `needed` has to be prepared on the backend before the frame can go out. */
export const needs = 1;
/** Bytes to send instead; undefined = the frame as it came. */
export type FrameVerdict = typeof needs | Uint8Array | undefined;

const own: Outcome = { isOwn: true };

export class ClientFrames {
  readonly expected = new Expected();
  readonly statements = new ClientStatements();
  readonly settings = new SessionSettings();
  readonly #digest: (data: Uint8Array) => Uint8Array;
  /** What executing a portal leaves behind, where it leaves anything. */
  #portals: Map<string, StateReading> | undefined;
  /** Extended-protocol messages went out since the last Sync. */
  isUnsynced = false;
  /** The backend skips everything up to a Sync that has not been sent. */
  isSkipping = false;
  #copyingIn = false;
  /** A statement's text was too large to be read: its tag says what it did. */
  #isUnread = false;
  /** Whatever the next frame needs, it goes out as it came. */
  passesRaw = false;
  needed: Statement | undefined;
  /** The frame that needs it is one that a Sync follows. */
  needsInPipeline = false;

  constructor(digest: (data: Uint8Array) => Uint8Array) {
    this.#digest = digest;
  }

  /** Nothing is under way. */
  get isAtRest(): boolean {
    return this.expected.length === 0 && !this.isUnsynced && !this.#copyingIn;
  }

  /** Whether a frame that has not all come must be waited for. `total` as it claims. */
  mustBeWhole(chunk: Uint8Array, at: number, total: number): boolean {
    switch (chunk[at]) {
      case F.Query:
      case F.Describe:
      case F.Close:
      case F.Execute:
        return total <= inspectionBytes;
      case F.Parse:
        return total <= maxParseBytes;
      case F.Bind:
        return total <= inspectionBytes || (chunk.length - at < maxHeadBytes && namesEnd(chunk, at + 5, chunk.length) < 0);
      default:
        return false;
    }
  }

  /** Reads the frame at `from`, up to `to`; not whole where `total` is more. */
  read(chunk: Uint8Array, from: number, to: number, total: number, backend: BackendState): FrameVerdict {
    const isWhole = to - from === total;
    const type = chunk[from];
    if (type === F.Sync) {
      this.#onSync();
      return undefined;
    }
    if (this.isSkipping) return undefined;
    switch (type) {
      case F.Query:
        return this.#onQuery(chunk, from, to, isWhole, backend);
      case F.FunctionCall:
        this.expected.push(kinds.functionCall);
        return undefined;
      case F.CopyDone:
      case F.CopyFail:
        this.#copyingIn = false;
        return undefined;
      case F.CopyData:
        return undefined;
    }
    const verdict = this.#onExtended(type!, chunk, from, to, isWhole, backend);
    if (verdict !== needs) this.isUnsynced = true;
    return verdict;
  }

  // ---- what the backend answers

  completed(chunk: Uint8Array, from: number, to: number, backend: BackendState): void {
    this.#copyingIn = false;
    if (this.expected.next === kinds.execute) this.expected.take()?.done?.();
    const first = chunk[from];
    // COMMIT, ROLLBACK, DISCARD ALL, DEALLOCATE ALL, DECLARE CURSOR, SET, LISTEN, PREPARE, LOAD
    if (first === 0x43 || first === 0x52 || first === 0x44 || (this.#isUnread && (first === 0x53 || first === 0x4c || first === 0x50))) {
      this.#onTag(utf8(chunk.subarray(from, to - 1)), backend);
    }
  }

  copyBegins(): void {
    if (this.expected.forgetIgnoredSync()) this.isUnsynced = true;
    this.#copyingIn = true;
  }

  /** An error. @returns the words in which the client is told, where they are not the backend's. */
  failed(body: Uint8Array): Uint8Array | undefined {
    this.#copyingIn = false;
    const refusal = this.expected.outcome?.refusal;
    const isInPipeline = this.expected.next !== 0 && this.expected.next < kinds.sync;
    this.expected.fail();
    if (isInPipeline && this.expected.length === 0) this.isSkipping = true;
    if (!refusal?.sqlstate) return refusal?.words;
    return readable(body, decodeErrorFields)?.get("C") === refusal.sqlstate ? refusal.words : undefined;
  }

  /** Of a statement that the client needs on another backend; the error was passed on. */
  preparationFailed(): void {
    if (this.needsInPipeline) {
      this.isUnsynced = true;
      this.isSkipping = true;
    } else this.passesRaw = true;
  }

  ready(status: number, failed: boolean): void {
    while (this.expected.next !== 0 && this.expected.next < kinds.sync) this.expected.take()?.undo?.();
    const outcome = this.expected.take();
    if (!failed) outcome?.done?.();
    this.settings.ready(status, failed);
    if (this.expected.ready === 0) this.#isUnread = false;
  }

  // ---- what the client sends

  #onSync(): void {
    if (this.#copyingIn) return; // a backend in copy-in mode ignores it
    this.isUnsynced = false;
    this.isSkipping = false;
    this.expected.push(kinds.sync);
  }

  #onQuery(chunk: Uint8Array, from: number, to: number, isWhole: boolean, backend: BackendState): FrameVerdict {
    const reading = isWhole ? readState(chunk, from + 5, to - 1) : undefined;
    const named = reading?.statement && this.#findNamed(reading.statement);
    if (named && !backend.has(named) && !this.#takesRaw()) return this.#need(named, false);
    if (!isWhole) this.#isUnread = true;
    this.statements.unnamed = undefined;
    backend.unnamed = undefined;
    if (reading) this.settings.sent(reading);
    this.expected.push(kinds.query, reading && { done: () => this.#succeeded(reading, named, backend) });
    return named && backend.has(named) ? renamed(chunk.subarray(from, to), 5, reading!.statement!, named, from) : undefined;
  }

  #succeeded(reading: StateReading, named: Statement | undefined, backend: BackendState): void {
    this.settings.succeeded(reading);
    if (!named || !reading.statement?.deallocates) return;
    this.statements.set(reading.statement.name, undefined);
    backend.remove(named);
  }

  /** A statement prepared by Parse, under the name by which SQL knows it. */
  #findNamed({ name }: NamedStatement): Statement | undefined {
    return this.statements.find(nameOf(fromUtf8(name)));
  }

  #onExtended(type: number, chunk: Uint8Array, from: number, to: number, isWhole: boolean, backend: BackendState): FrameVerdict {
    switch (type) {
      case F.Parse:
        return this.#onParse(chunk.subarray(from, to), isWhole, backend);
      case F.Bind:
        return this.#onBind(chunk, from, to, backend);
      case F.Describe:
        return this.#onDescribe(chunk, from, to, backend);
      case F.Close:
        this.#onClose(chunk, from, to);
        return undefined;
      case F.Execute: {
        const reading = this.#portals?.get(nameAt(chunk, from + 5, to));
        if (reading) this.settings.sent(reading);
        this.expected.push(kinds.execute, reading && { done: () => this.settings.succeeded(reading) });
        return undefined;
      }
      default:
        return undefined; // Flush
    }
  }

  #onParse(frame: Uint8Array, isWhole: boolean, backend: BackendState): FrameVerdict {
    const body = frame.subarray(5);
    const parse = isWhole ? readable(body, decodeParse) : undefined;
    if (!parse) {
      if (!isWhole) this.settings.pin("statement too large");
      const name = nameAt(body, 0, body.length);
      this.statements.set(name, undefined);
      if (name === "") backend.unnamed = undefined;
      this.expected.push(kinds.parse);
      return undefined;
    }
    const name = nameOf(parse.statement);
    const reading = readState(parse.sql);
    const named = reading?.statement && this.#findNamed(reading.statement);
    if (named && !backend.has(named) && !this.#takesRaw()) return this.#need(named, true);
    if (named) {
      const statement = makeStatement(renamedParse(parse, reading!.statement!, named), reading, this.#digest);
      return name === "" ? this.#keepUnnamed(statement, backend) : this.#keepNamed(name, statement, backend);
    }
    if (name !== "") return this.#keepNamed(name, makeStatement(parse, reading, this.#digest), backend);
    this.#keepUnnamed(unnamedStatement(frame, reading), backend);
    return undefined;
  }

  #keepUnnamed(statement: Statement, backend: BackendState): Uint8Array {
    this.statements.unnamed = statement;
    backend.unnamed = statement;
    const undo = () => {
      if (this.statements.unnamed === statement) this.statements.unnamed = undefined;
      backend.remove(statement);
    };
    this.expected.push(kinds.parse, { undo });
    return statement.parse;
  }

  /** Closed first, whoever prepared it: the client asked for a plan of now. */
  #keepNamed(name: string, statement: Statement, backend: BackendState): FrameVerdict {
    const existing = this.statements.find(name);
    if (existing) return this.#parseAgain(name, existing, statement, backend);
    if (!this.statements.hasRoom(statement.parse.length)) {
      const hint = "Close statements that are not needed, or use pool_mode session.";
      return this.#refuse(new GatewayError("too_many_statements", `too many prepared statements in one session (${maxStatements})`, { hint }));
    }
    this.statements.set(name, statement);
    const closed = [statement.key, ...backend.add(statement, statement.parsedAt)];
    for (const _ of closed) this.expected.push(kinds.close, own);
    const undo = () => {
      if (this.statements.find(name) === statement) this.statements.set(name, undefined);
      backend.remove(statement);
    };
    this.expected.push(kinds.parse, { undo });
    return concatBytes(...closed.map((key) => encodeForStatement(F.Close, fromUtf8(key))), statement.parse);
  }

  /** Under a name that is taken, on the backend too: PostgreSQL looks at the text first, and then refuses. */
  #parseAgain(name: string, existing: Statement, statement: Statement, backend: BackendState): FrameVerdict {
    if (!backend.has(existing) && !this.#takesRaw()) return this.#need(existing, true);
    const error = new GatewayError("duplicate_statement", `prepared statement "${utf8(fromLatin1(name))}" already exists`);
    this.expected.push(kinds.parse, { refusal: { sqlstate: error.sqlstate, words: encodeRefusal(error) } });
    return withName(statement.parse, 0, 5, statement.parse.indexOf(0, 5), statement.parse.length, existing);
  }

  #onBind(chunk: Uint8Array, from: number, to: number, backend: BackendState): FrameVerdict {
    const portalEnd = endOfName(chunk, from + 5, to);
    const nameEnd = portalEnd < 0 ? -1 : endOfName(chunk, portalEnd + 1, to);
    const isReadable = nameEnd >= 0;
    const statement = isReadable ? this.statements.find(nameIn(chunk, portalEnd + 1, nameEnd)) : undefined;
    const verdict = statement && this.#readyFor(statement, backend);
    if (verdict !== undefined) return verdict;
    if (isReadable) this.#notePortal(nameIn(chunk, from + 5, portalEnd), statement?.reading);
    this.expected.push(kinds.bind);
    if (!statement || statement.key === "") return undefined;
    return withName(chunk, from, portalEnd + 1, nameEnd, to, statement);
  }

  #onDescribe(chunk: Uint8Array, from: number, to: number, backend: BackendState): FrameVerdict {
    const isStatement = chunk[from + 5] !== describesPortal;
    const statement = isStatement ? this.statements.find(nameAt(chunk, from + 6, to)) : undefined;
    const verdict = statement && this.#readyFor(statement, backend);
    if (verdict !== undefined) return verdict;
    this.expected.push(kinds.describe, statement && keepsShape(statement));
    return statement && statement.key !== "" ? encodeForStatement(F.Describe, statement.backendName) : undefined;
  }

  /** Where the statement cannot be used as it is on this backend. */
  #readyFor(statement: Statement, backend: BackendState): FrameVerdict {
    if (statement.isStale) return this.#refuse(new GatewayError("stale_plan", "cached plan must not change result type"));
    return backend.has(statement) || this.#takesRaw() ? undefined : this.#need(statement, true);
  }

  /** The name is the client's own: on the backend others may use what it stands for. A Close of no statement is answered like any other. */
  #onClose(chunk: Uint8Array, from: number, to: number): void {
    const name = nameAt(chunk, from + 6, to);
    if (chunk[from + 5] === describesPortal) this.#portals?.delete(name);
    const statement = chunk[from + 5] === describesPortal ? undefined : this.statements.find(name);
    if (statement) this.statements.set(name, undefined);
    this.expected.push(kinds.close, statement && { undo: () => this.statements.set(name, statement) });
  }

  #notePortal(portal: string, reading: StateReading | undefined): void {
    if (reading) {
      this.#portals ??= new Map();
      this.#portals.set(portal, reading);
    } else this.#portals?.delete(portal);
  }

  #need(statement: Statement, inPipeline: boolean): typeof needs {
    this.needed = statement;
    this.needsInPipeline = inPipeline;
    return needs;
  }

  #takesRaw(): boolean {
    const raw = this.passesRaw;
    this.passesRaw = false;
    return raw;
  }

  /** The backend itself says no, so that transaction and Sync come out as after any error; the words are ours. */
  #refuse(error: GatewayError): Uint8Array {
    this.expected.push(kinds.parse, { refusal: { words: encodeRefusal(error) } });
    return failingParse;
  }

  #onTag(tag: string, backend: BackendState): void {
    if (tag === "COMMIT") this.settings.committed();
    else if (tag === "ROLLBACK") this.settings.rolledBack();
    else if (tag === "DISCARD ALL" || tag === "DEALLOCATE ALL") {
      if (tag === "DISCARD ALL") this.settings.discarded();
      this.statements.clear();
      backend.clear();
    } else if (!this.#isUnread) return;
    else if (tag === "SET") this.settings.pin("setting");
    else if (tag === "LISTEN") this.settings.pin("listen");
    else if (tag === "PREPARE") this.settings.pin("prepared statement");
    else if (tag === "LOAD") this.settings.pin("library");
    else if (tag === "DECLARE CURSOR") this.settings.pin("cursor");
  }
}

/** Behind the second NUL from `from` on, −1 where it has not come. */
function namesEnd(chunk: Uint8Array, from: number, to: number): number {
  const first = chunk.indexOf(0, from);
  const second = first < 0 || first >= to ? -1 : chunk.indexOf(0, first + 1);
  return second < to ? second : -1;
}

/** What a Describe's answer is kept by. */
function keepsShape(statement: Statement): Outcome {
  return {
    wantsBody: true,
    done(shape) {
      statement.shape = shape?.slice();
    },
  };
}

/** The bytes `nameOf` made a text of. */
function fromLatin1(name: string): Uint8Array {
  return Uint8Array.from(name, (letter) => letter.charCodeAt(0));
}

/** A Bind, or its beginning, with another statement's name. */
function withName(chunk: Uint8Array, from: number, nameFrom: number, nameEnd: number, to: number, { backendName }: Statement): Uint8Array {
  const out = new Uint8Array(to - from + backendName.length - (nameEnd - nameFrom));
  out.set(chunk.subarray(from, nameFrom));
  out.set(backendName, nameFrom - from);
  out.set(chunk.subarray(nameEnd, to), nameFrom - from + backendName.length);
  const length = readUint32(chunk, from + 1) + backendName.length - (nameEnd - nameFrom);
  new DataView(out.buffer).setUint32(1, length);
  return out;
}

/** The same SQL with the backend's name for the statement. `from` and `to` of the name count in the text's chunk, which began at `offset`. */
function renamedSql(sql: Uint8Array, { from, to }: NamedStatement, offset: number, { backendName }: Statement): Uint8Array {
  return concatBytes(sql.subarray(0, from - offset), backendName, sql.subarray(to - offset));
}

function renamed(frame: Uint8Array, header: number, named: NamedStatement, statement: Statement, chunkFrom: number): Uint8Array {
  const sql = renamedSql(frame.subarray(header, frame.length - 1), named, chunkFrom + header, statement);
  return new MessageWriter(sql.length + 6).begin(F.Query).bytes(sql).uint8(0).end().finish();
}

function renamedParse(parse: ReturnType<typeof decodeParse>, named: NamedStatement, statement: Statement): ReturnType<typeof decodeParse> {
  return { ...parse, sql: renamedSql(parse.sql, named, 0, statement) };
}
