/** Shares of the pool: who is next when the budget is spent, what is kept for whom, and that lending for a transaction costs no more than it must. */
import { describe, expect, it } from "vitest";
import type { Lease, PoolHandle } from "../../core/pool.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { type FakeBackend, makePool, request, watch } from "./support/fake-pool.ts";

const forever = new AbortController().signal;

/** `count` clients of a database that want a backend each, and which of them have one. */
function ask(world: ReturnType<typeof makePool>, name: string, count: number) {
  const asked = Array.from({ length: count }, () => watch(world.acquire(name)));
  const leases = () => asked.flatMap(({ value }) => value ?? []);
  return { asked, leases, served: () => leases().length, failures: () => asked.flatMap(({ error }) => error ?? []) };
}

async function handOver(lease: Lease<FakeBackend> | undefined): Promise<void> {
  lease?.releaseClean();
  await settle();
}

describe("fair shares", () => {
  it("gives what comes free to the database that holds least, however long another's line is", async () => {
    const world = makePool({ budget: 10 });
    const greedy = ask(world, "greedy", 510);
    await settle();
    const modest = ask(world, "modest", 5);
    expect([greedy.served(), modest.served()]).toEqual([10, 0]);
    for (let given = 1; given <= 5; given++) {
      await handOver(greedy.leases()[given - 1]);
      expect([greedy.served(), modest.served()]).toEqual([10, given]);
    }
    // The modest one has all it wants: five of ten each.
    await handOver(greedy.leases()[5]);
    expect([greedy.served(), modest.served()]).toEqual([11, 5]);
  });

  it("takes turns among databases that hold equally many, so that a line behind it makes none the first again", async () => {
    const world = makePool({ budget: 1 });
    let lease: Lease<FakeBackend> | undefined = await world.acquire("first");
    const [a, b, c] = [ask(world, "a", 4), ask(world, "b", 4), ask(world, "c", 4)];
    const order: string[] = [];
    while (lease) {
      order.push(lease.backend.request.database.name);
      const before = new Set([a, b, c].flatMap((each) => each.leases()));
      await handOver(lease);
      lease = [a, b, c].flatMap((each) => each.leases()).find((each) => !before.has(each));
    }
    expect(order.join("")).toBe("firstabcabcabcabc");
  });

  it("lets a new backend serve who is in line for its database by then, and whoever comes later wait for its next turn", async () => {
    const world = makePool({ budget: 1, connectWaitMs: 600_000 });
    const first = await world.acquire("other");
    const a = ask(world, "a", 3);
    const b = ask(world, "b", 1);
    world.control.loginMs = 1000;
    await handOver(first);
    const late = ask(world, "a", 1);
    for (const served of [
      [2, 0, 0],
      [3, 0, 0],
      [3, 1, 0],
    ]) {
      await handOver(a.leases().at(-1));
      expect([a.served(), b.served(), late.served()]).toEqual(served);
    }
    await handOver(b.leases()[0]);
    expect(late.served()).toBe(1);
  });

  it("lets a new backend serve its own line for four times what its login took, and then goes on to others", async () => {
    const world = makePool({ budget: 1, connectWaitMs: 600_000 });
    const first = await world.acquire("other");
    const a = ask(world, "a", 4);
    const b = ask(world, "b", 1);
    world.control.loginMs = 100;
    await handOver(first);
    world.control.loginMs = 0;
    for (const [afterMs, served] of [
      [150, [2, 0]],
      [200, [3, 0]],
      [50, [3, 1]],
    ] as const) {
      world.clock.advance(afterMs);
      await handOver(a.leases().at(-1));
      expect([a.served(), b.served()]).toEqual(served);
    }
    expect(world.dialled.map((backend) => backend.request.database.name)).toEqual(["other", "a", "b"]);
  });

  it("keeps to the order of arrival within a database, roles and parameters apart", async () => {
    const world = makePool({ budget: 1 });
    const lease = await world.acquire("a");
    const waiting = (["admin", "read", "admin"] as const).map((role) => watch(world.acquire("a", forever, { role })));
    let held: Lease<FakeBackend> | undefined = lease;
    for (let i = 0; i < 3; i++) {
      await handOver(held);
      expect(waiting.map(({ isSettled }) => isSettled)).toEqual([true, i > 0, i > 1]);
      held = waiting[i]!.value;
    }
  });

  it("leaves the reserve to databases with less than the minimum, and tells who is refused", async () => {
    const world = makePool({ budget: 10, minimum: 2, reserveShare: 0.2 });
    const greedy = ask(world, "greedy", 9);
    await settle();
    expect(greedy.served()).toBe(8);
    const newcomers = ["b", "c"].map((name) => ask(world, name, 1));
    await settle();
    expect(newcomers.map((each) => each.served())).toEqual([1, 1]);
    world.clock.advance(1000);
    await settle();
    expect(greedy.failures()).toMatchObject([{ message: expect.stringMatching(/for "greedy" within 1000 ms: 10 of 10 in use$/) }]);
    await handOver(newcomers[0]!.leases()[0]);
    const again = ask(world, "greedy", 1);
    world.clock.advance(1000);
    await settle();
    expect(again.failures()).toMatchObject([
      { sqlstate: "53300", message: expect.stringMatching(/: 9 of 10 in use, the rest is kept for databases with fewer$/) },
    ]);
  });

  it("closes idle backends of others where the reserve is not touched by that", async () => {
    const world = makePool({ budget: 4, reserveShare: 0.25, connectWaitMs: 600_000 });
    const held = ask(world, "a", 2);
    const idle = [await world.acquire("b"), await world.acquire("c")];
    for (const lease of idle) lease.release(true);
    await settle();
    const more = ask(world, "a", 2);
    world.clock.advance(950);
    await settle();
    expect([held.served(), more.served()]).toEqual([2, 0]); // both may be used again at once
    world.clock.advance(50);
    await settle();
    expect([held.served(), more.served()]).toEqual([2, 1]);
    expect(world.pool.counts()).toEqual({ open: 4, idle: 1, waiting: 1 });
  });

  it("has no database log in again for each transaction because another one has a long line", async () => {
    const world = makePool({ budget: 10, connectWaitMs: 600_000 });
    const greedy = ask(world, "greedy", 200);
    const modest = ask(world, "modest", 3);
    await settle();
    for (const lease of greedy.leases()) await handOver(lease); // until the modest one has its three
    expect(modest.served()).toBe(3);
    const logins = world.dialled.length;
    for (let round = 0; round < 20; round++) {
      for (const lease of modest.leases()) lease.releaseClean();
      await handOver(greedy.leases().at(-1));
      world.clock.advance(900);
      modest.asked.splice(0, 3, ...ask(world, "modest", 3).asked);
      await settle();
      expect(modest.served()).toBe(3);
    }
    expect(world.dialled.length).toBe(logins);
    expect(world.pool.counts()).toMatchObject({ open: 10, idle: 0 });
    // Whoever has his share gets what nobody has used for a second.
    for (const lease of modest.leases()) lease.releaseClean();
    const before = greedy.served();
    world.clock.advance(950);
    await settle();
    expect(greedy.served()).toBe(before);
    world.clock.advance(50);
    await settle();
    expect(greedy.served()).toBe(before + 3);
  });

  it("lets nobody be refused for what it keeps", async () => {
    const world = makePool({ budget: 4, connectWaitMs: 200 });
    const a = ask(world, "a", 2);
    const b = ask(world, "b", 2);
    await settle();
    for (const lease of b.leases()) lease.releaseClean();
    const more = ask(world, "a", 2);
    world.clock.advance(50);
    await settle();
    expect([a.served(), more.served()]).toEqual([2, 2]);
    const impatient = makePool({ budget: 2, connectWaitMs: 0 });
    (await impatient.acquire("a")).releaseClean();
    const both = ask(impatient, "b", 2);
    await settle();
    expect(both.served()).toBe(2);
  });

  it("keeps nothing from a database that has less than its share", async () => {
    const world = makePool({ budget: 4 });
    const a = ask(world, "a", 2);
    const b = ask(world, "b", 2);
    await settle();
    for (const lease of b.leases()) lease.releaseClean();
    const c = ask(world, "c", 1);
    await settle();
    expect([a.served(), c.served()]).toEqual([2, 1]);
    expect(world.pool.counts()).toEqual({ open: 4, idle: 1, waiting: 0 });
  });

  it("serves 10,000 clients of 2,000 databases over 10 backends, one client of each before the second of any", async () => {
    const world = makePool({ budget: 10, connectWaitMs: 600_000 });
    const order: string[] = [];
    const ready: Lease<FakeBackend>[] = [];
    for (let i = 0; i < 10_000; i++) {
      void world.acquire(`db${Math.floor(i / 5)}`).then((lease) => {
        ready.push(lease);
        order.push(lease.backend.request.database.name);
      });
    }
    for (await settle(); ready.length > 0; await settle()) for (const lease of ready.splice(0)) lease.releaseClean();
    expect(order).toHaveLength(10_000);
    // The first ten found the pool empty, and were of the first two databases.
    expect(new Set(order.slice(0, 2008)).size).toBe(2000);
    expect(world.pool.counts()).toMatchObject({ open: 10, idle: 10, waiting: 0 });
  });
});

describe("budget", () => {
  it("counts a backend until its server has let go of it", async () => {
    const world = makePool({ budget: 1 });
    let letGo!: () => void;
    world.control.gone = new Promise((resolve) => {
      letGo = resolve;
    });
    (await world.acquire("a")).release(true);
    await settle();
    const next = watch(world.acquire("b"));
    const last = watch(world.acquire("c"));
    await settle();
    expect([world.dialled.length, world.dialled[0]!.isClosed, next.isSettled]).toEqual([1, true, false]);
    letGo();
    await settle();
    expect([world.dialled.length, next.value?.backend, last.isSettled]).toEqual([2, world.dialled[1], false]);
    next.value?.release(false);
    await settle();
    expect(last.value?.backend).toBe(world.dialled[2]);
  });

  it("resets what will be lent again, and not what makes room for another database at once", async () => {
    const world = makePool({ budget: 1 });
    const first = await world.acquire("a");
    const [own, other] = [ask(world, "a", 1), ask(world, "b", 1)];
    first.release(true);
    await settle();
    own.leases()[0]!.release(true);
    await settle();
    expect(world.dialled.map(({ resets, isClosed }) => [resets, isClosed])).toEqual([
      [1, true],
      [0, false],
    ]);
    other.leases()[0]!.release(true);
    await settle();
    expect([world.dialled[1]!.resets, world.pool.counts().idle]).toEqual([1, 1]);
  });

  it("grows and shrinks under the pool: idle ones go at once, lent ones as they come back", async () => {
    const world = makePool({ budget: 2 });
    world.pool.grant("main", 3);
    const a = ask(world, "a", 4);
    await settle();
    expect(a.served()).toBe(3);
    world.pool.grant("main", 4);
    await settle();
    expect(a.served()).toBe(4);
    a.leases()[0]!.release(true);
    await settle();
    world.pool.grant("main", 2);
    expect(world.pool.counts()).toEqual({ open: 3, idle: 0, waiting: 0 });
    const b = ask(world, "b", 1);
    for (const [at, served, open] of [
      [1, 0, 2],
      [2, 1, 2],
    ] as const) {
      await handOver(a.leases()[at]);
      expect([b.served(), world.pool.counts().open, world.real()]).toEqual([served, open, open]);
    }
  });
});

describe("lending for a transaction", () => {
  const handleOf = ({ pool }: ReturnType<typeof makePool>, name: string): PoolHandle<FakeBackend> => pool.handle(request(name));

  it("lends the same backend at once and again, without a reset", async () => {
    const world = makePool();
    const handle = handleOf(world, "a");
    expect(handle.tryAcquire()).toBeUndefined();
    (await handle.acquire(forever)).releaseClean();
    for (let i = 0; i < 3; i++) {
      const lease = handle.tryAcquire();
      expect(lease?.backend).toBe(world.dialled[0]);
      lease?.releaseClean();
      lease?.releaseClean();
      lease?.release(false);
    }
    expect(world.dialled.map(({ resets, isClosed }) => ({ resets, isClosed }))).toEqual([{ resets: 0, isClosed: false }]);
    expect(world.pool.counts()).toEqual({ open: 1, idle: 1, waiting: 0 });
  });

  it("lends nothing at once where nothing is idle, and finds what came back meanwhile", async () => {
    const world = makePool({ budget: 1 });
    const [one, other] = [handleOf(world, "a"), handleOf(world, "a")];
    const lease = await one.acquire(forever);
    expect(other.tryAcquire()).toBeUndefined();
    lease.releaseClean();
    expect(other.tryAcquire()?.backend).toBe(lease.backend);
  });

  it("finds its backends after all of an earlier time are gone", async () => {
    const world = makePool();
    const handle = handleOf(world, "a");
    (await handle.acquire(forever)).release(false);
    await settle();
    (await world.acquire("a")).releaseClean();
    expect(handle.tryAcquire()?.backend).toBe(world.dialled[1]);
  });

  it.each<[string, (backend: FakeBackend, world: ReturnType<typeof makePool>) => void]>([
    ["is retired", (_, { pool }) => pool.retire(request("a").database)],
    ["has died", (backend) => backend.die()],
    ["is of a pool that is closed", (_, { pool }) => pool.close()],
  ])("closes one that %s", async (_, change) => {
    const world = makePool();
    const lease = await world.acquire("a");
    change(lease.backend, world);
    lease.releaseClean();
    expect(lease.backend.isClosed).toBe(true);
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });

  it("proves one clean at which a cancel request is on its way", async () => {
    const world = makePool();
    const lease = await world.acquire("a");
    lease.backend.isCancelling = true;
    let arrive!: () => void;
    lease.backend.cancels = new Promise((resolve) => {
      arrive = resolve;
    });
    lease.releaseClean();
    await settle();
    expect([lease.backend.resets, world.pool.counts().idle]).toEqual([0, 0]);
    arrive();
    await settle();
    expect([lease.backend.resets, world.pool.counts().idle]).toEqual([1, 1]);
  });

  it("tells a client in line its place and since when, and nothing once it has left", async () => {
    const world = makePool({ budget: 1 });
    const lease = await world.acquire("a");
    const handles = ["a", "a", "b", "a"].map((name) => handleOf(world, name));
    const leaving = new AbortController();
    const asked = handles.map((handle, i) => {
      world.clock.advance(10);
      return watch(handle.acquire(i === 1 ? leaving.signal : forever));
    });
    const now = world.clock.nowMs();
    const places = () => handles.map(({ waiting }) => waiting && [waiting.position, now - waiting.sinceMs]);
    expect(places()).toEqual([
      [1, 30],
      [2, 20],
      [1, 10],
      [3, 0],
    ]);
    leaving.abort(new Error("gone"));
    await settle();
    expect(places()).toEqual([[1, 30], undefined, [1, 10], [2, 0]]);
    await handOver(lease);
    expect(places()).toEqual([undefined, undefined, [1, 10], [1, 0]]);
    expect(asked.map(({ isSettled }) => isSettled)).toEqual([true, true, false, false]);
  });

  it("counts waits, refusals and evictions", async () => {
    const world = makePool({ budget: 1 });
    const lease = await world.acquire("a");
    const waiting = [watch(world.acquire("b")), watch(world.acquire("c"))];
    world.clock.advance(300);
    expect(world.pool.countsByCluster().get("main")).toEqual({
      ...{ open: 1, idle: 0, leased: 1, closing: 0 },
      ...{ waiting: 2, waitingDatabases: 2, longestWaitMs: 300, refused: 0, evicted: 0, vanished: 0 },
    });
    await handOver(lease);
    world.clock.advance(700);
    await settle();
    expect(waiting.map(({ error }) => error)).toMatchObject([undefined, { kind: "no_backend_slot" }]);
    const samples = [...world.pool.metrics.waits.samples()];
    const told = (suffix: string) => samples.find((each) => each.suffix === suffix)?.value;
    expect([told("_count"), told("_sum")]).toEqual([1, 0.3]);
    expect(world.pool.countsByCluster().get("main")).toMatchObject({ refused: 1, evicted: 1 });
  });
});
