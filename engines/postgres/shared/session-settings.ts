/** What a client has set for its session, to be made again on each backend it is lent; and what keeps it on the one it has. */
import { transactionStatus } from "../message-types.ts";
import type { Pin, SettingChange, StateReading } from "./session-state.ts";

const none: readonly never[] = [];

export class SessionSettings {
  /** By name, in the order they were made: a later one may rest on an earlier one. */
  #settled: Map<string, string> | undefined;
  /** Of the transaction that is open. */
  #pending: readonly SettingChange[] = none;
  #rolledBack = false;
  #pins: Set<Pin> | undefined;

  get pins(): readonly Pin[] {
    return this.#pins ? [...this.#pins] : none;
  }

  get isPinned(): boolean {
    return this.#pins !== undefined && this.#pins.size > 0;
  }

  /** Statements that make the settings again. */
  get statements(): readonly string[] {
    return this.#settled ? [...this.#settled.values()] : none;
  }

  /** A statement that leaves something behind goes out: it keeps its backend, whatever becomes of it. */
  sent({ pins }: StateReading): void {
    for (const pin of pins) this.pin(pin);
  }

  pin(pin: Pin): void {
    this.#pins ??= new Set();
    this.#pins.add(pin);
  }

  /** It succeeded; its transaction may not yet have. */
  succeeded({ changes, unpins }: StateReading): void {
    if (changes.length > 0) this.#pending = [...this.#pending, ...changes];
    for (const pin of unpins) this.#pins?.delete(pin);
  }

  /** The tag of a transaction that was committed, AND CHAIN or not. */
  committed(): void {
    const changes = this.#pending;
    this.#pending = none;
    for (const change of changes) this.#settle(change);
  }

  /** The tag of a transaction that ended, or of a savepoint that was gone back to. */
  rolledBack(): void {
    this.#rolledBack = true;
  }

  /** DISCARD ALL. */
  discarded(): void {
    this.#settled = undefined;
    this.#pending = none;
    this.#pins = undefined;
  }

  /** ReadyForQuery. `failed` = there was an error since the last one. */
  ready(status: number, failed: boolean): void {
    const rolledBack = this.#rolledBack;
    this.#rolledBack = false;
    if (this.#pending.length === 0) return;
    if (status !== transactionStatus.idle) {
      // Which of them a savepoint took back cannot be told from here.
      if (rolledBack) this.pin("setting");
      return;
    }
    if (rolledBack || failed) this.#pending = none;
    else this.committed();
  }

  #settle(change: SettingChange): void {
    if (change.kind === "reset all") this.#settled = undefined;
    else {
      this.#settled?.delete(change.name); // set again, it comes last
      if (change.kind !== "set") return;
      this.#settled ??= new Map();
      this.#settled.set(change.name, change.sql);
    }
  }
}
