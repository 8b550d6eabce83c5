/** Runs one simple query on a logged-in connection and takes its answer off the socket as bytes: no parsing, and as slowly as wanted. */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import type pg from "pg";

/** ReadyForQuery, outside a transaction: 'Z', length 5, 'I'. */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

export interface Received {
  readonly bytes: number;
  readonly seconds: number;
  /** SHA-256 of everything received; empty unless asked for. */
  readonly hash: string;
}

export interface ReadOptions {
  readonly hash?: boolean;
  /** Called after each chunk; the socket is read on when it resolves. */
  readonly pace?: (bytesSoFar: number) => Promise<void> | undefined;
  readonly timeoutMs?: number;
}

/** The connection is of no use afterwards, but to be closed. @throws Error when it ends before the answer does. */
export async function readResult(client: pg.Client, sql: string, options: ReadOptions = {}): Promise<Received> {
  const socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
  socket.removeAllListeners("data");
  const digest = options.hash ? createHash("sha256") : undefined;
  let bytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  const startedMs = performance.now();
  await new Promise<void>((done, fail) => {
    const late = setTimeout(() => fail(new Error(`the answer stopped after ${bytes} bytes`)), options.timeoutMs ?? 120_000);
    const finish = (error?: Error) => {
      clearTimeout(late);
      if (error) fail(error);
      else done();
    };
    socket.once("close", () => finish(new Error(`the connection ended after ${bytes} bytes`)));
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      digest?.update(chunk);
      tail = chunk.length >= readyForQuery.length ? chunk : Buffer.concat([tail, chunk]);
      if (tail.subarray(-readyForQuery.length).equals(readyForQuery)) return finish();
      const wait = options.pace?.(bytes);
      if (!wait) return;
      socket.pause();
      void wait.then(() => socket.resume());
    });
    socket.write(encodeQuery(sql));
  });
  return { bytes, seconds: (performance.now() - startedMs) / 1000, hash: digest?.digest("hex") ?? "" };
}

/** 'Q', length, text, NUL. */
function encodeQuery(sql: string): Buffer {
  const text = Buffer.from(`${sql}\0`);
  const frame = Buffer.alloc(5 + text.length);
  frame[0] = 0x51;
  frame.writeInt32BE(4 + text.length, 1);
  text.copy(frame, 5);
  return frame;
}
