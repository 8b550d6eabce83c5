/** What a backend has still to answer, message by message, and what is to be done when it does: a ring, because clients pipeline. */

export const kinds = { parse: 1, bind: 2, close: 3, describe: 4, execute: 5, sync: 6, query: 7, functionCall: 8 } as const;
export type Kind = (typeof kinds)[keyof typeof kinds];

/** What hangs on an answer. Most have nothing. */
export interface Outcome {
  /** It was skipped or failed. */
  undo?(): void;
  /** It succeeded. `body` is a view, valid during the call, of the message that says so; undefined where none was asked for. */
  done?(body?: Uint8Array): void;
  /** An error with this SQLSTATE is told in these words instead; without, every one. */
  readonly refusal?: { readonly sqlstate?: string; readonly words: Uint8Array };
  /** The body of the answer is wanted whole. */
  readonly wantsBody?: boolean;
  /** The client did not ask for it and is not shown the answer. */
  readonly isOwn?: boolean;
}

const initialSlots = 8;

export class Expected {
  /** Small numbers: a typed array would weigh more than all of this. */
  #kinds: number[] = new Array(initialSlots).fill(0);
  #outcomes: (Outcome | undefined)[] = new Array(initialSlots).fill(undefined);
  #head = 0;
  length = 0;
  /** How many ReadyForQuery are owed. */
  ready = 0;

  push(kind: Kind, outcome?: Outcome): void {
    if (this.length === this.#kinds.length) this.#grow();
    const at = (this.#head + this.length++) & (this.#kinds.length - 1);
    this.#kinds[at] = kind;
    this.#outcomes[at] = outcome;
    if (kind >= kinds.sync) this.ready++;
  }

  /** The kind of the next answer; 0 = none is owed. */
  get next(): Kind | 0 {
    return this.length === 0 ? 0 : (this.#kinds[this.#head] as Kind);
  }

  get outcome(): Outcome | undefined {
    return this.length === 0 ? undefined : this.#outcomes[this.#head];
  }

  /** The next answer has come. */
  take(): Outcome | undefined {
    const outcome = this.#outcomes[this.#head];
    this.#outcomes[this.#head] = undefined;
    if (this.#kinds[this.#head]! >= kinds.sync) this.ready--;
    this.#head = (this.#head + 1) & (this.#kinds.length - 1);
    this.length--;
    return outcome;
  }

  /** An error: what stands before the next Sync is skipped and undone, last first. A query's own ReadyForQuery still comes. */
  fail(): void {
    if (this.next >= kinds.sync) return;
    const skipped: (Outcome | undefined)[] = [];
    while (this.length > 0 && this.next !== kinds.sync) skipped.push(this.take());
    for (let at = skipped.length - 1; at >= 0; at--) skipped[at]?.undo?.();
  }

  /** A backend in copy-in mode ignores a Sync that was sent before it was. @returns whether there was one right behind. */
  forgetIgnoredSync(): boolean {
    if (this.next !== kinds.execute) return false;
    const mask = this.#kinds.length - 1;
    let at = 1;
    while (at < this.length && this.#kinds[(this.#head + at) & mask]! < kinds.sync) at++;
    if (at === this.length || this.#kinds[(this.#head + at) & mask] !== kinds.sync) return false;
    for (; at > 0; at--) {
      const [to, from] = [(this.#head + at) & mask, (this.#head + at - 1) & mask];
      this.#kinds[to] = this.#kinds[from]!;
      this.#outcomes[to] = this.#outcomes[from];
    }
    this.#outcomes[this.#head] = undefined;
    this.#head = (this.#head + 1) & mask;
    this.length--;
    this.ready--;
    return true;
  }

  #grow(): void {
    const size = this.#kinds.length;
    const newKinds: number[] = new Array(size * 2).fill(0);
    const newOutcomes: (Outcome | undefined)[] = new Array(size * 2).fill(undefined);
    for (let at = 0; at < this.length; at++) {
      newKinds[at] = this.#kinds[(this.#head + at) & (size - 1)]!;
      newOutcomes[at] = this.#outcomes[(this.#head + at) & (size - 1)];
    }
    this.#kinds = newKinds;
    this.#outcomes = newOutcomes;
    this.#head = 0;
  }
}
