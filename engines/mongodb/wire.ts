/** Messages of MongoDB's wire protocol: OP_MSG, and OP_QUERY with its OP_REPLY, which drivers still say hello with. All numbers little-endian. */
import { type Document, deserialize, serialize } from "bson";
import { GatewayError } from "../../core/errors.ts";
import { crc32c } from "./crc32c.ts";

export const opCodes = { reply: 1, query: 2004, msg: 2013 } as const;
export const headerBytes = 16;

const flagChecksum = 1 << 0;
const flagMoreToCome = 1 << 1;
/** Bits 0 to 15 must be understood; those above may be ignored. */
const unknownRequired = 0xffff & ~(flagChecksum | flagMoreToCome);
const commandCollection = ".$cmd";
const maxNamespaceBytes = 256;

/** The first 16 bytes of every message. */
export interface Header {
  /** Of the whole message, header included. */
  readonly length: number;
  readonly requestId: number;
  readonly opCode: number;
  /** As received, for the checksum. */
  readonly bytes: Uint8Array;
}

/** One command of a client. */
export interface Request {
  readonly requestId: number;
  /** How it came, and so how it is answered; `find` is an OP_QUERY on a collection, as drivers before 2017 read data. */
  readonly form: "msg" | "query" | "find";
  readonly name: string;
  /** "" where the message names none. */
  readonly database: string;
  readonly body: Document;
  /** False for moreToCome: an answer would be taken for the next command's. */
  readonly wantsReply: boolean;
}

export function malformed(what: string): GatewayError {
  return new GatewayError("protocol_violation", `malformed MongoDB message (${what})`);
}

/** `bytes` are 16. @throws {GatewayError} protocol_violation: no message clients send, or longer than `maxBytes`. */
export function decodeHeader(bytes: Uint8Array, maxBytes: number): Header {
  const view = viewOf(bytes);
  const length = view.getInt32(0, true);
  const opCode = view.getInt32(12, true);
  if (opCode !== opCodes.msg && opCode !== opCodes.query) throw malformed(`operation ${opCode}`);
  if (length < headerBytes || length > maxBytes) throw malformed(`length ${length}, at most ${maxBytes} here`);
  return { length, requestId: view.getInt32(4, true), opCode, bytes };
}

/** `body` is all that follows the header. @throws {GatewayError} protocol_violation */
export function decodeBody(header: Header, body: Uint8Array): Request {
  return header.opCode === opCodes.msg ? decodeMsg(header, body) : decodeQuery(header, body);
}

/** flags uint32 · sections · CRC-32C uint32 where flag bit 0 is set. */
function decodeMsg(header: Header, bytes: Uint8Array): Request {
  if (bytes.length < 5) throw malformed("short OP_MSG");
  const view = viewOf(bytes);
  const flags = readFlags(view);
  const end = bytes.length - (flags.checksum ? 4 : 0);
  if (flags.checksum && (end < 5 || view.getUint32(end, true) !== crc32c(header.bytes, bytes.subarray(0, end)))) throw malformed("checksum");
  let body: Document | undefined;
  for (let at = 4; at < end; ) {
    const kind = bytes[at]!;
    const size = readSize(view, at + 1, end);
    const section = bytes.subarray(at + 1, at + 1 + size);
    if (kind === 0) {
      if (body) throw malformed("two bodies");
      body = decodeDocument(section);
    } else if (kind === 1) checkSequence(section);
    else throw malformed(`section kind ${kind}`);
    at += 1 + size;
  }
  if (!body) throw malformed("no body");
  const database: unknown = body.$db;
  return {
    requestId: header.requestId,
    form: "msg",
    name: nameOf(body),
    database: typeof database === "string" ? database : "",
    body,
    wantsReply: !flags.moreToCome,
  };
}

/** @throws {GatewayError} protocol_violation for a flag that must be understood and is not. */
export function readFlags(view: DataView): { readonly checksum: boolean; readonly moreToCome: boolean } {
  const flags = view.getUint32(0, true);
  if ((flags & unknownRequired) !== 0) throw malformed("flags");
  return { checksum: (flags & flagChecksum) !== 0, moreToCome: (flags & flagMoreToCome) !== 0 };
}

/** size int32 (itself included) · identifier cstring · documents, which nobody here reads: only their lengths have to add up. */
function checkSequence(section: Uint8Array): void {
  const view = viewOf(section);
  let at = section.indexOf(0, 4) + 1;
  if (at === 0) throw malformed("document sequence without a name");
  while (at < section.length) at += readSize(view, at, section.length);
}

/** flags int32 · namespace cstring · skip int32 · count int32 · query document · fields document, if any. */
function decodeQuery(header: Header, bytes: Uint8Array): Request {
  const view = viewOf(bytes);
  const nameEnd = bytes.subarray(0, 4 + maxNamespaceBytes).indexOf(0, 4);
  if (nameEnd < 0) throw malformed("namespace");
  const namespace = utf8(bytes.subarray(4, nameEnd));
  const start = nameEnd + 9;
  const size = readSize(view, start, bytes.length);
  const document = decodeDocument(bytes.subarray(start, start + size));
  const rest = bytes.length - start - size;
  if (rest > 0 && readSize(view, start + size, bytes.length) !== rest) throw malformed("bytes left over");
  const isCommand = namespace.endsWith(commandCollection);
  // With a read preference, the command is wrapped.
  const body = isCommand && isDocument(document.$query) ? document.$query : document;
  return {
    requestId: header.requestId,
    form: isCommand ? "query" : "find",
    name: isCommand ? nameOf(body) : "find",
    database: isCommand ? namespace.slice(0, -commandCollection.length) : namespace.slice(0, Math.max(0, namespace.indexOf("."))),
    body,
    wantsReply: true,
  };
}

function nameOf(body: Document): string {
  for (const name in body) return name;
  throw malformed("empty command");
}

export function isDocument(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("_bsontype" in value);
}

/** The int32 at `at`, found to be the size of something that ends by `end`. */
function readSize(view: DataView, at: number, end: number): number {
  if (at + 5 > end) throw malformed("cut short");
  const size = view.getInt32(at, true);
  if (size < 5 || at + size > end) throw malformed("length of a part");
  return size;
}

function decodeDocument(bytes: Uint8Array): Document {
  try {
    return deserialize(bytes);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : "BSON");
  }
}

/** The answer in the form the request came in. */
export function encodeReply(request: Request, replyId: number, document: Document): Uint8Array {
  if (request.form === "msg") return frame(opCodes.msg, replyId, request.requestId, Uint8Array.of(0, 0, 0, 0, 0), serialize(document));
  // flags int32: 8 AwaitCapable, 2 QueryFailure · cursor int64 0 · from int32 0 · count int32 1 · document
  const prefix = new Uint8Array(20);
  const failed = request.form === "find";
  viewOf(prefix).setInt32(0, failed ? 2 : 8, true);
  viewOf(prefix).setInt32(16, 1, true);
  return frame(opCodes.reply, replyId, request.requestId, prefix, serialize(failed ? { $err: document.errmsg, ...document } : document));
}

function frame(opCode: number, replyId: number, responseTo: number, prefix: Uint8Array, document: Uint8Array): Uint8Array {
  const out = new Uint8Array(headerBytes + prefix.length + document.length);
  const view = viewOf(out);
  view.setInt32(0, out.length, true);
  view.setInt32(4, replyId, true);
  view.setInt32(8, responseTo, true);
  view.setInt32(12, opCode, true);
  out.set(prefix, headerBytes);
  out.set(document, headerBytes + prefix.length);
  return out;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const decoder = new TextDecoder("utf-8", { fatal: false });

export function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}
