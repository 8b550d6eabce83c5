/** Conformance: what many pipes read at once stays each one's own, whatever the runtime reads into. */

import assert from "node:assert/strict";
import { platform } from "node:process";
import { bytesOf, type Case, digest, pattern, Reader, type World } from "../harness.ts";

export const readCases: readonly Case[] = [
  { name: "reads: twelve pipes, messages of every size, what is kept stays as it came", run: (world) => manyAtOnce(() => world.pair()) },
  { name: "reads: the same over TLS", run: (world) => manyAtOnce(() => world.securePair()) },
  { name: "reads: a socket that is paused before each chunk goes on with its next one", run: pausedBetween },
  { name: "reads: small chunks of two pipes are cut from one slab", canRun: () => platform !== "win32", only: "node", run: sharedSlab },
];

/** Around everything that is decided by size: what is cut from a slab, what is copied, what is given away, and the buffer's own. */
const sizes = [1, 100, 2047, 2048, 2049, 8192, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000, 5, 120_000, 3];

/** Each end that was accepted sends back what it gets; nobody waits for anybody. All chunks are kept until the end and compared then. */
async function manyAtOnce(makePair: World["pair"]): Promise<void> {
  const pairs = await Promise.all(Array.from({ length: 12 }, makePair));
  const talks = pairs.map(async ([near, far], place) => {
    const echo = new Reader(near);
    echo.onChunk = (chunk) => near.write(chunk);
    const reader = new Reader(far);
    const sent: Uint8Array[] = [];
    for (let i = 0; i < sizes.length * 3; i++) {
      const message = pattern(sizes[(i + place) % sizes.length]!, place * 1000 + i);
      sent.push(new Uint8Array(message));
      far.write(message);
      await reader.bytes(sent.reduce((sum, { length }) => sum + length, 0));
    }
    return { sent, echo, reader };
  });
  for (const { sent, echo, reader } of await Promise.all(talks)) {
    const expected = digest(Buffer.concat(sent));
    assert.equal(digest(echo.all()), expected);
    assert.equal(digest(reader.all()), expected);
  }
}

async function pausedBetween(world: World): Promise<void> {
  const [near, far] = await world.pair();
  const reader = new Reader(near);
  reader.onChunk = () => {
    near.pause();
    setImmediate(() => near.resume());
  };
  const bytes = pattern(400_000, 11);
  for (let at = 0; at < bytes.length; at += 40_001) far.write(bytes.slice(at, at + 40_001));
  assert.equal(digest(await reader.bytes(bytes.length)), digest(bytes));
}

async function sharedSlab(world: World): Promise<void> {
  const pairs = [await world.pair(), await world.pair()];
  const chunks: Uint8Array[] = [];
  for (let turn = 0; turn < 4; turn++) {
    const [near, far] = pairs[turn % 2]!;
    const reader = new Reader(near);
    far.write(bytesOf(`turn ${turn}`));
    await reader.text(`turn ${turn}`);
    chunks.push(...reader.chunks);
  }
  // A slab may have been full between two of them, once.
  const slabs = new Set(chunks.map(({ buffer }) => buffer));
  assert.ok(slabs.size <= 2, `${chunks.length} chunks lie in ${slabs.size} places`);
  for (const { byteLength } of slabs) assert.ok(byteLength <= 16 * 1024, `a small chunk holds ${byteLength} bytes`);
}
