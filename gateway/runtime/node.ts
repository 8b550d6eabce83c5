/** The Node adapter. */

import process from "node:process";
import { nodeCrypto } from "./crypto.ts";
import { dialNet, listenNet } from "./net-socket.ts";
import { NetTlsServer } from "./net-tls.ts";
import { serveHttpNode } from "./node-http.ts";
import { exit, onFault, onSignal } from "./process.ts";
import type { Runtime } from "./runtime.ts";

export function createNodeRuntime(): Runtime {
  return {
    name: "node",
    version: process.versions.node,
    crypto: nodeCrypto,
    listen: listenNet,
    dial: dialNet,
    createTlsServer: (options) => new NetTlsServer(options),
    serveHttp: serveHttpNode,
    onSignal,
    onFault,
    exit,
  };
}
