/** Who is next for a backend: of the databases with clients in line the one that holds least, and within a database whoever came first. */
import { LinkedList, ListNode } from "./linked-list.ts";

/** A database as the line sees it. */
export class Claimant {
  /** Backends it has: lent, being logged in, being reset. Idle ones are nobody's. */
  held = 0;
  readonly line: LinkedList<Place> = new LinkedList();
  /** Ticket of its last turn. */
  servedAt = 0;
  /** Since when it is its turn: when its first client came, or it was served last, whichever was later. */
  turn = 0;
  /** Where it is among the claimants with clients in line, -1 when it has none. */
  at = -1;
  /** Whether the places of its clients bear their numbers. */
  isNumbered = false;

  /** Has a backend or wants one. */
  get isBusy(): boolean {
    return this.held > 0 || this.at >= 0;
  }
}

/** A client in line. */
export class Place {
  readonly claimant: Claimant;
  readonly sinceMs: number;
  ticket = 0;
  /** Its number in the claimant's line as of the last count. */
  number = 0;
  readonly inClaimant: ListNode<Place>;
  readonly inLine: ListNode<Place>;

  constructor(claimant: Claimant, sinceMs: number) {
    this.claimant = claimant;
    this.sinceMs = sinceMs;
    this.inClaimant = new ListNode<Place>(this);
    this.inLine = new ListNode<Place>(this);
  }
}

/**
 * Entering, leaving and asking who is first cost the logarithm of the databases in line, however many clients there are.
 * Among databases that hold equally many the turn decides, so that a long line does not make its database the first again and again.
 */
export class FairLine<P extends Place> {
  /** In order of arrival, of all databases. */
  readonly #arrivals = new LinkedList<Place>();
  /** Binary heap of the claimants with clients in line. */
  readonly #claimants: Claimant[] = [];
  #tickets = 0;
  #busy = 0;

  get size(): number {
    return this.#arrivals.size;
  }

  /** Databases with clients in line. */
  get claimants(): number {
    return this.#claimants.length;
  }

  /** Databases that have a backend or want one. */
  get busy(): number {
    return this.#busy;
  }

  /** Who has waited longest. */
  get oldest(): P | undefined {
    return this.#arrivals.first as P | undefined;
  }

  /** Who is next. */
  get first(): P | undefined {
    return this.#claimants[0]?.line.first as P | undefined;
  }

  /** Of whoever came or was served last. */
  get lastTicket(): number {
    return this.#tickets;
  }

  enter(place: P): void {
    const { claimant } = place;
    place.ticket = ++this.#tickets;
    this.#arrivals.push(place.inLine);
    claimant.line.push(place.inClaimant);
    claimant.isNumbered = false;
    if (claimant.line.size > 1) return;
    if (!claimant.isBusy) this.#busy++;
    claimant.turn = Math.max(place.ticket, claimant.servedAt);
    claimant.at = this.#claimants.length;
    this.#claimants.push(claimant);
    this.#rise(claimant);
  }

  /** @returns false when it was not in line. */
  leave(place: P): boolean {
    const { claimant } = place;
    if (!this.#arrivals.remove(place.inLine)) return false;
    claimant.line.remove(place.inClaimant);
    claimant.isNumbered = false;
    this.#settle(claimant);
    return true;
  }

  /** The claimant takes a backend, from the line or past it. */
  took(claimant: Claimant): void {
    if (!claimant.isBusy) this.#busy++;
    claimant.held++;
    claimant.servedAt = ++this.#tickets;
    if (claimant.at >= 0) this.#settle(claimant);
  }

  gaveBack(claimant: Claimant): void {
    claimant.held--;
    if (!claimant.isBusy) this.#busy--;
    if (claimant.at >= 0) this.#rise(claimant);
  }

  /** Who would be next if the claimant gave one back. */
  firstAfter(claimant: Claimant): P | undefined {
    claimant.held--;
    if (claimant.at >= 0) this.#rise(claimant);
    const { first } = this;
    claimant.held++;
    if (claimant.at >= 0) this.#sink(claimant);
    return first;
  }

  /** 1 = next of its database. All of a database are counted at once, so that asking for every one costs no more. */
  numberOf(place: P): number {
    const { claimant } = place;
    if (!claimant.isNumbered) {
      let number = 0;
      for (const each of claimant.line) each.number = ++number;
      claimant.isNumbered = true;
    }
    return place.number;
  }

  /** After its first client or what it holds has changed: it can only have moved back. */
  #settle(claimant: Claimant): void {
    const { first } = claimant.line;
    if (!first) {
      this.#drop(claimant);
      return;
    }
    claimant.turn = Math.max(first.ticket, claimant.servedAt);
    this.#sink(claimant);
  }

  #drop(claimant: Claimant): void {
    const last = this.#claimants.pop() as Claimant;
    if (last !== claimant) {
      this.#put(last, claimant.at);
      this.#rise(last);
      this.#sink(last);
    }
    claimant.at = -1;
    if (!claimant.isBusy) this.#busy--;
  }

  #rise(claimant: Claimant): void {
    while (claimant.at > 0) {
      const parent = this.#claimants[(claimant.at - 1) >> 1] as Claimant;
      if (!isBefore(claimant, parent)) return;
      const { at } = parent;
      this.#put(parent, claimant.at);
      this.#put(claimant, at);
    }
  }

  #sink(claimant: Claimant): void {
    for (;;) {
      const left = this.#claimants[2 * claimant.at + 1];
      const right = this.#claimants[2 * claimant.at + 2];
      const child = left && right && isBefore(right, left) ? right : left;
      if (!child || !isBefore(child, claimant)) return;
      const { at } = child;
      this.#put(child, claimant.at);
      this.#put(claimant, at);
    }
  }

  #put(claimant: Claimant, at: number): void {
    this.#claimants[at] = claimant;
    claimant.at = at;
  }
}

function isBefore(one: Claimant, other: Claimant): boolean {
  return one.held < other.held || (one.held === other.held && one.turn < other.turn);
}
