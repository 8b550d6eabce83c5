/** TLS on Bun's native sockets, both roles: the socket is upgraded in place, so encrypted connections stay on the fast path too. */

import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import type { TlsClientOptions, TlsInfo, TlsServerContext } from "../../core/byte-pipe.ts";
import type { BunSocket, BunUpgradeOptions } from "./bun-api.ts";
import { type OpenConnections, type SocketOwner, socketHandlers } from "./bun-handlers.ts";
import { handshakeError } from "./handshake-error.ts";
import { NetTlsServer } from "./net-tls.ts";

const wrongNameCode = "ERR_TLS_CERT_ALTNAME_INVALID";

/** A finished handshake, and what arrived behind it before a pipe could take over. */
export interface SecureBunSocket {
  readonly socket: BunSocket;
  readonly raw: BunSocket;
  readonly info: TlsInfo;
  readonly early: readonly Uint8Array[];
  readonly earlyEnd: boolean;
  readonly gone: boolean;
  readonly failure: Error | undefined;
}

/** The context is node:tls's own, so that loading, checking and reloading certificates is the same code everywhere. */
export async function acceptTlsBun(
  socket: BunSocket,
  context: TlsServerContext,
  received: Uint8Array | undefined,
  signal: AbortSignal,
  open: OpenConnections,
): Promise<SecureBunSocket> {
  if (!(context instanceof NetTlsServer)) throw new TypeError("the TLS context was made by another runtime");
  const { secureContext, serverEndPoint } = context.presented;
  const tls = {
    secureContext: secureContext.context,
    ALPNProtocols: alpnList(context.alpnProtocols),
    requestCert: context.asksCertificate,
    rejectUnauthorized: false,
  };
  const handshake = new Handshake(open, context.asksCertificate);
  await handshake.run(socket, { isServer: true, tls }, received, signal);
  return handshake.result(serverEndPoint);
}

export async function connectTlsBun(
  socket: BunSocket,
  options: TlsClientOptions,
  received: Uint8Array | undefined,
  signal: AbortSignal,
  open: OpenConnections,
): Promise<SecureBunSocket> {
  const { servername, verify } = options;
  const tls = {
    secureContext: clientContext(options.ca).context,
    // "" sends no SNI, which is for names only.
    serverName: isIP(servername) === 0 ? servername : "",
    requestCert: true,
    rejectUnauthorized: false,
  };
  const handshake = new Handshake(open, true);
  await handshake.run(socket, { isServer: false, tls }, received, signal);
  // Asked after the handshake and before any byte of ours: the chain as the runtime judged it, then the name.
  const refusal = verify ? (handshake.verifyError ?? wrongName(handshake.secure, servername)) : undefined;
  if (refusal) {
    handshake.destroy();
    throw handshakeError(refusal);
  }
  return handshake.result(undefined);
}

/** The runtime reports a certificate it does not trust as a failure too, though the handshake is complete; these are the real ones. */
function isProtocolFailure(error: (Error & { code?: string }) | null): boolean {
  return error?.code === undefined || error.code === "EPROTO" || error.code === "ECONNRESET" || /^ERR_(SSL|OSSL)_/.test(error.code);
}

function clientContext(ca: string | undefined): SecureContext {
  return createSecureContext({ ...(ca !== undefined && { ca }), minVersion: "TLSv1.2" });
}

function wrongName(socket: BunSocket, servername: string): Error | undefined {
  const raw = socket.getPeerCertificate()?.raw;
  if (!raw) return Object.assign(new Error("the server showed no certificate"), { code: "UNABLE_TO_GET_ISSUER_CERT" });
  const certificate = new X509Certificate(raw);
  const matches = isIP(servername) === 0 ? certificate.checkHost(servername) : certificate.checkIP(servername);
  if (matches) return undefined;
  return Object.assign(new Error(`the server's certificate does not carry the name ${servername}`), { code: wrongNameCode });
}

function alpnList(protocols: readonly string[]): Uint8Array {
  return Buffer.concat(protocols.map((name) => Buffer.from(String.fromCharCode(name.length) + name, "latin1")));
}

/** Owns both halves of a socket from the upgrade to the pipe. */
class Handshake implements SocketOwner {
  /** Why the peer's certificate is not trusted, if it is not. */
  verifyError: Error | undefined;
  readonly #open: OpenConnections;
  /** The peer may show a certificate: one the runtime does not trust is no failure, who trusts it is decided elsewhere. */
  readonly #judgesPeer: boolean;
  #raw: BunSocket | undefined;
  #secure: BunSocket | undefined;
  #isServer = false;
  #early: Uint8Array[] = [];
  #earlyEnd = false;
  #gone = false;
  #failure: Error | undefined;
  #settle: ((outcome: "done" | "failed") => void) | undefined;

  constructor(open: OpenConnections, judgesPeer: boolean) {
    this.#open = open;
    this.#judgesPeer = judgesPeer;
  }

  get secure(): BunSocket {
    if (!this.#secure) throw new Error("no TLS handshake was started");
    return this.#secure;
  }

  async run(
    socket: BunSocket,
    role: Pick<BunUpgradeOptions, "isServer" | "tls">,
    received: Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    this.#isServer = role.isServer;
    const onAbort = () => this.#settle?.("failed");
    signal.addEventListener("abort", onAbort, { once: true });
    this.#open.add(this);
    try {
      const outcome = await new Promise<"done" | "failed">((resolve) => {
        this.#settle = resolve;
        if (signal.aborted) return resolve("failed");
        this.#upgrade(socket, role, received);
      });
      if (outcome === "done") return;
      this.destroy();
      throw signal.aborted ? signal.reason : handshakeError(this.#failure);
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#open.delete(this);
    }
  }

  /** The client's first bytes may fail the handshake inside this call, so every path ends in `#settle`. */
  #upgrade(socket: BunSocket, role: Pick<BunUpgradeOptions, "isServer" | "tls">, received: Uint8Array | undefined): void {
    const pair = socket.upgradeTLS({ ...role, data: this, socket: socketHandlers, ...(received && { initialData: received }) });
    if (pair) [this.#raw, this.#secure] = pair;
    else this.#settle?.("failed");
  }

  result(serverEndPoint: Uint8Array | undefined): SecureBunSocket {
    const socket = this.secure;
    const clientCertificate = this.#isServer && this.#judgesPeer ? socket.getPeerCertificate()?.raw : undefined;
    const info = { version: socket.getTLSVersion(), alpn: socket.alpnProtocol || "", serverEndPoint, clientCertificate };
    if (!this.#raw) throw new Error("no TLS handshake was started");
    return { socket, raw: this.#raw, info, early: this.#early, earlyEnd: this.#earlyEnd, gone: this.#gone, failure: this.#failure };
  }

  drop(): void {
    this.destroy();
  }

  destroy(): void {
    this.#settle?.("failed");
    if (this.#gone) return;
    this.#secure?.close();
    this.#raw?.close();
  }

  onHandshake(success: boolean, error: (Error & { code?: string }) | null): void {
    const done = success || (this.#judgesPeer && !isProtocolFailure(error));
    // The name is ours to check: the runtime compares with the address dialled when it has no name. It looks at it only once the chain is trusted.
    if (!done) this.#failure ??= error ?? undefined;
    else if (error?.code !== wrongNameCode) this.verifyError = error ?? undefined;
    // Bytes behind the handshake may follow in this very turn; pausing keeps it at what was read already.
    this.#secure?.pause();
    this.#settle?.(done ? "done" : "failed");
  }

  onData(chunk: Uint8Array): void {
    this.#early.push(chunk);
  }

  onDrain(): void {}

  onEnd(): void {
    this.#earlyEnd = true;
    this.#settle?.("failed");
  }

  onClose(error?: Error): void {
    this.#gone = true;
    this.#failure ??= error;
    this.#settle?.("failed");
  }
}
