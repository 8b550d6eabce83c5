/** A pipe that is another one in all that its class does not say otherwise. */
import type { BytePipe, PeerAddress, PipeSink, TlsInfo } from "./byte-pipe.ts";

export abstract class WrappedPipe implements BytePipe {
  protected readonly inner: BytePipe;

  constructor(inner: BytePipe) {
    this.inner = inner;
  }

  get sink(): PipeSink | undefined {
    return this.inner.sink;
  }

  set sink(sink: PipeSink | undefined) {
    this.inner.sink = sink;
  }

  get peer(): PeerAddress {
    return this.inner.peer;
  }

  get tls(): TlsInfo | undefined {
    return this.inner.tls;
  }

  get isClosed(): boolean {
    return this.inner.isClosed;
  }

  write(chunk: Uint8Array): boolean {
    return this.inner.write(chunk);
  }

  pause(): void {
    this.inner.pause();
  }

  resume(): void {
    this.inner.resume();
  }

  end(last?: Uint8Array, lingerMs?: number): void {
    this.inner.end(last, lingerMs);
  }

  destroy(): void {
    this.inner.destroy();
  }

  abstract startTls(context: unknown, received: Uint8Array | undefined, signal: AbortSignal): Promise<BytePipe>;

  async startTlsClient(): Promise<BytePipe> {
    throw new Error("this pipe is a client's");
  }
}
