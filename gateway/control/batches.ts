/** Shares one run between callers, without ever answering one with what was read before it asked. */

interface Line<T> {
  running: Promise<T>;
  next: Promise<T> | undefined;
}

export class Batches<T> {
  readonly #lines = new Map<string, Line<T>>();

  /** Runs `work`, or joins the run that starts after the present one under the same key. */
  run(key: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(key);
    if (!line) return this.#start(key, work);
    line.next ??= line.running.then(
      () => this.#start(key, work),
      () => this.#start(key, work),
    );
    return line.next;
  }

  #start(key: string, work: () => Promise<T>): Promise<T> {
    const running = work().finally(() => {
      const line = this.#lines.get(key);
      if (line?.running === running && !line.next) this.#lines.delete(key);
    });
    this.#lines.set(key, { running, next: undefined });
    return running;
  }
}
