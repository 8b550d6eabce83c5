/** BytePipe on node:net and node:tls sockets, for Node and Deno. */

import { Socket } from "node:net";
import type { BytePipe, PeerAddress, PipeSink, TlsClientOptions, TlsInfo, TlsServerContext } from "../../core/byte-pipe.ts";
import { noteChunk } from "./net-garbage.ts";
import { shareReads } from "./net-reads.ts";
import { acceptTls, connectTls } from "./net-tls.ts";
import { defaultLingerMs } from "./times.ts";

/** Unsent bytes from which `write` answers false. At least the streams' own mark, so that their 'drain' is sure to follow. */
const writeHighWater = 64 * 1024;

/** The pipe a socket was given to. */
const pipeOf = Symbol("pipe");

interface PipedSocket extends Socket {
  [pipeOf]: NetPipe;
}

/**
 * In place of a socket's own `push`, which its handle calls with each chunk: where nothing waits before it, the chunk goes straight to the
 * pipe. The stream's queue, event and next-tick read-ahead cost up to a fifth of a small answer. In every other case, and in a runtime whose
 * handle does not come this way, the stream does as always and its 'data' event delivers.
 */
function pushStraight(this: PipedSocket, chunk: unknown, encoding?: BufferEncoding): boolean {
  if (chunk === null || !this.readableFlowing || this.readableLength > 0) return Socket.prototype.push.call(this, chunk, encoding);
  this[pipeOf].receive(chunk as Uint8Array);
  return true;
}

// One function each for all sockets there are.

/** No encoding is ever set, so chunks are bytes. */
function onData(this: PipedSocket, chunk: unknown): void {
  this[pipeOf].receive(chunk as Uint8Array);
}

function onDrain(this: PipedSocket): void {
  this[pipeOf].drained();
}

function onEnd(this: PipedSocket): void {
  this[pipeOf].peerEnded();
}

function onError(this: PipedSocket, error: Error): void {
  this[pipeOf].failed(error);
}

function onClose(this: PipedSocket): void {
  this[pipeOf].socketClosed();
}

export class NetPipe implements BytePipe {
  sink: PipeSink | undefined;
  readonly peer: PeerAddress;
  readonly tls: TlsInfo | undefined;
  isClosed = false;
  readonly #socket: PipedSocket;
  readonly #sharesReads: boolean;
  #owesDrain = false;
  #ending = false;
  /** The socket now belongs to a TLS pipe. */
  #detached = false;
  #failure: Error | undefined;
  /** The connection is over but no sink has heard it yet. */
  #owesClosed = false;
  #linger: NodeJS.Timeout | undefined;

  /** `socket` must not have been read from, or be paused. */
  constructor(socket: Socket, peer: PeerAddress, tls?: TlsInfo) {
    this.#socket = Object.assign(socket, { [pipeOf]: this, push: pushStraight });
    this.#sharesReads = shareReads(socket);
    this.peer = peer;
    this.tls = tls;
    socket.pause();
    socket.on("data", onData);
    socket.on("drain", onDrain);
    socket.on("end", onEnd);
    socket.on("error", onError);
    socket.on("close", onClose);
    if (socket.destroyed) this.socketClosed();
  }

  /** Called by the socket with each chunk, in order. */
  receive(chunk: Uint8Array): void {
    if (!this.#sharesReads) noteChunk(chunk);
    if (!this.#ending) this.sink?.data(chunk);
  }

  write(chunk: Uint8Array): boolean {
    if (this.isClosed || this.#ending || this.#owesClosed) return true;
    this.#socket.write(chunk);
    if (this.#socket.writableLength < writeHighWater) return true;
    this.#owesDrain = true;
    return false;
  }

  pause(): void {
    if (!this.#ending) this.#socket.pause();
  }

  resume(): void {
    if (this.#owesClosed) queueMicrotask(() => this.#deliverClosed());
    else this.#socket.resume();
  }

  end(last?: Uint8Array, lingerMs: number = defaultLingerMs): void {
    if (this.isClosed || this.#ending || this.#owesClosed) return;
    this.#ending = true;
    this.#owesDrain = false;
    // The time counts once for flushing to a slow reader and, from FIN on, once more for the peer to close.
    this.#destroyAfter(lingerMs);
    this.#socket.once("finish", () => this.#destroyAfter(lingerMs));
    if (last && last.length > 0) this.#socket.end(last);
    else this.#socket.end();
    this.#socket.resume();
  }

  destroy(): void {
    clearTimeout(this.#linger);
    this.isClosed = true;
    this.#owesClosed = false;
    this.#owesDrain = false;
    this.#socket.destroy();
  }

  async startTls(context: TlsServerContext, received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe> {
    const { socket, info } = await acceptTls(this.#detach(), context, received, signal);
    return new NetPipe(socket, this.peer, info);
  }

  async startTlsClient(options: TlsClientOptions, signal: AbortSignal): Promise<BytePipe> {
    const { socket, info } = await connectTls(this.#detach(), options, signal);
    return new NetPipe(socket, this.peer, info);
  }

  /** This and the next three: told by the socket. */
  drained(): void {
    if (!this.#owesDrain) return;
    this.#owesDrain = false;
    this.sink?.drain();
  }

  peerEnded(): void {
    if (this.#ending || this.#detached) return;
    // What is still queued may reach a peer that closed only its sending half; then the socket goes.
    this.#destroyAfter(defaultLingerMs);
    this.#socket.end();
    this.#over();
  }

  failed(error: Error): void {
    this.#failure ??= error;
  }

  socketClosed(): void {
    clearTimeout(this.#linger);
    if (!this.#detached) this.#over();
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
    if (this.#socket.destroyed) return;
    this.#linger = setTimeout(() => this.#socket.destroy(), ms);
    this.#linger.unref();
  }

  /** Gives the socket away, unread and without our data listener; its 'error' listener stays, so that nothing is ever unhandled. */
  #detach(): Socket {
    if (this.isClosed || this.#ending || this.#owesClosed || this.#detached) throw new Error("TLS cannot start: the connection is closed");
    this.#detached = true;
    this.sink = undefined;
    this.#socket.pause();
    this.#socket.push = Socket.prototype.push;
    this.#socket.removeAllListeners("data");
    return this.#socket;
  }
}
