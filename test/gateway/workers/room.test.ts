/** Room for backends, lent by one ledger to several workers: never more than the budget, and nobody waits while another does without. */
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../../core/clock.ts";
import type { KeeperCalls } from "../../../gateway/workers/calls.ts";
import type { Channel } from "../../../gateway/workers/channel.ts";
import { type Borrower, RoomLedger } from "../../../gateway/workers/room-ledger.ts";
import { type GrantedPool, RoomShare } from "../../../gateway/workers/room-share.ts";
import { Prng } from "../../engines/postgres/support/prng.ts";

const cluster = "main";

/** The pool's side of the bargain, as core/cluster-pool.ts keeps it: clients that all want backends of databases of their own. */
class ScriptedPool implements GrantedPool {
  onRoom: GrantedPool["onRoom"];
  roomOf: GrantedPool["roomOf"];
  granted = 0;
  leased = 0;
  closing = 0;
  waiting = 0;
  /** When each became idle, oldest first. */
  readonly idle: number[] = [];
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  grant(_: string, backends: number): void {
    this.granted = backends;
    this.#settle();
  }

  countsOf() {
    const [idle, waiting] = [this.idle.length, this.waiting];
    const counts = { open: this.leased + idle, idle, leased: this.leased, closing: this.closing, waiting };
    return { ...counts, waitingDatabases: Math.min(1, waiting), longestWaitMs: 0, refused: 0, evicted: 0, vanished: 0 };
  }

  longestIdleMs(): number | undefined {
    return this.idle[0] === undefined ? undefined : this.#clock.nowMs() - this.idle[0];
  }

  get used(): number {
    return this.leased + this.idle.length + this.closing;
  }

  connect(): void {
    this.waiting++;
    this.#settle();
  }

  leave(): void {
    if (this.leased === 0) return;
    this.leased--;
    this.idle.push(this.#clock.nowMs());
    this.#settle();
  }

  giveUp(): void {
    if (this.waiting > 0) this.waiting--;
    this.onRoom?.(cluster, false);
  }

  /** The server has let go of one. */
  gone(): void {
    if (this.closing === 0) return;
    this.closing--;
    this.#settle();
  }

  #settle(): void {
    while (this.idle.length > 0 && this.leased + this.idle.length > this.granted) {
      this.idle.shift();
      this.closing++;
    }
    while (this.waiting > 0 && this.leased + this.closing < this.granted) {
      this.waiting--;
      // In place of the oldest idle one where the room is full; that one is gone before the login begins.
      const isSpent = this.used >= this.granted;
      this.leased++;
      if (isSpent && this.idle.shift() !== undefined) this.onRoom?.(cluster, true);
    }
    this.onRoom?.(cluster, false);
  }
}

/** Messages between ledger and workers, each direction in order, delivered one at a time. */
class Post {
  readonly #queues = new Map<string, (() => void)[]>();

  send(lane: string, deliver: () => void): void {
    const queue = this.#queues.get(lane) ?? [];
    this.#queues.set(lane, queue);
    queue.push(deliver);
  }

  get lanes(): string[] {
    return [...this.#queues].filter(([, queue]) => queue.length > 0).map(([lane]) => lane);
  }

  async deliver(lane: string): Promise<void> {
    this.#queues.get(lane)?.shift()?.();
    for (let i = 0; i < 20; i++) await Promise.resolve(); // what waits for an answer goes on
  }

  async deliverAll(): Promise<void> {
    for (let lane = this.lanes[0]; lane !== undefined; lane = this.lanes[0]) await this.deliver(lane);
  }
}

function makeWorkers(count: number, startBudget: number) {
  const clock = new ManualClock();
  const post = new Post();
  const world = { budget: startBudget };
  const ledger = new RoomLedger([cluster], count, () => world.budget);
  const start = (place: number) => {
    const pool = new ScriptedPool(clock);
    const ask = <T>(down: () => T): Promise<T> =>
      new Promise((resolve) =>
        post.send(`down ${place}`, () => {
          const answer = down();
          post.send(`up ${place}`, () => resolve(answer));
        }),
      );
    const borrower: Borrower = {
      offer: () => ask(() => share.offer(cluster)),
      surrender: (_, backends, mayClose) => ask(() => share.surrender(cluster, backends, mayClose)),
      lend: (_, backends) => post.send(`down ${place}`, () => share.lend(cluster, backends)),
      recall: (_, backends, part) => post.send(`down ${place}`, () => share.recall(cluster, backends, part)),
    };
    const keeper = {
      ask: (_name: "wantRoom", _cluster: string, waiting: number) =>
        new Promise<void>((resolve) =>
          post.send(`up ${place}`, () => {
            void ledger.want(borrower, cluster, waiting).then(() => post.send(`down ${place}`, resolve));
          }),
        ),
      tell: (name: "wantLess" | "returnRoom", _cluster: string, amount: number, promised = 0) =>
        post.send(`up ${place}`, () =>
          name === "wantLess" ? ledger.wantLess(borrower, cluster, amount) : ledger.returned(borrower, cluster, amount, promised),
        ),
    } as unknown as Pick<Channel<KeeperCalls>, "ask" | "tell">;
    const share = new RoomShare(pool, keeper, clock, ledger.join(place, borrower));
    return { pool, borrower, share };
  };
  const workers = Array.from({ length: count }, (_, place) => start(place));
  const settle = async () => {
    await post.deliverAll();
    clock.advance(100); // the sweep tells what has become of lines
    await post.deliverAll();
  };
  const used = () => workers.reduce((sum, { pool }) => sum + pool.used, 0);
  return { clock, post, world, ledger, workers, settle, used };
}

describe("room for backends", () => {
  it("is shared out equally, and what one does not use goes to another that needs it", async () => {
    const { workers, settle, ledger, used } = makeWorkers(2, 7);
    expect(ledger.lent(cluster)).toEqual([4, 3]);
    for (let i = 0; i < 8; i++) workers[0]!.pool.connect();
    await settle();
    expect([workers[0]!.pool.leased, workers[0]!.pool.waiting, used()]).toEqual([7, 1, 7]);
    expect(ledger.lent(cluster)).toEqual([7, 0]);
  });

  it("comes back to a worker that has less than its part, as backends come free", async () => {
    const { workers, settle } = makeWorkers(2, 6);
    const [a, b] = workers.map(({ pool }) => pool) as [ScriptedPool, ScriptedPool];
    for (let i = 0; i < 10; i++) a.connect();
    await settle();
    for (let i = 0; i < 5; i++) b.connect();
    await settle();
    expect([a.leased, b.leased]).toEqual([6, 0]);
    for (let i = 0; i < 3; i++) {
      a.leave();
      await settle();
      a.gone();
      await settle();
    }
    expect([a.leased, a.waiting, b.leased, b.waiting]).toEqual([3, 4, 3, 2]);
    a.leave();
    await settle();
    expect([a.leased, b.leased]).toEqual([3, 3]);
  });

  it("closes the backend of all workers that was idle for longest, when a client waits, and no other", async () => {
    const { workers, settle, clock } = makeWorkers(3, 3);
    const pools = workers.map(({ pool }) => pool);
    for (const pool of pools) pool.connect();
    for (const pool of [pools[2]!, pools[1]!]) {
      pool.leave();
      clock.advance(1000);
    }
    pools[0]!.connect();
    await settle();
    expect(pools.map((pool) => [pool.idle.length, pool.closing])).toEqual([
      [0, 0],
      [1, 0],
      [0, 1],
    ]);
    pools[2]!.gone();
    await settle();
    expect([pools[0]!.leased, pools[0]!.waiting]).toEqual([2, 0]);
  });

  it("of a worker that has ended is lent again", async () => {
    const { workers, settle, ledger } = makeWorkers(2, 4);
    for (let i = 0; i < 4; i++) workers[0]!.pool.connect();
    await settle();
    ledger.leave(workers[1]!.borrower);
    await settle();
    expect(workers[0]!.pool.leased).toBe(4);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("is never more than the budget, and never idle while a client waits (random run %i)", async (seed) => {
    const random = new Prng(seed);
    const below = (n: number) => random.int(n);
    const { workers, settle, used, post, world, ledger, clock } = makeWorkers(2 + below(3), 2 + below(9));
    for (let step = 0; step < 600; step++) {
      const { pool } = workers[below(workers.length)]!;
      const lanes = post.lanes;
      const act = below(8);
      if (act < 2) pool.connect();
      else if (act === 2) pool.leave();
      else if (act === 3) pool.gone();
      else if (act === 4 && below(3) === 0) pool.giveUp();
      else if (act === 5 && below(4) === 0) clock.advance(50);
      else if (lanes.length > 0) await post.deliver(lanes[below(lanes.length)]!);
      expect(used(), `step ${step}`).toBeLessThanOrEqual(world.budget);
    }
    for (let round = 0; round < 50; round++) {
      for (const { pool } of workers) while (pool.closing > 0) pool.gone();
      await settle();
    }
    const lent = ledger.lent(cluster).reduce((sum, each) => sum + each, 0);
    expect(lent).toBeLessThanOrEqual(world.budget);
    const waiting = workers.reduce((sum, { pool }) => sum + pool.waiting, 0);
    const leased = workers.reduce((sum, { pool }) => sum + pool.leased, 0);
    if (waiting > 0) expect(leased).toBe(world.budget);
  });
});
