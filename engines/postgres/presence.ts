/** Whether a client that is logging in is still there: one that has gone must not keep its place in a line. */
import { PipeClosedError, type PipeReader } from "../../core/pipe-reader.ts";

/** From its making until `end`. Costs next to nothing where nobody has to wait, and so nobody asks for the signal. */
export class Presence {
  readonly #reader: PipeReader;
  readonly #session: AbortSignal;
  #controller: AbortController | undefined;
  readonly #onAbort = () => this.#controller?.abort(this.#session.reason);

  constructor(reader: PipeReader, session: AbortSignal) {
    this.#reader = reader;
    this.#session = session;
  }

  /** Aborts when the session does, and when the client leaves. */
  get signal(): AbortSignal {
    this.#controller ??= this.#watch();
    return this.#controller.signal;
  }

  end(): void {
    if (!this.#controller) return;
    this.#reader.onClosed = undefined;
    this.#session.removeEventListener("abort", this.#onAbort);
  }

  #watch(): AbortController {
    const controller = new AbortController();
    this.#session.addEventListener("abort", this.#onAbort, { once: true });
    this.#reader.onClosed = (reason) => controller.abort(reason);
    if (this.#session.aborted) controller.abort(this.#session.reason);
    else if (this.#reader.pipe.isClosed) controller.abort(new PipeClosedError());
    return controller;
  }
}
