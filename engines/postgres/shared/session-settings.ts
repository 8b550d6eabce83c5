/** What a client has set for its session, to be made again on each backend it is lent; and what keeps it on the one it has. */
import { transactionStatus } from "../message-types.ts";
import type { Pin, SettingChange, StateReading } from "./session-state.ts";

export class SessionSettings {
  /** By name, in the order they were made: a later one may rest on an earlier one. */
  readonly #settled = new Map<string, string>();
  /** Of the transaction that is open. */
  #pending: SettingChange[] = [];
  #rolledBack = false;
  readonly #pins = new Set<Pin>();

  get pins(): readonly Pin[] {
    return [...this.#pins];
  }

  get isPinned(): boolean {
    return this.#pins.size > 0;
  }

  /** Statements that make the settings again. */
  get statements(): readonly string[] {
    return [...this.#settled.values()];
  }

  /** A statement that leaves something behind goes out: it keeps its backend, whatever becomes of it. */
  sent({ pins }: StateReading): void {
    for (const pin of pins) this.#pins.add(pin);
  }

  pin(pin: Pin): void {
    this.#pins.add(pin);
  }

  /** It succeeded; its transaction may not yet have. */
  succeeded({ changes, unpins }: StateReading): void {
    this.#pending.push(...changes);
    for (const pin of unpins) this.#pins.delete(pin);
  }

  /** The tag of a transaction that was committed, AND CHAIN or not. */
  committed(): void {
    const changes = this.#pending;
    this.#pending = [];
    for (const change of changes) this.#settle(change);
  }

  /** The tag of a transaction that ended, or of a savepoint that was gone back to. */
  rolledBack(): void {
    this.#rolledBack = true;
  }

  /** DISCARD ALL. */
  discarded(): void {
    this.#settled.clear();
    this.#pending = [];
    this.#pins.clear();
  }

  /** ReadyForQuery. `failed` = there was an error since the last one. */
  ready(status: number, failed: boolean): void {
    const rolledBack = this.#rolledBack;
    this.#rolledBack = false;
    if (this.#pending.length === 0) return;
    if (status !== transactionStatus.idle) {
      // Which of them a savepoint took back cannot be told from here.
      if (rolledBack) this.#pins.add("setting");
      return;
    }
    if (rolledBack || failed) this.#pending = [];
    else this.committed();
  }

  #settle(change: SettingChange): void {
    if (change.kind === "reset all") this.#settled.clear();
    else {
      this.#settled.delete(change.name);
      if (change.kind === "set") this.#settled.set(change.name, change.sql);
    }
  }
}
