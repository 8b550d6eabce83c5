/** What the backend still owes, in order: a queue, because clients pipeline. And what of it has been carried out. */
import { backend as B, transactionStatus } from "./message-types.ts";
import { type Deed, StatementKinds } from "./statement-kinds.ts";

/** Query, Sync and FunctionCall are requests: each is answered with ReadyForQuery. */
type RequestKind = "query" | "sync" | "function";

interface Reply {
  readonly kind: RequestKind | "parse" | "bind" | "describe" | "close" | "execute";
  /** Of a parse or close: the statement; of a bind, execute or close: the portal. Undefined where the names were not read. */
  readonly statement: string | undefined;
  readonly portal: string | undefined;
  /** Of each statement of a query, or of the one parsed. */
  readonly deeds: readonly Deed[] | undefined;
  next: number;
}

/** All of one shape: what reads them is the hot path. */
function reply(kind: Reply["kind"], statement?: string, portal?: string, deeds?: readonly Deed[]): Reply {
  return { kind, statement, portal, deeds, next: 0 };
}

// Shared, so that the common case allocates nothing.
const shared = {
  query: reply("query"),
  sync: reply("sync"),
  function: reply("function"),
  bind: reply("bind"),
  bindUnnamed: reply("bind", undefined, ""),
  describe: reply("describe"),
  close: reply("close"),
  execute: reply("execute"),
  executeUnnamed: reply("execute", undefined, ""),
};

const initialSlots = 8;

/** Backend messages that bring the queue forward; of all others it need not hear. ReadyForQuery has a method of its own. */
export const bringsForward = new Uint8Array(256);
for (const type of [B.ParseComplete, B.BindComplete, B.CloseComplete, B.RowDescription, B.NoData]) bringsForward[type] = 1;
for (const type of [B.CommandComplete, B.EmptyQueryResponse, B.PortalSuspended, B.ErrorResponse]) bringsForward[type] = 1;

export class Replies {
  /** A ring, its size a power of two: taking from an array's front would cost its length, and a client may pipeline a million Syncs. */
  #ring: (Reply | undefined)[] = new Array(initialSlots).fill(undefined);
  #head = 0;
  #count = 0;
  /** How many ReadyForQuery are owed. */
  owed = 0;
  readonly #kinds = new StatementKinds();
  /** An error of the extended protocol: the backend passes over everything up to the next Sync. */
  #skipping = false;
  /** Found out of the statement that runs now; what is behind it can only add to it. */
  #mayWrite = false;
  /** As of the last ReadyForQuery. */
  #status: number = transactionStatus.idle;
  #queriesOwed = 0;
  /** Since the last Query; behind a Sync only where that was confirmed. */
  #unnamedBound = false;

  /** A message whose names are not read, or that has none. */
  push(kind: keyof typeof shared): void {
    this.#add(shared[kind]);
  }

  pushQuery(deeds: readonly Deed[]): void {
    this.#add(reply("query", undefined, undefined, deeds));
  }

  pushParse(statement: string, deed: Deed): void {
    this.#add(reply("parse", statement, undefined, [deed]));
  }

  pushBind(portal: string, statement: string): void {
    this.#add(reply("bind", statement, portal));
  }

  pushClose(isStatement: boolean, name: string): void {
    this.#add(isStatement ? reply("close", name) : reply("close", undefined, name));
  }

  pushExecute(portal: string): void {
    this.#add(reply("execute", undefined, portal));
  }

  /**
   * Whether the statement that runs now writes, or one behind it that would be carried out all the same when this one ends before it can be cut
   * short: the rest of its string, what is pipelined up to the next Sync, and in a transaction everything that is pipelined. Only asked where
   * there are row limits.
   */
  get mayWrite(): boolean {
    this.#mayWrite ||= this.#lookAhead();
    return this.#mayWrite;
  }

  /**
   * What a simple query that failed leaves in its transaction is an unnamed portal whose statement is gone. PostgreSQL 18 reads it all the same
   * when told to execute it, and the whole server goes down; so no Execute may reach it.
   */
  get unnamedIsStale(): boolean {
    return !this.#unnamedBound && (this.#queriesOwed > 0 || this.#status === transactionStatus.failed);
  }

  /** The portal whose rows come now; undefined for a simple query's. */
  get portal(): string | undefined {
    return this.#at(0)?.portal;
  }

  /** The backend waits for copy data although a Sync went out behind Execute. */
  get frontIsSync(): boolean {
    return this.#at(this.#firstRequest())?.kind === "sync";
  }

  /** One of `bringsForward`. */
  heard(type: number): void {
    const front = this.#at(0);
    switch (type) {
      case B.ErrorResponse:
        if (!front || !isRequest(front)) this.#skip();
        return;
      case B.CommandComplete:
      case B.EmptyQueryResponse:
      case B.PortalSuspended:
        if (front) this.#statementDone(front, type === B.CommandComplete);
        return;
      default:
        if (front && !isRequest(front) && front.kind !== "execute") this.#confirmed(front);
    }
  }

  /** ReadyForQuery: everything up to the request it answers is done. */
  ready(status: number = transactionStatus.open): void {
    this.#status = status;
    if (status === transactionStatus.idle) this.#kinds.transactionEnded();
    for (let done = this.#take(); done; done = this.#take()) {
      if (!isRequest(done)) continue;
      this.owed--;
      return;
    }
  }

  /** A Sync that a backend in copy-in mode has ignored is never answered. @returns whether there was one. */
  forgetIgnoredSync(): boolean {
    const at = this.#firstRequest();
    if (this.#at(at)?.kind !== "sync") return false;
    const mask = this.#ring.length - 1;
    // Only what belongs to it stands before it: that moves up by one, over its place.
    for (let i = at; i > 0; i--) this.#ring[(this.#head + i) & mask] = this.#at(i - 1);
    this.#take();
    this.owed--;
    return true;
  }

  #lookAhead(): boolean {
    const kinds = new StatementKinds(this.#kinds);
    let isLast = false;
    for (let at = 0; !isLast; at++) {
      const reply = this.#at(at);
      if (!reply) return false;
      isLast = this.#status === transactionStatus.idle && (reply.kind === "sync" || (at === 0 && isRequest(reply)));
      if (reply.kind === "parse" && reply.statement && kinds.hasStatement(reply.statement)) return false; // it will fail
      for (let i = reply.next, deeds = deedsOf(reply, kinds); i < deeds.length; i++) {
        const deed = deeds[i] as Deed;
        if (kinds.writes(deed)) return true;
        kinds.done(deed);
      }
      carryOut(reply, kinds);
    }
    return false;
  }

  #statementDone(front: Reply, isComplete: boolean): void {
    this.#mayWrite = false;
    if (front.kind === "execute") {
      if (isComplete && front.portal !== undefined) this.#kinds.done(this.#kinds.portal(front.portal));
      this.#take();
    } else if (front.kind === "query" && front.deeds) {
      const deed = front.deeds[front.next++];
      if (deed !== undefined && isComplete) this.#kinds.done(deed);
    }
  }

  #confirmed(front: Reply): void {
    carryOut(front, this.#kinds);
    if (front.kind === "bind" && front.portal === "" && this.#queriesOwed === 0) this.#unnamedBound = true;
    this.#take();
  }

  /** What stands up to the next Sync will not be answered, and neither will what comes before one does. */
  #skip(): void {
    for (let front = this.#at(0); front && front.kind !== "sync"; front = this.#at(0)) {
      if (isRequest(front)) this.owed--;
      this.#take();
    }
    this.#skipping = this.#count === 0;
  }

  #firstRequest(): number {
    let at = 0;
    for (let reply = this.#at(at); reply && !isRequest(reply); reply = this.#at(at)) at++;
    return at;
  }

  #at(index: number): Reply | undefined {
    return index < this.#count ? this.#ring[(this.#head + index) & (this.#ring.length - 1)] : undefined;
  }

  #add(reply: Reply): void {
    if (this.#skipping && reply.kind !== "sync") return;
    this.#skipping = false;
    if (isRequest(reply)) this.owed++;
    if (reply.kind === "query") this.#queriesOwed++;
    if (reply.kind === "query" || reply.kind === "sync") this.#unnamedBound = false;
    if (reply.kind === "bind" && reply.portal === "") this.#unnamedBound = true;
    const ring = this.#ring;
    if (this.#count === ring.length) {
      this.#ring = [...ring.slice(this.#head), ...ring.slice(0, this.#head), ...new Array<undefined>(ring.length).fill(undefined)];
      this.#head = 0;
    }
    this.#ring[(this.#head + this.#count++) & (this.#ring.length - 1)] = reply;
  }

  #take(): Reply | undefined {
    const reply = this.#at(0);
    if (!reply) return undefined;
    this.#mayWrite = false;
    if (reply.kind === "query") this.#queriesOwed--;
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#count--;
    return reply;
  }
}

function isRequest({ kind }: Reply): boolean {
  return kind === "query" || kind === "sync" || kind === "function";
}

/** What a request or execute does; one that was not read, because no limit was in force then, may write. */
function deedsOf({ kind, portal, deeds }: Reply, kinds: StatementKinds): readonly Deed[] {
  if (kind === "execute") return [portal === undefined || kinds.portal(portal)];
  return kind === "query" ? (deeds ?? [true]) : [];
}

/** A message that was confirmed, or will be. */
function carryOut(reply: Reply, kinds: StatementKinds): void {
  const { kind, statement, portal, deeds } = reply;
  if (kind === "parse" && statement !== undefined) kinds.parsed(statement, deeds?.[0] ?? false);
  else if (kind === "bind" && portal !== undefined && statement !== undefined) kinds.bound(portal, statement);
  else if (kind === "bind") kinds.boundUnread();
  else if (kind === "close" && statement !== undefined) kinds.closed(true, statement);
  else if (kind === "close" && portal !== undefined) kinds.closed(false, portal);
}
