/** A raw PostgreSQL client for tests: sends any bytes, keeps every byte it gets, and knows just enough to log in. Shares no code with the gateway. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface Message {
  /** One letter. */
  readonly type: string;
  readonly body: Buffer;
}

export interface DialOptions {
  readonly host?: string;
  readonly port?: number;
  /** A Unix socket. */
  readonly path?: string;
  /** CA certificate, PEM: SSLRequest first, or TLS from the first byte, for the protocol `postgresql` unless told otherwise. */
  readonly tls?: { readonly ca: string; readonly direct?: boolean; readonly alpn?: string[] };
}

export class Wire {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #closed = false;
  #wake: (() => void) | undefined;
  /** As told at login. */
  key: { pid: number; secret: Buffer } | undefined;
  readonly parameters: Map<string, string> = new Map();

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake?.();
    });
    const over = () => {
      this.#closed = true;
      this.#wake?.();
    };
    socket.on("error", over);
    socket.on("end", over);
    socket.on("close", over);
  }

  static async dial(options: DialOptions): Promise<Wire> {
    const at = options.path ? { path: options.path } : { host: options.host ?? "127.0.0.1", port: options.port ?? 0 };
    if (options.tls?.direct) {
      const socket = connectTls({ ...at, ca: options.tls.ca, servername: "localhost", ALPNProtocols: options.tls.alpn ?? ["postgresql"] });
      await opened(socket, "secureConnect");
      return new Wire(socket);
    }
    const socket = connectTcp({ ...at, noDelay: true });
    await opened(socket, "connect");
    if (!options.tls) return new Wire(socket);
    const answered = new Promise<Buffer>((done) => socket.once("data", done));
    socket.write(sslRequest);
    const answer = await answered;
    if (answer.toString("latin1") !== "S") throw new Error(`SSLRequest was answered with ${answer.toString("hex")}`);
    const secure = connectTls({ socket, ca: options.tls.ca, servername: "localhost" });
    await opened(secure, "secureConnect");
    return new Wire(secure);
  }

  send(...parts: readonly Uint8Array[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  /** Each piece in a write of its own. */
  sendInPieces(bytes: Uint8Array, size: number): void {
    for (let at = 0; at < bytes.length; at += size) this.#socket.write(bytes.subarray(at, at + size));
  }

  /** @returns the next message, or undefined when the connection is over. */
  async next(): Promise<Message | undefined> {
    const header = await this.#take(5, true);
    if (!header) return undefined;
    const body = await this.#take(header.readUInt32BE(1) - 4, false);
    return body && { type: String.fromCharCode(header[0] as number), body };
  }

  /** All messages up to and with the `count`-th of this type. @throws Error when the connection ends before. */
  async readUntil(type: string, count = 1): Promise<Message[]> {
    const messages: Message[] = [];
    for (let seen = 0; seen < count; ) {
      const message = await this.next();
      if (!message) throw new Error(`closed before ${count} × ${type}; got ${messages.map(show).join(" ")}`);
      messages.push(message);
      if (message.type === type) seen++;
    }
    return messages;
  }

  /** Everything up to the end of the connection. */
  async readToEnd(): Promise<Message[]> {
    const messages: Message[] = [];
    for (let message = await this.next(); message; message = await this.next()) messages.push(message);
    return messages;
  }

  /** What came and was not read as a message. */
  get rest(): Buffer {
    return this.#received;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves when the other side has closed. */
  async closed(): Promise<void> {
    while (!this.#closed) await this.#more();
  }

  async login(
    user: string,
    password: string,
    database: string,
    parameters: Readonly<Record<string, string>> = {},
    version = 0x30000,
  ): Promise<Message[]> {
    this.send(startup({ user, database, ...parameters }, version));
    const messages = await this.authenticate(password);
    for (const { type, body } of messages) {
      if (type === "K") this.key = { pid: body.readUInt32BE(0), secret: body.subarray(4) };
      if (type === "S") this.parameters.set(...(body.toString().split("\0", 2) as [string, string]));
    }
    return messages;
  }

  /** The SCRAM exchange, up to ReadyForQuery or the end of the connection. @returns all messages. */
  async authenticate(password: string): Promise<Message[]> {
    const messages: Message[] = [];
    const nonce = randomBytes(12).toString("base64");
    let clientFinal = "";
    for (;;) {
      const message = await this.next();
      if (!message) return messages;
      messages.push(message);
      if (message.type === "Z") return messages;
      if (message.type !== "R") continue;
      const code = message.body.readUInt32BE(0);
      if (code === 10) {
        const first = Buffer.from(`n,,n=,r=${nonce}`);
        this.send(frame("p", cstring("SCRAM-SHA-256"), int32(first.length), first));
      } else if (code === 11) {
        clientFinal = proveScram(password, nonce, message.body.subarray(4).toString());
        this.send(frame("p", Buffer.from(clientFinal)));
      }
    }
  }

  end(): void {
    this.#socket.end(frame("X"));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #take(count: number, mayEnd: boolean): Promise<Buffer | undefined> {
    while (this.#received.length < count) {
      if (this.#closed) {
        if (mayEnd) return undefined;
        throw new Error(`closed inside a message; got ${this.#received.toString("latin1").slice(0, 200)}`);
      }
      await this.#more();
    }
    const taken = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return taken;
  }

  #more(): Promise<void> {
    return new Promise((done) => {
      this.#wake = done;
    });
  }
}

function opened(socket: Socket, event: string): Promise<void> {
  return new Promise((done, failed) => {
    socket.once(event, () => done());
    socket.once("error", failed);
  });
}

function proveScram(password: string, nonce: string, serverFirst: string): string {
  const fields = new Map(serverFirst.split(",").map((field) => [field.slice(0, 1), field.slice(2)]));
  const salted = pbkdf2Sync(password, Buffer.from(fields.get("s") ?? "", "base64"), Number(fields.get("i")), 32, "sha256");
  const hmac = (key: Buffer, data: string) => createHmac("sha256", key).update(data).digest();
  const clientKey = hmac(salted, "Client Key");
  const withoutProof = `c=biws,r=${fields.get("r")}`;
  const signature = hmac(createHash("sha256").update(clientKey).digest(), `n=,r=${nonce},${serverFirst},${withoutProof}`);
  const proof = clientKey.map((byte, i) => byte ^ (signature[i] as number));
  return `${withoutProof},p=${Buffer.from(proof).toString("base64")}`;
}

/** For error texts: type and what can be read of it. */
export function show({ type, body }: Message): string {
  return body.length === 0
    ? type
    : `${type}(${body
        .toString("latin1")
        .replace(/[^\x20-\x7e]+/g, "·")
        .slice(0, 120)})`;
}

/** Fields of ErrorResponse and NoticeResponse by letter. */
export function fieldsOf(message: Message | undefined): Record<string, string> {
  const parts = message?.body.toString().split("\0").filter(Boolean) ?? [];
  return Object.fromEntries(parts.map((part) => [part.slice(0, 1), part.slice(1)]));
}

// ---- encoding

export const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
export const gssRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 48]);

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function cstring(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

export function frame(type: string, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type, "latin1"), int32(body.length + 4), body]);
}

export function startup(parameters: Readonly<Record<string, string>>, version = 0x30000): Buffer {
  const body = Buffer.concat([int32(version), ...Object.entries(parameters).flatMap(([k, v]) => [cstring(k), cstring(v)]), Buffer.from([0])]);
  return Buffer.concat([int32(body.length + 4), body]);
}

export function cancelRequest(pid: number, secret: Uint8Array): Buffer {
  return Buffer.concat([int32(12 + secret.length), int32(80877102), int32(pid), secret]);
}

export const query = (sql: string): Buffer => frame("Q", cstring(sql));
export const parse = (name: string, sql: string, types: readonly number[] = []): Buffer =>
  frame("P", cstring(name), cstring(sql), int16(types.length), ...types.map(int32));
export const bind = (portal: string, statement: string, values: readonly (string | null)[] = [], resultFormats: readonly number[] = []): Buffer =>
  frame(
    "B",
    cstring(portal),
    cstring(statement),
    int16(0),
    int16(values.length),
    ...values.flatMap((value) => (value === null ? [int32(-1)] : [int32(Buffer.byteLength(value)), Buffer.from(value)])),
    int16(resultFormats.length),
    ...resultFormats.map(int16),
  );
export const describeStatement = (name = ""): Buffer => frame("D", Buffer.from("S"), cstring(name));
export const describePortal = (name = ""): Buffer => frame("D", Buffer.from("P"), cstring(name));
export const execute = (portal = "", rows = 0): Buffer => frame("E", cstring(portal), int32(rows));
export const closeStatement = (name = ""): Buffer => frame("C", Buffer.from("S"), cstring(name));
export const closePortal = (name = ""): Buffer => frame("C", Buffer.from("P"), cstring(name));
export const sync: Buffer = frame("S");
export const flush: Buffer = frame("H");
export const copyData = (text: string): Buffer => frame("d", Buffer.from(text));
export const copyDone: Buffer = frame("c");
export const copyFail = (reason: string): Buffer => frame("f", cstring(reason));
/** Arguments and result in text format. */
export const functionCall = (oid: number, ...values: readonly string[]): Buffer =>
  frame("F", int32(oid), int16(0), int16(values.length), ...values.flatMap((v) => [int32(Buffer.byteLength(v)), Buffer.from(v)]), int16(0));
/** Parse, Bind, Describe, Execute, all unnamed. */
export const statement = (sql: string, values: readonly (string | null)[] = []): Buffer =>
  Buffer.concat([parse("", sql), bind("", "", values), describePortal(), execute()]);
