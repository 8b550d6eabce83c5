/** When credentials were last used: noted in memory as clients log in and call the API, written in batches that nobody waits for. */
import { type Kysely, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Tables } from "./schema.ts";

/** How often a batch is written, if anything is due. */
const flushMs = 5_000;
/** A credential's time is for people; it is not written more often than this. */
const stepMs = 60_000;
/** Uses beyond this many credentials wait for their next one. */
const maxPending = 100_000;

export class CredentialUses {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Credential id → wall clock of its latest use that is not written yet. */
  readonly #pending = new Map<string, number>();
  /** Credential id → monotonic clock of the last write. */
  readonly #written = new Map<string, number>();
  readonly #stop: () => void;
  #flushing: Promise<void> | undefined;
  #isAway = false;

  constructor(db: Kysely<Tables>, clock: Clock, log: Log) {
    this.#db = db;
    this.#clock = clock;
    this.#log = log;
    this.#stop = clock.every(flushMs, () => void this.flush(false));
  }

  note(credentialId: string): void {
    if (this.#pending.size < maxPending || this.#pending.has(credentialId)) this.#pending.set(credentialId, this.#clock.wallMs());
  }

  /** Writes what is due, or everything. Never rejects: what could not be written is tried again with the next batch. */
  async flush(everything: boolean): Promise<void> {
    while (this.#flushing) await this.#flushing;
    this.#flushing = this.#write(everything).finally(() => {
      this.#flushing = undefined;
    });
    await this.#flushing;
  }

  /** Writes what is left. */
  async stop(): Promise<void> {
    this.#stop();
    await this.flush(true);
  }

  async #write(everything: boolean): Promise<void> {
    const now = this.#clock.nowMs();
    for (const [id, atMs] of this.#written) if (now - atMs >= stepMs) this.#written.delete(id);
    const due = [...this.#pending].filter(([id]) => everything || !this.#written.has(id));
    if (due.length === 0) return;
    for (const [id] of due) this.#pending.delete(id);
    try {
      await this.#update(due);
      for (const [id] of due) this.#written.set(id, now);
      this.#isAway = false;
    } catch (error) {
      for (const [id, atMs] of due) if (!this.#pending.has(id)) this.#pending.set(id, atMs);
      if (!this.#isAway) this.#log.write("warn", "uses of credentials not written, to be tried again", { error: String(error) });
      this.#isAway = true;
    }
  }

  async #update(due: readonly (readonly [string, number])[]): Promise<void> {
    const ids = due.map(([id]) => id);
    const times = due.map(([, atMs]) => new Date(atMs));
    await sql`
      update tenantry.credentials c set last_used_at = u.at
      from unnest(${ids}::text[], ${times}::timestamptz[]) as u (id, at)
      where c.id = u.id and (c.last_used_at is null or c.last_used_at < u.at)`.execute(this.#db);
  }
}
