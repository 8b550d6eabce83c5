/** TLS on node:net sockets, both roles: from a plain socket to a handshaken one, or to a destroyed one and an error. */

import { constants, createHash, hkdfSync } from "node:crypto";
import { isIP, type Socket } from "node:net";
import { connect, createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { TlsClientOptions, TlsInfo, TlsServerContext } from "../../core/byte-pipe.ts";
import { serverEndPoint } from "../tls/end-point.ts";
import { assertCertificatePair } from "../tls/pair.ts";
import { readFirstRecord } from "./first-record.ts";
import { handshakeError } from "./handshake-error.ts";
import type { ReloadableTlsServer, TlsServerOptions } from "./runtime.ts";

/** What node:tls takes: name, AES and HMAC key. */
const ticketKeysLength = 48;
/** OpenSSL's most. */
const sessionContextLength = 32;

/** Certificate, key and channel binding that belong together; replaced as a whole. */
interface Presented {
  readonly secureContext: SecureContext;
  readonly serverEndPoint: Uint8Array | undefined;
}

export class NetTlsServer implements ReloadableTlsServer {
  readonly kind = "tls-server-context";
  readonly alpnProtocols: readonly string[];
  readonly asksCertificate: boolean;
  readonly #ticketSeed: Uint8Array | undefined;
  presented: Presented;

  constructor(options: TlsServerOptions) {
    this.alpnProtocols = options.alpnProtocols;
    this.asksCertificate = options.asksCertificate ?? false;
    this.#ticketSeed = options.ticketSeed;
    this.presented = this.#present(options);
  }

  reload(certificate: { readonly key: string; readonly cert: string }): void {
    this.presented = this.#present(certificate);
  }

  #present({ key, cert }: { readonly key: string; readonly cert: string }): Presented {
    try {
      assertCertificatePair(cert, key);
      const about = JSON.stringify([cert, this.alpnProtocols, this.asksCertificate]);
      const ticketKeys = this.#ticketKeysFor(about);
      // A server that asks for certificates and has no such context answers whoever resumes a session with "internal error" (SSL_CTX_set_session_id_context).
      const sessionIdContext = createHash("sha256").update(about).digest("hex").slice(0, sessionContextLength);
      const options = { minVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_RENEGOTIATION, sessionIdContext } as const;
      const secureContext = createSecureContext({ key, cert, ...options, ...(ticketKeys && { ticketKeys }) });
      return { secureContext, serverEndPoint: serverEndPoint(cert) };
    } catch (error) {
      throw new Error(`Cannot use the TLS certificate: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  /** Of each certificate, and of each kind of listener, their own: a session is resumed as what it began as. */
  #ticketKeysFor(about: string): Buffer | undefined {
    if (!this.#ticketSeed) return undefined;
    return Buffer.from(hkdfSync("sha256", this.#ticketSeed, about, "TLS session tickets", ticketKeysLength));
  }
}

export interface SecureSocket {
  readonly socket: TLSSocket;
  readonly info: TlsInfo;
}

/** Server role. Every connection gets its own TLSSocket, so a handshake can only ever speak for the socket it ran on. */
export async function acceptTls(
  raw: Socket,
  context: TlsServerContext,
  received: Uint8Array | undefined,
  signal: AbortSignal,
): Promise<SecureSocket> {
  try {
    if (!(context instanceof NetTlsServer)) throw new TypeError("the TLS context was made by another runtime");
    const early = takeBuffered(raw, received);
    if (early.length > 0) raw.unshift(await readFirstRecord(raw, early, signal));
    const { secureContext, serverEndPoint } = context.presented;
    const socket = new TLSSocket(raw, {
      isServer: true,
      secureContext,
      requestCert: context.asksCertificate,
      rejectUnauthorized: false,
      ALPNProtocols: [...context.alpnProtocols],
    });
    await handshake(socket, "secure", signal);
    const clientCertificate = context.asksCertificate ? socket.getPeerCertificate()?.raw : undefined;
    return { socket, info: { ...infoOf(socket, serverEndPoint), clientCertificate } };
  } catch (error) {
    raw.destroy();
    throw error;
  }
}

/** Client role. An IP address is checked as such and not sent as SNI, which is for names only. */
export async function connectTls(raw: Socket, options: TlsClientOptions, signal: AbortSignal): Promise<SecureSocket> {
  try {
    const socket = connect({
      socket: raw,
      host: options.servername,
      ...(isIP(options.servername) === 0 && { servername: options.servername }),
      ...(options.ca !== undefined && { ca: options.ca }),
      rejectUnauthorized: options.verify,
      minVersion: "TLSv1.2",
    });
    await handshake(socket, "secureConnect", signal);
    return { socket, info: infoOf(socket, undefined) };
  } catch (error) {
    raw.destroy();
    throw error;
  }
}

function infoOf(socket: TLSSocket, endPoint: Uint8Array | undefined): TlsInfo {
  return { version: socket.getProtocol() ?? "", alpn: socket.alpnProtocol || "", serverEndPoint: endPoint };
}

/** What the stream holds already, behind what its reader took out. */
function takeBuffered(raw: Socket, received: Uint8Array | undefined): Uint8Array {
  // Asked first, because read() on an empty stream would start a read that the TLS socket knows nothing of.
  const buffered: Uint8Array | null = raw.readableLength > 0 ? raw.read() : null;
  if (!buffered) return received ?? new Uint8Array(0);
  return received ? Buffer.concat([received, buffered]) : buffered;
}

/** Waits for `done`. Anything else that ends the socket rejects and destroys it; its 'error' listener stays for good. */
function handshake(socket: TLSSocket, done: "secure" | "secureConnect", signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const fail = (error: unknown) => {
      cleanUp();
      socket.destroy();
      reject(error);
    };
    const onError = (error: Error) => {
      failure ??= error;
    };
    const onEnd = () => fail(handshakeError(failure));
    const onAbort = () => fail(signal.reason);
    const onDone = () => {
      cleanUp();
      socket.pause();
      resolve();
    };
    const cleanUp = () => {
      socket.off(done, onDone);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      signal.removeEventListener("abort", onAbort);
    };
    socket.on("error", onError);
    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on(done, onDone);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
