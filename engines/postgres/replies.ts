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

export class Replies {
  #queue: Reply[] = [];
  /** How many ReadyForQuery are owed. */
  owed = 0;

  push(kind: "query" | "sync" | "function"): void {
    this.#queue.push(shared[kind]);
    this.owed++;
  }

  pushQuery(writes: readonly boolean[]): void {
    this.#queue.push({ kind: "query", writes, next: 0 });
    this.owed++;
  }

  pushExecute(writes: boolean): void {
    this.#queue.push({ kind: "execute", writes: [writes], next: 0 });
  }

  /** Whether the statement that runs now writes; false where that is not tracked. */
  get currentWrites(): boolean {
    const front = this.#queue[0];
    return front?.writes?.[front.next] ?? false;
  }

  /** The backend waits for copy data although a Sync went out behind Execute. */
  get frontIsSync(): boolean {
    return this.#queue.find((reply) => reply.kind !== "execute")?.kind === "sync";
  }

  /** CommandComplete, EmptyQueryResponse or PortalSuspended. */
  statementDone(): void {
    const front = this.#queue[0];
    if (front?.kind === "execute") this.#queue.shift();
    else if (front?.writes) front.next++;
  }

  /** ReadyForQuery: everything up to the request it answers is done, executes skipped after an error included. */
  ready(): void {
    for (;;) {
      const done = this.#queue.shift();
      if (!done) return;
      if (done.kind === "execute") continue;
      this.owed--;
      return;
    }
  }

  /** A Sync that a backend in copy-in mode has ignored is never answered. */
  forgetIgnoredSync(): void {
    const at = this.#queue.findIndex((reply) => reply.kind !== "execute");
    if (this.#queue[at]?.kind !== "sync") return;
    this.#queue.splice(at, 1);
    this.owed--;
  }
}
