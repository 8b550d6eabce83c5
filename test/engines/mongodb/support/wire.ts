/** MongoDB's wire protocol as a client writes and reads it, made apart from the code under test. */
import { Binary, type Document, deserialize, serialize } from "bson";

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A message with a header of the right length. */
export function message(opCode: number, body: Uint8Array, requestId = 7): Buffer {
  return Buffer.concat([int32(16 + body.length), int32(requestId), int32(0), int32(opCode), body]);
}

export function bodySection(document: Document): Buffer {
  return Buffer.concat([Buffer.of(0), serialize(document)]);
}

export function sequenceSection(name: string, documents: readonly Document[]): Buffer {
  const content = Buffer.concat([Buffer.from(`${name}\0`), ...documents.map((one) => serialize(one))]);
  return Buffer.concat([Buffer.of(1), int32(content.length + 4), content]);
}

export function opMsg(document: Document, options: { requestId?: number; flags?: number; sections?: readonly Uint8Array[] } = {}): Buffer {
  return message(2013, Buffer.concat([uint32(options.flags ?? 0), bodySection(document), ...(options.sections ?? [])]), options.requestId);
}

export function opQuery(namespace: string, document: Document, requestId = 7): Buffer {
  return message(2004, Buffer.concat([int32(0), Buffer.from(`${namespace}\0`), int32(0), int32(-1), serialize(document)]), requestId);
}

export interface Reply {
  readonly opCode: number;
  readonly responseTo: number;
  readonly document: Document;
}

/** Whole answers at the start of `bytes`. @throws Error for anything that is none. */
export function readReplies(bytes: Buffer): Reply[] {
  const replies: Reply[] = [];
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = bytes.readInt32LE(at);
    const opCode = bytes.readInt32LE(at + 12);
    const prefix = opCode === 1 ? 20 : 5;
    if (opCode !== 1 && opCode !== 2013) throw new Error(`answer with operation ${opCode}`);
    if (at + length > bytes.length) break;
    replies.push({ opCode, responseTo: bytes.readInt32LE(at + 8), document: deserialize(bytes.subarray(at + 16 + prefix, at + length)) });
    at += length;
  }
  return replies;
}

export function textOf(payload: unknown): string {
  return payload instanceof Binary ? Buffer.from(payload.value()).toString("utf8") : String(payload);
}
