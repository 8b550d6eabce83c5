/** What the backend still owes, in order: a queue, because clients pipeline. */

interface Reply {
  readonly kind: "query" | "sync" | "function" | "execute";
  /** With row limits: for each statement of a simple query, or for the one executed, whether it writes. */
  readonly writes: readonly boolean[] | undefined;
  next: number;
}

// Shared, so that the common case allocates nothing.
const shared = {
  query: { kind: "query", writes: undefined, next: 0 },
  sync: { kind: "sync", writes: undefined, next: 0 },
  function: { kind: "function", writes: undefined, next: 0 },
} as const satisfies Record<string, Reply>;

const initialSlots = 16;

export class Replies {
  /** A ring, its size a power of two: taking from an array's front would cost its length, and a client may pipeline a million Syncs. */
  #ring: (Reply | undefined)[] = new Array(initialSlots).fill(undefined);
  #head = 0;
  #count = 0;
  /** How many ReadyForQuery are owed. */
  owed = 0;

  push(kind: "query" | "sync" | "function"): void {
    this.#add(shared[kind]);
    this.owed++;
  }

  pushQuery(writes: readonly boolean[]): void {
    this.#add({ kind: "query", writes, next: 0 });
    this.owed++;
  }

  pushExecute(writes: boolean): void {
    this.#add({ kind: "execute", writes: [writes], next: 0 });
  }

  /**
   * Whether the statement that runs now writes, or one behind it that would be carried out all the same when this one is cut short: the rest
   * of its string, and what is pipelined up to the next Sync. Only asked where there are row limits; false where it is not tracked.
   */
  get mayWrite(): boolean {
    const front = this.#at(0);
    if (front?.writes?.includes(true, front.next)) return true;
    for (let at = 1; front?.kind === "execute" && this.#at(at)?.kind === "execute"; at++) if (this.#at(at)?.writes?.[0]) return true;
    return false;
  }

  /** The backend waits for copy data although a Sync went out behind Execute. */
  get frontIsSync(): boolean {
    return this.#at(this.#firstRequest())?.kind === "sync";
  }

  /** CommandComplete, EmptyQueryResponse or PortalSuspended. */
  statementDone(): void {
    const front = this.#at(0);
    if (front?.kind === "execute") this.#take();
    else if (front?.writes) front.next++;
  }

  /** ReadyForQuery: everything up to the request it answers is done, executes skipped after an error included. */
  ready(): void {
    for (;;) {
      const done = this.#take();
      if (!done) return;
      if (done.kind === "execute") continue;
      this.owed--;
      return;
    }
  }

  /** A Sync that a backend in copy-in mode has ignored is never answered. @returns whether there was one. */
  forgetIgnoredSync(): boolean {
    const at = this.#firstRequest();
    if (this.#at(at)?.kind !== "sync") return false;
    const mask = this.#ring.length - 1;
    // Only executes stand before it: they move up by one, over its place.
    for (let i = at; i > 0; i--) this.#ring[(this.#head + i) & mask] = this.#at(i - 1);
    this.#take();
    this.owed--;
    return true;
  }

  #firstRequest(): number {
    let at = 0;
    while (this.#at(at)?.kind === "execute") at++;
    return at;
  }

  #at(index: number): Reply | undefined {
    return index < this.#count ? this.#ring[(this.#head + index) & (this.#ring.length - 1)] : undefined;
  }

  #add(reply: Reply): void {
    const ring = this.#ring;
    if (this.#count === ring.length) {
      this.#ring = [...ring.slice(this.#head), ...ring.slice(0, this.#head), ...new Array<undefined>(ring.length).fill(undefined)];
      this.#head = 0;
    }
    this.#ring[(this.#head + this.#count++) & (this.#ring.length - 1)] = reply;
  }

  #take(): Reply | undefined {
    const reply = this.#at(0);
    if (!reply) return undefined;
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#count--;
    return reply;
  }
}
