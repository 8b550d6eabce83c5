/** Listening and dialling with node:net, for Node and Deno. */

import { connect, createServer, type Server, type Socket } from "node:net";
import type { BytePipe } from "../../core/byte-pipe.ts";
import { peerOf } from "./address.ts";
import { emptied } from "./emptied.ts";
import { NetPipe } from "./net-pipe.ts";
import type { DialTarget, Listener, ListenOptions } from "./runtime.ts";
import { dialError, listenError } from "./socket-error.ts";
import { defaultLingerMs, keepAliveDelayMs } from "./times.ts";

export async function listenNet(options: ListenOptions): Promise<Listener> {
  const { host, port, noDelay = true, reusePort = false } = options;
  const open = new Set<Socket>();
  const server = createServer({ noDelay, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs, allowHalfOpen: true, pauseOnConnect: true });
  server.on("connection", (socket) => {
    open.add(socket);
    socket.setKeepAlive(true, keepAliveDelayMs); // the server's own option is lost on Deno
    socket.on("close", () => open.delete(socket));
    options.onConnection(new NetPipe(socket, peerOf(socket)));
  });
  await startListening(server, { host, port, reusePort });
  server.on("error", (error) => options.onAcceptFailed?.(error));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("a TCP listener has no address");
  const stopAccepting = async () => {
    // Its callback would wait for the last connection; the port is free as soon as close() returns.
    if (server.listening) server.close();
  };
  const close = async (lingerMs = defaultLingerMs) => {
    await stopAccepting();
    await emptied(open, lingerMs);
    for (const socket of open) socket.destroy();
  };
  return { address: bound.address, port: bound.port, stopAccepting, close };
}

function startListening(server: Server, at: { host: string; port: number; reusePort: boolean }): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => reject(listenError(at.host, at.port, error));
    server.once("error", onError);
    server.listen(at, () => {
      server.off("error", onError);
      resolve();
    });
  });
}

export function dialNet(target: DialTarget, signal: AbortSignal): Promise<BytePipe> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const common = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs };
    const socket = connect("path" in target ? { ...common, path: target.path } : { ...common, host: target.host, port: target.port });
    // Paused before it is connected, so that no byte is read ahead of the pipe's owner.
    socket.pause();
    const cleanUp = () => {
      socket.off("connect", onConnect);
      signal.removeEventListener("abort", onAbort);
    };
    const onConnect = () => {
      cleanUp();
      socket.off("error", onError);
      resolve(new NetPipe(socket, peerOf(socket)));
    };
    const onError = (error: Error) => {
      cleanUp();
      socket.destroy();
      reject(dialError(target, error));
    };
    const onAbort = () => {
      cleanUp();
      socket.destroy();
      reject(signal.reason);
    };
    socket.on("connect", onConnect);
    socket.on("error", onError);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
