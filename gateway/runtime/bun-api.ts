/** The part of Bun's API the adapter uses: native sockets and the HTTP server. Proven on Bun 1.4.5; server-side `upgradeTLS` is what node:tls inside Bun stands on. */

import type { SecureContext } from "node:tls";

export interface BunSocket {
  /** Ours: the pipe this socket belongs to. After `upgradeTLS` the raw half keeps the old value. */
  data: unknown;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly alpnProtocol: string | false | null;
  /** Bytes taken; less than given when the kernel is full ('drain' follows), negative when closed. */
  write(chunk: Uint8Array): number;
  pause(): void;
  resume(): void;
  /** Sends FIN (and close_notify) and goes on reading. */
  shutdown(): void;
  /** Both directions, without flushing what `write` did not take. Under TLS it waits for room to say close_notify. */
  close(): void;
  setNoDelay(on: boolean): boolean;
  setKeepAlive(on: boolean, initialDelayMs: number): boolean;
  getTLSVersion(): string;
  getPeerCertificate(): { readonly raw?: Uint8Array } | undefined;
  /** @returns the raw half and the TLS socket; the socket it was called on is dead afterwards. Undefined when it was closed. */
  upgradeTLS(options: BunUpgradeOptions): readonly [raw: BunSocket, secure: BunSocket] | undefined;
}

export interface BunUpgradeOptions {
  readonly isServer: boolean;
  readonly data: unknown;
  readonly initialData?: Uint8Array;
  readonly socket: BunSocketHandlers;
  readonly tls: {
    /** The native context inside a node:tls SecureContext. */
    readonly secureContext: SecureContext["context"];
    /** Each name behind a length byte. */
    readonly ALPNProtocols?: Uint8Array;
    readonly serverName?: string;
    readonly requestCert: boolean;
    readonly rejectUnauthorized: boolean;
  };
}

export interface BunSocketHandlers {
  readonly binaryType: "uint8array";
  open(socket: BunSocket): void;
  data(socket: BunSocket, chunk: Uint8Array): void;
  drain(socket: BunSocket): void;
  /** The peer sent FIN. */
  end(socket: BunSocket): void;
  close(socket: BunSocket, error?: Error): void;
  /** A handler threw. */
  error(socket: BunSocket, error: Error): void;
  connectError?(socket: BunSocket, error: Error): void;
  /** `verifyError` speaks of the peer's certificate, or of why `success` is false. */
  handshake?(socket: BunSocket, success: boolean, verifyError: (Error & { code?: string }) | null): void;
}

export interface BunListener {
  readonly port: number;
  /** Fills in `address`, `family` and `port`. */
  getsockname(out: { address: string }): void;
  stop(closeActiveConnections: boolean): void;
}

export interface BunHttpServer {
  readonly hostname: string;
  readonly port: number;
  requestIP(request: Request): { readonly address: string } | null;
  stop(closeActiveConnections: boolean): Promise<void>;
}

interface SocketOptions {
  readonly allowHalfOpen: boolean;
  readonly socket: BunSocketHandlers;
}

export interface BunGlobal {
  readonly version: string;
  /** Collects garbage; with false, soon and in the background. */
  gc(now: boolean): void;
  listen(options: SocketOptions & { readonly hostname: string; readonly port: number; readonly reusePort: boolean }): BunListener;
  connect(options: SocketOptions & ({ readonly hostname: string; readonly port: number } | { readonly unix: string })): Promise<BunSocket>;
  serve(options: {
    readonly hostname: string;
    readonly port: number;
    readonly idleTimeout: number;
    readonly maxRequestBodySize: number;
    fetch(request: Request, server: BunHttpServer): Response | Promise<Response>;
  }): BunHttpServer;
}

export function bunGlobal(): BunGlobal {
  return (globalThis as unknown as { Bun: BunGlobal }).Bun;
}
