/** TLS in name only, for engines under test: an in-memory pipe whose bytes stay as they are. */
import type { BytePipe, TlsInfo } from "../../../core/byte-pipe.ts";
import { WrappedPipe } from "../../../core/wrapped-pipe.ts";

/** What `startTls` gives: the same pipe, said to be encrypted, with what was read already in front. */
export class SecuredPipe extends WrappedPipe {
  #early: Uint8Array | undefined;

  constructor(inner: BytePipe, early: Uint8Array | undefined) {
    super(inner);
    this.#early = early;
  }

  override get tls(): TlsInfo {
    return { version: "TLSv1.3", alpn: "", serverEndPoint: undefined };
  }

  override resume(): void {
    const early = this.#early;
    this.#early = undefined;
    if (early) queueMicrotask(() => this.inner.sink?.data(early));
    // The plain pipe has told its end to nobody when it came between two sinks.
    if (this.inner.isClosed) queueMicrotask(() => this.inner.sink?.closed());
    this.inner.resume();
  }

  startTls(): Promise<BytePipe> {
    return Promise.reject(new Error("it is encrypted already"));
  }
}
