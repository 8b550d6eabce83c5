/**
 * Keeps every client of a tenant's database waiting between two transactions, on all instances, around a change that must not come between
 * two of its statements. A hold is a courtesy with an end: whoever asked for it may die, and clients go on by themselves.
 */
import type { Clock } from "../../core/clock.ts";
import type { SessionHold } from "../../core/live.ts";
import type { Store } from "../store/store.ts";

export interface HoldSubject {
  readonly projectId: string;
  readonly tenantId: string;
  readonly workspaceId: string;
}

export interface Hold {
  /** Every client waits; false when some were still in a transaction as time ran out. */
  readonly atRest: boolean;
  /** Lets them go on; where the schema changed, what they have prepared is made to fit first. */
  release(schemaChanged: boolean): Promise<void>;
}

/** Asks this instance's own sessions on a database to wait. */
export type HoldHandler = (subject: HoldSubject) => readonly SessionHold[];

type Message =
  | { readonly say: "hold"; readonly id: string; readonly from: number; readonly subject: HoldSubject; readonly waitMs: number }
  | { readonly say: "held"; readonly id: string; readonly from: number; readonly atRest: boolean }
  | { readonly say: "release"; readonly id: string; readonly from: number; readonly schemaChanged: boolean };

/** Longer than that nobody waits, whatever the change is still doing. */
const longestMs = 5_000;
/** How long the number of instances is taken for the same. */
const countFreshMs = 1_000;

export class TenantHolds {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #makeId: () => string;
  /** Those of this instance's data path, where it has one. */
  handler: HoldHandler | undefined;
  readonly #stop: () => void;
  readonly #ofOthers = new Map<string, LocalHold>();
  readonly #answers = new Map<string, (from: number, atRest: boolean) => void>();
  #others: { readonly count: Promise<number>; readonly atMs: number } | undefined;

  constructor(store: Store, clock: Clock, makeId: () => string) {
    this.#store = store;
    this.#clock = clock;
    this.#makeId = makeId;
    this.#stop = store.onHold((payload) => this.#hear(payload));
  }

  stop(): void {
    this.#stop();
  }

  /** @param waitMs for how long open transactions are waited for. */
  async take(subject: HoldSubject, waitMs: number): Promise<Hold> {
    const own = this.#holdOwn(subject);
    const others = (await this.#countOthers()) > 0 ? await this.#holdOthers(subject, waitMs) : undefined;
    const [ownAtRest, othersAtRest] = await Promise.all([own.settled(waitMs), others?.atRest ?? true]);
    return {
      atRest: ownAtRest && othersAtRest,
      release: async (schemaChanged) => {
        await Promise.all([own.release(schemaChanged), others?.release(schemaChanged)]);
      },
    };
  }

  #holdOwn(subject: HoldSubject): LocalHold {
    return new LocalHold(this.handler?.(subject) ?? [], this.#clock);
  }

  async #holdOthers(subject: HoldSubject, waitMs: number): Promise<{ atRest: Promise<boolean>; release: (schemaChanged: boolean) => Promise<void> }> {
    const id = this.#makeId();
    const from = this.#store.presenceKey;
    const expected = await this.#countOthers();
    const heard = new Map<number, boolean>();
    const enough = new AbortController();
    this.#answers.set(id, (instance, atRest) => {
      heard.set(instance, atRest);
      if (heard.size >= expected) enough.abort();
    });
    await this.#say({ say: "hold", id, from, subject, waitMs });
    // Half a second for the words to travel.
    const waited = this.#clock.sleep(waitMs + 500, enough.signal).catch(() => undefined); // aborted: all have answered
    const atRest = waited.then(() => {
      this.#answers.delete(id);
      return heard.size >= expected && [...heard.values()].every(Boolean);
    });
    return { atRest, release: (schemaChanged) => this.#say({ say: "release", id, from, schemaChanged }) };
  }

  #hear(payload: string): void {
    const message = parseMessage(payload);
    if (!message || message.from === this.#store.presenceKey) return;
    if (message.say === "held") this.#answers.get(message.id)?.(message.from, message.atRest);
    else if (message.say === "hold") void this.#holdFor(message);
    else {
      void this.#ofOthers.get(message.id)?.release(message.schemaChanged);
      this.#ofOthers.delete(message.id);
    }
  }

  async #holdFor({ id, subject, waitMs }: Extract<Message, { say: "hold" }>): Promise<void> {
    const hold = this.#holdOwn(subject);
    this.#ofOthers.set(id, hold);
    hold.onOver = () => this.#ofOthers.delete(id);
    const atRest = await hold.settled(waitMs);
    // Unheard, the other side waits its time out and takes it for a no.
    await this.#say({ say: "held", id, from: this.#store.presenceKey, atRest }).catch(() => undefined);
  }

  #say(message: Message): Promise<void> {
    return this.#store.sayHold(JSON.stringify(message));
  }

  #countOthers(): Promise<number> {
    const now = this.#clock.nowMs();
    if (!this.#others || now - this.#others.atMs > countFreshMs) {
      const count = this.#store.countInstances().then((instances) => Math.max(0, instances - 1));
      this.#others = { count, atMs: now };
      count.catch(() => {
        this.#others = undefined; // asked again; whoever asked now hears of it
      });
    }
    return this.#others.count;
  }
}

/** @returns undefined for what is no message, as from another program on the channel. */
function parseMessage(payload: string): Message | undefined {
  try {
    const value = JSON.parse(payload) as Message;
    return typeof value?.id === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** This instance's part. */
class LocalHold {
  readonly #sessions: readonly SessionHold[];
  readonly #clock: Clock;
  readonly #over = new AbortController();
  #released: Promise<void> | undefined;
  onOver: (() => void) | undefined;

  constructor(sessions: readonly SessionHold[], clock: Clock) {
    this.#sessions = sessions;
    this.#clock = clock;
    if (sessions.length === 0) return;
    clock.sleep(longestMs, this.#over.signal).then(
      () => void this.release(false),
      () => undefined, // released in time
    );
  }

  /** Whether all of them wait, or are gone, within `waitMs`. */
  async settled(waitMs: number): Promise<boolean> {
    if (this.#sessions.length === 0) return true;
    const enough = new AbortController();
    const tooLate = this.#clock.sleep(waitMs, enough.signal).then(
      () => false,
      () => false, // nobody looks any more
    );
    const all = Promise.all(this.#sessions.map((session) => session.begun)).then(() => true);
    return await Promise.race([all, tooLate]).finally(() => enough.abort());
  }

  release(schemaChanged: boolean): Promise<void> {
    this.#released ??= this.#letGo(schemaChanged);
    return this.#released;
  }

  async #letGo(schemaChanged: boolean): Promise<void> {
    this.#over.abort();
    this.onOver?.();
    await Promise.all(this.#sessions.map((session) => session.resume(schemaChanged)));
  }
}
