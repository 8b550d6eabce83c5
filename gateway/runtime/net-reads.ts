/**
 * Reads under Node without an allocation of 64 KB for each: sockets read into one buffer that all of them share, and what came is copied out of it. It is
 * what `onread` of `net.connect` does (node:net, "net.connect(options)"), which sockets that were accepted cannot be given, so it is set behind it.
 */

import type { Socket } from "node:net";
import { platform } from "node:process";
import { noteSlab } from "./net-garbage.ts";
import { runtimeName } from "./runtime.ts";

/** What one read takes at most, as without. */
const readBytes = 64 * 1024;
/** From here on a chunk is not copied: the socket gives its buffer away and reads on into another. */
const givenBytes = 16 * 1024;
/** Up to this long they are cut from one slab after the other; longer ones have memory of their own. */
const cutBytes = 2 * 1024;
/** Whoever holds on to a small chunk holds its slab: it is not larger than it must be. */
const slabBytes = 16 * 1024;

/** Called with `this` as the socket: so many bytes are in `buffer`. @returns false to stop reading. */
type OnRead = (this: Socket, length: number, buffer: Buffer) => boolean;

/** Names that node:net has for what `onread` gave it. */
interface Keys {
  readonly buffer: symbol;
  readonly onRead: symbol;
  readonly nextBuffer: symbol;
}

interface ReadableHandle {
  useUserBuffer?(buffer: Uint8Array): void;
}

/** The same for all sockets: looked for on the first one. */
let keys: Keys | undefined;
let shared: Buffer | undefined;
let slab: Buffer = Buffer.alloc(0);
let cutTo = 0;
/** For the socket whose read was delivered just now. */
let next: Buffer | undefined;

// Windows reads ahead, into the buffer it was given before.
const canShare = runtimeName() === "node" && platform !== "win32";

/**
 * From its next read on the socket's chunks come this way; they are pushed into it as ever.
 * @returns false where the runtime has no such thing, and nothing changes.
 */
export function shareReads(socket: Socket): boolean {
  if (!canShare) return false;
  const handle = (socket as { _handle?: ReadableHandle | null })._handle;
  keys ??= keysOf(socket);
  if (!handle?.useUserBuffer || !keys) return false;
  shared ??= Buffer.allocUnsafeSlow(readBytes);
  Object.assign(socket, { [keys.buffer]: shared, [keys.onRead]: pushRead, [keys.nextBuffer]: takeNext });
  handle.useUserBuffer(shared);
  return true;
}

function keysOf(socket: Socket): Keys | undefined {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [buffer, onRead, nextBuffer] = [named("kBuffer"), named("kBufferCb"), named("kBufferGen")];
  return buffer && onRead && nextBuffer && { buffer, onRead, nextBuffer };
}

const pushRead: OnRead = function (length, buffer) {
  if (length < givenBytes) {
    const goesOn = this.push(copyOf(buffer, length));
    if (buffer !== shared) next = shared;
    return goesOn;
  }
  const goesOn = this.push(buffer === shared ? copyOf(buffer, length) : buffer.subarray(0, length));
  next = makeSlab(readBytes);
  return goesOn;
};

/** Asked for behind each read. */
function takeNext(): Buffer | undefined {
  const buffer = next;
  next = undefined;
  return buffer;
}

function copyOf(buffer: Buffer, length: number): Buffer {
  if (length > cutBytes) {
    const whole = makeSlab(length);
    buffer.copy(whole, 0, 0, length);
    return whole;
  }
  if (cutTo + length > slab.length) {
    slab = makeSlab(slabBytes);
    cutTo = 0;
  }
  buffer.copy(slab, cutTo, 0, length);
  const chunk = slab.subarray(cutTo, cutTo + length);
  cutTo += length;
  return chunk;
}

function makeSlab(bytes: number): Buffer {
  noteSlab(bytes);
  return Buffer.allocUnsafeSlow(bytes);
}
