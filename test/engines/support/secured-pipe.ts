/** TLS in name only, for engines under test: an in-memory pipe whose bytes stay as they are. */
import type { BytePipe, PipeSink, TlsInfo } from "../../../core/byte-pipe.ts";

/** What `startTls` gives: the same pipe, said to be encrypted, with what was read already in front. */
export class SecuredPipe implements BytePipe {
  readonly tls: TlsInfo = { version: "TLSv1.3", alpn: "", serverEndPoint: undefined };
  readonly #inner: BytePipe;
  #early: Uint8Array | undefined;

  constructor(inner: BytePipe, early: Uint8Array | undefined) {
    this.#inner = inner;
    this.#early = early;
  }

  get sink(): PipeSink | undefined {
    return this.#inner.sink;
  }

  set sink(sink: PipeSink | undefined) {
    this.#inner.sink = sink;
  }

  get peer() {
    return this.#inner.peer;
  }

  get isClosed(): boolean {
    return this.#inner.isClosed;
  }

  write(chunk: Uint8Array): boolean {
    return this.#inner.write(chunk);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    const early = this.#early;
    this.#early = undefined;
    if (early) queueMicrotask(() => this.#inner.sink?.data(early));
    // The plain pipe has told its end to nobody when it came between two sinks.
    if (this.#inner.isClosed) queueMicrotask(() => this.#inner.sink?.closed());
    this.#inner.resume();
  }

  end(last?: Uint8Array): void {
    this.#inner.end(last);
  }

  destroy(): void {
    this.#inner.destroy();
  }

  startTls(): Promise<BytePipe> {
    return Promise.reject(new Error("it is encrypted already"));
  }

  startTlsClient(): Promise<BytePipe> {
    return Promise.reject(new Error("it is encrypted already"));
  }
}
