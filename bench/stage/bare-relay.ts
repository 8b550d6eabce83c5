/**
 * The least a proxy can be: it connects each client to PostgreSQL's Unix socket, walks the frame headers in both directions and passes the chunks on
 * with its runtime's own sockets. No login, no pool, no rules: what it costs is the runtime's floor. Its argument is a `BareRelayTask` as JSON; it prints
 * its port once it listens.
 */
import { connect, createServer, type Socket } from "node:net";
import { createSecureContext, createServer as createTlsServer } from "node:tls";
import { type BunSocket, type BunSocketHandlers, bunGlobal } from "../../gateway/runtime/bun-api.ts";
import { runtimeName } from "../../gateway/runtime/runtime.ts";

export interface BareRelayTask {
  readonly key: string;
  readonly cert: string;
  /** Path of the server's socket. */
  readonly backend: string;
}

/** Counts frames as they pass, across the edges of chunks. The client's first message has no type byte. */
class FrameWalk {
  frames = 0;
  #hasType: boolean;
  /** Bytes of the current frame still to come, once its header is complete. */
  #left = 0;
  #header = 0;
  #length = 0;

  constructor(hasType: boolean) {
    this.#hasType = hasType;
  }

  take(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      if (this.#hasType && this.#header === 0) this.#length = 0;
      else this.#length = this.#length * 256 + (chunk[at] as number);
      at++;
      if (++this.#header < (this.#hasType ? 5 : 4)) continue;
      this.frames++;
      this.#left = this.#length - 4;
      this.#header = this.#length = 0;
      this.#hasType = true;
    }
  }
}

const sslRequest = 80877103;
const isSslRequest = (chunk: Uint8Array) =>
  chunk.length === 8 && new DataView(chunk.buffer, chunk.byteOffset, chunk.length).getUint32(4) === sslRequest;
const task = JSON.parse(process.argv[2] ?? "{}") as BareRelayTask;
const sayPort = (port: number) => void process.stdout.write(`${port}\n`);

function serveNet(): void {
  const relay = (client: Socket) => {
    const backend = connect(task.backend);
    passNet(client, backend, new FrameWalk(false));
    passNet(backend, client, new FrameWalk(true));
  };
  const tlsServer = createTlsServer({ key: task.key, cert: task.cert }, relay);
  const server = createServer({ noDelay: true }, (client) => {
    client.once("data", (first: Buffer) => {
      client.pause();
      if (isSslRequest(first)) {
        client.write("S");
        tlsServer.emit("connection", client);
      } else {
        client.unshift(first);
        relay(client);
        client.resume();
      }
    });
    client.on("error", () => client.destroy());
  });
  server.listen(0, "127.0.0.1", () => sayPort((server.address() as { port: number }).port));
}

function passNet(from: Socket, to: Socket, walk: FrameWalk): void {
  from.on("data", (chunk: Buffer) => {
    walk.take(chunk);
    if (!to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("close", () => to.destroy());
  from.on("error", () => to.destroy());
}

/** One direction under Bun: what the kernel did not take waits here, and the other side is paused meanwhile. */
class BunSide {
  readonly walk: FrameWalk;
  readonly socket: BunSocket;
  #to: BunSide | undefined;
  /** What came before there was anywhere to send it. */
  readonly #early: Uint8Array[] = [];
  #unsent: Uint8Array | undefined;

  constructor(socket: BunSocket, walk: FrameWalk) {
    this.socket = socket;
    this.walk = walk;
    socket.data = this;
  }

  get to(): BunSide | undefined {
    return this.#to;
  }

  join(to: BunSide): void {
    this.#to = to;
    for (const chunk of this.#early.splice(0)) this.receive(chunk);
  }

  receive(chunk: Uint8Array): void {
    if (!this.#to) this.#early.push(chunk);
    else {
      this.walk.take(chunk);
      if (!this.#to.send(chunk)) this.socket.pause();
    }
  }

  send(chunk: Uint8Array): boolean {
    const taken = Math.max(0, this.socket.write(chunk));
    this.#unsent = taken < chunk.length ? chunk.subarray(taken) : undefined;
    return this.#unsent === undefined;
  }

  drained(): void {
    if (this.#unsent === undefined || this.send(this.#unsent)) this.#to?.socket.resume();
  }
}

function serveBun(): void {
  /** The half of a TLS socket that sees its ciphertext. */
  const encrypted = Symbol("encrypted");
  const sideOf = (socket: BunSocket) => (socket.data instanceof BunSide ? socket.data : undefined);
  const handlers: BunSocketHandlers = {
    binaryType: "uint8array",
    open() {},
    data: (socket, chunk) => sideOf(socket)?.receive(chunk),
    drain: (socket) => sideOf(socket)?.drained(),
    end: (socket) => socket.close(),
    close: (socket) => sideOf(socket)?.to?.socket.close(),
    error: (socket) => socket.close(),
  };
  const relay = async (socket: BunSocket, first?: Uint8Array) => {
    const client = new BunSide(socket, new FrameWalk(false));
    socket.pause();
    const backend = new BunSide(await bunGlobal().connect({ unix: task.backend, allowHalfOpen: false, socket: handlers }), new FrameWalk(true));
    if (first) client.receive(first);
    backend.join(client);
    client.join(backend);
    socket.resume();
  };
  const secureContext = createSecureContext({ key: task.key, cert: task.cert }).context;
  const secured: BunSocketHandlers = { ...handlers, handshake: (socket, success) => void (success ? relay(socket) : socket.close()) };
  const onFirst = (socket: BunSocket, first: Uint8Array) => {
    if (!isSslRequest(first)) return void relay(socket, first);
    socket.data = encrypted;
    socket.write(Uint8Array.of(0x53));
    socket.upgradeTLS({ isServer: true, data: undefined, socket: secured, tls: { secureContext, requestCert: false, rejectUnauthorized: false } });
  };
  const accepting: BunSocketHandlers = {
    ...handlers,
    open: (socket) => void socket.setNoDelay(true),
    data: (socket, chunk) => {
      if (socket.data !== encrypted) (sideOf(socket) ? handlers.data : onFirst)(socket, chunk);
    },
  };
  sayPort(bunGlobal().listen({ hostname: "127.0.0.1", port: 0, reusePort: false, allowHalfOpen: false, socket: accepting }).port);
}

if (runtimeName() === "bun") serveBun();
else serveNet();
