/** A session's two pipes, told apart. Classes, since objects of closures would be a twentieth of what an idle session weighs. */
import type { PipeSink } from "../../core/byte-pipe.ts";

/** What hears of both pipes. */
export interface TwoSided {
  fromClient(chunk: Uint8Array): void;
  clientDrained(): void;
  clientGone(): void;
  fromBackend(chunk: Uint8Array): void;
  backendDrained(): void;
  backendGone(error?: Error): void;
}

export class ClientSide implements PipeSink {
  readonly #session: TwoSided;

  constructor(session: TwoSided) {
    this.#session = session;
  }

  data(chunk: Uint8Array): void {
    this.#session.fromClient(chunk);
  }

  drain(): void {
    this.#session.clientDrained();
  }

  closed(): void {
    this.#session.clientGone();
  }
}

export class BackendSide implements PipeSink {
  readonly #session: TwoSided;

  constructor(session: TwoSided) {
    this.#session = session;
  }

  data(chunk: Uint8Array): void {
    this.#session.fromBackend(chunk);
  }

  drain(): void {
    this.#session.backendDrained();
  }

  closed(error?: Error): void {
    this.#session.backendGone(error);
  }
}
