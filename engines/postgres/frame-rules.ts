/** What a frame may be after login, whatever it says inside. */
import { readUint32 } from "./bytes.ts";
import { frontend as F } from "./message-types.ts";

/** Frames above this are passed on unread: the database refuses what it must. */
export const inspectionBytes = 64 * 1024;
/** Of larger frames this much is waited for: names, and what a statement begins with. */
const beginningBytes = 4096;
/** PostgreSQL's own largest message (MaxAllocSize − 1). */
const maxFrameBytes = 0x3fffffff;

const isClientType = new Uint8Array(256);
for (const type of Object.values(F)) if (type !== F.Password) isClientType[type] = 1;

/** @param length as the frame claims it, itself included. @returns why the session must end, in PostgreSQL's words. */
export function frameViolation(type: number, length: number): string | undefined {
  if (isClientType[type] !== 1) return `invalid frontend message type ${type}`;
  return length < 4 || length > maxFrameBytes ? "invalid message length" : undefined;
}

/** How much of a frame of this size must be there for it to be read. */
export function neededBytes(total: number): number {
  return total <= inspectionBytes ? total : beginningBytes;
}

/**
 * Behind all whole CopyData frames at `at`; `at` itself where there is none. Nothing is read in them and nothing follows from them, and a COPY
 * sends one for each row.
 */
export function afterCopyData(chunk: Uint8Array, at: number): number {
  let next = at;
  while (chunk.length - next >= 5 && chunk[next] === F.CopyData) {
    const total = readUint32(chunk, next + 1) + 1;
    if (total < 5 || total > chunk.length - next) break;
    next += total;
  }
  return next;
}

/** Whether an ErrorResponse ends the connection: its second field, V, is the severity that is never translated. */
export function isFatal(body: Uint8Array): boolean {
  const second = body.indexOf(0) + 1;
  return body[second] === 0x56 && (body[second + 1] === 0x46 || body[second + 1] === 0x50); // FATAL, PANIC
}
