/** The pool beside a model of it that is too simple to be wrong: whatever happens in whatever order, the same clients are served. */
import { describe, expect, it } from "vitest";
import type { Lease } from "../../core/pool.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { type FakeBackend, makePool } from "./support/fake-pool.ts";

const connectWaitMs = 1000;
const names = ["a", "b", "c", "d", "e"];

interface Client {
  readonly id: number;
  readonly database: string;
  readonly abort: AbortController;
  readonly sinceMs: number;
  lease?: Lease<FakeBackend>;
  state: "waiting" | "served" | "refused" | "left";
}

/** Every rule as one sentence over plain lists. */
class Model {
  readonly waiting: Client[] = [];
  readonly held: Client[] = [];
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

  come(client: Client): void {
    if (this.mayHold(client.database)) this.#serve(client);
    else {
      this.waiting.push(client);
      this.#count.set(client, ++this.#events);
    }
  }

  leave(client: Client): void {
    this.waiting.splice(this.waiting.indexOf(client), 1);
  }

  giveBack(client: Client): void {
    this.held.splice(this.held.indexOf(client), 1);
    this.serveAll();
  }

  serveAll(): void {
    for (let next = this.#next(); next && this.mayHold(next.database); next = this.#next()) {
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
    this.world = makePool({ budget, reserveShare, minimum, connectWaitMs, idleTimeoutMs: 5000 });
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
    else if (dice === 16) this.pass(random.pick([10, 400, 1000, 6000]));
    else if (dice === 17) {
      model.budget = 1 + random.int(6);
      world.pool.grant("main", model.budget);
      model.serveAll();
    } else if (dice === 18) world.dialled.findLast(({ isAlive, onDeath }) => isAlive && onDeath)?.die();
    await settle();
  }

  giveBack(client: Client): void {
    this.model.giveBack(client);
    if (this.random.chance(0.1)) client.lease!.release(false);
    else client.lease!.releaseClean();
  }

  leave(client: Client): void {
    client.state = "left";
    this.model.leave(client);
    client.abort.abort(new Error("left"));
  }

  pass(ms: number): void {
    const now = this.world.clock.nowMs() + ms;
    const late = this.model.waiting.filter(({ sinceMs }) => Math.ceil((sinceMs + connectWaitMs) / 50) * 50 <= Math.floor(now / 50) * 50);
    for (const client of late) this.model.leave(client);
    this.world.clock.advance(ms);
  }

  check(where: string): void {
    const { model, world, clients } = this;
    const { open, idle, waiting } = world.pool.counts();
    expect({ where, waiting, inUse: open - idle }, where).toEqual({ where, waiting: model.waiting.length, inUse: model.held.length });
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
