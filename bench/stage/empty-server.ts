/**
 * The least a server can be: it takes connections with its runtime's own sockets, reads what comes and keeps them open. What a client costs
 * here is the runtime's floor. With `backend` it also holds a connection to that Unix socket for each client, as session pooling has to.
 * Its argument is an `EmptyServerTask` as JSON; it prints its port once it listens.
 */
import { connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { bunGlobal } from "../../gateway/runtime/bun-api.ts";
import { runtimeName } from "../../gateway/runtime/runtime.ts";

export interface EmptyServerTask {
  readonly tls: { readonly key: string; readonly cert: string } | undefined;
  readonly backend: string | undefined;
}

interface BunSockets {
  listen(options: object): { readonly port: number };
  connect(options: object): Promise<unknown>;
}

const { tls, backend } = JSON.parse(process.argv[2] ?? "{}") as EmptyServerTask;
const sayPort = (port: number) => void process.stdout.write(`${port}\n`);

function serveNet(): void {
  const hold = (socket: Socket) => {
    socket.resume();
    socket.on("error", () => socket.destroy());
    if (backend !== undefined) connect(backend).resume();
  };
  const server = tls ? createTlsServer({ ...tls, noDelay: true }, hold) : createServer({ noDelay: true }, hold);
  server.listen(0, "127.0.0.1", () => sayPort((server.address() as { port: number }).port));
}

function serveBun(): void {
  const bun = bunGlobal() as unknown as BunSockets;
  const held = { data() {}, error() {} };
  const open = () => {
    if (backend !== undefined) void bun.connect({ unix: backend, socket: held });
  };
  sayPort(bun.listen({ hostname: "127.0.0.1", port: 0, ...(tls && { tls }), socket: { ...held, open } }).port);
}

if (runtimeName() === "bun") serveBun();
else serveNet();
