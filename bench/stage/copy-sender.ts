/** Sends rows with COPY FROM STDIN on a logged-in connection, as fast as the other side takes them. */
import type { Socket } from "node:net";
import type pg from "pg";
import { encodeQuery } from "../../engines/postgres/frontend.ts";
import { backend as message } from "../../engines/postgres/message-types.ts";
import type { Received } from "./result-reader.ts";

const copyDone = Buffer.from([0x63, 0, 0, 0, 4]);
const rowsPerChunk = 500;
/** ReadyForQuery, outside a transaction. */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** `rows` copies of `line`, one CopyData each, as libpq's programs send them. The connection is of no use afterwards, but to be closed. */
export async function sendCopy(client: pg.Client, sql: string, line: string, rows: number): Promise<Received> {
  const socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
  socket.removeAllListeners("data");
  const answers = readAnswers(socket);
  const beganMs = performance.now();
  socket.write(encodeQuery(sql));
  await answers.copyIn;
  const chunk = Buffer.concat(Array.from({ length: rowsPerChunk }, () => encodeCopyData(line)));
  let bytes = 0;
  for (let sent = 0; sent < rows; sent += rowsPerChunk) {
    const part = chunk.subarray(0, (chunk.length / rowsPerChunk) * Math.min(rowsPerChunk, rows - sent));
    bytes += part.length;
    if (!socket.write(part)) await Promise.race([new Promise((done) => socket.once("drain", done)), answers.done]);
  }
  socket.write(copyDone);
  await answers.done;
  return { bytes, seconds: (performance.now() - beganMs) / 1000, hash: "" };
}

function encodeCopyData(line: string): Buffer {
  const frame = Buffer.alloc(5 + line.length, 0);
  frame[0] = 0x64;
  frame.writeInt32BE(4 + line.length, 1);
  frame.write(line, 5, "latin1");
  return frame;
}

/** What comes back is short: CopyInResponse, CommandComplete and ReadyForQuery, or an error. */
function readAnswers(socket: Socket): { readonly copyIn: Promise<void>; readonly done: Promise<void> } {
  let received = Buffer.alloc(0);
  const until = (isThere: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      socket.on("data", () => {
        if (received[0] !== message.CopyInResponse || received.includes("ERROR")) reject(new Error(received.toString("latin1")));
        else if (isThere()) resolve();
      });
      socket.once("close", () => reject(new Error("the connection ended before the copy did")));
    });
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  const copyIn = until(() => true);
  const done = until(() => received.subarray(-readyForQuery.length).equals(readyForQuery));
  done.catch(() => undefined); // told by copyIn when that comes first
  return { copyIn, done };
}
