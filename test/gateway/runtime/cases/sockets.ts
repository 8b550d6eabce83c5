/** Conformance: listening and dialling, over TCP and Unix sockets. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesOf, type Case, deferred, Reader, rejection, type World } from "../harness.ts";

export const socketCases: readonly Case[] = [
  { name: "listen: a port in use keeps its code and names the address", run: portInUse },
  { name: "listen: stopAccepting frees the port, connections live on", run: stopAccepting },
  { name: "listen: close destroys what was accepted, under TLS too", run: closeDestroys },
  { name: "listen: an IPv4 client of a dual-stack listener has an IPv4 address", run: foldsAddress },
  { name: "listen and dial: both ends are probed after 45 s of silence", canRun: () => existsSync(kernelSockets), run: keepsAlive },
  { name: "dial: refused rejects with the code", run: refused },
  { name: "dial: an unknown name rejects", run: unknownName },
  { name: "dial: aborted before and during rejects with the reason", run: aborted },
  { name: "dial: a Unix socket carries bytes", run: unixSocket },
  { name: "dial: a missing Unix socket rejects with the code", run: missingUnixSocket },
];

/** Where Linux lists TCP connections, with the timer that runs for each. */
const kernelSockets = "/proc/net/tcp";

async function keepsAlive(world: World): Promise<void> {
  const [accepted, dialled] = await world.pair();
  const timers: string[] = [];
  for (const line of (await readFile(kernelSockets, "utf8")).split("\n")) {
    // Number, local and remote address, state, queues, kind of timer (02 = keep-alive) : time until it fires in hundredths of a second.
    const [, local = "", remote = "", state, , timer = ""] = line.trim().split(/\s+/);
    const ports = [local, remote].map((address) => Number.parseInt(address.split(":")[1] ?? "", 16));
    if (state === "01" && ports.includes(accepted.peer.port) && ports.includes(dialled.peer.port)) timers.push(timer);
  }
  assert.equal(timers.length, 2);
  for (const timer of timers) {
    const [kind, left = ""] = timer.split(":");
    assert.equal(kind, "02");
    assert.ok(Number.parseInt(left, 16) <= 4500, timer);
  }
}

async function portInUse(world: World): Promise<void> {
  const listener = await world.listen(() => {});
  const error = await rejection(world.runtime.listen({ host: "127.0.0.1", port: listener.port, onConnection() {} }));
  assert.equal(error.code, "EADDRINUSE");
  assert.match(error.message, new RegExp(`Cannot listen on 127\\.0\\.0\\.1:${listener.port}: the port is already in use`));
}

async function stopAccepting(world: World): Promise<void> {
  const listener = await world.listen((pipe) => {
    const echo = new Reader(pipe);
    echo.onChunk = (chunk) => pipe.write(chunk);
  });
  assert.equal(listener.address, "127.0.0.1");
  const pipe = await world.dial(listener.port);
  const reader = new Reader(pipe);
  pipe.write(bytesOf("before"));
  await reader.text("before");
  await listener.stopAccepting();
  await listener.stopAccepting();
  pipe.write(bytesOf(" and after"));
  await reader.text("before and after");
  const error = await rejection(world.runtime.dial({ host: "127.0.0.1", port: listener.port }, world.never));
  assert.equal(error.code, "ECONNREFUSED");
  const next = await world.runtime.listen({ host: "127.0.0.1", port: listener.port, onConnection() {} });
  await next.close();
}

async function closeDestroys(world: World): Promise<void> {
  const { ours } = world.certificates;
  const server = world.runtime.createTlsServer({ key: ours.keyPem, cert: ours.certPem, alpnProtocols: ["postgresql"] });
  const plain = deferred<Reader>();
  const secure = deferred<Reader>();
  const waiting = deferred<void>();
  let accepted = 0;
  const listener = await world.listen((pipe) => {
    accepted += 1;
    if (accepted === 1) plain.resolve(new Reader(pipe));
    else if (accepted === 2) pipe.startTls(server, undefined, world.never).then((tls) => secure.resolve(new Reader(tls)), secure.reject);
    else pipe.startTls(server, undefined, world.never).then(() => waiting.reject(new Error("no handshake was sent")), waiting.resolve);
  });
  const first = new Reader(await world.dial(listener.port));
  await plain.promise;
  const dialled = await world.dial(listener.port);
  const second = new Reader(await dialled.startTlsClient({ ca: ours.caPem, servername: "localhost", verify: true }, world.never));
  await secure.promise;
  const third = new Reader(await world.dial(listener.port));
  await world.fence();
  await listener.close();
  await Promise.all([first.end(), second.end(), third.end(), waiting.promise]);
  await (await plain.promise).end();
  await (await secure.promise).end();
}

async function foldsAddress(world: World): Promise<void> {
  const accepted = deferred<string>();
  const listener = await world.listen((pipe) => accepted.resolve(pipe.peer.address), "::");
  await world.dial(listener.port);
  assert.equal(await accepted.promise, "127.0.0.1");
}

async function refused(world: World): Promise<void> {
  const listener = await world.listen(() => {});
  await listener.close();
  for (const host of ["127.0.0.1", "localhost"]) {
    const error = await rejection(world.runtime.dial({ host, port: listener.port }, world.never));
    assert.equal(error.code, "ECONNREFUSED");
    assert.match(error.message, /^Cannot connect to (127\.0\.0\.1|localhost):\d+: connection refused/);
  }
}

async function unknownName(world: World): Promise<void> {
  const error = await rejection(world.runtime.dial({ host: "no-such-host.invalid", port: 1 }, world.never));
  assert.match(error.message, /^Cannot connect to no-such-host\.invalid:1: /);
}

async function aborted(world: World): Promise<void> {
  const listener = await world.listen((pipe) => new Reader(pipe));
  const reason = new Error("changed our mind");
  const target = { host: "127.0.0.1", port: listener.port };
  assert.equal(await rejection(world.runtime.dial(target, AbortSignal.abort(reason))), reason);
  const abort = new AbortController();
  const dialling = rejection(world.runtime.dial(target, abort.signal));
  abort.abort(reason);
  assert.equal(await dialling, reason);
}

async function unixSocket(world: World): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "tenantry-unix-"));
  world.onEnd(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, ".s.PGSQL.5432");
  const server = createServer((socket) => {
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  world.onEnd(() => server.close());
  const pipe = await world.runtime.dial({ path }, world.never);
  assert.equal(pipe.peer.address, "");
  const reader = new Reader(pipe);
  pipe.write(bytesOf("over a file"));
  await reader.text("over a file");
  pipe.end();
  await reader.end();
}

async function missingUnixSocket(world: World): Promise<void> {
  const error = await rejection(world.runtime.dial({ path: join(tmpdir(), "tenantry-no-such.sock") }, world.never));
  assert.equal(error.code, "ENOENT");
}
