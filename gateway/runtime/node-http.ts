/** The HTTP server on Node: web Request and Response over node:http. */

import type { Server } from "node:http";
import { createAdaptorServer, type HttpBindings } from "@hono/node-server";
import { foldAddress } from "./address.ts";
import type { HttpOptions, HttpServer } from "./runtime.ts";
import { listenError } from "./socket-error.ts";

export async function serveHttpNode({ host, port, fetch }: HttpOptions): Promise<HttpServer> {
  const server = createAdaptorServer({
    fetch: (request, env) => fetch(request, { remoteAddress: foldAddress((env as HttpBindings).incoming.socket.remoteAddress ?? "") }),
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    // Stays on: later errors are single accepts that failed, the server goes on, and the client notices by itself.
    server.on("error", (error) => reject(listenError(host, port, error)));
    server.listen({ host, port }, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("a TCP listener has no address");
  return { address: bound.address, port: bound.port, close: () => drain(server) };
}

/** Resolves when the last running request has been answered; idle keep-alive connections are closed at once. */
function drain(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()));
    server.closeIdleConnections();
  });
}
