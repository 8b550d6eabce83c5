/** The Deno adapter: sockets and TLS as on Node, its own HTTP server, PBKDF2 by WebCrypto. */

import { foldAddress } from "./address.ts";
import { nodeCrypto, webPbkdf2Sha256 } from "./crypto.ts";
import { dialNet, listenNet } from "./net-socket.ts";
import { NetTlsServer } from "./net-tls.ts";
import { exit, onFault, onSignal } from "./process.ts";
import type { HttpOptions, HttpServer, Runtime } from "./runtime.ts";
import { listenError } from "./socket-error.ts";

/** The part of Deno's global that has no web or Node equivalent. */
interface DenoGlobal {
  readonly version: { readonly deno: string };
  serve(
    options: { readonly hostname: string; readonly port: number; onListen(): void },
    handle: (request: Request, info: { readonly remoteAddr: { readonly hostname: string } }) => Response | Promise<Response>,
  ): { readonly addr: { readonly hostname: string; readonly port: number }; shutdown(): Promise<void> };
}

function denoGlobal(): DenoGlobal {
  return (globalThis as unknown as { Deno: DenoGlobal }).Deno;
}

export function createDenoRuntime(): Runtime {
  return {
    name: "deno",
    version: denoGlobal().version.deno,
    crypto: { ...nodeCrypto, pbkdf2Sha256: webPbkdf2Sha256 },
    listen: listenNet,
    dial: dialNet,
    createTlsServer: (options) => new NetTlsServer(options),
    serveHttp: serveHttpDeno,
    onSignal,
    onFault,
    exit,
  };
}

async function serveHttpDeno({ host, port, fetch }: HttpOptions): Promise<HttpServer> {
  try {
    const server = denoGlobal().serve({ hostname: host, port, onListen() {} }, (request, info) =>
      fetch(request, { remoteAddress: foldAddress(info.remoteAddr.hostname) }),
    );
    return { address: server.addr.hostname, port: server.addr.port, close: () => server.shutdown() };
  } catch (error) {
    throw listenError(host, port, error);
  }
}
