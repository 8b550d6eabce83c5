/**
 * A backend for each transaction, seen by the relay as one that stays: `pool_mode=transaction`. Between two transactions the backend is at rest,
 * where the next client that needs one may take it; whoever takes it cleans up after the one before, and nothing passes until that is proven.
 */
import type { BytePipe, PeerAddress, PipeSink } from "../../../core/byte-pipe.ts";
import type { EngineLease } from "../../../core/engine.ts";
import { GatewayError } from "../../../core/errors.ts";
import { decodeParameterStatus, encodeParameterStatus, encodeReadyForQuery } from "../backend.ts";
import { concatBytes, readable, readUint32 } from "../bytes.ts";
import { afterCopyData } from "../frame-rules.ts";
import { backend as B, frontend as F, transactionStatus } from "../message-types.ts";
import { backendLost, encodeRefusal } from "../refusal.ts";
import type { RelayBackend } from "../relay-terms.ts";
import { type BackendState, stateOf } from "./backend-state.ts";
import { ClientFrames, needs } from "./client-frames.ts";
import type { Statement } from "./client-statements.ts";
import { Preparation, TakeOver } from "./exchange.ts";
import { kinds } from "./expected.ts";
import type { Lender, SharedLease } from "./lender.ts";
import type { Pin } from "./session-state.ts";
import { UntilSync } from "./until-sync.ts";

export interface SharedBackendDeps {
  readonly lender: Lender;
  /** What the client is told of the server at login. */
  readonly parameters: ReadonlyMap<string, string>;
  /** SHA-256 */
  readonly digest: (data: Uint8Array) => Uint8Array;
  /** False: from its next transaction on the client keeps its backend. */
  readonly shares: () => boolean;
}

/** A backend that cannot be taken over is closed, and another one tried, this often. */
const maxTakeOvers = 5;
const flush = Uint8Array.of(F.Flush, 0, 0, 0, 4);
/** What answers a Describe. */
const endsDescribe = new Set<number>([B.RowDescription, B.NoData]);

const nowhere: PeerAddress = { address: "", port: 0 };

/** Its own pipe to the relay, and the sink of whatever backend it has: ten thousand clients have one each, and most of them are idle. */
export class SharedBackend implements RelayBackend, EngineLease, BytePipe, PipeSink {
  readonly peer: PeerAddress = nowhere;
  readonly tls: undefined = undefined;
  /** The relay's. */
  sink: PipeSink | undefined;
  /** Where it differs from what the server reports at login. */
  #parameters: Map<string, string> | undefined;
  readonly #deps: SharedBackendDeps;
  readonly #frames: ClientFrames;
  /** Marks a backend as last used here; not this object itself, which would live as long as the backend. */
  readonly #token = {};
  #isPaused = true;
  #isClosed = false;

  #lease: SharedLease | undefined;
  #state: BackendState | undefined;
  /** The one it had last, at rest since. */
  #lastLease: SharedLease | undefined;
  #wait: AbortController | undefined;
  #exchange: TakeOver | Preparation | undefined;
  #takeOvers = 0;
  /** What the client sent that has to wait: for a backend, or for a statement to be prepared there. */
  #held: Uint8Array[] | undefined;
  /** To be prepared as soon as everything sent is answered. */
  #needed: Statement | undefined;
  /** Statements whose rows are looked at again. */
  #checks: { readonly left: Statement[]; resolve(): void; reject(reason: unknown): void } | undefined;
  /** A canceled request's rest is not for any backend. */
  #dropping: UntilSync | undefined;

  // Client side: what is left of a frame that began in an earlier chunk, or the start of one that must be whole.
  #clientLeft = 0;
  #clientCarry: Uint8Array | undefined;
  // Backend side.
  #backendLeft = 0;
  #backendCarry: Uint8Array | undefined;
  #status: number = transactionStatus.idle;
  /** There was an error since the last ReadyForQuery. */
  #failed = false;

  constructor(deps: SharedBackendDeps) {
    this.#deps = deps;
    this.#frames = new ClientFrames(deps.digest);
  }

  get pipe(): BytePipe {
    return this;
  }

  /** What the client was told last. */
  get parameters(): ReadonlyMap<string, string> {
    return this.#parameters ?? this.#deps.parameters;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isAlive(): boolean {
    return !this.#isClosed && (this.#lease?.backend.isAlive ?? true);
  }

  /** Why it keeps its backend between transactions. */
  get pins(): readonly Pin[] {
    return this.#frames.settings.pins;
  }

  noteParameter(body: Uint8Array | undefined): void {
    const pair = body && readable(body, decodeParameterStatus);
    if (!pair) return;
    this.#parameters ??= new Map(this.#deps.parameters);
    this.#parameters.set(...pair);
    this.#lease?.backend.parameters.set(...pair);
  }

  /** What runs now; what still waits for a backend is answered as canceled. */
  async cancel(): Promise<void> {
    const lease = this.#lease;
    if (!lease || this.#exchange instanceof TakeOver) this.#cancelHeld();
    else await lease.backend.cancel().finally(() => this.#settle());
  }

  /** The session is over. `reusable`: as the relay sees it, nothing is under way. */
  release(reusable: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#giveUpWaiting();
    this.#checks?.reject(new Error("the session is over"));
    this.#checks = undefined;
    this.#giveBack(reusable && this.#isSettled && !this.#exchange);
  }

  /**
   * After a schema change, of a client that waits: whether what it was told of its statements' rows still holds. One that asks each time is not
   * concerned.
   * @throws {GatewayError} terminated when the client can only start anew.
   */
  async refreshPlans(trustsDescriptions: boolean): Promise<void> {
    this.#state?.clear(); // what is prepared there is prepared again when it is used
    const described = this.#frames.statements.all.filter(({ shape }) => shape !== undefined);
    if (!trustsDescriptions) for (const statement of described) statement.shape = undefined;
    if (!trustsDescriptions || described.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      this.#checks = { left: [...described], resolve, reject };
      this.#held ??= [];
      if (this.#lease || this.#attach()) this.#checkNext();
    });
    if (described.some(({ isStale }) => isStale))
      throw new GatewayError("terminated", "terminating connection: the schema changed under its prepared statements");
  }

  #checkNext(): void {
    const next = this.#checks?.left.shift();
    if (next) this.#converse(new Preparation(next, this.#state!, false));
    else {
      this.#checks?.resolve();
      this.#checks = undefined;
      this.#releaseHeld();
    }
  }

  // ---- client to backend

  pause(): void {
    this.#isPaused = true;
    if (!this.#exchange) this.#lease?.backend.pipe.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#lease?.backend.pipe.resume();
  }

  end(): void {
    this.release(false);
  }

  destroy(): void {
    this.release(false);
  }

  startTls(): Promise<BytePipe> {
    return Promise.reject(new Error("no connection of its own"));
  }

  startTlsClient(): Promise<BytePipe> {
    return Promise.reject(new Error("no connection of its own"));
  }

  write(chunk: Uint8Array): boolean {
    if (this.#isClosed) return true;
    if (this.#held) {
      this.#held.push(chunk);
      return false;
    }
    if (this.#dropping) return this.#drop(chunk);
    if (this.#lease || this.#attach()) return this.#fromClient(chunk);
    this.#held = [chunk];
    return false;
  }

  #fromClient(incoming: Uint8Array): boolean {
    const { pipe } = this.#lease!.backend;
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
      const total = readUint32(chunk, at + 1) + 1;
      const isWhole = chunk.length - at >= total;
      if (!isWhole && this.#frames.mustBeWhole(chunk, at, total)) break;
      const end = isWhole ? at + total : chunk.length;
      const verdict = this.#frames.read(chunk, at, end, total, this.#state!);
      if (verdict !== undefined) {
        if (at > from) flowing = pipe.write(chunk.subarray(from, at)) && flowing;
        if (verdict === needs) {
          this.#needed = this.#frames.needed;
          this.#held = [chunk.subarray(at)];
          this.#askForAnswers();
          return false;
        }
        flowing = pipe.write(verdict) && flowing;
        from = end;
      }
      this.#clientLeft = total - (end - at);
      at = end;
    }
    if (at < chunk.length) this.#clientCarry = new Uint8Array(chunk.subarray(at)) /* a copy: it must not keep the chunk alive */;
    if (at > from) flowing = pipe.write(from === 0 && at === chunk.length ? chunk : chunk.subarray(from, at)) && flowing;
    return flowing;
  }

  /** A statement is prepared between messages only when everything before has been answered, so that no answer is taken for another. */
  #askForAnswers(): void {
    const { expected, isUnsynced } = this.#frames;
    if (expected.length === 0) this.#prepare();
    else if (isUnsynced) this.#lease!.backend.pipe.write(flush);
  }

  #prepare(): void {
    const statement = this.#needed!;
    this.#needed = undefined;
    this.#converse(new Preparation(statement, this.#state!, this.#frames.needsInPipeline));
  }

  #releaseHeld(): void {
    if (this.#checks) {
      this.#checkNext();
      return;
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    let flowing = true;
    for (const chunk of held) flowing = this.write(chunk) && flowing; // may hold again
    if (flowing) this.sink?.drain();
    this.#settle();
  }

  // ---- backends

  /** @returns false when the client has to wait. */
  #attach(): boolean {
    const last = this.#lastLease;
    this.#lastLease = undefined;
    const lease = last?.takeAgain() ? last : this.#deps.lender.take();
    if (lease) return this.#attached(lease);
    void this.#waitForLease();
    return false;
  }

  async #waitForLease(): Promise<void> {
    const wait = new AbortController();
    this.#wait = wait;
    let lease: SharedLease | undefined;
    let failure: unknown;
    try {
      lease = await this.#deps.lender.wait(wait.signal);
    } catch (error) {
      failure = error;
    }
    if (this.#wait !== wait) {
      lease?.rest(); // given up, perhaps a moment too late
      return;
    }
    this.#wait = undefined;
    if (!lease) this.#lose(failure);
    else if (this.#attached(lease)) this.#releaseHeld();
  }

  #giveUpWaiting(): void {
    this.#wait?.abort(new Error("nothing waits for a backend any more"));
    this.#wait = undefined;
  }

  /** A backend is wanted again. */
  #retry(): void {
    if (this.#attach()) this.#releaseHeld();
  }

  /** @returns true when the client may go on at once. */
  #attached(lease: SharedLease): boolean {
    const { backend } = lease;
    const state = stateOf(backend);
    this.#lease = lease;
    this.#state = state;
    backend.pipe.sink = this;
    if (backend.pipe.isClosed) {
      this.#giveBack(false);
      return this.#attach();
    }
    if (state.owner !== this.#token) {
      const settings = this.#frames.settings.statements;
      const cleans = state.owner !== undefined;
      state.owner = this.#token;
      if (cleans) state.unnamed = undefined;
      if (cleans || settings.length > 0) {
        this.#converse(new TakeOver(backend, cleans, settings));
        return false;
      }
      this.#tellParameters();
    }
    if (this.#isPaused) backend.pipe.pause();
    else backend.pipe.resume();
    return true;
  }

  #converse(exchange: TakeOver | Preparation): void {
    this.#exchange = exchange;
    this.#lease!.backend.pipe.resume();
    this.#lease!.backend.pipe.write(exchange.request);
  }

  /** What this backend reports otherwise than the client was told. */
  #tellParameters(): void {
    for (const [name, value] of this.#lease!.backend.parameters) {
      if (this.parameters.get(name) !== value) this.sink?.data(encodeParameterStatus(name, value));
    }
  }

  #exchangeIsOver(exchange: TakeOver | Preparation): void {
    this.#exchange = undefined;
    if (exchange instanceof TakeOver) {
      if (!exchange.isDone) {
        this.#takeOverFailed(exchange);
        return;
      }
      this.#takeOvers = 0;
      this.#tellParameters();
    } else if (exchange.isRefused) {
      this.#state?.remove(exchange.statement);
      if (!this.#checks) this.#frames.preparationFailed();
    }
    if (this.#isPaused) this.#lease?.backend.pipe.pause();
    this.#releaseHeld();
  }

  #takeOverFailed({ isClean }: TakeOver): void {
    this.#giveBack(false);
    if (isClean) {
      this.#lose(new GatewayError("terminated", "terminating connection: its session settings could not be made again on another backend"));
    } else if (++this.#takeOvers >= maxTakeOvers) this.#lose(backendLost());
    else this.#retry();
  }

  /** Ends the relay. */
  #lose(error: unknown): void {
    this.#held = undefined;
    this.#checks?.reject(error);
    this.#checks = undefined;
    this.sink?.closed(error instanceof Error ? error : new Error(String(error)));
  }

  /** The backend takes more. */
  drain(): void {
    if (!this.#held) this.sink?.drain();
  }

  /** The backend has gone. */
  closed(): void {
    const wasTakenOver = this.#exchange instanceof TakeOver && this.#takeOvers < maxTakeOvers;
    this.#exchange = undefined;
    this.#giveBack(false);
    if (this.#isClosed) return;
    if (wasTakenOver) {
      this.#takeOvers++;
      this.#retry();
    } else this.#lose(backendLost());
  }

  #giveBack(reusable: boolean): void {
    const lease = this.#lease;
    if (!lease) return;
    this.#lease = undefined;
    if (this.#state) {
      this.#state.clear();
      this.#state.owner = undefined;
    }
    this.#state = undefined;
    this.#backendLeft = 0;
    this.#backendCarry = undefined;
    lease.backend.pipe.sink = undefined;
    lease.release(reusable);
  }

  get #isSettled(): boolean {
    return (
      this.#status === transactionStatus.idle &&
      this.#frames.isAtRest &&
      !this.#held &&
      this.#clientLeft === 0 &&
      !this.#clientCarry &&
      this.#backendLeft === 0 &&
      !this.#backendCarry
    );
  }

  /** Between two transactions the backend is anybody's. */
  #settle(): void {
    const lease = this.#lease;
    if (!lease || this.#exchange || this.#frames.settings.isPinned || !this.#isSettled || !this.#deps.shares()) return;
    if (lease.backend.isCancelling) return; // looked at again when the last of them is over
    this.#lease = undefined;
    this.#lastLease = lease;
    lease.rest();
  }

  // ---- backend to client

  data(incoming: Uint8Array): void {
    const chunk = this.#backendCarry ? concatBytes(this.#backendCarry, incoming) : incoming;
    this.#backendCarry = undefined;
    const lease = this.#lease;
    let at = 0;
    let from = 0;
    while (at < chunk.length && this.#lease === lease) {
      if (this.#backendLeft > 0) {
        const taken = Math.min(this.#backendLeft, chunk.length - at);
        this.#backendLeft -= taken;
        at += taken;
        continue;
      }
      if (chunk.length - at < 5) break;
      const type = chunk[at]!;
      const total = readUint32(chunk, at + 1) + 1;
      const isWhole = chunk.length - at >= total;
      if (!isWhole && (this.#exchange !== undefined || this.#wantsWhole(type))) break;
      if (this.#exchange) {
        const exchange = this.#exchange;
        at += total;
        if (this.#takeAnswer(exchange, type, chunk, at - total, at)) this.#pass(chunk, from, at);
        from = at;
      } else {
        const answer = this.#onFrame(type, chunk, at, isWhole ? at + total : chunk.length);
        const taken = Math.min(total, chunk.length - at);
        if (answer !== undefined) {
          this.#pass(chunk, from, at);
          if (answer.length > 0) this.sink?.data(answer);
          from = at + taken; // only whole frames are replaced
        }
        this.#backendLeft = total - taken;
        at += taken;
      }
    }
    if (this.#lease !== lease) return; // given back: what it still said was for nobody
    if (at < chunk.length) this.#backendCarry = new Uint8Array(chunk.subarray(at));
    this.#pass(chunk, from, at);
    this.#afterBackend();
  }

  #pass(chunk: Uint8Array, from: number, to: number): void {
    if (to > from) this.sink?.data(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to));
  }

  #afterBackend(): void {
    if (this.#needed && !this.#exchange) {
      if (this.#frames.isSkipping || this.#frames.passesRaw) {
        this.#needed = undefined; // the backend will skip or refuse what needs it
        this.#releaseHeld();
      } else if (this.#frames.expected.length === 0) this.#prepare();
    } else this.#settle();
  }

  /** @returns whether the message is the client's. */
  #takeAnswer(exchange: TakeOver | Preparation, type: number, chunk: Uint8Array, from: number, to: number): boolean {
    const outcome = exchange.take({ type, body: chunk.subarray(from + 5, to), frame: chunk.subarray(from, to) });
    if (outcome !== "over") return outcome === "pass";
    const isError = type === B.ErrorResponse && exchange instanceof Preparation;
    if (isError) this.sink?.data(chunk.subarray(from, to));
    this.#exchangeIsOver(exchange);
    return false;
  }

  #wantsWhole(type: number): boolean {
    if (type === B.ReadyForQuery || type === B.CommandComplete || type === B.ErrorResponse) return true;
    const outcome = this.#frames.expected.outcome;
    return outcome !== undefined && (outcome.isOwn === true || (outcome.wantsBody === true && endsDescribe.has(type)));
  }

  /** @returns what the client gets instead: nothing for an empty one; undefined = the message as it came. */
  #onFrame(type: number, chunk: Uint8Array, from: number, to: number): Uint8Array | undefined {
    const { expected } = this.#frames;
    switch (type) {
      case B.ParseComplete:
      case B.BindComplete:
      case B.CloseComplete: {
        const outcome = expected.take();
        outcome?.done?.();
        return outcome?.isOwn ? new Uint8Array(0) : undefined;
      }
      case B.RowDescription:
      case B.NoData:
        if (expected.next === kinds.describe) {
          const outcome = expected.take();
          outcome?.done?.(type === B.NoData ? new Uint8Array(0) : chunk.subarray(from + 5, to));
        }
        return undefined;
      case B.CommandComplete:
        this.#frames.completed(chunk, from + 5, to, this.#state!);
        return undefined;
      case B.EmptyQueryResponse:
      case B.PortalSuspended:
        if (expected.next === kinds.execute) expected.take();
        return undefined;
      case B.CopyInResponse:
        this.#frames.copyBegins();
        if (this.#needed) this.#frames.passesRaw = true; // the client went on without sending data: PostgreSQL has its own words for that
        return undefined;
      case B.ErrorResponse:
        this.#failed = true;
        return this.#frames.failed(chunk.subarray(from + 5, to));
      case B.ReadyForQuery:
        this.#status = chunk[from + 5]!;
        this.#frames.ready(this.#status, this.#failed);
        this.#failed = false;
        return undefined;
      default:
        return undefined;
    }
  }

  // ---- cancel while waiting

  /** The first request that waits is answered as PostgreSQL answers one that is canceled; nothing of it ever ran. */
  #cancelHeld(): void {
    const held = this.#held;
    if (!held || held.length === 0) return;
    const chunk = held.length === 1 ? held[0]! : concatBytes(...held);
    if (chunk.length < 5 || chunk.length < readUint32(chunk, 1) + 1) return; // not there yet: as if it had not been sent
    const isQuery = chunk[0] === F.Query || chunk[0] === F.FunctionCall;
    const canceled = encodeRefusal(new GatewayError("canceled", "canceling statement due to user request"));
    if (isQuery) {
      const rest = chunk.subarray(readUint32(chunk, 1) + 1);
      this.#held = rest.length > 0 ? [rest] : [];
      this.sink?.data(concatBytes(canceled, encodeReadyForQuery(transactionStatus.idle)));
    } else {
      this.#held = [];
      this.sink?.data(canceled);
      this.#dropping = new UntilSync();
      this.#drop(chunk);
    }
    if (this.#held?.length === 0) {
      this.#held = undefined;
      this.#giveUpWaiting();
    }
  }

  /** What comes up to and with the Sync of a canceled request is dropped; what comes behind goes on. */
  #drop(chunk: Uint8Array): boolean {
    const rest = this.#dropping!.skip(chunk);
    if (!rest) return true;
    this.#dropping = undefined;
    this.sink?.data(encodeReadyForQuery(transactionStatus.idle));
    if (rest.length === 0) return true;
    if (!this.#held) return this.write(rest);
    this.#held.push(rest);
    return false;
  }
}
