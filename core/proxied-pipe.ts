/** A connection that came through a load balancer: its header is read and taken off, then it is the client's as if it had come by itself. */
import type { BytePipe, PeerAddress, PipeSink, TlsClientOptions, TlsInfo, TlsServerContext } from "./byte-pipe.ts";
import { PipeClosedError } from "./pipe-reader.ts";
import { decodeProxyHeader } from "./proxy-protocol.ts";

/**
 * Reads the header before anybody else sees the pipe. The pipe then is paused and without a sink, as at accept.
 * @throws {GatewayError} protocol_violation for a missing or malformed header; PipeClosedError when the balancer leaves
 * before it is whole; the signal's reason when aborted. The pipe is the caller's to close.
 */
export function readProxied(pipe: BytePipe, signal: AbortSignal): Promise<BytePipe> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    let needs = 1;
    const settle = (act: () => void) => {
      signal.removeEventListener("abort", onAbort);
      pipe.pause();
      pipe.sink = undefined;
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason));
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    pipe.sink = {
      data(chunk) {
        chunks.push(chunk);
        length += chunk.length;
        if (length < needs) return;
        const received = chunks.length === 1 ? chunk : join(chunks, length);
        chunks.splice(0, chunks.length, received);
        try {
          const header = decodeProxyHeader(received);
          if ("needs" in header) needs = header.needs;
          else settle(() => resolve(new ProxiedPipe(pipe, header.source ?? pipe.peer, received.subarray(header.bytes))));
        } catch (error) {
          settle(() => reject(error));
        }
      },
      drain: () => undefined,
      closed: (error) => settle(() => reject(new PipeClosedError(error))),
    };
    pipe.resume();
  });
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** Another address in front of a pipe, and what was received behind the header. Once that is delivered, the inner pipe delivers by itself. */
class ProxiedPipe implements BytePipe {
  readonly peer: PeerAddress;
  readonly #inner: BytePipe;
  #unread: Uint8Array | undefined;
  #sink: PipeSink | undefined;
  #paused = true;

  constructor(inner: BytePipe, peer: PeerAddress, unread?: Uint8Array) {
    this.#inner = inner;
    this.peer = peer;
    if (unread && unread.length > 0) this.#unread = unread;
  }

  get sink(): PipeSink | undefined {
    return this.#sink;
  }

  /** The inner pipe is given the sink only once it may deliver: it tells of its end at once to whoever listens. */
  set sink(sink: PipeSink | undefined) {
    this.#sink = sink;
    if (!this.#unread) this.#inner.sink = sink;
  }

  get tls(): TlsInfo | undefined {
    return this.#inner.tls;
  }

  get isClosed(): boolean {
    return this.#inner.isClosed;
  }

  write(chunk: Uint8Array): boolean {
    return this.#inner.write(chunk);
  }

  pause(): void {
    this.#paused = true;
    this.#inner.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#unread) queueMicrotask(() => this.#deliverUnread());
    else this.#inner.resume();
  }

  end(last?: Uint8Array, lingerMs?: number): void {
    this.#unread = undefined;
    this.#inner.end(last, lingerMs);
  }

  destroy(): void {
    this.#unread = undefined;
    this.#inner.destroy();
  }

  async startTls(context: TlsServerContext, received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe> {
    const unread = this.#unread;
    this.#unread = undefined;
    const early = unread && received ? join([received, unread], received.length + unread.length) : (received ?? unread);
    return new ProxiedPipe(await this.#inner.startTls(context, early, signal), this.peer);
  }

  async startTlsClient(options: TlsClientOptions, signal: AbortSignal): Promise<BytePipe> {
    return new ProxiedPipe(await this.#inner.startTlsClient(options, signal), this.peer);
  }

  #deliverUnread(): void {
    const unread = this.#unread;
    if (!unread || this.#paused || !this.#sink) return;
    this.#unread = undefined;
    this.#inner.sink = this.#sink;
    this.#sink.data(unread);
    if (!this.#paused) this.#inner.resume();
  }
}
