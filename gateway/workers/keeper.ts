/** What the first process counts for its workers, and gives back when one of them ends: connections, places, room for backends. */
import type { Bans } from "../../core/ban.ts";
import type { Admission, Gate } from "../../core/limit.ts";
import { OwnPlaces } from "../../core/live.ts";
import type { Log } from "../../core/log.ts";
import type { KeeperCalls, Verdict, WorkerCalls } from "./calls.ts";
import type { Channel } from "./channel.ts";
import type { Borrower, RoomLedger } from "./room-ledger.ts";

export interface KeeperDeps {
  readonly gate: Gate;
  readonly bans: Bans;
  readonly log: Log;
  readonly rooms: RoomLedger;
}

export class Keeper {
  readonly deps: KeeperDeps;
  readonly places = new OwnPlaces();
  readonly #accounts = new Set<WorkerAccount>();

  constructor(deps: KeeperDeps) {
    this.deps = deps;
  }

  /** @param place among the workers, from 0. */
  open(place: number): WorkerAccount {
    const account = new WorkerAccount(this, place);
    this.#accounts.add(account);
    return account;
  }

  forget(account: WorkerAccount): void {
    this.#accounts.delete(account);
  }

  /** @returns true when a worker other than `asking` has the session. */
  async cancel(asking: WorkerAccount, pid: number, secret: string): Promise<boolean> {
    const others = [...this.#accounts].filter((account) => account !== asking);
    const found = await Promise.all(others.map((account) => account.worker.ask("cancel", pid, secret).catch(() => false))); // gone, and its sessions with it
    return found.includes(true);
  }
}

/** What one worker has of it. */
export class WorkerAccount implements KeeperCalls {
  readonly #keeper: Keeper;
  readonly #admissions = new Map<number, Admission>();
  readonly #places = new Map<string, number>();
  readonly #borrower: Borrower = {
    offer: (cluster) => this.worker.ask("offerRoom", cluster),
    surrender: (cluster, backends, mayClose) => this.worker.ask("surrenderRoom", cluster, backends, mayClose),
    lend: (cluster, backends) => this.worker.tell("lendRoom", cluster, backends),
    recall: (cluster, backends, part) => this.worker.tell("recallRoom", cluster, backends, part),
  };
  readonly room: Readonly<Record<string, number>>;
  /** Nothing can be asked before. */
  readonly isReady: Promise<void>;
  ready!: () => void;
  /** To be set before the worker can ask anything. */
  worker!: Channel<WorkerCalls>;
  #isClosed = false;

  constructor(keeper: Keeper, place: number) {
    this.#keeper = keeper;
    this.isReady = new Promise((done) => {
      this.ready = done;
    });
    this.room = keeper.deps.rooms.join(place, this.#borrower);
  }

  async admit(connection: number, address: string): Promise<Verdict> {
    const admission = this.#keeper.deps.gate.admit(address);
    if (this.#isClosed) admission.release();
    else this.#admissions.set(connection, admission);
    const refusal = admission.refusal ?? (await admission.shared);
    if (!refusal) return { isTold: true };
    return { isTold: admission.isTold, refusal: { kind: refusal.kind, message: refusal.message, retryAfterS: refusal.details.retryAfterS } };
  }

  refund(connection: number): void {
    this.#admissions.get(connection)?.refund();
  }

  release(connection: number): void {
    this.#admissions.get(connection)?.release();
    this.#admissions.delete(connection);
  }

  allowWrongCancel(connection: number): boolean | Promise<boolean> {
    const admission = this.#admissions.get(connection);
    return admission === undefined || this.#keeper.deps.gate.allowWrongCancel(admission);
  }

  async recordFailure(addressKey: string): Promise<void> {
    const { bans, log } = this.#keeper.deps;
    if (await bans.recordFailure(addressKey)) log.write("warn", "address banned", { address: addressKey, seconds: bans.secondsLeft(addressKey) });
  }

  recordSuccess(addressKey: string): void {
    this.#keeper.deps.bans.recordSuccess(addressKey);
  }

  takePlace(database: string, limit: number): boolean {
    if (!this.#keeper.places.take(database, limit)) return false;
    this.#places.set(database, (this.#places.get(database) ?? 0) + 1);
    return true;
  }

  givePlace(database: string): void {
    const taken = this.#places.get(database) ?? 0;
    if (taken === 0) return;
    this.#keeper.places.give(database);
    if (taken > 1) this.#places.set(database, taken - 1);
    else this.#places.delete(database);
  }

  cancel(pid: number, secret: string): Promise<boolean> {
    return this.#keeper.cancel(this, pid, secret);
  }

  wantRoom(cluster: string, waiting: number): Promise<void> {
    return this.#keeper.deps.rooms.want(this.#borrower, cluster, waiting);
  }

  wantLess(cluster: string, waiting: number): void {
    this.#keeper.deps.rooms.wantLess(this.#borrower, cluster, waiting);
  }

  returnRoom(cluster: string, backends: number, promised: number): void {
    this.#keeper.deps.rooms.returned(this.#borrower, cluster, backends, promised);
  }

  /** The worker has ended: everything it had is free again. */
  close(): void {
    this.#isClosed = true;
    for (const admission of this.#admissions.values()) admission.release();
    this.#admissions.clear();
    for (const [database, taken] of this.#places) for (let i = 0; i < taken; i++) this.#keeper.places.give(database);
    this.#places.clear();
    this.#keeper.deps.rooms.leave(this.#borrower);
    this.#keeper.forget(this);
  }
}
