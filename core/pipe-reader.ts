/** Reads exact numbers of bytes from a pipe while the order of messages is fixed: start-up, authentication, backend login. */
import type { BytePipe, PipeSink } from "./byte-pipe.ts";

/** The peer left before what was awaited arrived. Not an error to report to anyone: there is nobody left. */
export class PipeClosedError extends Error {
  constructor(cause?: Error) {
    super("the peer closed the connection", cause ? { cause } : undefined);
    this.name = "PipeClosedError";
  }
}

/** One reader at a time per pipe; at most `maxBuffered` bytes are kept, beyond that the peer waits. */
export class PipeReader implements PipeSink {
  readonly pipe: BytePipe;
  readonly #maxBuffered: number;
  readonly #signal: AbortSignal | undefined;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #waiting: { bytes: number; resolve: (bytes: Uint8Array) => void; reject: (error: unknown) => void } | undefined;
  #failure: unknown;
  /** Called when the peer leaves; for work between two reads that is pointless without it. */
  onClosed: ((reason: PipeClosedError) => void) | undefined;
  /** Called when bytes arrive; for waits that may be over before anything is to be read. */
  onArrival: (() => void) | undefined;
  #draining: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  readonly #onAbort = () => this.#fail(this.#signal?.reason);

  constructor(pipe: BytePipe, maxBuffered: number, signal?: AbortSignal) {
    this.pipe = pipe;
    this.#maxBuffered = maxBuffered;
    this.#signal = signal;
    if (signal?.aborted) this.#failure = signal.reason;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    pipe.sink = this;
    pipe.resume();
  }

  /** Bytes received and not yet read. */
  get buffered(): number {
    return this.#length;
  }

  /** @throws PipeClosedError, or the signal's reason. `bytes` must not exceed `maxBuffered`. */
  read(bytes: number): Promise<Uint8Array> {
    if (bytes > this.#maxBuffered) return Promise.reject(new RangeError("more asked of a reader than it may buffer"));
    if (this.#length >= bytes) return Promise.resolve(this.#take(bytes));
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = { bytes, resolve, reject };
      this.pipe.resume();
    });
  }

  /** The first `bytes` of what is buffered, without taking them. */
  async peek(bytes: number): Promise<Uint8Array> {
    const taken = await this.read(bytes);
    this.#chunks.unshift(taken);
    this.#length += taken.length;
    return taken;
  }

  /** Writes, and waits while the peer is slower than we are. One write at a time. @throws as `read`. */
  async send(chunk: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.pipe.write(chunk)) return;
    await new Promise<void>((resolve, reject) => {
      this.#draining = { resolve, reject };
    });
  }

  /** Stops reading: the pipe is paused and without a sink. @returns what was received and not read. */
  detach(): Uint8Array {
    this.pipe.pause();
    this.pipe.sink = undefined;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    return this.#take(this.#length);
  }

  data(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const waiting = this.#waiting;
    if (waiting && this.#length >= waiting.bytes) {
      this.#waiting = undefined;
      waiting.resolve(this.#take(waiting.bytes));
    }
    if (this.#length >= this.#maxBuffered) this.pipe.pause();
    this.onArrival?.();
  }

  drain(): void {
    const draining = this.#draining;
    this.#draining = undefined;
    draining?.resolve();
  }

  closed(error?: Error): void {
    const reason = new PipeClosedError(error);
    this.#fail(reason);
    this.onClosed?.(reason);
  }

  #fail(reason: unknown): void {
    this.#failure ??= reason;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(reason);
    const draining = this.#draining;
    this.#draining = undefined;
    draining?.reject(reason);
  }

  #take(bytes: number): Uint8Array {
    this.#length -= bytes;
    const first = this.#chunks[0];
    if (first && first.length >= bytes) {
      if (first.length === bytes) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(bytes);
      return first.subarray(0, bytes);
    }
    const out = new Uint8Array(bytes);
    let at = 0;
    while (at < bytes) {
      const chunk = this.#chunks[0] as Uint8Array;
      const part = chunk.subarray(0, bytes - at);
      out.set(part, at);
      at += part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    return out;
  }
}
