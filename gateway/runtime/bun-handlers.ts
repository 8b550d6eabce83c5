/** The one set of native socket callbacks: each goes to the owner kept in `socket.data`. */

import type { BunSocket, BunSocketHandlers } from "./bun-api.ts";

/** Who gets a socket's events: a pipe, or a handshake on its way to one. */
export interface SocketOwner {
  onData(chunk: Uint8Array): void;
  onDrain(): void;
  onEnd(): void;
  onClose(error?: Error): void;
  onHandshake?(success: boolean, error: (Error & { code?: string }) | null): void;
}

/** Connections a listener has to close when it closes; their owners are told. */
export type OpenConnections = Set<{ drop(): void }>;

function ownerOf(socket: BunSocket): SocketOwner | undefined {
  return socket.data as SocketOwner | undefined;
}

export const socketHandlers: BunSocketHandlers = {
  binaryType: "uint8array",
  open() {},
  data: (socket, chunk) => ownerOf(socket)?.onData(chunk),
  drain: (socket) => ownerOf(socket)?.onDrain(),
  end: (socket) => ownerOf(socket)?.onEnd(),
  close: (socket, error) => ownerOf(socket)?.onClose(error),
  handshake: (socket, success, error) => ownerOf(socket)?.onHandshake?.(success, error),
  // A sink threw. As on the other runtimes that is an uncaught exception, never silence.
  error(_socket, error) {
    queueMicrotask(() => {
      throw error;
    });
  },
};
