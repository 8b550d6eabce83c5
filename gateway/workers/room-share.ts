/** A worker's part of the backend budgets: asks the first process for more when it is short, and gives back what others need more. */
import type { Clock } from "../../core/clock.ts";
import type { ClusterCounts } from "../../core/pool.ts";
import type { KeeperCalls, Offer } from "./calls.ts";
import type { Channel } from "./channel.ts";

/** What it needs of the pool that lives in this room; see core/pool.ts. */
export interface GrantedPool {
  grant(clusterId: string, backends: number): void;
  countsOf(clusterId: string): ClusterCounts;
  longestIdleMs(clusterId: string): number | undefined;
  onRoom: ((clusterId: string, evicted: boolean) => void) | undefined;
  roomOf: ((clusterId: string) => number) | undefined;
}

/** How long a question for unused room that brought none is not asked again. */
const askAgainMs = 1000;
/** A line that comes and goes many times a second is told of this often. */
const sweepMs = 100;

interface Share {
  readonly cluster: string;
  /** What this worker has, as the first process knows it. */
  held: number;
  /** Of that, what it was asked for by number, and has not given back yet. */
  promised: number;
  /** What others miss beyond that, and how much this one keeps while its own clients wait. */
  recalled: number;
  part: number;
  /** What the pool may have open now. */
  granted: number;
  /** Asked for, and neither here nor called off. */
  wanted: number;
  isAsking: boolean;
  askedInVainMs: number;
}

export class RoomShare {
  readonly #pool: GrantedPool;
  readonly #keeper: Pick<Channel<KeeperCalls>, "ask" | "tell">;
  readonly #clock: Clock;
  readonly #shares = new Map<string, Share>();
  readonly #stopSweep: () => void;

  /** @param room what it begins with, by cluster. */
  constructor(pool: GrantedPool, keeper: Pick<Channel<KeeperCalls>, "ask" | "tell">, clock: Clock, room: Readonly<Record<string, number>>) {
    this.#pool = pool;
    this.#keeper = keeper;
    this.#clock = clock;
    for (const [cluster, backends] of Object.entries(room)) {
      this.#shares.set(cluster, makeShare(cluster, backends));
      pool.grant(cluster, backends);
    }
    pool.roomOf = (cluster) => this.#shareOf(cluster).granted;
    this.#stopSweep = clock.every(sweepMs, () => this.#sweep());
    pool.onRoom = (cluster, evicted) => this.#look(this.#shareOf(cluster), evicted);
  }

  stop(): void {
    this.#stopSweep();
    this.#pool.onRoom = undefined;
  }

  offer(cluster: string): Offer {
    const { granted } = this.#shareOf(cluster);
    const { open, closing, waiting } = this.#pool.countsOf(cluster);
    if (waiting > 0) return { unused: 0 }; // what is left then is kept for databases that have none
    return { unused: Math.max(0, granted - open - closing), idleMs: this.#pool.longestIdleMs(cluster) };
  }

  surrender(cluster: string, backends: number, mayClose: boolean): number {
    const share = this.#shareOf(cluster);
    const { open, closing, idle, waiting } = this.#pool.countsOf(cluster);
    const spare = waiting > 0 ? 0 : Math.max(0, share.granted - open - closing) + (mayClose ? idle : 0);
    const surrendered = Math.min(backends, spare, share.held - share.promised);
    share.promised += surrendered;
    this.#settle(share, true);
    return surrendered;
  }

  lend(cluster: string, backends: number): void {
    const share = this.#shareOf(cluster);
    share.held += backends;
    share.wanted = Math.max(0, share.wanted - backends);
    this.#settle(share);
    this.#look(share, false);
  }

  recall(cluster: string, backends: number, part: number): void {
    const share = this.#shareOf(cluster);
    share.recalled = backends;
    share.part = part;
    this.#settle(share);
  }

  /** After anything that may have made room, or made it short. */
  #look(share: Share, evicted: boolean): void {
    const { waiting } = this.#pool.countsOf(share.cluster);
    if (share.held !== share.granted || share.recalled > 0) this.#settle(share);
    if (share.isAsking || share.wanted > 0 || (waiting === 0 && !evicted)) return;
    const sinceMs = this.#clock.nowMs() - share.askedInVainMs;
    if (sinceMs >= (waiting > 0 ? sweepMs : askAgainMs)) this.#ask(share, waiting);
  }

  #sweep(): void {
    for (const share of this.#shares.values()) {
      const { waiting } = this.#pool.countsOf(share.cluster);
      if (waiting > share.wanted && !share.isAsking) this.#ask(share, waiting);
      if (waiting >= share.wanted) continue;
      share.wanted = waiting;
      this.#keeper.tell("wantLess", share.cluster, waiting);
    }
  }

  #ask(share: Share, waiting: number): void {
    const before = share.held;
    share.isAsking = true;
    share.wanted = waiting;
    this.#keeper.ask("wantRoom", share.cluster, waiting).then(
      () => {
        share.isAsking = false;
        if (share.held <= before) share.askedInVainMs = this.#clock.nowMs();
        this.#look(share, false);
      },
      () => undefined, // the first process is gone, and so will this one be
    );
  }

  /** Lowers or raises what the pool may have open, and gives back what is free of what was asked for. */
  #settle(share: Share, says = false): void {
    const { cluster } = share;
    const own = share.held - share.promised;
    const keeps = this.#pool.countsOf(cluster).waiting > 0 ? Math.min(share.part, own) : 0;
    const granted = Math.max(keeps, own - share.recalled);
    if (granted !== share.granted) {
      share.granted = granted;
      this.#pool.grant(cluster, granted);
    }
    const { open, closing } = this.#pool.countsOf(cluster);
    const back = share.held - Math.max(open + closing, share.granted);
    if (back <= 0 && !says) return;
    const returned = Math.max(0, back);
    const ofPromised = Math.min(returned, share.promised);
    share.held -= returned;
    share.promised -= ofPromised;
    share.recalled = Math.max(0, share.recalled - (returned - ofPromised));
    this.#keeper.tell("returnRoom", cluster, returned, share.promised);
  }

  #shareOf(cluster: string): Share {
    const known = this.#shares.get(cluster);
    if (known) return known;
    // Added while this worker ran: the first client asks for room.
    const share = makeShare(cluster, 0);
    this.#shares.set(cluster, share);
    return share;
  }
}

function makeShare(cluster: string, backends: number): Share {
  return {
    ...{ cluster, held: backends, promised: 0, recalled: 0, part: backends, granted: backends },
    ...{ wanted: 0, isAsking: false, askedInVainMs: Number.NEGATIVE_INFINITY },
  };
}
