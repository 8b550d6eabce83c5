/**
 * A client that means harm, as a process of its own so that it does not slow the one that measures.
 * Its argument is an `Attack` as JSON; it goes on until SIGTERM and then prints how often it did what, as JSON.
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import pg from "pg";
import type { Contender } from "./contender.ts";

export interface Attack {
  readonly kind: "wrong-passwords" | "heavy-queries" | "stalled" | "slow-reader" | "banned" | "accepted";
  readonly to: Contender;
  /** Where it comes from: a loopback address of its own. */
  readonly from: string;
  readonly tls: boolean;
  /** How many at a time. */
  readonly width: number;
}

const attack = JSON.parse(process.argv[2] ?? "{}") as Attack;
const counts: Record<string, number> = {};
const count = (what: string) => {
  counts[what] = (counts[what] ?? 0) + 1;
};
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const { to, from, tls, width } = attack;

function open(): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = connect({ host: to.host, port: to.port, localAddress: from }, () => done(socket));
    socket.once("error", fail);
  });
}

async function openClient(password = to.password): Promise<pg.Client> {
  const socket = await open();
  // node-postgres connects by itself: it is given a socket that is connected already.
  const stream = Object.assign(socket, { connect: () => process.nextTick(() => socket.emit("connect")) });
  const client = new pg.Client({ ...to, password, stream: () => stream, ssl: tls ? { rejectUnauthorized: false } : false });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

/** One login, told apart by how it ended. */
async function logIn(password: string): Promise<void> {
  try {
    const client = await openClient(password);
    await client.end();
    count("accepted");
  } catch (error) {
    count((error as { code?: string }).code ?? "closed");
  }
}

/** As cheap for the attacker as it gets: start-up packet out, whatever comes in, no SCRAM. */
async function knock(): Promise<void> {
  const body = Buffer.from(`\0\x03\0\0user\0${to.user}\0database\0${to.database}\0\0`, "latin1");
  const packet = Buffer.concat([Buffer.alloc(4), body]);
  packet.writeUInt32BE(packet.length, 0);
  try {
    let socket: Socket = await open();
    socket.on("error", () => undefined);
    if (tls) {
      socket.write(sslRequest);
      await new Promise((done) => socket.once("readable", done));
      socket.read(1);
      const plain = socket;
      socket = connectTls({ socket: plain, rejectUnauthorized: false });
      await new Promise<void>((done, fail) => {
        socket.once("secureConnect", done);
        socket.once("error", fail);
        plain.once("close", () => fail(new Error("closed")));
      });
    }
    const answer = await new Promise<Buffer>((done) => {
      let received = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
      });
      socket.once("close", () => done(received));
      socket.once("end", () => socket.end());
      socket.write(packet);
    });
    count(answer[0] === 0x45 ? "told" : "closed");
  } catch {
    count("closed");
  }
}

async function heavyQueries(): Promise<void> {
  const client = await openClient();
  for (;;) {
    await client.query("SELECT count(*), sum(sqrt(g)) FROM generate_series(1, 300000) g");
    count("queries");
  }
}

/** Four bytes of a start-up packet, then nothing; a new one as soon as it is thrown out. */
async function stall(): Promise<void> {
  const socket = await open();
  socket.on("error", () => undefined);
  socket.resume();
  socket.write(Buffer.from([0, 0, 0, 90]));
  count("stalled");
  await new Promise((done) => socket.once("close", done));
}

/** A megabyte and a quarter a second, as over a bad line. */
async function readSlowly(): Promise<void> {
  const client = await openClient();
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
  client.query({ text: `SELECT '${"x".repeat(1000)}' FROM generate_series(1, 1000000)`, rowMode: "array" }).catch(() => undefined);
  stream.removeAllListeners("data");
  stream.pause();
  const dawdle = setInterval(() => {
    if (stream.read(Math.min(64 * 1024, stream.readableLength)) !== null) count("reads");
  }, 50);
  await new Promise((done) => stream.once("close", done));
  clearInterval(dawdle);
}

const once: Readonly<Record<Attack["kind"], () => Promise<void>>> = {
  "wrong-passwords": () => logIn("tdb_0000000000000000"),
  "heavy-queries": heavyQueries,
  stalled: stall,
  "slow-reader": readSlowly,
  banned: knock,
  accepted: () => logIn(to.password),
};

process.once("SIGTERM", () => {
  process.stdout.write(JSON.stringify(counts), () => process.exit(0));
});
for (let lane = 0; lane < width; lane++) {
  void (async () => {
    for (;;) {
      await once[attack.kind]().catch(() => count("failed"));
      // A refusal must not turn this into a loop that starves the attacker itself.
      await new Promise((done) => setImmediate(done));
    }
  })();
}
