/** What is known of a shared backend's session: whose it was last, and which statements are prepared there. */
import type { PostgresBackend } from "../backend-session.ts";
import type { Statement } from "./client-statements.ts";

/** Prepared statements kept on one backend; beyond it the one not used for longest is closed. */
const maxPrepared = 500;

export class BackendState {
  /** Whose settings and temporary objects may be there; undefined = nobody's. */
  owner: object | undefined;
  /** Of the owner's. */
  unnamed: Statement | undefined;
  /** When each was prepared, by key; least recently used first. */
  readonly #prepared = new Map<string, number>();

  /** Whether it can be bound here, prepared no earlier than its client did. */
  has(statement: Statement): boolean {
    if (statement.key === "") return this.unnamed === statement;
    const preparedAt = this.#prepared.get(statement.key);
    if (preparedAt === undefined || preparedAt < statement.parsedAt) return false;
    if (this.#prepared.size * 2 > maxPrepared) this.#put(statement.key, preparedAt); // used now
    return true;
  }

  /** @returns the keys of those that have to be closed to make room. */
  add(statement: Statement, preparedAt: number): readonly string[] {
    if (statement.key === "") {
      this.unnamed = statement;
      return [];
    }
    this.#put(statement.key, preparedAt);
    if (this.#prepared.size <= maxPrepared) return [];
    const oldest = this.#prepared.keys().next().value as string;
    this.#prepared.delete(oldest);
    return [oldest];
  }

  remove(statement: Statement): void {
    if (statement.key !== "") this.#prepared.delete(statement.key);
    else if (this.unnamed === statement) this.unnamed = undefined;
  }

  /** DISCARD ALL, DEALLOCATE ALL. */
  clear(): void {
    this.#prepared.clear();
    this.unnamed = undefined;
  }

  #put(key: string, preparedAt: number): void {
    this.#prepared.delete(key);
    this.#prepared.set(key, preparedAt);
  }
}

const states = new WeakMap<PostgresBackend, BackendState>();

export function stateOf(backend: PostgresBackend): BackendState {
  let state = states.get(backend);
  if (!state) {
    state = new BackendState();
    states.set(backend, state);
  }
  return state;
}
