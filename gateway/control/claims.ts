/** Claims mark rows an instance is at work on, so that a sweep finishes only what nobody is finishing. */
import { type Expression, type RawBuilder, sql } from "kysely";
import { claimIsAlive } from "../store/presence.ts";
import type { Store } from "../store/store.ts";

export class Claims {
  readonly #store: Store;
  readonly #active = new Map<string, number>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** What goes into `claimed_by`. */
  get key(): number {
    return this.#store.presenceKey;
  }

  /**
   * Counts `subject` (a database's name, a deployment's id, …) as being worked on here until the returned function is called.
   * To be taken before the row that carries the claim is committed: whoever reads the row then sees both, or asks `holds` afterwards.
   */
  take(subject: string): () => void {
    this.#active.set(subject, (this.#active.get(subject) ?? 0) + 1);
    return () => {
      const left = (this.#active.get(subject) ?? 1) - 1;
      if (left === 0) this.#active.delete(subject);
      else this.#active.set(subject, left);
    };
  }

  /** As `take`, while `work` runs. */
  async hold<T>(subject: string, work: () => Promise<T>): Promise<T> {
    const release = this.take(subject);
    try {
      return await work();
    } finally {
      release();
    }
  }

  holds(subject: string): boolean {
    return this.#active.has(subject);
  }

  /** SQL condition: nobody is at work on the row, as far as was known when the query was made; ask `holds` again after it. */
  orphaned(claim: string, subject: Expression<string>): RawBuilder<boolean> {
    const column = sql.ref(claim);
    return sql<boolean>`(case
      when ${column} is null then true
      when ${column} = ${this.key} then not (${subject} = any(${[...this.#active.keys()]}::text[]))
      else not ${claimIsAlive(column)} end)`;
  }
}
