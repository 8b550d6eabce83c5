/** Listening and dialling with Bun's native sockets. */

import type { BytePipe } from "../../core/byte-pipe.ts";
import { peerOf } from "./address.ts";
import { type BunSocket, bunGlobal } from "./bun-api.ts";
import { type OpenConnections, socketHandlers } from "./bun-handlers.ts";
import { BunPipe } from "./bun-pipe.ts";
import { emptied } from "./emptied.ts";
import type { DialTarget, Listener, ListenOptions } from "./runtime.ts";
import { dialError, listenError } from "./socket-error.ts";
import { defaultLingerMs, keepAliveDelayMs } from "./times.ts";

export async function listenBun(options: ListenOptions): Promise<Listener> {
  const { host, port, noDelay = true, reusePort = false } = options;
  const open: OpenConnections = new Set();
  const onOpen = (socket: BunSocket) => {
    socket.pause();
    prepare(socket, noDelay);
    options.onConnection(new BunPipe(socket, peerOf(socket), open));
  };
  try {
    const server = bunGlobal().listen({ hostname: host, port, reusePort, allowHalfOpen: true, socket: { ...socketHandlers, open: onOpen } });
    const stopAccepting = async () => server.stop(false);
    const close = async (lingerMs = defaultLingerMs) => {
      server.stop(false);
      await emptied(open, lingerMs);
      for (const connection of open) connection.drop();
    };
    const bound = { address: "" };
    server.getsockname(bound);
    return { address: bound.address, port: server.port, stopAccepting, close };
  } catch (error) {
    throw listenError(host, port, error);
  }
}

/** Nobody closes these together; a pipe just needs a set to be in. */
const dialled: OpenConnections = new Set();

export function dialBun(target: DialTarget, signal: AbortSignal): Promise<BytePipe> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const fail = (error: unknown) => {
      signal.removeEventListener("abort", onAbort);
      reject(dialError(target, error));
    };
    const onOpen = (socket: BunSocket) => {
      // An attempt cannot be called off; one that succeeds too late is closed.
      if (signal.aborted) return socket.close();
      signal.removeEventListener("abort", onAbort);
      socket.pause();
      if (!("path" in target)) prepare(socket, true);
      resolve(new BunPipe(socket, peerOf(socket), dialled));
    };
    const where = "path" in target ? { unix: target.path } : { hostname: target.host, port: target.port };
    const socket = { ...socketHandlers, open: onOpen, connectError: (_: BunSocket, error: Error) => fail(error) };
    bunGlobal()
      .connect({ ...where, allowHalfOpen: true, socket })
      .catch(fail);
  });
}

function prepare(socket: BunSocket, noDelay: boolean): void {
  socket.setNoDelay(noDelay);
  socket.setKeepAlive(true, keepAliveDelayMs);
}
