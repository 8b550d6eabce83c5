/** What clients come in by: closed before anything else and all at once, so that none waits for the last request of another. */
import type { Clock } from "../core/clock.ts";

/** Stops accepting and ends what is open, after at most `graceMs`. A second call, with less time, cuts the first one short. */
export type CloseDoor = (graceMs: number) => Promise<void>;

export class Doors {
  readonly #closers: CloseDoor[] = [];

  add(close: CloseDoor): void {
    this.#closers.push(close);
  }

  async close(graceMs: number): Promise<void> {
    await Promise.all(this.#closers.map((close) => close(graceMs)));
  }
}

/** For a server that would wait for its last request however long that takes. */
export function closeWithin(clock: Clock, close: () => Promise<void>): CloseDoor {
  let closed: Promise<void> | undefined;
  let patience = new AbortController();
  return async (graceMs) => {
    patience.abort();
    const own = new AbortController();
    patience = own;
    closed ??= close();
    const enough = clock.sleep(graceMs, own.signal).catch(() => undefined); // aborted when it is no longer needed
    try {
      await Promise.race([closed, enough]);
    } finally {
      own.abort();
    }
  };
}
