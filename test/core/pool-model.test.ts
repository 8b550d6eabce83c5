/** The pool beside a model of it that is too simple to be wrong: whatever happens in whatever order, the same clients are served. */
import { describe, expect, it } from "vitest";
import type { Lease } from "../../core/pool.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { type FakeBackend, makePool } from "./support/fake-pool.ts";

const connectWaitMs = 1600;
const idleTimeoutMs = 5000;
const sweepMs = 50;
const names = ["a", "b", "c", "d", "e"];

interface Client {
  readonly id: number;
  readonly database: string;
  readonly abort: AbortController;
  readonly sinceMs: number;
  lease?: Lease<FakeBackend>;
  state: "waiting" | "served" | "refused" | "left";
}

/** What idles, as the model knows it. */
interface Idle {
  readonly backend: FakeBackend;
  readonly database: string;
  readonly sinceMs: number;
}

/** Every rule as one sentence over plain lists. */
class Model {
  readonly waiting: Client[] = [];
  readonly held: Client[] = [];
  /** Least recently used first. */
  idle: Idle[] = [];
  nowMs = 0;
  budget: number;
  readonly reserveShare: number;
  readonly minimum: number;
  /** When each database was served last, and each client came, on one count. */
  readonly #count = new Map<string | Client, number>();
  #events = 0;

  constructor(budget: number, reserveShare: number, minimum: number) {
    this.budget = budget;
    this.reserveShare = reserveShare;
    this.minimum = minimum;
  }

  holds(database: string): number {
    return this.held.filter((client) => client.database === database).length;
  }

  mayHold(database: string): boolean {
    const kept = this.holds(database) < this.minimum ? 0 : Math.floor(this.budget * this.reserveShare);
    return this.held.length < this.budget - kept;
  }

  /** Within the budget, with one of its own that idles, or in place of another's that is not kept from it. */
  mayServe(database: string): boolean {
    if (!this.mayHold(database)) return false;
    return this.held.length + this.idle.length < this.budget || this.idle.some((each) => !this.isKept(each, database));
  }

  /** Whoever has his share takes nothing that another within his share has just used. */
  isKept({ database, sinceMs }: Idle, from: string): boolean {
    const busy = new Set([...this.held, ...this.waiting].map((client) => client.database)).add(database);
    const share = Math.floor(this.budget / busy.size);
    const has = this.holds(database) + this.idle.filter((each) => each.database === database).length;
    return database !== from && this.holds(from) >= share && has <= share && this.nowMs - sinceMs < connectWaitMs / 4;
  }

  come(client: Client): void {
    if (this.mayServe(client.database)) this.#serve(client);
    else {
      this.waiting.push(client);
      this.#count.set(client, ++this.#events);
    }
  }

  leave(client: Client): void {
    this.waiting.splice(this.waiting.indexOf(client), 1);
  }

  giveBack(client: Client, reusable: boolean): void {
    this.held.splice(this.held.indexOf(client), 1);
    if (reusable) this.idle.push({ backend: client.lease!.backend, database: client.database, sinceMs: this.nowMs });
    this.serveAll();
  }

  /** As often as the pool looks at its deadlines. */
  sweep(): void {
    for (const client of this.waiting.filter(({ sinceMs }) => this.nowMs - sinceMs >= connectWaitMs)) this.leave(client);
    this.idle = this.idle.filter(({ sinceMs }) => this.nowMs - sinceMs < idleTimeoutMs);
    this.serveAll();
  }

  serveAll(): void {
    while (this.idle.length > 0 && this.held.length + this.idle.length > this.budget) this.idle.shift();
    for (let next = this.#next(); next && this.mayServe(next.database); next = this.#next()) {
      this.leave(next);
      this.#serve(next);
    }
  }

  /** Of the first of each database, whoever's holds least; of those, whose turn it has been for longest. */
  #next(): Client | undefined {
    const firsts = names.flatMap((name) => this.waiting.find(({ database }) => database === name) ?? []);
    const turn = (client: Client) => Math.max(this.#count.get(client)!, this.#count.get(client.database) ?? 0);
    return firsts.sort((x, y) => this.holds(x.database) - this.holds(y.database) || turn(x) - turn(y))[0];
  }

  #serve(client: Client): void {
    client.state = "served";
    const own = this.idle.findLast(({ database }) => database === client.database);
    const isSpent = this.held.length + this.idle.length >= this.budget;
    const taken = own ?? (isSpent ? this.idle.find((each) => !this.isKept(each, client.database)) : undefined);
    this.idle = this.idle.filter((each) => each !== taken);
    this.held.push(client);
    this.#count.set(client.database, ++this.#events);
  }
}

class Run {
  readonly random: Prng;
  readonly model: Model;
  readonly world: ReturnType<typeof makePool>;
  /** Everyone who ever came. */
  readonly clients: Client[] = [];
  /** In the order the pool served them. */
  readonly served: number[] = [];

  constructor(seed: number) {
    this.random = new Prng(seed);
    const budget = 1 + this.random.int(6);
    const [reserveShare, minimum] = [this.random.pick([0, 0.2, 0.5]), 1 + this.random.int(2)];
    this.model = new Model(budget, reserveShare, minimum);
    this.world = makePool({ budget, reserveShare, minimum, connectWaitMs, idleTimeoutMs });
    this.model.nowMs = this.world.clock.nowMs();
  }

  come(): void {
    const { random, world, clients, served } = this;
    // One of them has most of the clients.
    const database = random.chance(0.5) ? "a" : random.pick(names);
    const client: Client = { id: clients.length, database, abort: new AbortController(), sinceMs: world.clock.nowMs(), state: "waiting" };
    clients.push(client);
    this.model.come(client);
    world.acquire(database, client.abort.signal).then(
      (lease) => {
        client.lease = lease;
        served.push(client.id);
      },
      (error: { kind?: string; message: string }) => {
        if (error.kind === "no_backend_slot") client.state = "refused";
        else if (error.message !== "left") throw error;
      },
    );
  }

  async step(): Promise<void> {
    const { random, world, model } = this;
    const dice = random.int(20);
    if (dice < 8) this.come();
    else if (dice < 14 && model.held.length > 0) this.giveBack(random.pick(model.held));
    else if (dice < 16 && model.waiting.length > 0) this.leave(random.pick(model.waiting));
    else if (dice === 16) await this.pass(random.pick([10, 400, 1000, 1500, 6000]));
    else if (dice === 17) {
      model.budget = 1 + random.int(6);
      world.pool.grant("main", model.budget);
      model.serveAll();
    } else if (dice === 18) this.die();
    await settle();
  }

  giveBack(client: Client): void {
    const reusable = this.random.chance(0.9);
    this.model.giveBack(client, reusable);
    if (reusable) client.lease!.releaseClean();
    else client.lease!.release(false);
  }

  die(): void {
    const idle = this.world.dialled.findLast(({ isAlive, onDeath }) => isAlive && onDeath);
    this.model.idle = this.model.idle.filter(({ backend }) => backend !== idle);
    idle?.die();
    this.model.serveAll();
  }

  leave(client: Client): void {
    client.state = "left";
    this.model.leave(client);
    client.abort.abort(new Error("left"));
  }

  async pass(ms: number): Promise<void> {
    const { world, model } = this;
    for (const endMs = world.clock.nowMs() + ms; world.clock.nowMs() < endMs; await settle()) {
      const untilSweepMs = sweepMs - (world.clock.nowMs() % sweepMs);
      world.clock.advance(Math.min(untilSweepMs, endMs - world.clock.nowMs()));
      model.nowMs = world.clock.nowMs();
      if (model.nowMs % sweepMs === 0) model.sweep();
    }
  }

  check(where: string): void {
    const { model, world, clients } = this;
    const { open, idle, waiting } = world.pool.counts();
    expect({ waiting, inUse: open - idle, idle }, where).toEqual({
      waiting: model.waiting.length,
      inUse: model.held.length,
      idle: model.idle.length,
    });
    expect(world.real(), where).toBe(open);
    expect(open, where).toBeLessThanOrEqual(Math.max(model.budget, model.held.length));
    const haveOne = clients.filter(({ lease }) => lease).length;
    expect(haveOne, where).toBe(clients.filter(({ state }) => state === "served").length);
    for (const { lease, state } of clients) if (state === "served") expect(lease, where).toBeDefined();
  }
}

describe("pool and its model", () => {
  it("serve the same clients, never above the budget, in order within a database, and lose no backend", async () => {
    for (let seed = 0; seed < 50; seed++) {
      const run = new Run(seed);
      for (let step = 0; step < 60; step++) {
        await run.step();
        run.check(`seed ${seed} step ${step}`);
      }
      // Everybody left in line is served in the end.
      while (run.model.held.length > 0) {
        run.giveBack(run.model.held[0]!);
        await settle();
        run.check(`seed ${seed} at its end`);
      }
      expect(run.model.waiting, `seed ${seed}`).toEqual([]);
      for (const name of names) {
        const own = run.served.filter((id) => run.clients[id]!.database === name);
        expect(own, `seed ${seed}, ${name}`).toEqual([...own].sort((a, b) => a - b));
      }
    }
  });
});
