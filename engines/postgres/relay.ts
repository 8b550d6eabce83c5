/** Both sides of a session after login: frames are walked, not copied; a chunk that needs no decision is written on as it came. */
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { RelayActivity, SilenceTimeouts } from "../../core/engine.ts";
import { GatewayError } from "../../core/errors.ts";
import { Traffic } from "../../core/wire-metrics.ts";
import { decodeErrorFields } from "./backend.ts";
import { concatBytes, readable, readUint32 } from "./bytes.ts";
import { afterCopyData, frameViolation, inspectionBytes, isFatal, neededBytes } from "./frame-rules.ts";
import { describesPortal, encodeCopyFail, encodeQuery, encodeSync, failingParse } from "./frontend.ts";
import { backend as B, frontend as F, transactionStatus } from "./message-types.ts";
import { Pauses } from "./pause.ts";
import { refreshPlans } from "./refresh-plans.ts";
import { asFatal, backendLost, copyRefusal, encodeRefusal, idleTooLong, queryTimeout, raisingSql, slowReader } from "./refusal.ts";
import { BackendSide, ClientSide, type TwoSided } from "./relay-sides.ts";
import { announce, forward, type Override, type RelayDeps, type RelayEnd, stop, swallow, type Verdict } from "./relay-terms.ts";
import { bringsForward, Replies } from "./replies.ts";
import { exceeds, nearly, RowBudget, rowNotice, tooManyRows } from "./row-budget.ts";
import { SharedBackend } from "./shared/shared-backend.ts";
import { type QueryReading, StatementGuard } from "./statement-guard.ts";
import { endsStatement, StatementLog } from "./statement-log.ts";

/** How long a cancelled statement may go on before both sides are closed. */
const cancelGraceMs = 5000;

/** Backend messages whose body is looked at; of all others no view is made. */
const bodyIsRead = new Uint8Array(256);
for (const type of [B.ErrorResponse, B.ParameterStatus, B.CopyOutResponse]) bodyIsRead[type] = 1;

export class Relay implements TwoSided {
  readonly #deps: RelayDeps;
  readonly #client: BytePipe;
  readonly #backend: BytePipe;
  readonly #replies = new Replies();
  readonly #guard: StatementGuard;
  readonly #traffic: Traffic;
  readonly #log: StatementLog | undefined;
  readonly ended: Promise<RelayEnd>;
  #finish!: (end: RelayEnd) => void;
  #isOver = false;

  // Client side: what is left of a frame that began in an earlier chunk, or the start of one that must be whole.
  #clientLeft = 0;
  #clientCarry: Uint8Array | undefined;
  /** Extended-protocol messages went out since the last Sync. */
  #unsynced = false;
  /** Executes since the last Sync whose end was not seen: behind a Flush a statement runs although no ReadyForQuery is owed. */
  #executing = 0;
  /** The client has asked for the answers of those: without a Flush or Sync PostgreSQL keeps them, and waits. */
  #isFlushed = true;
  /** What the client sent while a cancel request is on its way: it must not be what the request hits. */
  #held: Uint8Array[] | undefined;

  // Backend side.
  #backendLeft = 0;
  #backendCarry: Uint8Array | undefined;
  #swallowRest = false;
  #status: number = transactionStatus.idle;
  #copyingIn = false;
  readonly #rows: RowBudget;
  #override: Override | undefined;
  /** Replaces the error that a cancelled statement ends with. */
  #timeout: { error: GatewayError; atMs: number } | undefined;
  #cancelsInFlight = 0;
  #runningSinceMs = 0;
  #activeAtMs: number;
  /** Since when the client accepts nothing. */
  #stalledSinceMs: number | undefined;
  #drainError: GatewayError | undefined;
  /** The backend sent a FATAL error. */
  #saidGoodbye = false;

  // Schema changes; see refresh-plans.ts.
  #pauses: Pauses | undefined;
  /** The portal bound last was described since. */
  #described = false;
  /** An Execute went out without: the client knows the shape of the rows from before. */
  #trustsDescriptions = false;

  constructor(deps: RelayDeps) {
    this.#deps = deps;
    this.#client = deps.client;
    this.#backend = deps.backend.pipe;
    this.#rows = new RowBudget(this.#replies, deps.parameters);
    this.#guard = new StatementGuard(deps.settings, deps.refuseDdl, this.#replies);
    this.#traffic = deps.traffic ?? new Traffic();
    this.#log = deps.journal && new StatementLog(deps.journal, deps.backend);
    this.#activeAtMs = deps.nowMs();
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Takes over both pipes. `early` are bytes the client sent behind its last login message. */
  start(early: Uint8Array): void {
    this.#client.sink = new ClientSide(this);
    this.#backend.sink = new BackendSide(this);
    // A pipe that closed while the lease was awaited says so only once, and that was before.
    if (this.#client.isClosed) this.clientGone();
    else if (this.#backend.isClosed) this.backendGone();
    if (this.#isOver) return;
    this.#backend.resume();
    if (early.length > 0) this.fromClient(early);
    if (!this.#isOver) this.#client.resume();
  }

  get isBusy(): boolean {
    return this.#replies.owed > 0 || this.#executing > 0;
  }

  get activity(): RelayActivity {
    const { pins } = this.#deps.backend;
    if (this.isBusy) return { state: "active", sinceMs: this.#runningSinceMs, pins };
    return { state: this.#status === transactionStatus.idle ? "idle" : "in_transaction", sinceMs: this.#activeAtMs, pins };
  }

  /** A client's CancelRequest. Without a statement running it has no effect, as in PostgreSQL; nor beside one on its way, which costs the server a process. */
  cancel(): void {
    if (!this.#isOver && this.#cancelsInFlight === 0 && (this.isBusy || this.#unsynced)) this.#cancelBackend();
  }

  /** Ends the session with a FATAL error, at once. */
  terminate(error: GatewayError): void {
    if (this.#isOver) return; // the backend may be another client's by now
    if (this.isBusy) this.#cancelBackend();
    this.#end(error, false);
  }

  hold(): Promise<boolean> {
    if (this.#isOver) return Promise.resolve(false);
    this.#pauses ??= new Pauses({
      isAtRest: () => this.#status === transactionStatus.idle && this.#cancelsInFlight === 0 && this.#isAtRest(),
      stop: () => {
        this.#held ??= [];
        this.#client.pause();
      },
      goOn: () => this.#afterBackend(),
      refresh: () => this.#refreshPlans(),
    });
    return this.#pauses.hold();
  }

  async resume(schemaChanged: boolean): Promise<void> {
    await this.#pauses?.resume(schemaChanged);
  }

  async #refreshPlans(): Promise<void> {
    if (this.#isOver) return;
    const [{ backend }, trustsDescriptions] = [this.#deps, this.#trustsDescriptions];
    const over = new AbortController();
    void this.ended.then(() => over.abort(new Error("the session is over")));
    const pass = (frame: Uint8Array) => void this.#client.write(frame);
    try {
      if (backend instanceof SharedBackend) await backend.refreshPlans(trustsDescriptions);
      else await refreshPlans(backend, { trustsDescriptions, pass, signal: over.signal });
    } catch (error) {
      this.#end(error instanceof GatewayError ? error : backendLost(error), false);
    }
    if (this.#isOver) return;
    this.#backend.sink = new BackendSide(this);
    this.#backend.resume();
  }

  /** Ends the session as soon as it is outside a transaction. */
  drain(error: GatewayError): void {
    this.#drainError = error;
    if (!this.isBusy && !this.#unsynced && this.#status === transactionStatus.idle) this.#end(error, this.#isAtRest());
  }

  /** Deadlines, kept by one sweep over all sessions. */
  sweep(timeouts: SilenceTimeouts): void {
    const now = this.#deps.nowMs();
    const slowMs = timeouts.slowReaderTimeoutMs ?? 0;
    if (slowMs > 0 && now - (this.#stalledSinceMs ?? now) > slowMs) this.terminate(slowReader(slowMs / 1000));
    if (this.#isOver) return;
    if (!this.isBusy || (this.#replies.owed === 0 && !this.#isFlushed)) {
      // Until its Sync, a pipeline is a transaction too.
      const isInTransaction = this.#status !== transactionStatus.idle || this.#unsynced;
      const tooLong = idleTooLong(now - this.#activeAtMs, isInTransaction, timeouts);
      if (tooLong) this.#end(tooLong, this.#isAtRest());
      return;
    }
    const cut = this.#timeout ?? this.#override;
    if (cut) {
      if (now - cut.atMs > cancelGraceMs) this.#end(cut.error, false);
      return;
    }
    const limit = this.#deps.settings().query_timeout_ms;
    if (limit > 0 && now - this.#runningSinceMs > limit) {
      this.#timeout = { error: queryTimeout(limit), atMs: now };
      this.#cancelBackend();
    }
  }

  // ---- client to backend

  clientDrained(): void {
    this.#stalledSinceMs = undefined;
    this.#backend.resume();
  }

  fromClient(incoming: Uint8Array): void {
    if (this.#isOver) return;
    this.#activeAtMs = this.#deps.nowMs();
    if (this.#held) {
      this.#held.push(incoming);
      return;
    }
    this.#traffic.fromClients += incoming.length;
    this.#log?.chunk(incoming.length);
    const chunk = this.#clientCarry ? concatBytes(this.#clientCarry, incoming) : incoming;
    this.#clientCarry = undefined;
    let at = 0;
    let from = 0;
    let flowing = true;
    while (at < chunk.length) {
      if (this.#clientLeft > 0) {
        const taken = Math.min(this.#clientLeft, chunk.length - at);
        this.#clientLeft -= taken;
        at += taken;
        continue;
      }
      if (chunk[at] === F.CopyData) at = afterCopyData(chunk, at);
      if (chunk.length - at < 5) break;
      const type = chunk[at]!;
      const length = readUint32(chunk, at + 1);
      const violation = frameViolation(type, length);
      if (violation) {
        this.#end(new GatewayError("protocol_violation", violation), false);
        return;
      }
      const total = length + 1;
      const isWhole = chunk.length - at >= total;
      if (!isWhole && chunk.length - at < neededBytes(total) && (this.#guard.wants(type) || this.#log?.wants(type))) break;
      this.#log?.client(type, chunk, at + 5, isWhole ? at + total : chunk.length, isWhole);
      const verdict =
        type === F.Query
          ? this.#onQuery(chunk, at + 5, isWhole ? at + total : 0)
          : this.#onClientFrame(type, chunk, at + 5, isWhole ? at + total : chunk.length, isWhole);
      if (verdict === stop) {
        if (at > from) this.#backend.write(chunk.subarray(from, at));
        this.#end(undefined, this.#isAtRest()); // the client said goodbye; what it sent before is still carried out, as PostgreSQL would
        return;
      }
      if (verdict !== forward) {
        if (at > from) flowing = this.#backend.write(chunk.subarray(from, at)) && flowing;
        if (verdict instanceof Uint8Array) flowing = this.#backend.write(verdict) && flowing;
        from = at + total; // only whole frames are replaced
      }
      const taken = Math.min(total, chunk.length - at);
      this.#clientLeft = total - taken;
      at += taken;
    }
    if (at < chunk.length) this.#clientCarry = new Uint8Array(chunk.subarray(at)) /* a copy: it must not keep the chunk alive */;
    if (at > from) flowing = this.#backend.write(from === 0 && at === chunk.length ? chunk : chunk.subarray(from, at)) && flowing;
    if (!flowing) this.#client.pause();
  }

  /** The body from `from` up to `to`: the beginning only of frames too large to be read. No view is made of it but of what is prepared: it costs as much. */
  #onClientFrame(type: number, chunk: Uint8Array, from: number, to: number, isWhole: boolean): Verdict {
    switch (type) {
      case F.Parse:
        this.#unsynced = true;
        return this.#guard.readParse(chunk.subarray(from, to), isWhole) ?? forward;
      case F.Bind:
        this.#unsynced = true;
        this.#described = false;
        this.#guard.readBind(chunk, from, to);
        return forward;
      case F.Execute:
        this.#unsynced = true;
        if (!this.isBusy) this.#runningSinceMs = this.#deps.nowMs();
        this.#executing++;
        this.#isFlushed = false;
        if (!this.#described) this.#trustsDescriptions = true;
        return this.#guard.readExecute(chunk, from, to) ?? forward;
      case F.Sync:
        if (this.#copyingIn) return forward; // a backend in copy-in mode ignores Sync
        this.#unsynced = false;
        this.#owe("sync");
        this.#executing = 0;
        return forward;
      case F.FunctionCall:
        this.#owe("function");
        return forward;
      case F.Terminate:
        return stop;
      case F.CopyDone:
      case F.CopyFail:
      case F.CopyData:
        if (type !== F.CopyData) this.#copyingIn = false;
        return forward;
      default:
        this.#unsynced = true; // Describe, Close, Flush
        if (type === F.Flush) this.#isFlushed = true;
        if (type === F.Describe && from < to && chunk[from] === describesPortal) this.#described = true;
        this.#guard.readOther(type, chunk, from, to);
        return forward;
    }
  }

  #onQuery(chunk: Uint8Array, from: number, to: number): Verdict {
    const { replacement, deeds } = this.#guard.readQuery(chunk, from, to);
    this.#owe("query", deeds);
    return replacement ?? forward;
  }

  #owe(kind: "query" | "sync" | "function", deeds?: QueryReading["deeds"]): void {
    if (!this.isBusy) this.#runningSinceMs = this.#deps.nowMs();
    this.#isFlushed = true;
    if (deeds) this.#replies.pushQuery(deeds);
    else this.#replies.push(kind);
  }

  // ---- backend to client

  backendDrained(): void {
    if (!this.#held) this.#client.resume();
  }

  fromBackend(incoming: Uint8Array): void {
    if (this.#isOver) return;
    this.#traffic.toClients += incoming.length;
    const chunk = this.#backendCarry ? concatBytes(this.#backendCarry, incoming) : incoming;
    this.#backendCarry = undefined;
    let at = 0;
    let from = 0;
    let flowing = true;
    while (at < chunk.length) {
      if (this.#backendLeft > 0) {
        const taken = Math.min(this.#backendLeft, chunk.length - at);
        this.#backendLeft -= taken;
        if (this.#swallowRest) from = at + taken;
        at += taken;
        continue;
      }
      if (chunk.length - at < 5) break;
      const type = chunk[at]!;
      const total = readUint32(chunk, at + 1) + 1;
      if (total < 5 || (type === B.ReadyForQuery && total !== 6)) {
        this.backendGone();
        return;
      }
      const isWhole = chunk.length - at >= total;
      if (!isWhole && total <= inspectionBytes && (type === B.ReadyForQuery || bodyIsRead[type] === 1 || endsStatement[type] === 1)) break;
      const taken = Math.min(total, chunk.length - at);
      if (this.#log && endsStatement[type] !== 0) this.#log.backend(type, chunk, at + 5, at + taken, !this.#override);
      const verdict =
        type === B.ReadyForQuery
          ? this.#override
            ? this.#onOverriddenReady(this.#override, chunk[at + 5]!)
            : this.#onReady(chunk[at + 5]!)
          : this.#onBackendFrame(type, isWhole && bodyIsRead[type] === 1 ? chunk.subarray(at + 5, at + total) : undefined, total);
      const passes = verdict === forward || verdict === announce;
      if (verdict !== forward) {
        if (at > from) flowing = this.#client.write(chunk.subarray(from, at)) && flowing;
        if (verdict === announce) flowing = this.#client.write(rowNotice(this.#rowLimit)) && flowing;
        if (verdict instanceof Uint8Array) flowing = this.#client.write(verdict) && flowing;
        from = passes ? at : at + taken;
      }
      this.#backendLeft = total - taken;
      this.#swallowRest = !passes;
      at += taken;
    }
    this.#log?.chunkSent(at);
    if (at < chunk.length) this.#backendCarry = new Uint8Array(chunk.subarray(at)) /* a copy: it must not keep the chunk alive */;
    if (at > from) flowing = this.#client.write(from === 0 && at === chunk.length ? chunk : chunk.subarray(from, at)) && flowing;
    if (!flowing) {
      this.#backend.pause();
      this.#stalledSinceMs ??= this.#deps.nowMs();
    }
    this.#afterBackend();
  }

  #onBackendFrame(type: number, body: Uint8Array | undefined, total: number): Verdict {
    if (bringsForward[type] === 1) this.#replies.heard(type);
    if (this.#override) {
      if (type === B.ParameterStatus) this.#deps.backend.noteParameter(body);
      if (type === B.ParameterStatus || type === B.NoticeResponse || type === B.NotificationResponse) return forward;
      return this.#onOverridden(this.#override, type);
    }
    switch (type) {
      case B.DataRow:
        return this.#guard.limitsRows ? this.#onRow(this.#rows.countRow(this.#rowLimit)) : forward;
      case B.CopyData:
        return this.#guard.limitsRows ? this.#onRow(this.#rows.countCopyData(total, this.#rowLimit)) : forward;
      case B.CommandComplete:
      case B.EmptyQueryResponse:
        this.#rows.reset();
        this.#copyingIn = false;
        this.#executed(1);
        return forward;
      case B.PortalSuspended:
        this.#rows.suspend();
        this.#executed(1);
        return forward;
      case B.BindComplete:
        this.#rows.reset();
        return forward;
      case B.ErrorResponse:
        this.#rows.reset();
        this.#copyingIn = false;
        return this.#onError(body);
      case B.ParameterStatus:
        this.#deps.backend.noteParameter(body);
        return forward;
      case B.CopyInResponse:
        return this.#onCopyIn();
      case B.CopyOutResponse:
      case B.CopyBothResponse:
        if (type === B.CopyOutResponse) this.#rows.copyBegins(body?.[0] === 1, this.#guard.copyHasHeader);
        return this.#deps.settings().allow_copy ? forward : this.#overrideStatement(copyRefusal());
      default:
        return forward;
    }
  }

  /** Statements behind a Flush ended. Where a ReadyForQuery is owed, that one is waited for instead. */
  #executed(count: number): void {
    if (this.#executing === 0 || this.#replies.owed > 0) return;
    this.#executing -= count;
    this.#timeout = undefined;
    this.#activeAtMs = this.#deps.nowMs();
    this.#runningSinceMs = this.#activeAtMs;
  }

  #onReady(status: number): Verdict {
    this.#replies.ready(status);
    this.#traffic.queries++;
    this.#status = status;
    this.#rows.reset();
    this.#timeout = undefined;
    this.#activeAtMs = this.#deps.nowMs();
    this.#runningSinceMs = this.#activeAtMs;
    const isAtRest = this.#replies.owed === 0 && !this.#unsynced;
    this.#log?.ready(status, isAtRest);
    if (isAtRest) this.#guard.settled();
    return forward;
  }

  get #rowLimit(): number {
    return this.#deps.settings().max_rows_per_query;
  }

  #onRow(counted: ReturnType<RowBudget["countRow"]>): Verdict {
    if (counted === exceeds) return this.#overrideStatement(tooManyRows(this.#rowLimit));
    return counted === nearly ? announce : forward;
  }

  #onError(body: Uint8Array | undefined): Verdict {
    if (body && isFatal(body)) this.#saidGoodbye = true;
    this.#log?.failed((body && readable(body, decodeErrorFields)?.get("C")) ?? "XX000");
    const verdict = body ? this.#wordError(body) : forward;
    this.#executed(this.#executing);
    return verdict;
  }

  #wordError(body: Uint8Array): Verdict {
    const worded = this.#guard.wordError(body, this.#timeout?.error);
    if (worded?.error) this.#traffic.refused(worded.error.kind);
    if (worded?.error && worded.error === this.#timeout?.error) this.#timeout = undefined;
    return worded?.bytes ?? forward;
  }

  #onCopyIn(): Verdict {
    // In the extended protocol the Sync behind Execute, if it went out already, is ignored by a backend in copy-in mode.
    if (this.#deps.settings().allow_copy) {
      if (this.#replies.forgetIgnoredSync()) {
        this.#unsynced = true;
        this.#executing = 1;
      }
      this.#copyingIn = true;
      return forward;
    }
    const ignoredSync = this.#replies.frontIsSync;
    this.#override = { error: copyRefusal(), stage: "statement", atMs: this.#deps.nowMs() };
    this.#traffic.refused("copy_denied");
    this.#backend.write(ignoredSync ? concatBytes(encodeCopyFail("refused"), encodeSync()) : encodeCopyFail("refused"));
    return swallow;
  }

  /** From here on the statement's outcome is `error`: it is cancelled, and what it still sends is swallowed. */
  #overrideStatement(error: GatewayError): Verdict {
    this.#override = { error, stage: "statement", atMs: this.#deps.nowMs() };
    this.#traffic.refused(error.kind);
    this.#cancelBackend();
    return swallow;
  }

  #onOverridden(override: Override, type: number): Verdict {
    if (override.stage !== "statement") return swallow;
    if (type === B.ErrorResponse) {
      this.#log?.failed(override.error.sqlstate);
      this.#override = undefined;
      this.#rows.reset();
      this.#executed(this.#executing);
      return encodeRefusal(override.error);
    }
    if (type === B.CommandComplete || type === B.PortalSuspended || type === B.EmptyQueryResponse) {
      override.stage = "ready";
      // What the client pipelines behind it up to its Sync must be skipped, and what ran before it undone, as after an error of PostgreSQL's own.
      if (this.#unsynced && this.#replies.owed === 0) this.#backend.write(failingParse);
      this.#log?.failed(override.error.sqlstate);
      this.#executed(this.#executing);
      return encodeRefusal(override.error);
    }
    return swallow;
  }

  #onOverriddenReady(override: Override, status: number): Verdict {
    if (override.stage === "statement") {
      this.#override = undefined;
      this.#log?.failed(override.error.sqlstate);
      this.#onReady(status);
      return concatBytes(encodeRefusal(override.error), Uint8Array.of(B.ReadyForQuery, 0, 0, 0, 5, status));
    }
    if (override.stage === "ready" && status === transactionStatus.open && this.#replies.owed === 1) {
      // It ended before it could be cancelled: the transaction is failed now, as PostgreSQL would have. What is pipelined already only reads.
      override.stage = "poison";
      this.#backend.write(encodeQuery(raisingSql(override.error)));
      return swallow;
    }
    this.#override = undefined;
    return this.#onReady(status);
  }

  #afterBackend(): void {
    // A statement cut short behind a Flush ends with the client's own Sync, as after any error in the extended protocol.
    const awaitsSync = this.#override?.stage === "ready" && this.#replies.owed === 0;
    this.#pauses?.look();
    if (this.#held && !this.#pauses?.isBegun && this.#cancelsInFlight === 0 && (!this.#override || awaitsSync)) this.#releaseHeld();
    if (this.#drainError && !this.#isOver) this.drain(this.#drainError);
  }

  #releaseHeld(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#client.resume();
    for (const chunk of held) this.fromClient(chunk); // may pause it again
  }

  /** Asks the server to cancel. Until it has taken note, nothing of the client's is passed on that the request could hit instead. */
  #cancelBackend(): void {
    this.#cancelsInFlight++;
    this.#held ??= [];
    this.#client.pause();
    this.#deps.backend
      .cancel()
      .catch(this.#deps.onCancelFailure)
      .finally(() => {
        this.#cancelsInFlight--;
        if (!this.#isOver) this.#afterBackend();
      });
  }

  // ---- endings

  /** The client left without a word: what still runs is cancelled, and its backend is never used again. */
  clientGone(): void {
    if (this.#isOver) return;
    const atRest = this.#isAtRest() && this.#clientCarry === undefined && this.#clientLeft === 0;
    if (this.isBusy) this.#cancelBackend();
    this.#end(undefined, atRest);
  }

  backendGone(error?: Error): void {
    if (this.#isOver) return;
    // PostgreSQL's own FATAL is the last word.
    this.#end(this.#saidGoodbye ? undefined : error instanceof GatewayError ? error : backendLost(), false);
  }

  #isAtRest(): boolean {
    return (
      !this.isBusy &&
      !this.#unsynced &&
      !this.#copyingIn &&
      !this.#override &&
      this.#backendLeft === 0 &&
      !this.#backendCarry &&
      this.#clientLeft === 0
    );
  }

  #end(error: GatewayError | undefined, reusable: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (error) this.#traffic.refused(error.kind);
    this.#log?.end(error?.sqlstate ?? "57014"); // a client that leaves has its statement cancelled
    this.#pauses?.end();
    this.#client.sink = undefined;
    this.#client.pause();
    this.#backend.pause();
    this.#backend.sink = undefined;
    // An error cannot be told in the middle of a frame that is already on its way.
    const midFrame = this.#backendLeft > 0 && !this.#swallowRest;
    const text = error && !midFrame && !this.#client.isClosed ? encodeRefusal(asFatal(error)) : undefined;
    this.#client.end(text);
    this.#finish({ error, reusable: reusable && this.#deps.backend.isAlive });
  }
}
