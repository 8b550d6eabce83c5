/** A client that costs little: it logs in by SCRAM with keys derived once per password, so that what is measured is the other side. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, createSecureContext } from "node:tls";
import type { Crypto } from "../../core/crypto.ts";
import { ScramClient, scramSha256 } from "../../core/scram.ts";
import { decodeAuthentication, decodeErrorFields } from "../../engines/postgres/backend.ts";
import { readUint32, utf8 } from "../../engines/postgres/bytes.ts";
import {
  encodeQuery,
  encodeSaslInitial,
  encodeSaslResponse,
  encodeSslRequest,
  encodeStartup,
  encodeTerminate,
} from "../../engines/postgres/frontend.ts";
import { backend as message } from "../../engines/postgres/message-types.ts";
import { nodeCrypto } from "../../gateway/runtime/crypto.ts";
import type { Contender } from "./contender.ts";

/** PBKDF2 is the client's cost and thousands of times what the server pays; applications with a pool pay it once per process at best. */
const derived = new Map<string, Promise<Uint8Array>>();
const thriftyCrypto: Crypto = {
  ...nodeCrypto,
  pbkdf2Sha256(password, salt, iterations) {
    const key = `${utf8(password)}\0${Buffer.from(salt).toString("base64")}\0${iterations}`;
    const known = derived.get(key) ?? nodeCrypto.pbkdf2Sha256(password, salt, iterations);
    derived.set(key, known);
    return known;
  },
};

/** Made once: with one of its own, a handshake would load every root certificate first. */
const tlsContext = createSecureContext({ minVersion: "TLSv1.2" });

export interface TlsUse {
  /** A session of an earlier connection, to be resumed. */
  readonly session?: Buffer | undefined;
  /** Given each session that the server offers for later. */
  readonly onSession?: (session: Buffer) => void;
}

interface Frame {
  readonly type: number;
  readonly body: Uint8Array;
}

/** One logged-in connection that runs simple queries. */
export class WireClient {
  readonly #socket: Socket;
  readonly resumed: boolean;
  #received: Buffer = Buffer.alloc(0);
  #waiting: { readonly resolve: (frame: Frame) => void; readonly reject: (error: Error) => void } | undefined;
  #failure: Error | undefined;

  private constructor(socket: Socket, resumed: boolean) {
    this.#socket = socket;
    this.resumed = resumed;
    socket.on("data", (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#deliver();
    });
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the connection was closed")));
  }

  /** @throws Error with the server's words when it refuses. */
  static async logIn(to: Contender, tls?: TlsUse): Promise<WireClient> {
    const plain = await openSocket(to);
    const secured = tls ? await secure(plain, tls) : undefined;
    const client = new WireClient(secured ?? plain, secured?.isSessionReused() ?? false);
    await client.#authenticate(to);
    return client;
  }

  async query(sql: string): Promise<void> {
    this.#socket.write(encodeQuery(sql));
    await this.#readyForQuery();
  }

  /** Says goodbye. Resolves when the connection is closed. */
  async end(): Promise<void> {
    const closed = new Promise<void>((done) => this.#socket.once("close", () => done()));
    if (this.#socket.destroyed) return;
    this.#socket.end(encodeTerminate());
    await closed;
  }

  async #authenticate(to: Contender): Promise<void> {
    const scram = new ScramClient(thriftyCrypto, to.password);
    this.#socket.write(
      encodeStartup([
        ["user", to.user],
        ["database", to.database],
      ]),
    );
    for (;;) {
      const { type, body } = await this.#next();
      if (type !== message.Authentication) throw new Error(`message ${type} instead of authentication`);
      const { code, data } = decodeAuthentication(body);
      if (code === 0) break;
      if (code === 10) this.#socket.write(encodeSaslInitial(scramSha256, scram.clientFirst));
      else if (code === 11) this.#socket.write(encodeSaslResponse(await scram.answer(utf8(data))));
      else scram.verify(utf8(data));
    }
    await this.#readyForQuery();
  }

  async #readyForQuery(): Promise<void> {
    while ((await this.#next()).type !== message.ReadyForQuery);
  }

  async #next(): Promise<Frame> {
    const frame = await new Promise<Frame>((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#deliver();
      if (this.#waiting && this.#failure) this.#fail(this.#failure);
    });
    if (frame.type === message.ErrorResponse) throw new Error(decodeErrorFields(frame.body).get("M"));
    return frame;
  }

  #deliver(): void {
    const bytes = this.#received;
    if (!this.#waiting || bytes.length < 5) return;
    const end = 1 + readUint32(bytes, 1);
    if (bytes.length < end) return;
    this.#received = bytes.subarray(end);
    const { resolve } = this.#waiting;
    this.#waiting = undefined;
    resolve({ type: bytes[0]!, body: bytes.subarray(5, end) });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
  }
}

function openSocket(to: Contender): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = connectTcp({ host: to.host, port: to.port, noDelay: true }, () => {
      socket.off("error", fail);
      done(socket);
    });
    socket.once("error", fail);
  });
}

async function secure(plain: Socket, use: TlsUse) {
  plain.write(encodeSslRequest());
  const answer = await new Promise<Buffer>((done, fail) => {
    plain.once("data", done);
    plain.once("error", fail);
    plain.once("close", () => fail(new Error("the connection was closed")));
  });
  if (answer.toString() !== "S") throw new Error("the server does not accept TLS");
  plain.removeAllListeners();
  // As sslmode=require: encrypted, the certificate not checked.
  const secured = connectTls({ socket: plain, secureContext: tlsContext, rejectUnauthorized: false, ...(use.session && { session: use.session }) });
  if (use.onSession) secured.on("session", use.onSession);
  await new Promise<void>((done, fail) => {
    secured.once("secureConnect", done);
    secured.once("error", fail);
    secured.once("close", () => fail(new Error("the connection was closed")));
  });
  return secured;
}
