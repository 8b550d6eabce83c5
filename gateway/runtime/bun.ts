/** The Bun adapter: native sockets and HTTP server; crypto and process as on Node. */

import { foldAddress } from "./address.ts";
import { bunGlobal } from "./bun-api.ts";
import { dialBun, listenBun } from "./bun-socket.ts";
import { nodeCrypto } from "./crypto.ts";
import { NetTlsServer } from "./net-tls.ts";
import { exit, onFault, onSignal } from "./process.ts";
import type { HttpOptions, HttpServer, Runtime } from "./runtime.ts";
import { listenError } from "./socket-error.ts";

/** The most Bun offers, in seconds: its default of 10 would cut off slow answers. */
const idleTimeoutS = 255;

export function createBunRuntime(): Runtime {
  return {
    name: "bun",
    version: bunGlobal().version,
    crypto: nodeCrypto,
    listen: listenBun,
    dial: dialBun,
    createTlsServer: (options) => new NetTlsServer(options),
    serveHttp: serveHttpBun,
    onSignal,
    onFault,
    exit,
  };
}

async function serveHttpBun({ host, port, fetch }: HttpOptions): Promise<HttpServer> {
  try {
    const server = bunGlobal().serve({
      hostname: host,
      port,
      idleTimeout: idleTimeoutS,
      // How much a route takes is the API's business, as on the other runtimes.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request, bun) => fetch(request, { remoteAddress: foldAddress(bun.requestIP(request)?.address ?? "") }),
    });
    return { address: server.hostname, port: server.port, close: () => server.stop(false) };
  } catch (error) {
    throw listenError(host, port, error);
  }
}
