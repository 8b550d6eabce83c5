/** The pool: who gets which backend, in what order, within which budget, and that its counts are the truth. */
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../core/errors.ts";
import type { BackendRequest, Lease } from "../../core/pool.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { type FakeBackend, makePool, request, watch } from "./support/fake-pool.ts";

/** A promise, and how to settle it. */
function later<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe("pool", () => {
  it("lends a backend again to the same database, role, password and parameters only", async () => {
    const { acquire, dialled } = makePool({ budget: 10 });
    (await acquire("a")).release(true);
    await settle();
    const again = await acquire("a");
    expect(again.backend).toBe(dialled[0]);
    again.release(true);
    await settle();
    const others: Partial<BackendRequest>[] = [
      { role: "read" },
      { parameters: new Map([["TimeZone", "UTC"]]) },
      { database: { clusterId: "main", name: "a", passwordGeneration: 2 } },
      { database: { clusterId: "main", name: "b", passwordGeneration: 1 } },
      { database: { clusterId: "second", name: "a", passwordGeneration: 1 } },
    ];
    for (const other of others) expect((await acquire("a", undefined, other)).backend).not.toBe(dialled[0]);
  });

  it("takes parameters in any order for the same", async () => {
    const { acquire, dialled } = makePool();
    const pairs: [string, string][] = [
      ["a", "1"],
      ["b", "2"],
    ];
    (await acquire("a", undefined, { parameters: new Map(pairs) })).release(true);
    await settle();
    await acquire("a", undefined, { parameters: new Map(pairs.toReversed()) });
    expect(dialled).toHaveLength(1);
  });

  it("closes the least recently used idle backend of any database when the budget is spent", async () => {
    const { acquire, clock, dialled, pool } = makePool();
    const first = await acquire("a");
    const second = await acquire("b");
    second.release(true);
    await settle();
    clock.advance(10);
    first.release(true);
    await settle();
    await acquire("c");
    expect(dialled.map((backend) => backend.isClosed)).toEqual([false, true, false]);
    expect(pool.counts()).toEqual({ open: 2, idle: 1, waiting: 0 });
  });

  it("serves waiting clients in the order they came", async () => {
    const { acquire } = makePool({ budget: 1 });
    const first = await acquire("a");
    const waiting = ["b", "a", "c"].map((name) => watch(acquire(name)));
    const served: string[] = [];
    let lease: Lease<FakeBackend> = first;
    for (let i = 0; i < 3; i++) {
      lease.release(true);
      await settle();
      expect(waiting.map((one) => one.isSettled)).toEqual([true, i > 0, i > 1]);
      lease = waiting[i]!.value!;
      served.push(lease.backend.request.database.name);
    }
    expect(served).toEqual(["b", "a", "c"]);
  });

  it("hands a waiting client the very backend when its key is the same, whoever else asks in that moment", async () => {
    const { acquire, dialled, pool, real } = makePool({ budget: 1 });
    const first = await acquire("a");
    const waiting = watch(acquire("a"));
    await settle();
    dialled[0]!.resetAnswer = new Promise((resolve) => setImmediate(() => resolve(true)));
    first.release(true);
    const thieves: ReturnType<typeof watch<Lease<FakeBackend>>>[] = [];
    for (let i = 0; i < 20; i++) {
      thieves.push(watch(acquire(i % 2 ? "a" : "b")));
      await Promise.resolve();
    }
    await settle();
    expect(waiting.value?.backend).toBe(dialled[0]);
    expect(thieves.some((thief) => thief.isSettled)).toBe(false);
    expect([real(), pool.counts().open]).toEqual([1, 1]);
  });

  it("refuses with 53300 after connectWaitMs", async () => {
    const { acquire, clock, pool } = makePool({ budget: 1 });
    await acquire("a");
    const waiting = watch(acquire("b"));
    clock.advance(999);
    await settle();
    expect(waiting.isSettled).toBe(false);
    clock.advance(1);
    await settle();
    expect(waiting.error).toMatchObject({
      kind: "no_backend_slot",
      sqlstate: "53300",
      message: 'no database connection became free for "b" within 1000 ms: 1 of 1 in use',
    });
    expect(pool.counts()).toEqual({ open: 1, idle: 0, waiting: 0 });
  });

  it("lets a client leave the line, and one that had left never enters it", async () => {
    const { acquire, pool } = makePool({ budget: 1 });
    const first = await acquire("a");
    const leaving = new AbortController();
    const waiting = watch(acquire("b", leaving.signal));
    leaving.abort(new Error("gone"));
    const gone = watch(acquire("b", leaving.signal));
    await settle();
    expect([waiting.error, gone.error]).toEqual([new Error("gone"), new Error("gone")]);
    first.release(true);
    await settle();
    expect(pool.counts()).toEqual({ open: 1, idle: 1, waiting: 0 });
  });

  it("frees the place of a dial that fails, for the next in line", async () => {
    const { acquire, control, pool } = makePool({ budget: 1 });
    let open!: () => void;
    control.delay = new Promise((resolve) => {
      open = resolve;
    });
    control.fail = new Error("refused");
    const failing = watch(acquire("a"));
    const next = watch(acquire("b"));
    await settle();
    open();
    await settle();
    expect([failing.error, next.error]).toEqual([control.fail, control.fail]);
    expect(pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });

  it.each([
    ["is not reusable", false, {}],
    ["fails its reset", true, { resetAnswer: false }],
    ["throws at its reset", true, { reset: () => Promise.reject(new Error("lost")) }],
    ["died while lent", true, { isAlive: false }],
  ])("closes a backend that %s", async (_, reusable, state) => {
    const { acquire, dialled, pool } = makePool();
    const lease = await acquire("a");
    Object.assign(dialled[0]!, state);
    lease.release(reusable);
    await settle();
    expect(dialled[0]!.isClosed).toBe(true);
    expect(pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });

  it("closes a backend that does not answer its reset, after ten seconds", async () => {
    const { acquire, clock, dialled, pool } = makePool();
    const lease = await acquire("a");
    dialled[0]!.resetAnswer = new Promise(() => undefined);
    lease.release(true);
    await settle();
    clock.advance(9_900);
    await settle();
    expect([dialled[0]!.isClosed, pool.counts().open]).toEqual([false, 1]);
    clock.advance(200);
    await settle();
    expect([dialled[0]!.isClosed, pool.counts().open]).toEqual([true, 0]);
  });

  it("waits for cancel requests before it resets or closes", async () => {
    const { acquire, dialled } = makePool();
    const lease = await acquire("a");
    let arrive!: () => void;
    dialled[0]!.cancels = new Promise((resolve) => {
      arrive = resolve;
    });
    lease.release(true);
    await settle();
    expect(dialled[0]!.resets).toBe(0);
    arrive();
    await settle();
    expect(dialled[0]!.resets).toBe(1);
  });

  it("forgets an idle backend that dies", async () => {
    const { acquire, dialled, pool } = makePool();
    (await acquire("a")).release(true);
    await settle();
    dialled[0]!.die();
    expect(pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
    expect((await acquire("a")).backend).toBe(dialled[1]);
  });

  it("takes a lease back once, however often it is released", async () => {
    const { acquire, pool } = makePool();
    const lease = await acquire("a");
    for (let i = 0; i < 3; i++) lease.release(i === 0);
    await settle();
    expect(pool.counts()).toEqual({ open: 1, idle: 1, waiting: 0 });
  });

  it("retires the backends of a database: idle ones now, lent ones and those in reset afterwards", async () => {
    const { acquire, dialled, pool } = makePool({ budget: 4 });
    const [idle, lent, other] = [await acquire("a"), await acquire("a"), await acquire("b")];
    idle.release(true);
    await settle();
    pool.retire(request("a").database);
    expect(dialled.map((backend) => backend.isClosed)).toEqual([true, false, false]);
    lent.release(true);
    other.release(true);
    await settle();
    expect(dialled.map((backend) => backend.isClosed)).toEqual([true, true, false]);
  });

  it("closes what is idle for longer than idleTimeoutMs", async () => {
    const { acquire, clock, pool } = makePool();
    (await acquire("a")).release(true);
    await settle();
    clock.advance(59_000);
    expect(pool.counts().idle).toBe(1);
    clock.advance(1000);
    expect(pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });

  it("says that the server is away to who waited for a place behind others that wait for it", async () => {
    const { acquire, clock, control } = makePool({ budget: 1, connectWaitMs: 1000 });
    await acquire("a");
    const [busy, away] = [watch(acquire("b")), watch(acquire("b"))];
    clock.advance(1000);
    await settle();
    expect(busy.error).toMatchObject({ kind: "no_backend_slot" });
    control.down = new GatewayError("backend_starting", "starting");
    const late = watch(acquire("b"));
    clock.advance(1000);
    await settle();
    expect([away.error, late.error]).toMatchObject([{ kind: "no_backend_slot" }, { kind: "backend_starting" }]);
  });

  it("asks a backend that has idled for long whether it is there, and no other", async () => {
    const { acquire, clock, dialled, pool } = makePool({ checkAfterMs: 30_000 });
    const handle = pool.handle(request("a", { isShared: true }));
    (await handle.acquire(new AbortController().signal)).releaseClean();
    clock.advance(29_900);
    handle.tryAcquire()!.releaseClean();
    expect(dialled[0]!.checks).toBe(0);
    clock.advance(30_000);
    expect(handle.tryAcquire()).toBeUndefined();
    const asked = await handle.acquire(new AbortController().signal);
    expect([dialled.length, dialled[0]!.checks, asked.backend]).toEqual([1, 1, dialled[0]]);
    clock.advance(60_000); // lent for long is not idled for long
    asked.releaseClean();
    expect(asked.retake()).toBe(true);
    asked.releaseClean();
    clock.advance(30_000);
    expect(asked.retake()).toBe(false);
    await acquire("b");
    expect(dialled[0]!.checks).toBe(1);
    expect(pool.counts()).toEqual({ open: 2, idle: 1, waiting: 0 });
  });

  it("never asks where that is switched off", async () => {
    const { acquire, clock, dialled } = makePool({ checkAfterMs: 0 });
    (await acquire("a")).release(true);
    await settle();
    clock.advance(59_000);
    await acquire("a");
    expect([dialled.length, dialled[0]!.checks]).toEqual([1, 0]);
  });

  it.each<[string, () => FakeBackend["checkAnswer"], number]>([
    ["says no", () => false, 0],
    ["says nothing for two seconds", () => new Promise(() => undefined), 2000],
  ])("lends another in place of one that %s, and takes what idled as long for gone too", async (_, answer, waitsMs) => {
    const { acquire, clock, dialled, pool, real } = makePool({ budget: 4, checkAfterMs: 30_000 });
    for (const lease of [await acquire("a"), await acquire("a"), await acquire("b")]) lease.release(true);
    await settle();
    clock.advance(30_000);
    dialled[1]!.checkAnswer = answer();
    const fresh = watch(acquire("c")); // whom it does not concern
    await settle();
    fresh.value!.release(true);
    await settle();
    const lent = watch(acquire("a"));
    await settle();
    if (waitsMs > 0) {
      clock.advance(waitsMs - 50);
      await settle();
      expect([lent.isSettled, pool.counts().open]).toEqual([false, 4]);
      clock.advance(50);
      await settle();
    }
    expect(lent.value!.backend).toBe(dialled[4]);
    expect(dialled.map((backend) => backend.isAlive)).toEqual([false, false, false, true, true]);
    expect([real(), pool.counts(), pool.countsOf("main").vanished]).toEqual([2, { open: 2, idle: 1, waiting: 0 }, 1]);
  });

  it("keeps its budget while one that does not answer is let go of by its server", async () => {
    const { acquire, clock, control, dialled, pool } = makePool({ budget: 1, checkAfterMs: 30_000 });
    const gone = later<void>();
    control.gone = gone.promise;
    (await acquire("a")).release(true);
    await settle();
    clock.advance(30_000);
    dialled[0]!.checkAnswer = false;
    const lent = watch(acquire("a"));
    await settle();
    expect([dialled.length, pool.counts().open]).toEqual([1, 1]);
    gone.resolve();
    await settle();
    expect([lent.value!.backend, pool.counts().open]).toEqual([dialled[1], 1]);
  });

  it("gives one that was asked for nobody back, and lets nobody in once closed", async () => {
    const { acquire, clock, dialled, pool } = makePool({ checkAfterMs: 30_000 });
    (await acquire("a")).release(true);
    await settle();
    clock.advance(30_000);
    const answer = later<boolean>();
    dialled[0]!.checkAnswer = answer.promise;
    const abort = new AbortController();
    const left = watch(acquire("a", abort.signal));
    await settle();
    abort.abort(new Error("the client has gone"));
    answer.resolve(true);
    await settle();
    expect([left.error, pool.counts()]).toEqual([new Error("the client has gone"), { open: 1, idle: 1, waiting: 0 }]);
    clock.advance(30_000);
    dialled[0]!.checkAnswer = new Promise(() => undefined);
    const late = watch(acquire("a"));
    await settle();
    pool.close();
    await settle();
    expect([late.error, pool.counts().open]).toMatchObject([{ kind: "shutdown" }, 0]);
  });

  it("once closed lends nothing more, and sends away who waits", async () => {
    const { acquire, pool, real } = makePool({ budget: 1 });
    const lease = await acquire("a");
    const waiting = watch(acquire("b"));
    await settle();
    pool.close();
    await settle();
    expect(waiting.error).toMatchObject({ kind: "shutdown" });
    await expect(acquire("a")).rejects.toMatchObject({ kind: "shutdown" });
    lease.release(true);
    await settle();
    expect([real(), pool.counts().open]).toEqual([0, 0]);
  });

  it("never holds more than its budget, and counts what is there, whatever happens in whatever order", async () => {
    for (let seed = 0; seed < 150; seed++) {
      const random = new Prng(seed);
      const budget = 1 + random.int(4);
      const { acquire, clock, control, dialled, pool, real } = makePool({ budget, connectWaitMs: 500, idleTimeoutMs: 3000, checkAfterMs: 90 });
      const leases: Lease<FakeBackend>[] = [];
      const aborts: AbortController[] = [];
      for (let step = 0; step < 120; step++) {
        const dice = random.int(10);
        if (dice < 4) {
          const abort = new AbortController();
          aborts.push(abort);
          acquire(random.pick(["a", "b", "c"]), abort.signal).then(
            (lease) => leases.push(lease),
            () => undefined,
          );
        } else if (dice < 7 && leases.length > 0) {
          const [lease] = leases.splice(random.int(leases.length), 1);
          if (random.chance(0.2)) lease!.backend.resetAnswer = new Promise((resolve) => setImmediate(() => resolve(random.chance(0.7))));
          if (random.chance(0.3)) lease!.backend.checkAnswer = new Promise((resolve) => setImmediate(() => resolve(random.chance(0.5))));
          lease!.release(random.chance(0.8));
        } else if (dice === 7) random.pick(dialled.length ? dialled : [undefined])?.die();
        else if (dice === 8) clock.advance(random.pick([1, 100, 600, 4000]));
        else {
          control.fail = random.chance(0.3) ? new Error("refused") : undefined;
          if (random.chance(0.3)) aborts[random.int(aborts.length)]?.abort(new Error("gone"));
          if (random.chance(0.2)) pool.retire(request("a").database);
        }
        if (random.chance(0.5)) await Promise.resolve();
        if (random.chance(0.2)) await settle();
        expect(real(), `seed ${seed} step ${step}`).toBeLessThanOrEqual(budget);
        expect(pool.counts().open, `seed ${seed} step ${step}`).toBeLessThanOrEqual(budget);
      }
      control.fail = undefined;
      do {
        for (const lease of leases.splice(0)) lease.release(true);
        await settle();
      } while (leases.length > 0 || pool.counts().waiting > 0);
      const { open, idle, waiting } = pool.counts();
      expect({ seed, open, waiting }).toEqual({ seed, open: idle, waiting: 0 });
      expect(real(), `seed ${seed}`).toBe(idle);
    }
  });
});
