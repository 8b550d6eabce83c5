/** What the conformance cases share: a case's shape, sinks that can be awaited, byte patterns, and certificates. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import type { BytePipe, PipeSink } from "../../../core/byte-pipe.ts";
import type { Listener, ListenOptions, Runtime, RuntimeName } from "../../../gateway/runtime/runtime.ts";
import { ensureCertificates } from "../../../gateway/tls/certificates.ts";
import type { PemPair } from "../../../gateway/tls/issue.ts";

export interface Case {
  readonly name: string;
  /** False where a program the case drives is not installed. */
  readonly canRun?: () => boolean;
  /** Of one runtime's own way; without: of all. */
  readonly only?: RuntimeName;
  run(world: World): Promise<void>;
}

/** Two unrelated CAs with a server certificate each, made once per process. */
export interface Certificates {
  readonly ours: PemPair & { readonly caPem: string; readonly caFile: string };
  readonly other: PemPair & { readonly caPem: string; readonly caFile: string };
}

/** The runtime under test, and everything a case opened: closed behind it whatever happened. */
export class World {
  readonly runtime: Runtime;
  readonly certificates: Certificates;
  readonly #cleanUps: (() => unknown)[] = [];

  constructor(runtime: Runtime, certificates: Certificates) {
    this.runtime = runtime;
    this.certificates = certificates;
    // Cases hang hundreds of handshakes on this one signal.
    setMaxListeners(0, this.never);
  }

  /** A signal that never aborts. */
  readonly never = new AbortController().signal;

  onEnd(cleanUp: () => unknown): void {
    this.#cleanUps.push(cleanUp);
  }

  async cleanUp(): Promise<void> {
    for (const cleanUp of this.#cleanUps.reverse()) await cleanUp();
  }

  async listen(onConnection: ListenOptions["onConnection"], host = "127.0.0.1"): Promise<Listener> {
    const listener = await this.runtime.listen({ host, port: 0, onConnection });
    this.onEnd(() => listener.close());
    return listener;
  }

  async dial(port: number, host = "127.0.0.1"): Promise<BytePipe> {
    const pipe = await this.runtime.dial({ host, port }, this.never);
    this.onEnd(() => pipe.destroy());
    return pipe;
  }

  /** Both ends of one TCP connection, the accepted one first. */
  async pair(): Promise<[accepted: BytePipe, dialled: BytePipe]> {
    const accepted = deferred<BytePipe>();
    const listener = await this.listen(accepted.resolve);
    const dialled = await this.dial(listener.port);
    return [await accepted.promise, dialled];
  }

  /** As `pair`, with TLS on both ends. */
  async securePair(): Promise<[accepted: BytePipe, dialled: BytePipe]> {
    const [accepted, dialled] = await this.pair();
    const { ours } = this.certificates;
    const server = this.runtime.createTlsServer({ key: ours.keyPem, cert: ours.certPem, alpnProtocols: ["postgresql"] });
    return await Promise.all([
      accepted.startTls(server, undefined, this.never),
      dialled.startTlsClient({ ca: ours.caPem, servername: "localhost", verify: true }, this.never),
    ]);
  }

  /** Lets real time pass without naming an amount: a few round trips on a connection of its own. */
  async fence(): Promise<void> {
    const [near, far] = await this.pair();
    const echo = new Reader(near);
    echo.onChunk = (chunk) => near.write(chunk);
    const reader = new Reader(far);
    for (let i = 1; i <= 50; i++) {
      far.write(new Uint8Array(1));
      await reader.bytes(i);
    }
    near.destroy();
    far.destroy();
  }
}

export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}

/** Sets itself as a pipe's sink and resumes it; keeps all bytes, counts every callback. */
export class Reader implements PipeSink {
  readonly chunks: Uint8Array[] = [];
  total = 0;
  drains = 0;
  closes = 0;
  error: Error | undefined;
  onChunk: ((chunk: Uint8Array) => void) | undefined;
  onDrain: (() => void) | undefined;
  #waiting: (() => void)[] = [];

  constructor(pipe: BytePipe, { resume = true } = {}) {
    pipe.sink = this;
    if (resume) pipe.resume();
  }

  data(chunk: Uint8Array): void {
    assert.equal(this.closes, 0, "data after closed");
    this.chunks.push(chunk);
    this.total += chunk.length;
    this.onChunk?.(chunk);
    this.#wake();
  }

  drain(): void {
    assert.equal(this.closes, 0, "drain after closed");
    this.drains += 1;
    this.onDrain?.();
    this.#wake();
  }

  closed(error?: Error): void {
    this.closes += 1;
    this.error = error;
    assert.equal(this.closes, 1, "closed twice");
    this.#wake();
  }

  /** Waits for `count` bytes in all. */
  async bytes(count: number): Promise<Uint8Array> {
    await this.until(() => this.total >= count);
    return this.all();
  }

  async text(expected: string): Promise<void> {
    assert.equal(new TextDecoder().decode(await this.bytes(expected.length)), expected);
  }

  async end(): Promise<Error | undefined> {
    await this.until(() => this.closes > 0, true);
    return this.error;
  }

  async until(isTrue: () => boolean, mayClose = false): Promise<void> {
    while (!isTrue()) {
      if (this.closes > 0 && !mayClose) throw new Error(`the connection closed first (${this.error?.message ?? "orderly"}), ${this.total} bytes in`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  all(): Uint8Array {
    return Buffer.concat(this.chunks);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes that differ everywhere, so that anything lost, doubled or reordered shows. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Sends all of `bytes`, stopping whenever `write` says so. @returns how often it had to stop. */
export async function sendAll(pipe: BytePipe, reader: Reader, bytes: Uint8Array, chunkBytes = 48_000): Promise<number> {
  let stops = 0;
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const drainsBefore = reader.drains;
    if (pipe.write(bytes.slice(at, at + chunkBytes))) continue;
    stops += 1;
    await reader.until(() => reader.drains > drainsBefore);
  }
  return stops;
}

export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof Error || error instanceof DOMException, "rejected with something that is no error");
    return error as Error;
  }
  throw new assert.AssertionError({ message: "did not reject" });
}

export async function makeCertificates(): Promise<{ certificates: Certificates; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), "tenantry-runtime-"));
  const make = async (name: string) => {
    const { caFile, certPem, keyPem } = await ensureCertificates({ dir: join(dir, name), names: [hostname()], clock: { wallMs: () => Date.now() } });
    assert.ok(caFile);
    const { readFile } = await import("node:fs/promises");
    return { certPem, keyPem, caFile, caPem: await readFile(caFile, "utf8") };
  };
  return { certificates: { ours: await make("ours"), other: await make("other") }, remove: () => rm(dir, { recursive: true, force: true }) };
}
