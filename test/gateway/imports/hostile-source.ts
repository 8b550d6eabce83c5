/** Scripted servers that speak as much of PostgreSQL's or MySQL's protocol as an import needs, and then what a test wants. */
import "../../../gateway/tls/reflect-metadata.ts"; // before the certificates' library
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { afterEach } from "vitest";
import { issueCa, issueServer } from "../../../gateway/tls/issue.ts";

/** What the server does with a statement. */
export type OnQuery = (socket: Socket, sql: string) => void;

export interface HostileSource {
  readonly port: number;
  /** What it could send, and the system took from it. */
  bytesSent(): number;
}

let closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(closing.map((close) => close()));
  closing = [];
});

async function listen(serve: (socket: Socket) => void): Promise<HostileSource> {
  const sockets: Socket[] = [];
  // A goodbye is not answered unless a script does.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return { port: (server.address() as { port: number }).port, bytesSent: () => sockets.reduce((sum, socket) => sum + socket.bytesWritten, 0) };
}

/** Writes the same again and again, as fast as it is taken, until the connection is gone. */
export function flood(socket: Socket, chunk: Buffer): void {
  const more = () => {
    if (socket.destroyed) return;
    if (socket.write(chunk)) setImmediate(more);
    else socket.once("drain", more);
  };
  more();
}

export function pgMessage(type: string, body: Buffer | string = "", length?: number): Buffer {
  const text = Buffer.from(body);
  const header = Buffer.alloc(5);
  header.write(type);
  header.writeUInt32BE(length ?? text.length + 4, 1);
  return Buffer.concat([header, text]);
}

const ready = pgMessage("Z", "I");
const authenticated = pgMessage("R", Buffer.from([0, 0, 0, 0]));
const text = (value: string) => Buffer.concat([Buffer.from([0, 0, 0, value.length]), Buffer.from(value)]);

/** An answer of one row with one column. */
export function pgRow(value: string): Buffer {
  const column = Buffer.concat([
    Buffer.from([0, 1]),
    Buffer.from("id\0"),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0]),
  ]);
  return Buffer.concat([
    pgMessage("T", column),
    pgMessage("D", Buffer.concat([Buffer.from([0, 1]), text(value)])),
    pgMessage("C", "SELECT 1\0"),
    ready,
  ]);
}

/** The beginning of a COPY of one column. */
export const copyBegin = pgMessage("H", Buffer.from([0, 0, 1, 0, 0]));

/** @param onQuery is asked of what is not the reading side's own beginning. @param greeting in place of a good one. */
export function startPostgres(onQuery: OnQuery, greeting: Buffer = Buffer.concat([authenticated, ready])): Promise<HostileSource> {
  return listen((socket) => servePostgres(socket, onQuery, greeting));
}

/** The same inside TLS, which it is asked for first. */
export async function startSecurePostgres(onQuery: OnQuery): Promise<HostileSource> {
  const { certPem: cert, keyPem: key } = await issueServer(await issueCa("localhost", Date.now()), ["localhost"], Date.now());
  const secureContext = createSecureContext({ cert, key });
  return await listen((socket) => {
    socket.once("data", () => {
      socket.write("S");
      const inside = new TLSSocket(socket, { isServer: true, secureContext });
      inside.on("error", () => undefined);
      servePostgres(inside, onQuery, Buffer.concat([authenticated, ready]));
    });
  });
}

function servePostgres(socket: Socket, onQuery: OnQuery, greeting: Buffer): void {
  let isStarted = false;
  socket.on("data", (chunk) => {
    if (!isStarted) {
      isStarted = true;
      socket.write(greeting);
      return;
    }
    if (chunk[0] !== 0x51) return;
    const sql = chunk.toString("utf8", 5, chunk.length - 1);
    if (/^(SET|BEGIN)/.test(sql.trim())) socket.write(Buffer.concat([pgMessage("C", "SET\0"), ready]));
    else if (sql.includes("pg_export_snapshot")) socket.write(pgRow("00000003-0000001B-1"));
    else onQuery(socket, sql);
  });
}

export function mysqlPacket(sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUIntLE(body.length, 0, 3);
  header[3] = sequence;
  return Buffer.concat([header, body]);
}

const mysqlOk = Buffer.from([0, 0, 0, 2, 0, 0, 0]);
const greetingOf = (version: string) =>
  Buffer.concat([
    Buffer.from([10]),
    Buffer.from(`${version}\0`),
    Buffer.from([1, 0, 0, 0]),
    Buffer.from("12345678\0"),
    // Capabilities: PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; utf8mb4; autocommit.
    Buffer.from([0x00, 0x82, 45, 2, 0, 0x08, 0x00, 21]),
    Buffer.alloc(10),
    Buffer.from("123456789012\0mysql_native_password\0"),
  ]);

/** A result of one column, up to its rows. */
export function mysqlColumns(): Buffer {
  const part = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  const column = Buffer.concat([...["def", "d", "t", "t", "c", "c"].map(part), Buffer.from([12, 45, 0, 0, 1, 0, 0, 253, 0, 0, 0, 0, 0])]);
  const end = Buffer.from([254, 0, 0, 2, 0]);
  return Buffer.concat([mysqlPacket(1, Buffer.from([1])), mysqlPacket(2, column), mysqlPacket(3, end)]);
}

/** @param greets false: nothing is ever said. */
export function startMysql(onQuery: OnQuery, greets = true): Promise<HostileSource> {
  return listen((socket) => {
    if (!greets) return;
    let isStarted = false;
    socket.write(mysqlPacket(0, greetingOf("8.0.36")));
    socket.on("data", (chunk) => {
      if (!isStarted) {
        isStarted = true;
        socket.write(mysqlPacket(2, mysqlOk));
        return;
      }
      const sql = chunk.toString("utf8", 5);
      if (/^(SET|START)/.test(sql)) socket.write(mysqlPacket(1, mysqlOk));
      else onQuery(socket, sql);
    });
  });
}
