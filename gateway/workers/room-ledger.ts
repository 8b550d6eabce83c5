/**
 * Who has how much of a cluster's backend budget. Each worker begins with an equal part and opens backends within what it has without asking;
 * what one does not use goes to whoever needs it: unused room first, then the place of the longest idle backend of all workers. When
 * everything is in use, a worker that has less than its part gets it back as others' backends come free.
 */
import type { Offer } from "./calls.ts";

/** A worker, as far as room for backends goes. Questions to one that is gone reject. */
export interface Borrower {
  offer(cluster: string): Promise<Offer>;
  surrender(cluster: string, backends: number, mayClose: boolean): Promise<number>;
  lend(cluster: string, backends: number): void;
  recall(cluster: string, backends: number, part: number): void;
}

interface Account {
  lent: number;
  /** Of that, what it has promised to give back. */
  promised: number;
  /** How much more it would use at once. */
  wanted: number;
}

interface Book {
  readonly cluster: string;
  readonly accounts: Map<Borrower, Account>;
  isRecalled: boolean;
  /** One search at a time. */
  searching: Promise<void>;
}

export class RoomLedger {
  readonly #budget: () => number;
  readonly #books: Book[];
  /** Places of workers; one that is empty waits for its worker to be started again. */
  readonly #places: (Borrower | undefined)[];

  constructor(clusters: Iterable<string>, workers: number, budget: () => number) {
    this.#budget = budget;
    this.#books = [...clusters].map(openBook);
    this.#places = new Array(workers).fill(undefined);
  }

  /** @returns what it may have to begin with, by cluster. */
  join(place: number, borrower: Borrower): Record<string, number> {
    this.#places[place] = borrower;
    const room: Record<string, number> = {};
    for (const book of this.#books) {
      const lent = Math.max(0, Math.min(this.#partOf(place), freeOf(book, this.#budget())));
      book.accounts.set(borrower, { lent, promised: 0, wanted: 0 });
      room[book.cluster] = lent;
    }
    return room;
  }

  /** Its backends are closed with it. */
  leave(borrower: Borrower): void {
    const place = this.#places.indexOf(borrower);
    if (place >= 0) this.#places[place] = undefined;
    for (const book of this.#books) {
      book.accounts.delete(borrower);
      this.#serve(book);
    }
  }

  /** @param waiting clients in line; with 0, unused room of others is wanted, but nothing is to be closed for it. */
  async want(borrower: Borrower, cluster: string, waiting: number): Promise<void> {
    const book = this.#bookOf(cluster);
    const account = book.accounts.get(borrower);
    if (!account) return;
    account.wanted = Math.max(1, waiting);
    this.#serve(book);
    if (account.wanted === 0) return;
    book.searching = book.searching.then(() => this.#search(book, borrower, waiting > 0));
    await book.searching;
    if (waiting === 0) account.wanted = 0;
    else this.#recall(book);
  }

  wantLess(borrower: Borrower, cluster: string, waiting: number): void {
    const book = this.#bookOf(cluster);
    const account = book.accounts.get(borrower);
    if (account) account.wanted = Math.min(account.wanted, waiting);
    this.#recall(book);
  }

  /** @param promised what is still to come of what it was asked for. */
  returned(borrower: Borrower, cluster: string, backends: number, promised: number): void {
    const book = this.#bookOf(cluster);
    const account = book.accounts.get(borrower);
    if (!account) return;
    account.lent -= backends;
    account.promised = promised;
    this.#serve(book);
    this.#recall(book);
  }

  /** The budget has changed. A smaller one is reached as backends come free. */
  rebalance(): void {
    for (const book of this.#books) {
      this.#serve(book);
      this.#recall(book);
    }
  }

  /** What each has, by place. */
  lent(cluster: string): readonly number[] {
    const { accounts } = this.#bookOf(cluster);
    return this.#places.map((borrower) => (borrower && accounts.get(borrower)?.lent) ?? 0);
  }

  /** Lends what is free, to whom has least of those that want any. */
  #serve(book: Book): void {
    const lending = new Map<Borrower, number>();
    for (let free = freeOf(book, this.#budget()); free > 0; free--) {
      const [borrower, account] = [...book.accounts].filter(([, each]) => each.wanted > 0).sort(([, a], [, b]) => a.lent - b.lent)[0] ?? [];
      if (!borrower || !account) break;
      account.wanted--;
      account.lent++;
      lending.set(borrower, (lending.get(borrower) ?? 0) + 1);
    }
    for (const [borrower, backends] of lending) borrower.lend(book.cluster, backends);
  }

  /** Asks the others what they could do without, and takes the best offers, until enough is promised or nothing more is offered. */
  async #search(book: Book, wanting: Borrower, mayClose: boolean): Promise<void> {
    for (let missing = this.#missing(book); missing > 0; missing = this.#missing(book)) {
      const best = await this.#bestOffer(book, wanting, mayClose);
      if (!best || this.#missing(book) <= 0) return;
      // Of unused room a good piece at once, lest the next client asks again; an idle backend is closed only for a client that is there.
      const backends = best.unused > 0 ? Math.min(best.unused, Math.max(missing, Math.ceil(best.unused / 2))) : 1;
      const surrendered = await best.borrower.surrender(book.cluster, backends, mayClose).catch(() => 0);
      if (surrendered === 0) return;
    }
  }

  async #bestOffer(book: Book, wanting: Borrower, mayClose: boolean): Promise<{ borrower: Borrower; unused: number } | undefined> {
    const others = [...book.accounts.keys()].filter((each) => each !== wanting);
    const offers = await Promise.all(
      others.map(async (borrower) => ({ borrower, ...(await borrower.offer(book.cluster).catch((): Offer => ({ unused: 0 }))) })),
    );
    const useful = offers.filter(({ unused, idleMs }) => unused > 0 || (mayClose && typeof idleMs === "number"));
    return useful.sort((a, b) => b.unused - a.unused || (b.idleMs ?? -1) - (a.idleMs ?? -1))[0];
  }

  /** Tells everybody what is still missing, and that nothing is any more. */
  #recall(book: Book): void {
    const missing = Math.max(0, this.#missing(book));
    if (missing === 0 && !book.isRecalled) return;
    book.isRecalled = missing > 0;
    this.#places.forEach((borrower, place) => {
      borrower?.recall(book.cluster, missing, this.#partOf(place));
    });
  }

  /** What is wanted, or lent beyond a budget that was made smaller, and neither free nor promised. */
  #missing(book: Book): number {
    let missing = -freeOf(book, this.#budget());
    for (const { wanted, promised } of book.accounts.values()) missing += wanted - promised;
    return missing;
  }

  #partOf(place: number): number {
    const budget = this.#budget();
    const workers = this.#places.length;
    return Math.floor(budget / workers) + (place < budget % workers ? 1 : 0);
  }

  #bookOf(cluster: string): Book {
    const known = this.#books.find((each) => each.cluster === cluster);
    if (known) return known;
    // Added while the workers ran: they have no room there until they ask.
    const book = openBook(cluster);
    for (const borrower of this.#places) if (borrower) book.accounts.set(borrower, { lent: 0, promised: 0, wanted: 0 });
    this.#books.push(book);
    return book;
  }
}

function openBook(cluster: string): Book {
  return { cluster, accounts: new Map(), isRecalled: false, searching: Promise.resolve() };
}

function freeOf(book: Book, budget: number): number {
  let free = budget;
  for (const { lent } of book.accounts.values()) free -= lent;
  return free;
}
