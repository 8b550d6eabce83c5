/** Work that goes on after the answer: its failures are logged, and a stop waits for it. */
import type { Log } from "../../core/log.ts";

export class Background {
  readonly #log: Log;
  readonly #running = new Set<Promise<void>>();
  readonly #keys = new Map<string, { again: boolean }>();
  #stopped = false;

  constructor(log: Log) {
    this.#log = log;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Starts `work` unless a stop was asked for. */
  run(what: string, work: () => Promise<void>): void {
    if (this.#stopped) return;
    const running = work()
      .catch((error: unknown) => this.#log.write("warn", `${what} failed`, { reason: error instanceof Error ? error.message : String(error) }))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** As `run`, one at a time under `key`; asked for while it runs, it runs once more afterwards. */
  runOnce(key: string, work: () => Promise<void>): void {
    const known = this.#keys.get(key);
    if (known) {
      known.again = true;
      return;
    }
    const entry = { again: false };
    this.#keys.set(key, entry);
    this.run(key, async () => {
      try {
        do {
          entry.again = false;
          await work();
        } while (entry.again && !this.#stopped);
      } finally {
        this.#keys.delete(key);
      }
    });
    if (this.#stopped) this.#keys.delete(key);
  }

  /** Resolves when nothing is running any more, whatever it started included. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.settled();
  }
}
