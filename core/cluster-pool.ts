/** The backends of one cluster: lent, idle, closing, never more than its budget; and the line of those who wait for one. */
import { AnswersInTime } from "./answers-in-time.ts";
import type { Clock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import { Claimant, FairLine, Place } from "./fair-line.ts";
import { LinkedList, ListNode } from "./linked-list.ts";
import type { Log } from "./log.ts";
import type { BackendDialer, BackendRequest, ClusterCounts, Lease, PooledBackend, PoolMetrics, PoolOptions } from "./pool.ts";

/** A backend that does not answer its reset in this time is closed. */
const resetTimeoutMs = 10_000;
/** One that has idled for long and does not say in this time that it is there is taken for gone. */
const checkTimeoutMs = 2000;
/**
 * Once logged in, a backend first serves those of its own database who are in line at that moment, for this many times as long as the login took:
 * where lines are long, logging in takes a fifth of the time. Whoever comes later waits for the database's next turn, as everybody else does.
 */
const turnPerLogin = 4;
const longestTurnMs = 1000;
/**
 * A database that has its share of the budget takes nothing away that another one, within its own share, has used so short a while ago: nor for more
 * than this part of the time that its clients may be kept waiting.
 */
const longestKeptMs = 1000;
const keptPartOfWait = 1 / 4;

/** What all clusters of a pool share. */
export interface PoolParts<B extends PooledBackend> {
  readonly dialer: BackendDialer<B>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: PoolMetrics;
  /** As of the last reload. */
  readonly options: () => PoolOptions;
}

/** One database of the cluster, for as long as there is a backend of it or somebody waits for one. */
export class DatabasePool<B extends PooledBackend> extends Claimant {
  readonly name: string;
  readonly keys: Map<string, KeyPool<B>> = new Map();
  /** Of all keys. */
  idle = 0;
  /** Counted up after DDL: what was logged in before is not lent again. */
  generation = 0;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

/** Backends that may stand in for each other: same database, role, password and login parameters. */
export class KeyPool<B extends PooledBackend> {
  readonly text: string;
  readonly database: DatabasePool<B>;
  readonly isShared: boolean;
  /** Most recently used last. */
  readonly idle: LinkedList<Slot<B>> = new LinkedList();
  /** Its backends, logins under way, and clients in line; with none left it is forgotten. */
  uses = 0;
  isForgotten = false;

  constructor(text: string, database: DatabasePool<B>, isShared: boolean) {
    this.text = text;
    this.database = database;
    this.isShared = isShared;
  }
}

/** Until when, and up to which ticket, its own database's line comes first. */
interface Turn {
  readonly endsMs: number;
  readonly lastTicket: number;
}

/** An open backend. */
class Slot<B extends PooledBackend> {
  readonly backend: B;
  readonly key: KeyPool<B>;
  readonly generation: number;
  readonly turn: Turn;
  /** Never, while it is lent. */
  idleSinceMs: number = Number.POSITIVE_INFINITY;
  readonly byAge: ListNode<Slot<B>>;
  readonly byKey: ListNode<Slot<B>>;

  constructor(backend: B, key: KeyPool<B>, turn: Turn) {
    this.backend = backend;
    this.key = key;
    this.generation = key.database.generation;
    this.turn = turn;
    this.byAge = new ListNode<Slot<B>>(this);
    this.byKey = new ListNode<Slot<B>>(this);
  }
}

/** Whoever asks for a backend. */
export interface Asking<B extends PooledBackend> {
  readonly request: BackendRequest;
  readonly keyText: string;
  /** Its place in line, while it has one. */
  waiter: Waiter<B> | undefined;
}

/** Leave to log in; once what it replaces is gone. */
interface Room {
  readonly freed: Promise<void> | undefined;
}

/** A client in line. */
export class Waiter<B extends PooledBackend> extends Place {
  readonly key: KeyPool<B>;
  readonly serve: (granted: Slot<B> | Room) => void;
  readonly refuse: (reason: unknown) => void;

  constructor(key: KeyPool<B>, sinceMs: number, serve: (granted: Slot<B> | Room) => void, refuse: (reason: unknown) => void) {
    super(key.database, sinceMs);
    this.key = key;
    this.serve = serve;
    this.refuse = refuse;
  }
}

class SlotLease<B extends PooledBackend> implements Lease<B> {
  readonly backend: B;
  readonly #slot: Slot<B>;
  /** Undefined once given back. */
  #owner: ClusterPool<B> | undefined;
  /** To whom it was given back, still usable. */
  #lastOwner: ClusterPool<B> | undefined;

  constructor(slot: Slot<B>, owner: ClusterPool<B>) {
    this.backend = slot.backend;
    this.#slot = slot;
    this.#owner = owner;
  }

  release(reusable: boolean): void {
    const owner = this.#owner;
    this.#owner = undefined;
    if (owner) void owner.takeBack(this.#slot, reusable);
  }

  releaseClean(): void {
    const owner = this.#owner;
    this.#owner = undefined;
    if (!owner) return;
    this.#lastOwner = owner;
    owner.takeBackClean(this.#slot);
  }

  retake(): boolean {
    if (this.#owner || !this.#lastOwner?.takeAgain(this.#slot)) return false;
    this.#owner = this.#lastOwner;
    return true;
  }
}

export class ClusterPool<B extends PooledBackend> {
  readonly #parts: PoolParts<B>;
  /** Told whenever there is room again or too little of it. */
  readonly #onRoom: (evicted: boolean) => void;
  readonly #databases = new Map<string, DatabasePool<B>>();
  /** Of all databases, least recently used first. */
  readonly #idle = new LinkedList<Slot<B>>();
  readonly #line = new FairLine<Waiter<B>>();
  readonly #resets: AnswersInTime;
  readonly #checks: AnswersInTime;
  /** The clock as of the last sweep: reading the real one at every transaction would cost more than what it is compared with. */
  #sweptMs: number;
  /** Lent, being reset, being logged in; room granted included. */
  #held = 0;
  /** Of those, what is logged in. */
  #leased = 0;
  /** Told to close, and not gone yet: the server counts them still. */
  #closing = 0;
  #refused = 0;
  #evicted = 0;
  #vanished = 0;
  #granted: number | undefined;
  #closed = false;

  constructor(parts: PoolParts<B>, onRoom: (evicted: boolean) => void) {
    this.#parts = parts;
    this.#onRoom = onRoom;
    this.#resets = new AnswersInTime(parts.clock, resetTimeoutMs);
    this.#checks = new AnswersInTime(parts.clock, checkTimeoutMs);
    this.#sweptMs = parts.clock.nowMs();
  }

  /** For how long the least recently used idle backend has been idle. */
  get longestIdleMs(): number | undefined {
    return this.#idle.first && this.#parts.clock.nowMs() - this.#idle.first.idleSinceMs;
  }

  get counts(): ClusterCounts {
    const idle = this.#idle.size;
    const { oldest, size: waiting, claimants: waitingDatabases } = this.#line;
    const longestWaitMs = oldest ? this.#parts.clock.nowMs() - oldest.sinceMs : 0;
    const ended = { refused: this.#refused, evicted: this.#evicted, vanished: this.#vanished };
    return { open: this.#held + idle, idle, leased: this.#leased, closing: this.#closing, waiting, waitingDatabases, longestWaitMs, ...ended };
  }

  get budget(): number {
    return this.#granted ?? this.#parts.options().budget;
  }

  /** @see Pool.grant */
  grant(backends: number): void {
    this.#granted = backends;
    this.settle();
  }

  /** Undefined where there is no backend with this key, and nobody waits for one. */
  findKey({ request, keyText }: Asking<B>): KeyPool<B> | undefined {
    return this.#databases.get(request.database.name)?.keys.get(keyText);
  }

  /**
   * An idle backend with this key that need not be asked first whether it is there. Whoever waits has no better right to it: a client that may
   * hold one more is never left in line, unless all that idle are kept from it.
   */
  tryAcquire(key: KeyPool<B>): Lease<B> | undefined {
    const next = key.isShared ? key.idle.first : key.idle.last;
    if (!next || this.#isStale(next) || this.#closed || !this.#mayHold(key.database)) return undefined;
    const slot = this.#takeIdle(key);
    if (!slot) return undefined;
    this.#held++;
    this.#line.took(key.database);
    return this.#lend(slot);
  }

  /** An idle one, for who had it last. */
  takeAgain(slot: Slot<B>): boolean {
    const { database } = slot.key;
    if (!slot.byAge.list || this.#closed || !slot.backend.isAlive || this.#isStale(slot) || !this.#mayHold(database)) return false;
    this.#leaveIdle(slot);
    slot.idleSinceMs = Number.POSITIVE_INFINITY;
    this.#held++;
    this.#leased++;
    this.#line.took(database);
    return true;
  }

  async acquire(handle: Asking<B>, signal: AbortSignal): Promise<Lease<B>> {
    if (signal.aborted) throw signal.reason;
    if (this.#closed) throw poolClosed();
    const key = this.#keyFor(handle);
    const granted = this.#mayServe(key) ? this.#take(key) : await this.#wait(key, handle, signal);
    const proven = granted instanceof Slot ? await this.#prove(granted, signal) : granted;
    return proven instanceof Slot ? this.#lend(proven) : this.#dialInto(proven, key, handle.request, signal);
  }

  /** 1 = next of its database. */
  positionOf(waiter: Waiter<B>): number {
    return this.#line.numberOf(waiter);
  }

  /** Resets what is reusable, and closes what does not come out of that as good as new. */
  async takeBack(slot: Slot<B>, reusable: boolean): Promise<void> {
    let clean = false;
    try {
      await slot.backend.cancelsSettled();
      clean = reusable && this.#isCurrent(slot) && this.#isWanted(slot) && (await this.#resets.wait(slot.backend.reset()));
    } catch (error) {
      this.#parts.log.write("warn", "backend reset failed", { error: String(error) });
    }
    this.#putBack(slot, clean);
  }

  /** A cancel request on its way may hit whatever runs next, so that one is waited for and the backend proven clean again. */
  takeBackClean(slot: Slot<B>): void {
    if (slot.backend.isCancelling) void this.takeBack(slot, true);
    else this.#putBack(slot, true);
  }

  retire(databaseName: string): void {
    const database = this.#databases.get(databaseName);
    if (!database) return;
    database.generation++;
    const idle = [...database.keys.values()].flatMap((key) => [...key.idle]);
    for (const slot of idle) this.#closeIdle(slot);
  }

  /** Refuses who has waited too long, closes what nobody has used for long, gives up resets that take too long. */
  sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    const options = this.#parts.options();
    for (let waiter = this.#line.oldest; waiter && nowMs - waiter.sinceMs >= options.connectWaitMs; waiter = this.#line.oldest) {
      this.#line.leave(waiter);
      this.#refused++;
      waiter.refuse(undefined);
    }
    for (let slot = this.#idle.first; slot && nowMs - slot.idleSinceMs >= options.idleTimeoutMs; slot = this.#idle.first) this.#closeIdle(slot);
    this.#resets.sweep(nowMs);
    this.#checks.sweep(nowMs);
    if (this.#line.size > 0 && this.#idle.size > 0) this.settle(); // what was kept may be so no longer
  }

  close(): void {
    this.#closed = true;
    for (let waiter = this.#line.oldest; waiter; waiter = this.#line.oldest) {
      this.#line.leave(waiter);
      waiter.refuse(poolClosed());
    }
    for (let slot = this.#idle.first; slot; slot = this.#idle.first) this.#closeIdle(slot);
    this.#resets.giveUpAll();
    this.#checks.giveUpAll();
  }

  /** After anything that makes room or takes it away: closes what is above the budget, and serves who may hold one more. */
  settle(): void {
    for (let slot = this.#idle.first; slot && this.#isAboveBudget; slot = this.#idle.first) {
      this.#leaveIdle(slot);
      this.#shut(slot);
    }
    for (;;) {
      const waiter = this.#line.first;
      if (!waiter || !this.#mayServe(waiter.key)) break;
      this.#line.leave(waiter);
      waiter.serve(this.#take(waiter.key));
    }
    this.#onRoom(false);
  }

  #keyFor({ request, keyText }: Asking<B>): KeyPool<B> {
    const { name } = request.database;
    let database = this.#databases.get(name);
    if (!database) {
      database = new DatabasePool(name);
      this.#databases.set(name, database);
    }
    let key = database.keys.get(keyText);
    if (!key) {
      key = new KeyPool(keyText, database, request.isShared ?? false);
      database.keys.set(keyText, key);
    }
    return key;
  }

  get #open(): number {
    return this.#held + this.#idle.size + this.#closing;
  }

  /** What is closing has been dealt with. */
  get #isAboveBudget(): boolean {
    return this.#held + this.#idle.size > this.budget;
  }

  /** The last backends of the budget are for databases that have less than their minimum. */
  #mayHold(database: DatabasePool<B>, held = this.#held): boolean {
    const { budget } = this;
    const { minimum = 1, reserveShare = 0 } = this.#parts.options();
    const kept = database.held < minimum ? 0 : Math.floor(budget * reserveShare);
    return held + this.#closing < budget - kept;
  }

  /** Whether `#take` finds something: an idle one of its own, room within the budget, or one that may go for it. */
  #mayServe(key: KeyPool<B>): boolean {
    const { database } = key;
    return this.#mayHold(database) && (key.idle.size > 0 || this.#open < this.budget || this.#spareFor(database) !== undefined);
  }

  /** The least recently used idle one that is not kept from this database. */
  #spareFor(asking: DatabasePool<B>): Slot<B> | undefined {
    const { first } = this.#idle;
    if (!first || !this.#isKeptFrom(asking, first)) return first; // mostly
    for (const slot of this.#idle) if (!this.#isKeptFrom(asking, slot)) return slot;
    return undefined;
  }

  /** Without this a database with many clients would have one with few log in again for each of its transactions. */
  #isKeptFrom(asking: DatabasePool<B>, slot: Slot<B>): boolean {
    const { database } = slot.key;
    if (database === asking) return false;
    const share = Math.floor(this.budget / (this.#line.busy + (database.isBusy ? 0 : 1)));
    if (asking.held < share || database.held + database.idle > share) return false;
    // One that is not idle has been used until now.
    const keptMs = Math.min(longestKeptMs, this.#parts.options().connectWaitMs * keptPartOfWait);
    return slot.byAge.list === undefined || this.#parts.clock.nowMs() - slot.idleSinceMs < keptMs;
  }

  /**
   * An idle one with this key, else room: within the budget, or in place of the least recently used idle one that is not kept from it.
   * There is one of these, see `#mayServe`.
   */
  #take(key: KeyPool<B>): Slot<B> | Room {
    key.uses++; // before anything could have it forgotten
    const own = this.#takeIdle(key);
    // Where only its own idled, and turned out dead, there may be none but what is kept.
    const spare = own || this.#open < this.budget ? undefined : (this.#spareFor(key.database) ?? this.#idle.first);
    this.#held++;
    this.#line.took(key.database);
    if (own) {
      key.uses--;
      return own;
    }
    if (!spare) return { freed: undefined };
    this.#leaveIdle(spare);
    this.#evicted++;
    this.#onRoom(true);
    return { freed: this.#discard(spare) };
  }

  /** The most recently used one, so that the others can grow old; of shared ones the other end, whose client is the least likely to take it again. */
  #takeIdle(key: KeyPool<B>): Slot<B> | undefined {
    const next = () => (key.isShared ? key.idle.first : key.idle.last);
    for (let slot = next(); slot; slot = next()) {
      this.#leaveIdle(slot);
      if (slot.backend.isAlive) return slot;
      this.#shut(slot);
    }
    return undefined;
  }

  /** It has idled for so long that its server may have vanished without a word. */
  #isStale(slot: Slot<B>): boolean {
    const { checkAfterMs = 0 } = this.#parts.options();
    return checkAfterMs > 0 && this.#sweptMs - slot.idleSinceMs >= checkAfterMs;
  }

  /** Asks one that has idled for long whether it is there. @returns it, or room for another where it is not. */
  async #prove(slot: Slot<B>, signal: AbortSignal): Promise<Slot<B> | Room> {
    if (!this.#isStale(slot)) return slot;
    const isThere = (await this.#checks.wait(slot.backend.answers())) && this.#isCurrent(slot);
    if (signal.aborted || this.#closed) {
      this.#leased++; // as if it had been lent and come back
      this.#putBack(slot, isThere);
      throw signal.aborted ? signal.reason : poolClosed();
    }
    if (isThere) return slot;
    this.#vanished++;
    this.#parts.log.write("info", "idle backend gone without a word", { database: slot.key.database.name });
    slot.key.uses++; // before the loss of this one has it forgotten
    const freed = this.#open < this.budget ? this.#shut(slot) : this.#discard(slot);
    // What idled as long stood on the same server; asking each of them would have each client wait as long.
    for (let other = this.#idle.first; other && this.#isStale(other); other = this.#idle.first) this.#closeIdle(other);
    return { freed };
  }

  #lend(slot: Slot<B>): Lease<B> {
    slot.idleSinceMs = Number.POSITIVE_INFINITY;
    this.#leased++;
    return new SlotLease(slot, this);
  }

  async #dialInto(room: Room, key: KeyPool<B>, request: BackendRequest, signal: AbortSignal): Promise<Lease<B>> {
    const { clock, dialer } = this.#parts;
    try {
      if (room.freed) await room.freed;
      const beganMs = clock.nowMs();
      const backend = await dialer.dial(request, signal);
      const nowMs = clock.nowMs();
      const endsMs = nowMs + Math.min(turnPerLogin * (nowMs - beganMs), longestTurnMs);
      return this.#lend(new Slot(backend, key, { endsMs, lastTicket: this.#line.lastTicket }));
    } catch (error) {
      this.#held--;
      this.#line.gaveBack(key.database);
      this.#unuse(key);
      this.settle();
      throw error;
    }
  }

  #isCurrent(slot: Slot<B>): boolean {
    return slot.generation === slot.key.database.generation && !this.#closed && slot.backend.isAlive;
  }

  #putBack(slot: Slot<B>, clean: boolean): void {
    const { database } = slot.key;
    this.#leased--;
    this.#held--;
    this.#line.gaveBack(database);
    if (!clean || !this.#isCurrent(slot)) {
      this.#shut(slot);
      this.settle();
      return;
    }
    const nowMs = this.#parts.clock.nowMs();
    const next = this.#nextInTurn(slot, nowMs);
    if (next && this.#mayHold(database)) {
      this.#line.leave(next);
      this.#held++;
      this.#line.took(database);
      next.serve(slot);
      return;
    }
    slot.idleSinceMs = nowMs;
    slot.backend.onDeath = () => this.#closeIdle(slot);
    this.#idle.push(slot.byAge);
    slot.key.idle.push(slot.byKey);
    database.idle++;
    if (this.#line.size > 0 || this.#isAboveBudget) this.settle();
  }

  /** The first of its own database's line, while that comes before all others. */
  #nextInTurn({ key, turn }: Slot<B>, nowMs: number): Waiter<B> | undefined {
    const next = key.database.line.first as Waiter<B> | undefined;
    return next?.key === key && nowMs < turn.endsMs && next.ticket <= turn.lastTicket ? next : undefined;
  }

  /** Whether one that comes back will be lent again: a reset is wasted on what makes room for another database at once. */
  #isWanted(slot: Slot<B>): boolean {
    const first = this.#line.firstAfter(slot.key.database);
    if (!first || first.key === slot.key || this.#idle.size > 0 || this.#isKeptFrom(first.key.database, slot)) return true;
    return this.#nextInTurn(slot, this.#parts.clock.nowMs()) !== undefined || !this.#mayHold(first.key.database, this.#held - 1);
  }

  #closeIdle(slot: Slot<B>): void {
    if (!this.#leaveIdle(slot)) return;
    this.#shut(slot);
    this.settle();
  }

  #leaveIdle(slot: Slot<B>): boolean {
    slot.backend.onDeath = undefined;
    if (!this.#idle.remove(slot.byAge)) return false;
    slot.key.idle.remove(slot.byKey);
    slot.key.database.idle--;
    return true;
  }

  /** Closes one that nobody holds. It counts until it is gone. */
  #shut(slot: Slot<B>): undefined {
    const gone = this.#discard(slot);
    if (!gone) return;
    this.#closing++;
    void gone.then(() => {
      this.#closing--;
      this.settle();
    });
  }

  #discard(slot: Slot<B>): Promise<void> | undefined {
    this.#unuse(slot.key);
    return slot.backend.close();
  }

  #unuse(key: KeyPool<B>): void {
    key.uses--;
    if (key.uses > 0) return;
    const { database } = key;
    key.isForgotten = true;
    database.keys.delete(key.text);
    if (database.keys.size === 0) this.#databases.delete(database.name);
  }

  #wait(key: KeyPool<B>, asking: Asking<B>, signal: AbortSignal): Promise<Slot<B> | Room> {
    const { clock, metrics } = this.#parts;
    return new Promise<Slot<B> | Room>((resolve, reject) => {
      const end = () => {
        signal.removeEventListener("abort", onAbort);
        this.#unuse(key);
        asking.waiter = undefined;
        this.#onRoom(false);
      };
      const serve = (granted: Slot<B> | Room) => {
        end();
        metrics.waits.observe((clock.nowMs() - waiter.sinceMs) / 1000);
        resolve(granted);
      };
      const refuse = (reason: unknown) => {
        end();
        reject(reason ?? this.#slotRefused(asking.request));
      };
      const waiter = new Waiter(key, clock.nowMs(), serve, refuse);
      const onAbort = () => {
        if (this.#line.leave(waiter)) refuse(signal.reason);
      };
      key.uses++;
      signal.addEventListener("abort", onAbort);
      this.#line.enter(waiter);
      asking.waiter = waiter;
      this.#onRoom(false);
    });
  }

  #slotRefused(request: BackendRequest): GatewayError {
    const down = this.#parts.dialer.whyDown?.(request);
    if (down) return down;
    const { budget, connectWaitMs } = this.#parts.options();
    // Where several processes share the budget, the rest of it is in use by the others.
    const held = this.#granted === undefined ? this.#held : budget;
    const kept = held < budget ? ", the rest is kept for databases with fewer" : "";
    return new GatewayError(
      "no_backend_slot",
      `no database connection became free for "${request.displayName}" within ${connectWaitMs} ms: ${held} of ${budget} in use${kept}`,
      { hint: "Retry later, or raise backend_budget." },
    );
  }
}

function poolClosed(): GatewayError {
  return new GatewayError("shutdown", "terminating connection due to gateway shutdown");
}
