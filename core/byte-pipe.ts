/** BytePipe: one side of a connection as push-in, write-out, pause and resume. What every runtime adapter implements. */

/** Receives what a pipe delivers. Callbacks run on the runtime's socket turn and must not throw. */
export interface PipeSink {
  /** Bytes arrived. The chunk belongs to the sink from now on: the adapter never reuses its memory. */
  data(chunk: Uint8Array): void;
  /** A `write` that answered false has been flushed: go on writing. */
  drain(): void;
  /** The connection is over, once: the peer ended it (`error` absent) or it failed. Nothing follows. */
  closed(error?: Error): void;
}

/** What is known of the peer's side of an encrypted pipe. */
export interface TlsInfo {
  /** Negotiated version, as in `TLSv1.3`. */
  readonly version: string;
  /** Negotiated application protocol, "" when none. */
  readonly alpn: string;
  /** Hash of the certificate this side presented, for `tls-server-end-point` (RFC 5929 section 4.1); undefined on client pipes. */
  readonly serverEndPoint: Uint8Array | undefined;
  /** The certificate the client showed, DER; undefined where it showed none, was not asked, and on client pipes. Nothing is said of who issued it. */
  readonly clientCertificate?: Uint8Array | undefined;
}

/** Where a connection comes from. `address` is an IP literal without zone, IPv4-mapped IPv6 already folded to IPv4; "" for a Unix socket. */
export interface PeerAddress {
  readonly address: string;
  readonly port: number;
}

/** A server certificate and key, opaque to the core; made by `Runtime.createTlsServer`, reloadable in place. */
export interface TlsServerContext {
  readonly kind: "tls-server-context";
}

/** How a client-side pipe verifies the server it talks to. */
export interface TlsClientOptions {
  /** PEM certificates to trust; undefined = the runtime's own list. */
  readonly ca?: string | undefined;
  /** Name the certificate must carry, and SNI. */
  readonly servername: string;
  /** false accepts any certificate (sslmode=require); never the default. */
  readonly verify: boolean;
}

/**
 * One connection. It starts paused and without a sink: set `sink`, then `resume()`.
 * `write` takes ownership of the chunk; it must not be changed afterwards.
 */
export interface BytePipe {
  sink: PipeSink | undefined;
  readonly peer: PeerAddress;
  /** Undefined while the pipe is in clear. */
  readonly tls: TlsInfo | undefined;
  /** True once `closed` was delivered or `destroy` was called. */
  readonly isClosed: boolean;
  /** Sends bytes. @returns false when the peer is slower than we are: stop until `drain`. Ignored after close. */
  write(chunk: Uint8Array): boolean;
  /** Stops deliveries. At most one chunk already on its way may still arrive. */
  pause(): void;
  resume(): void;
  /**
   * Writes `last`, flushes, sends FIN, then reads and discards until the peer closes or `lingerMs` (default 2000) passes, then destroys:
   * an error message sent this way is not lost to a reset.
   */
  end(last?: Uint8Array, lingerMs?: number): void;
  /** Closes at once, without flushing. */
  destroy(): void;
  /**
   * Server-side TLS on this connection. `received` are bytes already read that belong to the handshake (direct TLS).
   * The plain pipe must not be used afterwards; its sink is detached.
   * @throws Error when the handshake fails, the peer leaves or `signal` aborts; the connection is then destroyed.
   */
  startTls(context: TlsServerContext, received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe>;
  /** Client-side TLS on this connection. @throws as `startTls`. */
  startTlsClient(options: TlsClientOptions, signal: AbortSignal): Promise<BytePipe>;
}

const inMemoryHighWater = 64 * 1024;

/** One end of an in-memory connection, for tests: asynchronous delivery, real backpressure, no TLS. */
class MemoryPipe implements BytePipe {
  sink: PipeSink | undefined;
  readonly tls = undefined;
  isClosed = false;
  /** Everything ever written by this end, for assertions. */
  other!: MemoryPipe;
  readonly peer: PeerAddress;
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #paused = true;
  #ending = false;
  #scheduled = false;
  #owesDrain = false;

  constructor(peer: PeerAddress) {
    this.peer = peer;
  }

  write(chunk: Uint8Array): boolean {
    if (this.isClosed || this.#ending) return true;
    const to = this.other;
    if (chunk.length > 0) {
      to.#inbox.push(chunk);
      to.#inboxBytes += chunk.length;
    }
    to.#schedule();
    if (to.#inboxBytes < inMemoryHighWater) return true;
    this.#owesDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(last?: Uint8Array): void {
    if (last) this.write(last);
    this.#ending = true;
    this.other.#schedule();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#inbox = [];
    this.#ending = true;
    this.other.#schedule();
  }

  startTls(): Promise<BytePipe> {
    return Promise.reject(new Error("an in-memory pipe has no TLS"));
  }

  startTlsClient(): Promise<BytePipe> {
    return Promise.reject(new Error("an in-memory pipe has no TLS"));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    while (!this.#paused && this.sink && !this.isClosed) {
      const chunk = this.#inbox.shift();
      if (!chunk) break;
      this.#inboxBytes -= chunk.length;
      this.sink.data(chunk);
    }
    if (this.other.#owesDrain && this.#inboxBytes < inMemoryHighWater) {
      this.other.#owesDrain = false;
      this.other.sink?.drain();
    }
    if (this.other.#ending && this.#inbox.length === 0 && !this.isClosed && this.sink) {
      this.isClosed = true;
      this.sink.closed();
    }
  }
}

/** Two pipes joined in memory: what one end writes, the other receives. */
export function pipePair(clientAddress: PeerAddress = { address: "127.0.0.1", port: 50000 }): [BytePipe, BytePipe] {
  const left = new MemoryPipe({ address: "127.0.0.1", port: 5432 });
  const right = new MemoryPipe(clientAddress);
  left.other = right;
  right.other = left;
  return [left, right];
}
