/** Conformance: a plain BytePipe delivers, waits, ends and fails as core/byte-pipe.ts says. */

import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { bytesOf, type Case, deferred, digest, pattern, Reader, sendAll, type World } from "../harness.ts";

const megabyte = 1 << 20;

export const pipeCases: readonly Case[] = [
  { name: "pipe: echoes", run: echoes },
  { name: "pipe: starts paused and keeps what arrived", run: startsPaused },
  { name: "pipe: 50 MB both ways arrive intact at a slow reader", run: (world) => bothWays(world.pair(), 50 * megabyte) },
  { name: "pipe: a paused reader stops the sender, and loses nothing", run: pauseStops },
  { name: "pipe: chunks are the receiver's own", run: chunksAreOwned },
  { name: "pipe: write answers true below the mark and drains once per false", run: drainsOncePerFalse },
  { name: "pipe: end delivers the last bytes though the peer goes on sending", run: endIsHeard },
  { name: "pipe: end flushes what is queued", run: endFlushes },
  { name: "pipe: end destroys a peer that never closes", run: endLingers },
  { name: "pipe: the peer's FIN is closed() once, after its bytes", run: finCloses },
  { name: "pipe: the peer's FIN still lets queued bytes out", run: finLetsBytesOut },
  { name: "pipe: the peer's reset is closed(error) once", run: resetCloses },
  { name: "pipe: closed before there is a sink is told on resume", run: closedIsKept },
  { name: "pipe: destroy says nothing more, and the peer notices", run: destroyIsSilent },
  { name: "pipe: closing one of many leaves the others", run: closesOnlyItself },
];

async function echoes(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const echo = new Reader(near);
  echo.onChunk = (chunk) => near.write(chunk);
  const reader = new Reader(far);
  far.write(bytesOf("hello"));
  await reader.text("hello");
  far.write(bytesOf(" again"));
  await reader.text("hello again");
  assert.equal(near.peer.address, "127.0.0.1");
  assert.ok(near.peer.port > 0);
  assert.equal(near.tls, undefined);
  assert.equal(near.isClosed, false);
}

async function startsPaused(world: World): Promise<void> {
  const [near, far] = await world.pair();
  far.write(bytesOf("early"));
  const reader = new Reader(near, { resume: false });
  await world.fence();
  assert.equal(reader.total, 0, "delivered before resume");
  near.resume();
  await reader.text("early");
}

/** Both ends send and read at once; readers take one chunk, pause, and go on in a later turn. */
export async function bothWays(pair: ReturnType<World["pair"]>, length: number): Promise<void> {
  const [near, far] = await pair;
  const [toFar, toNear] = [pattern(length, 1), pattern(length, 2)];
  const readers = [near, far].map((pipe) => {
    const reader = new Reader(pipe);
    reader.onChunk = () => {
      pipe.pause();
      setImmediate(() => pipe.resume());
    };
    return reader;
  });
  const [nearReader, farReader] = readers as [Reader, Reader];
  const stops = await Promise.all([sendAll(near, nearReader, toFar), sendAll(far, farReader, toNear)]);
  await Promise.all([nearReader.bytes(length), farReader.bytes(length)]);
  assert.equal(digest(farReader.all()), digest(toFar));
  assert.equal(digest(nearReader.all()), digest(toNear));
  assert.ok(
    stops.every((count) => count > 0),
    `write never answered false (${stops})`,
  );
}

async function pauseStops(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const reader = new Reader(near);
  const sender = new Reader(far);
  far.write(bytesOf("x"));
  await reader.bytes(1);
  near.pause();
  const chunk = pattern(64 * 1024, 3);
  let sent = 1;
  for (let full = false; !full; sent += chunk.length) {
    assert.ok(sent < 64 * megabyte, "the sender was never told to stop");
    full = !far.write(chunk);
  }
  await world.fence();
  assert.ok(reader.chunks.length <= 2, `${reader.chunks.length - 1} chunks delivered while paused`);
  assert.equal(sender.drains, 0, "drained though nobody reads");
  near.resume();
  await reader.bytes(sent);
  await sender.until(() => sender.drains === 1);
  assert.equal(reader.total, sent);
}

async function chunksAreOwned(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const bytes = pattern(4 * megabyte, 4);
  const copies: Uint8Array[] = [];
  const reader = new Reader(near);
  reader.onChunk = (chunk) => copies.push(new Uint8Array(chunk));
  await sendAll(far, new Reader(far), bytes, 1000);
  await reader.bytes(bytes.length);
  assert.equal(digest(Buffer.concat(copies)), digest(reader.all()));
  // What a receiver does to its chunk never shows in a later one.
  for (const chunk of reader.chunks) chunk.fill(0xa5);
  far.write(bytesOf("clean"));
  await reader.bytes(bytes.length + 5);
  assert.equal(Buffer.from(reader.all().subarray(bytes.length)).toString(), "clean");
}

async function drainsOncePerFalse(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const receiver = new Reader(near);
  const sender = new Reader(far);
  assert.equal(far.write(bytesOf("small")), true);
  assert.equal(far.write(new Uint8Array(0)), true);
  await receiver.bytes(5);
  const stops = await sendAll(far, sender, pattern(32 * megabyte, 5), megabyte);
  await receiver.bytes(5 + 32 * megabyte);
  assert.equal(sender.drains, stops);
}

/** A raw client that sends without ever waiting to be read. */
function floodingClient(port: number): { socket: Socket; received: Promise<Buffer> } {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const block = Buffer.alloc(256 * 1024, 7);
  const pump = () => {
    if (socket.writable && socket.write(block)) setImmediate(pump);
  };
  socket.on("connect", pump);
  socket.on("drain", pump);
  const parts: Buffer[] = [];
  socket.on("data", (chunk) => parts.push(chunk as Buffer));
  const received = new Promise<Buffer>((resolve, reject) => {
    socket.on("end", () => resolve(Buffer.concat(parts)));
    socket.on("error", reject);
  });
  return { socket, received };
}

async function endIsHeard(world: World): Promise<void> {
  const ended = deferred<Reader>();
  const listener = await world.listen((pipe) => {
    const reader = new Reader(pipe);
    reader.onChunk = () => {
      reader.onChunk = () => assert.fail("data after end");
      pipe.pause();
      // Unread input piles up on this side before the message goes out.
      void world.fence().then(() => {
        pipe.end(bytesOf("FATAL: heard"), 60_000);
        ended.resolve(reader);
      });
    };
  });
  const { socket, received } = floodingClient(listener.port);
  world.onEnd(() => socket.destroy());
  assert.equal((await received).toString(), "FATAL: heard");
  socket.end();
  const reader = await ended.promise;
  await reader.end();
}

async function endFlushes(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const bytes = pattern(20 * megabyte, 6);
  const ended = new Reader(near);
  near.write(bytes.slice());
  near.end(bytesOf("bye"), 60_000);
  assert.equal(near.write(bytesOf("too late")), true);
  const reader = new Reader(far);
  assert.equal(await reader.end(), undefined);
  assert.equal(reader.total, bytes.length + 3);
  assert.equal(digest(reader.all().subarray(0, bytes.length)), digest(bytes));
  await ended.end();
  assert.equal(near.isClosed, true);
}

async function endLingers(world: World): Promise<void> {
  const ended = deferred<Reader>();
  const listener = await world.listen((pipe) => {
    const reader = new Reader(pipe);
    pipe.end(bytesOf("bye"), 20);
    ended.resolve(reader);
  });
  const socket = connect({ host: "127.0.0.1", port: listener.port, allowHalfOpen: true });
  socket.on("error", () => {});
  socket.resume();
  world.onEnd(() => socket.destroy());
  await (await ended.promise).end();
}

async function finCloses(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const reader = new Reader(near);
  const bytes = pattern(3 * megabyte, 7);
  const leaver = new Reader(far);
  far.write(bytes.slice());
  far.end();
  assert.equal(await reader.end(), undefined);
  assert.equal(reader.total, bytes.length);
  assert.equal(near.isClosed, true);
  await leaver.end();
}

async function finLetsBytesOut(world: World): Promise<void> {
  const accepted = deferred<{ reader: Reader; wrote: number }>();
  const listener = await world.listen((pipe) => {
    const reader = new Reader(pipe);
    reader.onChunk = () => {
      const answer = pattern(8 * megabyte, 8);
      pipe.write(answer);
      accepted.resolve({ reader, wrote: answer.length });
    };
  });
  const socket = connect({ host: "127.0.0.1", port: listener.port, allowHalfOpen: true });
  world.onEnd(() => socket.destroy());
  socket.pause();
  socket.end("only half of me leaves");
  const { reader, wrote } = await accepted.promise;
  assert.equal(await reader.end(), undefined);
  let got = 0;
  socket.on("data", (chunk) => {
    got += chunk.length;
  });
  socket.resume();
  await new Promise<void>((resolve, reject) => {
    socket.on("end", resolve);
    socket.on("error", reject);
  });
  assert.equal(got, wrote);
}

async function resetCloses(world: World): Promise<void> {
  const accepted = deferred<Reader>();
  const listener = await world.listen((pipe) => accepted.resolve(new Reader(pipe)));
  const socket = connect({ host: "127.0.0.1", port: listener.port });
  socket.on("error", () => {});
  socket.write("x");
  const reader = await accepted.promise;
  await reader.bytes(1);
  socket.resetAndDestroy();
  const error = await reader.end();
  assert.ok(error instanceof Error, "a reset without an error");
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
}

async function closedIsKept(world: World): Promise<void> {
  const [near, far] = await world.pair();
  far.write(bytesOf("last words"));
  far.end();
  await world.fence();
  const reader = new Reader(near);
  assert.equal(await reader.end(), undefined);
  assert.equal(Buffer.from(reader.all()).toString(), "last words");
}

async function destroyIsSilent(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const reader = new Reader(near);
  const peer = new Reader(far);
  near.destroy();
  near.destroy();
  assert.equal(near.isClosed, true);
  assert.equal(near.write(bytesOf("ignored")), true);
  near.end(bytesOf("ignored"));
  near.pause();
  near.resume();
  await peer.end();
  await world.fence();
  assert.equal(reader.closes, 0);
  assert.equal(peer.total, 0);
}

async function closesOnlyItself(world: World): Promise<void> {
  const listener = await world.listen((pipe) => {
    const echo = new Reader(pipe);
    echo.onChunk = (chunk) => pipe.write(chunk);
  });
  const pipes = await Promise.all(Array.from({ length: 20 }, () => world.dial(listener.port)));
  const readers = pipes.map((pipe) => new Reader(pipe));
  pipes.forEach((pipe, index) => {
    if (index % 2 === 0) pipe.destroy();
    else pipe.write(bytesOf(`survivor ${index}`));
  });
  await Promise.all(readers.map((reader, index) => (index % 2 === 0 ? undefined : reader.text(`survivor ${index}`))));
}
