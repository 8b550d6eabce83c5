/** Runtime: what the gateway needs from Node, Deno or Bun, and the choice of the adapter that gives it. */

import type { BytePipe, TlsServerContext } from "../../core/byte-pipe.ts";
import type { Crypto } from "../../core/crypto.ts";

export type RuntimeName = "node" | "deno" | "bun";

export interface ListenOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Called once per accepted connection, on the runtime's socket turn; must not throw. The pipe is paused and has no sink. */
  onConnection(pipe: BytePipe): void;
  /** A connection could not be accepted (out of descriptors, say); the listener goes on. Node and Deno only: Bun does not tell. */
  onAcceptFailed?(error: Error): void;
  /** Sends small writes at once; default true. */
  readonly noDelay?: boolean;
  /** Several processes may share the port; the kernel spreads connections. Node 22.12 and later, Deno, Bun. */
  readonly reusePort?: boolean;
}

export interface Listener {
  readonly address: string;
  readonly port: number;
  /** Frees the port; connections already accepted live on. */
  stopAccepting(): Promise<void>;
  /** Frees the port, gives connections that were ended the time to have their last bytes read, and destroys every one that is still open. */
  close(lingerMs?: number): Promise<void>;
}

export type DialTarget = { readonly host: string; readonly port: number } | { readonly path: string };

/** PEM texts. `cert` is the server's certificate, followed by intermediates if any. */
export interface TlsServerOptions {
  readonly key: string;
  readonly cert: string;
  /** Protocols to choose from when the client names any; a client that names only others is refused. */
  readonly alpnProtocols: readonly string[];
  /** Asks clients for a certificate; whom to trust is decided later. */
  readonly asksCertificate?: boolean;
  /**
   * Secret of 32 bytes: servers that have the same one and present the same certificate resume each other's sessions. Where a runtime cannot share
   * the keys of its tickets (Bun, Deno), and without it, each server resumes its own.
   */
  readonly ticketSeed?: Uint8Array | undefined;
}

export interface ReloadableTlsServer extends TlsServerContext {
  /**
   * New handshakes present the new certificate; open connections are left alone.
   * @throws Error when key and certificate do not parse or do not match; the old ones then stay in use.
   */
  reload(certificate: { readonly key: string; readonly cert: string }): void;
}

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  fetch(request: Request, peer: { readonly remoteAddress: string }): Response | Promise<Response>;
}

export interface HttpServer {
  readonly address: string;
  readonly port: number;
  /** Frees the port, lets running requests finish, then resolves. */
  close(): Promise<void>;
}

export type SignalName = "SIGTERM" | "SIGINT" | "SIGHUP";

export interface Runtime {
  readonly name: RuntimeName;
  readonly version: string;
  readonly crypto: Crypto;
  /** @throws Error with `code`, such as EADDRINUSE, and the address in its message. */
  listen(options: ListenOptions): Promise<Listener>;
  /** TCP with noDelay and keep-alive, or a Unix socket. @throws Error with `code`, such as ECONNREFUSED; the signal's reason when aborted. */
  dial(target: DialTarget, signal: AbortSignal): Promise<BytePipe>;
  /** @throws Error when key and certificate do not parse or do not match. */
  createTlsServer(options: TlsServerOptions): ReloadableTlsServer;
  /** @throws as `listen`. */
  serveHttp(options: HttpOptions): Promise<HttpServer>;
  /** @returns a function that stops listening. */
  onSignal(name: SignalName, handle: () => void): () => void;
  /** Calls `handle` with what nobody caught, instead of ending the process. @returns a function that stops listening. */
  onFault(handle: (fault: unknown) => void): () => void;
  exit(code: number): never;
}

/** Which runtime this process is; Deno and Bun both also look like Node, so they are asked first. */
export function runtimeName(): RuntimeName {
  if ("Deno" in globalThis) return "deno";
  if ("Bun" in globalThis) return "bun";
  return "node";
}

/** Loads the adapter of the runtime we are in, and only that one. */
export async function detectRuntime(): Promise<Runtime> {
  switch (runtimeName()) {
    case "deno":
      return (await import("./deno.ts")).createDenoRuntime();
    case "bun":
      return (await import("./bun.ts")).createBunRuntime();
    case "node":
      return (await import("./node.ts")).createNodeRuntime();
  }
}
