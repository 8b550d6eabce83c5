/** Conformance: TLS in place on a connection, both roles, as clients and attackers try it. */

import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from "node:tls";
import type { BytePipe } from "../../../../core/byte-pipe.ts";
import type { ReloadableTlsServer } from "../../../../gateway/runtime/runtime.ts";
import { bytesOf, type Case, type Deferred, deferred, Reader, rejection, type World } from "../harness.ts";
import { bothWays } from "./pipe.ts";

export const tlsCases: readonly Case[] = [
  { name: "tls: STARTTLS carries bytes and tells version and certificate", run: startTls },
  { name: "tls: direct TLS negotiates postgresql", run: directTls },
  { name: "tls: direct TLS in pieces of 7 bytes", run: (world) => inPieces(world, true) },
  { name: "tls: STARTTLS in pieces of 7 bytes", run: (world) => inPieces(world, false) },
  { name: "tls: no ALPN is told as none, another protocol is refused", run: alpn },
  { name: "tls: TLS 1.2 is accepted, TLS 1.1 refused", run: versions },
  { name: "tls: bytes sent with the last handshake flight are kept", run: earlyBytes },
  { name: "tls: bytes and FIN sent with the last handshake flight are told in order", run: earlyEnd },
  { name: "tls: 20 MB both ways arrive intact at a slow reader", run: (world) => bothWays(world.securePair(), 20 << 20) },
  { name: "tls: garbage instead of a handshake is refused", run: garbage },
  { name: "tls: a peer that leaves or resets in mid-handshake rejects it", run: leaves },
  { name: "tls: aborting rejects with the reason and closes the connection", run: aborts },
  { name: "tls: plaintext behind the handshake never reaches the session", run: plaintextBehind },
  { name: "tls: end delivers the last bytes though the peer goes on sending", run: endIsHeard },
  { name: "tls: the peer's FIN is closed() once, its reset closed(error)", run: closes },
  { name: "tls: destroy closes even a peer that does not read", run: destroys },
  { name: "tls: a client refuses a wrong name and an unknown CA", run: clientVerifies },
  { name: "tls: a client accepts anything when told not to verify", run: clientAccepts },
  { name: "tls: what is refused before the handshake closes the connection too", run: refusedEarly },
  { name: "tls: a reloaded certificate is served to new connections only", run: reloads },
  { name: "tls: a broken certificate is refused and the old one stays", run: brokenReload },
  { name: "tls: servers of one seed and certificate resume each other's sessions, no others", run: resumes },
  { name: "tls: 200 handshakes at once each speak for their own socket", run: manyHandshakes },
];

function serverContext(world: World): ReloadableTlsServer {
  const { keyPem, certPem } = world.certificates.ours;
  return world.runtime.createTlsServer({ key: keyPem, cert: certPem, alpnProtocols: ["postgresql"] });
}

interface TlsListener {
  readonly port: number;
  /** One outcome per connection, in order of acceptance. */
  next(): Promise<BytePipe>;
}

/** Direct TLS: reads the first chunk and hands it over. STARTTLS: waits for `?`, answers `S`. */
async function listenTls(world: World, { direct = true, server = serverContext(world), signal = world.never } = {}): Promise<TlsListener> {
  const outcomes: Deferred<BytePipe>[] = [];
  let accepted = 0;
  let taken = 0;
  const outcome = (index: number) => {
    outcomes[index] ??= deferred<BytePipe>();
    return outcomes[index];
  };
  const listener = await world.listen((pipe) => {
    const settle = outcome(accepted++);
    settle.promise.catch(() => {});
    const reader = new Reader(pipe);
    reader.onChunk = (chunk) => {
      reader.onChunk = undefined;
      pipe.pause();
      if (!direct) pipe.write(bytesOf("S"));
      pipe.startTls(server, direct ? chunk : undefined, signal).then(settle.resolve, settle.reject);
    };
  });
  return { port: listener.port, next: () => outcome(taken++).promise };
}

interface RawClient {
  readonly socket: TLSSocket;
  readonly secured: Promise<void>;
}

function rawClient(world: World, options: ConnectionOptions): RawClient {
  const socket = tlsConnect({ host: "127.0.0.1", ca: world.certificates.ours.caPem, servername: "localhost", ...options });
  world.onEnd(() => socket.destroy());
  const secured = new Promise<void>((resolve, reject) => {
    socket.on("secureConnect", resolve);
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed before the handshake was complete")));
  });
  secured.catch(() => {});
  return { socket, secured };
}

async function startTls(world: World): Promise<void> {
  const [near, far] = await world.securePair();
  const { ours } = world.certificates;
  assert.equal(near.tls?.version, "TLSv1.3");
  assert.equal(near.tls?.alpn, "");
  assert.equal(near.peer.address, "127.0.0.1");
  const hash = createHash("sha256").update(new X509Certificate(ours.certPem).raw).digest("hex");
  assert.equal(Buffer.from(near.tls?.serverEndPoint ?? []).toString("hex"), hash);
  assert.equal(far.tls?.version, "TLSv1.3");
  assert.equal(far.tls?.serverEndPoint, undefined);
  const [nearReader, farReader] = [new Reader(near), new Reader(far)];
  far.write(bytesOf("ping"));
  await nearReader.text("ping");
  near.write(bytesOf("pong"));
  await farReader.text("pong");
}

async function directTls(world: World): Promise<void> {
  const listener = await listenTls(world);
  const client = rawClient(world, { port: listener.port, ALPNProtocols: ["postgresql"] });
  const pipe = await listener.next();
  await client.secured;
  assert.equal(pipe.tls?.alpn, "postgresql");
  assert.equal(client.socket.alpnProtocol, "postgresql");
  const reader = new Reader(pipe);
  client.socket.write("startup");
  await reader.text("startup");
}

/** A proxy that forwards the client's bytes in pieces of 7, each only after the socket took the one before. */
async function choppingProxy(world: World, targetPort: number): Promise<number> {
  const proxy = createServer({ allowHalfOpen: true }, (client) => {
    const target = connect({ host: "127.0.0.1", port: targetPort, noDelay: true });
    for (const socket of [client, target]) {
      socket.on("error", () => {});
      world.onEnd(() => socket.destroy());
    }
    target.on("data", (chunk) => client.write(chunk));
    client.on("data", (chunk) => {
      client.pause();
      void forwardInPieces(target, chunk as Buffer).then(() => client.resume());
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  world.onEnd(() => proxy.close());
  return (proxy.address() as { port: number }).port;
}

async function forwardInPieces(target: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 7) {
    await new Promise<void>((resolve) => target.write(bytes.subarray(at, at + 7), () => resolve()));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

async function inPieces(world: World, direct: boolean): Promise<void> {
  const listener = await listenTls(world, { direct });
  const port = await choppingProxy(world, listener.port);
  const raw = connect({ host: "127.0.0.1", port, noDelay: true });
  raw.on("error", () => {});
  world.onEnd(() => raw.destroy());
  if (!direct) {
    raw.write("?");
    await new Promise<void>((resolve) => raw.once("data", () => resolve()));
  }
  const client = rawClient(world, { socket: raw, ALPNProtocols: ["postgresql"] });
  const pipe = await listener.next();
  await client.secured;
  const reader = new Reader(pipe);
  client.socket.write("put together again");
  await reader.text("put together again");
}

async function alpn(world: World): Promise<void> {
  const listener = await listenTls(world);
  const none = rawClient(world, { port: listener.port });
  assert.equal((await listener.next()).tls?.alpn, "");
  await none.secured;
  const other = rawClient(world, { port: listener.port, ALPNProtocols: ["http/1.1"] });
  assert.match((await rejection(listener.next())).message, /^TLS handshake failed: /);
  await rejection(other.secured);
}

async function versions(world: World): Promise<void> {
  const listener = await listenTls(world);
  rawClient(world, { port: listener.port, maxVersion: "TLSv1.2" });
  assert.equal((await listener.next()).tls?.version, "TLSv1.2");
  // By hand, as not every runtime's own client can still speak it: a TLS 1.1 ClientHello with one cipher suite.
  const body = Buffer.concat([Buffer.from([3, 2]), Buffer.alloc(32, 1), Buffer.from([0, 0, 2, 0xc0, 0x14, 1, 0])]);
  const hello = Buffer.concat([Buffer.from([22, 3, 1, 0, body.length + 4, 1, 0, 0, body.length]), body]);
  const old = connect({ host: "127.0.0.1", port: listener.port });
  old.on("error", () => {});
  old.write(hello);
  await rejection(listener.next());
  old.destroy();
}

async function earlyBytes(world: World): Promise<void> {
  const listener = await listenTls(world);
  const client = rawClient(world, { port: listener.port });
  client.socket.write("written before the handshake began");
  const pipe = await listener.next();
  await world.fence();
  const reader = new Reader(pipe);
  await reader.text("written before the handshake began");
}

async function earlyEnd(world: World): Promise<void> {
  const listener = await listenTls(world);
  const client = rawClient(world, { port: listener.port });
  client.socket.end("hello and goodbye");
  const pipe = await listener.next();
  await world.fence();
  const reader = new Reader(pipe);
  assert.equal(await reader.end(), undefined);
  assert.equal(Buffer.from(reader.all()).toString(), "hello and goodbye");
}

async function garbage(world: World): Promise<void> {
  for (const direct of [true, false]) {
    const listener = await listenTls(world, { direct });
    const socket = connect({ host: "127.0.0.1", port: listener.port });
    socket.on("error", () => {});
    socket.resume();
    const gone = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    if (!direct) {
      socket.write("?");
      await new Promise<void>((resolve) => socket.once("data", () => resolve()));
    }
    socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert.match((await rejection(listener.next())).message, /^TLS handshake failed: /);
    await gone;
  }
}

async function leaves(world: World): Promise<void> {
  for (const leave of [(socket: Socket) => socket.end(), (socket: Socket) => socket.resetAndDestroy()]) {
    for (const first of [Buffer.from([22, 3, 1, 2, 0, 1]), Buffer.from([22])]) {
      const listener = await listenTls(world);
      const socket = connect({ host: "127.0.0.1", port: listener.port });
      socket.on("error", () => {});
      socket.write(first);
      const outcome = rejection(listener.next());
      await world.fence();
      leave(socket);
      assert.match((await outcome).message, /^TLS handshake failed: /);
      socket.destroy();
    }
  }
}

async function aborts(world: World): Promise<void> {
  for (const first of ["?", Buffer.from([22, 3, 1, 2, 0, 1])]) {
    const abort = new AbortController();
    const listener = await listenTls(world, { direct: first !== "?", signal: abort.signal });
    const socket = connect({ host: "127.0.0.1", port: listener.port });
    socket.on("error", () => {});
    socket.resume();
    const gone = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    socket.write(first);
    const outcome = rejection(listener.next());
    await world.fence();
    const reason = new Error("login took too long");
    abort.abort(reason);
    assert.equal(await outcome, reason);
    await gone;
  }
  const [near, far] = await world.pair();
  assert.equal((await rejection(near.startTls(serverContext(world), undefined, AbortSignal.abort(new Error("already"))))).message, "already");
  const peer = new Reader(far);
  await peer.end();
  const [, dialled] = await world.pair();
  const options = { ca: undefined, servername: "localhost", verify: true };
  assert.equal((await rejection(dialled.startTlsClient(options, AbortSignal.abort(new Error("already"))))).message, "already");
}

async function plaintextBehind(world: World): Promise<void> {
  const listener = await listenTls(world, { direct: false });
  const socket = connect({ host: "127.0.0.1", port: listener.port });
  socket.on("error", () => {});
  socket.write("?");
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  socket.write(Buffer.from("\0\0\0\x08\0\x03\0\0 a StartupMessage in clear", "latin1"));
  await rejection(listener.next());
  socket.destroy();
}

async function endIsHeard(world: World): Promise<void> {
  const listener = await listenTls(world);
  const client = rawClient(world, { port: listener.port, allowHalfOpen: true } as ConnectionOptions);
  const block = Buffer.alloc(256 * 1024, 7);
  const pump = () => {
    if (client.socket.writable && client.socket.write(block)) setImmediate(pump);
  };
  client.socket.on("drain", pump);
  const parts: Buffer[] = [];
  client.socket.on("data", (chunk) => parts.push(chunk as Buffer));
  const received = new Promise<string>((resolve, reject) => {
    client.socket.on("end", () => resolve(Buffer.concat(parts).toString()));
    client.socket.on("error", reject);
  });
  const pipe = await listener.next();
  await client.secured;
  const reader = new Reader(pipe);
  pump();
  await reader.bytes(1);
  pipe.pause();
  await world.fence();
  pipe.end(bytesOf("FATAL: heard"), 60_000);
  assert.equal(await received, "FATAL: heard");
  client.socket.destroy();
  await reader.end();
}

async function closes(world: World): Promise<void> {
  const [near, far] = await world.securePair();
  const reader = new Reader(near);
  const leaver = new Reader(far);
  far.end(bytesOf("bye"));
  assert.equal(await reader.end(), undefined);
  assert.equal(Buffer.from(reader.all()).toString(), "bye");
  await leaver.end();

  const listener = await listenTls(world, { direct: false });
  const raw = connect({ host: "127.0.0.1", port: listener.port });
  raw.on("error", () => {});
  raw.write("?");
  await new Promise<void>((resolve) => raw.once("data", () => resolve()));
  const client = rawClient(world, { socket: raw });
  const reset = new Reader(await listener.next());
  await client.secured;
  client.socket.on("error", () => {});
  client.socket.write("x");
  await reset.bytes(1);
  raw.resetAndDestroy();
  await reset.end();
}

async function destroys(world: World): Promise<void> {
  const listener = await listenTls(world);
  const client = rawClient(world, { port: listener.port });
  const pipe = await listener.next();
  await client.secured;
  const gone = new Promise<void>((resolve) => client.socket.on("close", () => resolve()));
  client.socket.pause();
  const reader = new Reader(pipe);
  // More than all buffers on the way hold, so that some of it is still ours when destroy comes.
  for (let sent = 0; sent < 64 << 20; sent += 1 << 20) pipe.write(new Uint8Array(1 << 20));
  await world.fence();
  pipe.destroy();
  assert.equal(pipe.isClosed, true);
  client.socket.resume();
  await gone;
  assert.equal(reader.closes, 0);
}

async function clientVerifies(world: World): Promise<void> {
  const { ours, other } = world.certificates;
  const attempts = [
    { ca: ours.caPem, servername: "db.example.com", code: "ERR_TLS_CERT_ALTNAME_INVALID" },
    { ca: ours.caPem, servername: "127.0.0.9", code: "ERR_TLS_CERT_ALTNAME_INVALID" },
    { ca: other.caPem, servername: "localhost", code: undefined },
    { ca: undefined, servername: "localhost", code: undefined },
  ];
  for (const { ca, servername, code } of attempts) {
    const [near, far] = await world.pair();
    const server = near.startTls(serverContext(world), undefined, world.never).catch(() => undefined);
    const error = await rejection(far.startTlsClient({ ca, servername, verify: true }, world.never));
    assert.match(error.message, /^TLS handshake failed: /);
    if (code) assert.equal(error.code, code);
    // The server learns nothing but that the connection is over.
    const accepted = await server;
    if (accepted) {
      const reader = new Reader(accepted);
      await reader.end();
      assert.equal(reader.total, 0);
    }
  }
  const [near, far] = await world.pair();
  await Promise.all([
    near.startTls(serverContext(world), undefined, world.never),
    far.startTlsClient({ ca: ours.caPem, servername: "::1", verify: true }, world.never),
  ]);
}

async function clientAccepts(world: World): Promise<void> {
  for (const ca of [world.certificates.other.caPem, undefined]) {
    const [near, far] = await world.pair();
    const [accepted, dialled] = await Promise.all([
      near.startTls(serverContext(world), undefined, world.never),
      far.startTlsClient({ ca, servername: "db.example.com", verify: false }, world.never),
    ]);
    const reader = new Reader(accepted);
    dialled.write(bytesOf("encrypted anyway"));
    await reader.text("encrypted anyway");
  }
}

async function refusedEarly(world: World): Promise<void> {
  const [near, far] = await world.pair();
  // Some runtimes refuse such a CA at once, some only see that the server's certificate is not of it.
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const server = near.startTls(serverContext(world), undefined, world.never).then(
    (secure) => new Reader(secure).end(),
    () => undefined,
  );
  await rejection(far.startTlsClient({ ca: broken, servername: "localhost", verify: true }, world.never));
  await server;
  const [other, peer] = await world.pair();
  await rejection(other.startTls({ kind: "tls-server-context" }, undefined, world.never));
  await new Reader(peer).end();
  const [gone] = await world.pair();
  gone.destroy();
  assert.match((await rejection(gone.startTls(serverContext(world), undefined, world.never))).message, /the connection is closed/);
}

async function reloads(world: World): Promise<void> {
  const { ours, other } = world.certificates;
  const server = serverContext(world);
  const listener = await listenTls(world, { server });
  const before = rawClient(world, { port: listener.port });
  const oldPipe = await listener.next();
  await before.secured;
  server.reload({ key: other.keyPem, cert: other.certPem });
  const after = rawClient(world, { port: listener.port, ca: other.caPem });
  const newPipe = await listener.next();
  await after.secured;
  const reader = new Reader(oldPipe);
  before.socket.write("still here");
  await reader.text("still here");
  const hashOf = (pem: string) => createHash("sha256").update(new X509Certificate(pem).raw).digest("hex");
  assert.equal(Buffer.from(oldPipe.tls?.serverEndPoint ?? []).toString("hex"), hashOf(ours.certPem));
  assert.equal(Buffer.from(newPipe.tls?.serverEndPoint ?? []).toString("hex"), hashOf(other.certPem));
}

async function brokenReload(world: World): Promise<void> {
  const { ours, other } = world.certificates;
  const server = serverContext(world);
  const half = ours.certPem.slice(0, ours.certPem.length / 2);
  assert.throws(() => server.reload({ key: other.keyPem, cert: ours.certPem }), /does not belong to the certificate/);
  assert.throws(() => server.reload({ key: ours.keyPem, cert: half }), /the certificate is not valid PEM/);
  assert.throws(() => server.reload({ key: "", cert: ours.certPem }), /the private key is not valid/);
  assert.throws(() => world.runtime.createTlsServer({ key: other.keyPem, cert: ours.certPem, alpnProtocols: [] }), /Cannot use the TLS certificate/);
  const listener = await listenTls(world, { server });
  const client = rawClient(world, { port: listener.port });
  await listener.next();
  await client.secured;
}

async function resumes(world: World): Promise<void> {
  const { ours, other } = world.certificates;
  const listen = (seed: number, { keyPem, certPem } = ours) => {
    const ticketSeed = new Uint8Array(32).fill(seed);
    return listenTls(world, { server: world.runtime.createTlsServer({ key: keyPem, cert: certPem, alpnProtocols: ["postgresql"], ticketSeed }) });
  };
  const connectTo = async (listener: TlsListener, session?: Buffer) => {
    const client = rawClient(world, { port: listener.port, rejectUnauthorized: false, ...(session && { session }) });
    const ticket = new Promise<Buffer>((resolve) => client.socket.once("session", resolve));
    const pipe = await listener.next();
    await client.secured;
    pipe.write(bytesOf("hello")); // a client reads its ticket before this
    await new Promise((resolve) => client.socket.once("data", resolve));
    return { ticket, isResumed: client.socket.isSessionReused() };
  };
  const listeners = [await listen(1), await listen(1), await listen(2), await listen(1, other)];
  const begun = await connectTo(listeners[0]!);
  // Deno's client tells of its ticket when it closes, if at all.
  const session = world.runtime.name === "deno" ? undefined : await begun.ticket;
  const resumed: boolean[] = [];
  for (const listener of listeners) resumed.push((await connectTo(listener, session)).isResumed);
  // Elsewhere a server resumes what it began, where the client does that at all.
  if (world.runtime.name === "node") assert.deepEqual(resumed, [true, true, false, false]);
  else assert.deepEqual(resumed.slice(1), [false, false, false]);
}

async function manyHandshakes(world: World): Promise<void> {
  const server = serverContext(world);
  const listener = await world.listen((pipe) => {
    const plain = new Reader(pipe);
    plain.onChunk = async (chunk) => {
      plain.onChunk = undefined;
      pipe.pause();
      const secure = await pipe.startTls(server, chunk, world.never);
      const reader = new Reader(secure);
      reader.onChunk = (id) => secure.write(bytesOf(`${Buffer.from(id).toString()} from ${secure.peer.port}`));
    };
  });
  const ask = async (id: number) => {
    const raw = connect({ host: "127.0.0.1", port: listener.port });
    raw.on("error", () => {});
    await new Promise<void>((resolve) => raw.on("connect", resolve));
    const { localPort } = raw;
    const client = rawClient(world, { socket: raw, ALPNProtocols: ["postgresql"] });
    await client.secured;
    client.socket.write(`id ${id}`);
    const answer = await new Promise<string>((resolve) => client.socket.once("data", (data) => resolve(data.toString())));
    assert.equal(answer, `id ${id} from ${localPort}`);
    client.socket.destroy();
    raw.destroy();
  };
  await Promise.all(Array.from({ length: 200 }, (_, id) => ask(id)));
}
