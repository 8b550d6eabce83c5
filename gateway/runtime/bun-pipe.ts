/** BytePipe on Bun's native sockets, in clear and under TLS. */

import type { BytePipe, PeerAddress, PipeSink, TlsClientOptions, TlsInfo, TlsServerContext } from "../../core/byte-pipe.ts";
import type { BunSocket } from "./bun-api.ts";
import { noteChunk } from "./bun-garbage.ts";
import type { OpenConnections, SocketOwner } from "./bun-handlers.ts";
import { acceptTlsBun, connectTlsBun, type SecureBunSocket } from "./bun-tls.ts";
import { defaultLingerMs } from "./times.ts";

/** What happened on the socket while deliveries were paused: order matters, data comes before the end. */
interface Held {
  readonly chunks: Uint8Array[];
  ended: boolean;
}

export class BunPipe implements BytePipe, SocketOwner {
  sink: PipeSink | undefined;
  readonly peer: PeerAddress;
  readonly tls: TlsInfo | undefined;
  isClosed = false;
  readonly #socket: BunSocket;
  /** The socket under a TLS socket: closing the latter alone waits for a peer that does not read. */
  readonly #raw: BunSocket | undefined;
  readonly #open: OpenConnections;
  #paused = true;
  /** Bytes the kernel did not take yet, in order; none most of the time. */
  #unsent: Uint8Array[] = [];
  #held: Held | undefined;
  #delivering = false;
  #owesDrain = false;
  /** FIN goes out as soon as `#unsent` is empty; what still arrives is discarded. */
  #ending = false;
  #detached = false;
  #gone = false;
  #destroyed = false;
  #failure: Error | undefined;
  #owesClosed = false;
  #lingerMs = defaultLingerMs;
  #linger: NodeJS.Timeout | undefined;

  /** `socket` must be paused. The pipe is in `open` for as long as its socket is. */
  constructor(socket: BunSocket, peer: PeerAddress, open: OpenConnections, secure?: SecureBunSocket) {
    this.#socket = socket;
    this.#open = open;
    open.add(this);
    this.peer = peer;
    this.tls = secure?.info;
    this.#raw = secure?.raw;
    socket.data = this;
    if (!secure) return;
    for (const chunk of secure.early) this.onData(chunk);
    if (secure.earlyEnd) this.onEnd();
    if (secure.gone) this.onClose(secure.failure);
  }

  write(chunk: Uint8Array): boolean {
    if (this.isClosed || this.#ending || this.#owesClosed || this.#gone) return true;
    if (this.#unsent.length > 0) this.#unsent.push(chunk);
    else {
      const taken = this.#socket.write(chunk);
      // Negative: the socket is closed, and says so by its own event.
      if (taken >= chunk.length || taken < 0) return true;
      this.#unsent.push(taken === 0 ? chunk : chunk.subarray(taken));
    }
    this.#owesDrain = true;
    return false;
  }

  pause(): void {
    if (this.#ending || this.#paused) return;
    this.#paused = true;
    if (!this.#gone) this.#socket.pause();
  }

  resume(): void {
    if (this.#owesClosed && !this.#held) queueMicrotask(() => this.#deliverClosed());
    if (this.#ending || !this.#paused) return;
    this.#paused = false;
    if (this.#held) this.#scheduleHeld();
    else if (!this.#gone) this.#socket.resume();
  }

  end(last?: Uint8Array, lingerMs: number = defaultLingerMs): void {
    if (this.isClosed || this.#ending || this.#owesClosed) return;
    if (last && last.length > 0) this.write(last);
    this.#owesDrain = false;
    this.#finish(lingerMs);
  }

  destroy(): void {
    if (this.#detached) return;
    this.isClosed = true;
    this.#owesClosed = false;
    this.#owesDrain = false;
    this.#held = undefined;
    this.#destroySocket();
  }

  startTls(context: TlsServerContext, received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe> {
    return this.#upgrade(received, (early) => acceptTlsBun(this.#socket, context, early, signal, this.#open));
  }

  startTlsClient(options: TlsClientOptions, signal: AbortSignal): Promise<BytePipe> {
    return this.#upgrade(undefined, (early) => connectTlsBun(this.#socket, options, early, signal, this.#open));
  }

  async #upgrade(received: Uint8Array | undefined, handshake: (early: Uint8Array | undefined) => Promise<SecureBunSocket>): Promise<BytePipe> {
    const early = this.#detach(received);
    try {
      const secure = await handshake(early);
      return new BunPipe(secure.socket, this.peer, this.#open, secure);
    } catch (error) {
      // Where the upgrade itself was never reached, the plain socket is still there.
      this.#socket.close();
      throw error;
    }
  }

  /** The listener closes: as `destroy`, but the sink hears of it. */
  drop(): void {
    this.#destroySocket();
  }

  // Called by the socket's handlers.

  onData(chunk: Uint8Array): void {
    noteChunk(chunk.length);
    if (this.#ending || this.#detached) return;
    if (!this.#paused && !this.#held) this.sink?.data(chunk);
    else this.#hold().chunks.push(chunk);
  }

  onDrain(): void {
    if (this.#detached) return;
    while (this.#unsent.length > 0) {
      const chunk = this.#unsent[0]!;
      const taken = this.#socket.write(chunk);
      if (taken < 0) return;
      if (taken < chunk.length) {
        if (taken > 0) this.#unsent[0] = chunk.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#ending) this.#sendFin();
    if (!this.#owesDrain) return;
    this.#owesDrain = false;
    this.sink?.drain();
  }

  onEnd(): void {
    if (this.#detached) return;
    if (this.#ending) this.#destroySocket();
    else if (this.#held || this.#paused) this.#hold().ended = true;
    else this.#onPeerEnd();
  }

  onClose(error?: Error): void {
    this.#gone = true;
    this.#unsent = [];
    clearTimeout(this.#linger);
    if (this.#detached) return;
    this.#open.delete(this);
    this.#failure ??= error;
    // After a reset nothing that was held counts; after an orderly end it does.
    if (this.#failure) this.#held = undefined;
    if (this.#held) this.#held.ended = true;
    else this.#over();
  }

  #onPeerEnd(): void {
    this.#over();
    if (!this.#destroyed) this.#finish(defaultLingerMs);
  }

  /** Flush, FIN, discard until the peer closes; the time counts once for flushing and once more from FIN on. */
  #finish(lingerMs: number): void {
    this.#ending = true;
    this.#held = undefined;
    this.#lingerMs = lingerMs;
    if (this.#gone) {
      this.#over();
      return;
    }
    this.#destroyAfter(lingerMs);
    this.#socket.resume();
    if (this.#unsent.length === 0) this.#sendFin();
  }

  #sendFin(): void {
    if (this.isClosed || this.#owesClosed) {
      // The peer ended first: both directions are done.
      this.#destroySocket();
      return;
    }
    this.#destroyAfter(this.#lingerMs);
    this.#socket.shutdown();
  }

  #hold(): Held {
    this.#held ??= { chunks: [], ended: false };
    return this.#held;
  }

  #scheduleHeld(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    queueMicrotask(() => {
      this.#delivering = false;
      this.#deliverHeld();
    });
  }

  #deliverHeld(): void {
    while (this.#held && this.sink && !this.#paused && !this.isClosed && !this.#ending) {
      const chunk = this.#held.chunks.shift();
      if (chunk) {
        this.sink.data(chunk);
        continue;
      }
      const { ended } = this.#held;
      this.#held = undefined;
      if (ended) this.#onPeerEnd();
      else if (!this.#gone) this.#socket.resume();
    }
  }

  #over(): void {
    if (this.isClosed || this.#owesClosed) return;
    this.#owesClosed = true;
    this.#owesDrain = false;
    if (this.sink) this.#deliverClosed();
  }

  #deliverClosed(): void {
    if (!this.#owesClosed || !this.sink) return;
    this.#owesClosed = false;
    this.isClosed = true;
    this.sink.closed(this.#failure);
  }

  #destroyAfter(ms: number): void {
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => this.#destroySocket(), ms);
    this.#linger.unref();
  }

  #destroySocket(): void {
    clearTimeout(this.#linger);
    this.#unsent = [];
    if (this.#gone || this.#destroyed) return;
    this.#destroyed = true;
    this.#socket.close();
    this.#raw?.close();
  }

  /** Gives the socket away. @returns what was read already, behind `received`. */
  #detach(received: Uint8Array | undefined): Uint8Array | undefined {
    if (this.isClosed || this.#ending || this.#owesClosed || this.#gone || this.#detached)
      throw new Error("TLS cannot start: the connection is closed");
    if (this.#unsent.length > 0) throw new Error("TLS cannot start: earlier bytes are not sent yet");
    this.#detached = true;
    this.#open.delete(this);
    this.sink = undefined;
    const chunks = [...(received ? [received] : []), ...(this.#held?.chunks ?? [])];
    this.#held = undefined;
    return chunks.length === 0 ? undefined : Buffer.concat(chunks);
  }
}
