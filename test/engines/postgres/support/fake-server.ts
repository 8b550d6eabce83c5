/** A scripted PostgreSQL server behind in-memory pipes: logs clients in, answers plainly unless told otherwise, records everything. */
import { type BytePipe, pipePair } from "../../../../core/byte-pipe.ts";
import { type Frame, int32, message, reply, splitFrames } from "./wire.ts";

export class FakeConnection {
  /** The server's end. */
  readonly pipe: BytePipe;
  readonly pid: number;
  readonly secret: Buffer;
  readonly startup = new Map<string, string>();
  /** Everything received behind the start-up packet, by message and as bytes. */
  readonly frames: Frame[] = [];
  received = Buffer.alloc(0);
  isClosed = false;
  transaction = "I";
  /** True while messages are only recorded; `server.answer` is not asked. */
  isSilent = false;
  isReading = true;

  constructor(pipe: BytePipe, pid: number) {
    this.pipe = pipe;
    this.pid = pid;
    this.secret = Buffer.from(int32(pid * 7919));
  }

  send(...messages: Uint8Array[]): void {
    for (const bytes of messages) this.pipe.write(Buffer.concat([bytes]));
  }

  /** Texts of all simple queries received. */
  get queries(): string[] {
    return this.frames.filter((frame) => frame.type === "Q").map((frame) => frame.body.toString("utf8").replace(/\0$/, ""));
  }

  get types(): string {
    return this.frames.map((frame) => frame.type).join("");
  }

  hangUp(): void {
    this.pipe.destroy();
    this.isClosed = true;
  }
}

export class FakeServer {
  readonly connections: FakeConnection[] = [];
  readonly cancels: { pid: number; secret: Buffer }[] = [];
  /** Cancel connections that are kept open until `finishCancels`. */
  readonly openCancels: BytePipe[] = [];
  holdCancels = false;
  /** Set to refuse connections. */
  refuseConnect: Error | undefined;
  /** What the server answers to a start-up packet instead of letting the client in. */
  loginAnswer: ((connection: FakeConnection) => Uint8Array[]) | undefined;
  parameters: Readonly<Record<string, string>> = { server_version: "15.18", client_encoding: "UTF8", DateStyle: "ISO, MDY" };
  /** The answer to one message; undefined = the plain one. */
  answer: (frame: Frame, connection: FakeConnection) => Uint8Array[] | undefined = () => undefined;
  onCancel: (connection: FakeConnection) => void = () => undefined;
  #nextPid = 100;

  /** What the dialer calls: the gateway's end of a new connection. */
  readonly connect = async (): Promise<BytePipe> => {
    if (this.refuseConnect) throw this.refuseConnect;
    const [near, far] = pipePair();
    this.#accept(far);
    return near;
  };

  /** Connections that logged in and are not closed. */
  get open(): FakeConnection[] {
    return this.connections.filter((connection) => !connection.isClosed);
  }

  get last(): FakeConnection {
    return this.connections.at(-1) as FakeConnection;
  }

  finishCancels(): void {
    for (const pipe of this.openCancels.splice(0)) pipe.end();
  }

  #accept(pipe: BytePipe): void {
    const connection = new FakeConnection(pipe, this.#nextPid++);
    let buffered: Buffer = Buffer.alloc(0);
    let isStarted = false;
    pipe.sink = {
      drain: () => undefined,
      closed: () => {
        connection.isClosed = true;
        pipe.end(); // as PostgreSQL does when a client is gone
      },
      data: (chunk) => {
        buffered = Buffer.concat([buffered, chunk]);
        if (isStarted) connection.received = Buffer.concat([connection.received, chunk]);
        if (!isStarted) {
          if (buffered.length < 4 || buffered.length < buffered.readUInt32BE(0)) return;
          const length = buffered.readUInt32BE(0);
          isStarted = true;
          const packet = buffered.subarray(0, length);
          buffered = buffered.subarray(length);
          this.#start(connection, packet);
        }
        const { frames, rest } = splitFrames(buffered);
        buffered = rest;
        for (const frame of frames) this.#take(connection, frame);
      },
    };
    pipe.resume();
  }

  #start(connection: FakeConnection, packet: Buffer): void {
    if (packet.readUInt32BE(4) === 80877102) {
      const pid = packet.readUInt32BE(8);
      this.cancels.push({ pid, secret: Buffer.from(packet.subarray(12)) });
      const target = this.connections.find((other) => other.pid === pid);
      if (target?.secret.equals(packet.subarray(12))) this.onCancel(target);
      if (this.holdCancels) this.openCancels.push(connection.pipe);
      else connection.pipe.end();
      return;
    }
    const words = packet.subarray(8).toString("utf8").split("\0");
    for (let i = 0; words[i]; i += 2) connection.startup.set(words[i]!, words[i + 1]!);
    this.connections.push(connection);
    connection.send(...(this.loginAnswer?.(connection) ?? this.welcome(connection)));
  }

  /** Trust, parameters, key, ready: everything behind the start-up packet. */
  welcome(connection: FakeConnection): Uint8Array[] {
    const parameters = Object.entries(this.parameters).map(([name, value]) => reply.parameter(name, value));
    return [message("R", int32(0)), ...parameters, message("K", int32(connection.pid), connection.secret), reply.ready()];
  }

  #take(connection: FakeConnection, frame: Frame): void {
    connection.frames.push(frame);
    if (connection.isSilent) return;
    const answer = this.answer(frame, connection) ?? plainAnswer(frame, connection);
    connection.send(...answer);
    if (frame.type === "X") connection.hangUp();
  }
}

function plainAnswer(frame: Frame, connection: FakeConnection): Uint8Array[] {
  const status = () => reply.ready(connection.transaction);
  switch (frame.type) {
    case "Q": {
      const sql = frame.body.toString("utf8").replace(/\0$/, "");
      if (/^(begin|commit|rollback)$/i.test(sql)) connection.transaction = /begin/i.test(sql) ? "T" : "I";
      return [reply.complete(sql.toUpperCase().split(" ").slice(0, 2).join(" ")), status()];
    }
    case "P":
      return [reply.parseComplete];
    case "B":
      return [reply.bindComplete];
    case "C":
      return [reply.closeComplete];
    case "D":
      return [reply.noData];
    case "E":
      return [reply.complete("SELECT 0")];
    case "S":
      return [status()];
    case "F":
      return [message("V", int32(0xffffffff)), status()];
    default:
      return [];
  }
}
