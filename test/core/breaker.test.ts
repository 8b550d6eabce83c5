/** The breaker: who asks a server that is down, what the others are told, and how soon its return is noticed. */
import { describe, expect, it } from "vitest";
import { Breaker, type ServerState } from "../../core/breaker.ts";
import { ManualClock } from "../../core/clock.ts";
import { GatewayError } from "../../core/errors.ts";
import { formatMetrics } from "../../core/metrics.ts";
import type { BackendRequest } from "../../core/pool.ts";
import { starting, unreachable } from "../../core/server-errors.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { FakeBackend, request, watch } from "./support/fake-pool.ts";

/** Two clusters' servers, each in a state that the test sets, behind one breaker. */
function makeWorld({ patienceMs = 0, random = () => 0.5 as number } = {}) {
  const clock = new ManualClock();
  const server: { state: ServerState | "up" | "silent" | "refusing" } = { state: "up" };
  const asked: number[] = [];
  const lines: string[] = [];
  const silent: (() => void)[] = [];
  const breaker = new Breaker<FakeBackend>(
    {
      async dial(about: BackendRequest, signal) {
        if (about.database.clusterId !== "main") return new FakeBackend(about);
        asked.push(clock.nowMs());
        if (server.state === "silent") {
          await new Promise<void>((resolve, reject) => {
            silent.push(resolve);
            signal.addEventListener("abort", () => reject(signal.reason));
          });
          throw unreachable(about, new Error("silent"));
        }
        if (server.state === "away") throw unreachable(about, new Error("ECONNREFUSED"));
        if (server.state === "starting") throw starting(about, new Error("the database system is starting up"));
        if (server.state === "refusing") throw unreachable(about, new Error("role does not exist"));
        return new FakeBackend(about);
      },
    },
    {
      clock,
      log: { write: (_level, event, fields) => void lines.push(`${event} ${fields?.cluster} ${fields?.cause ?? ""}`.trim()) },
      judge: (error) => {
        if (!(error instanceof GatewayError) || String(error.details.cause).includes("role")) return undefined;
        return error.kind === "backend_starting" ? "starting" : "away";
      },
      patienceMs: () => patienceMs,
      random,
    },
  );
  const dial = (name = "a", signal = new AbortController().signal, clusterId = "main") =>
    watch(breaker.dial(request(name, { database: { clusterId, name, passwordGeneration: 1 } }), signal));
  const fail = async (times: number) => {
    for (let i = 0; i < times; i++) {
      dial();
      await settle();
    }
  };
  return { clock, server, asked, lines, silent, breaker, dial, fail };
}

const away = { kind: "backend_unreachable", sqlstate: "08006", message: 'database server for "b" is not reachable' };

describe("breaker", () => {
  it("asks a server that refuses connections five times in a row, then tells everybody at once, in their own database's name", async () => {
    const { server, asked, lines, dial, fail, breaker } = makeWorld();
    server.state = "away";
    await fail(5);
    expect(asked).toHaveLength(5);
    const told = dial("b");
    await settle();
    expect(told.error).toMatchObject({ ...away, details: { cause: new Error("ECONNREFUSED") } });
    expect(asked).toHaveLength(5);
    expect(breaker.whyDown(request("b"))).toMatchObject(away);
    expect(breaker.whyDown(request("b", { database: { clusterId: "second", name: "b", passwordGeneration: 1 } }))).toBeUndefined();
    expect(lines).toEqual(["database server is down, logins are not passed on main Error: ECONNREFUSED"]);
    const metrics = formatMetrics(breaker.metrics);
    expect(metrics).toContain('tenantry_server_down{cluster="main"} 1');
    expect(metrics).toContain('tenantry_server_logins_spared_total{cluster="main"} 1');
    const elsewhere = dial("c", undefined, "second");
    await settle();
    expect(elsewhere.value).toBeInstanceOf(FakeBackend);
  });

  it("asks at most five times a second at first and twice later on, however many want in, and lets everybody in within a second of its return", async () => {
    const { clock, server, asked, lines, dial } = makeWorld({ random: Math.random });
    server.state = "away";
    const begin = clock.nowMs();
    for (let ms = 0; ms < 60_000; ms += 50) {
      for (let i = 0; i < 10; i++) dial("b");
      await settle();
      clock.advance(50);
    }
    // The first burst is of ten at once, before any of them has failed.
    const perSecond = Array.from({ length: 60 }, (_, s) => asked.filter((at) => Math.floor((at - begin) / 1000) === s).length);
    expect(Math.max(...perSecond.slice(1))).toBeLessThanOrEqual(3);
    expect(Math.min(...perSecond)).toBeGreaterThanOrEqual(1);
    server.state = "up";
    clock.advance(1000);
    const first = dial("b");
    await settle();
    const rest = Array.from({ length: 10 }, () => dial("b"));
    await settle();
    for (const each of [first, ...rest]) expect(each.value).toBeInstanceOf(FakeBackend);
    expect(lines.at(-1)).toBe("database server answers again main");
  });

  it("is not held up by one who asks for long", async () => {
    const { clock, server, dial, fail, asked } = makeWorld();
    server.state = "away";
    await fail(5);
    server.state = "silent";
    clock.advance(1000);
    const stuck = dial();
    await settle();
    expect(asked).toHaveLength(6);
    server.state = "up";
    clock.advance(1000);
    const next = dial();
    await settle();
    expect([stuck.isSettled, next.value]).toEqual([false, expect.any(FakeBackend)]);
  });

  it("forgets failures that were not in a row, and never counts those of a role or database, or of a client that left", async () => {
    const { server, asked, dial, fail } = makeWorld();
    server.state = "away";
    await fail(4);
    server.state = "up";
    await fail(1);
    server.state = "away";
    await fail(4);
    server.state = "refusing";
    await fail(20);
    server.state = "silent";
    for (let i = 0; i < 20; i++) {
      const abort = new AbortController();
      const left = dial("a", abort.signal);
      await settle();
      abort.abort(new Error("left"));
      await settle();
      expect(left.error).toEqual(new Error("left"));
    }
    server.state = "up";
    const entering = dial();
    await settle();
    expect([entering.value, asked.length]).toEqual([expect.any(FakeBackend), 50]);
  });

  it("lets clients wait for a server that is starting, one of them asking, and all in when it is up", async () => {
    const { clock, server, asked, dial, lines } = makeWorld({ patienceMs: 10_000, random: Math.random });
    server.state = "starting";
    const first = dial();
    await settle();
    const waiting = Array.from({ length: 100 }, () => dial("b"));
    await settle();
    for (let ms = 0; ms < 5000; ms += 10) {
      clock.advance(10);
      await settle();
    }
    expect([first, ...waiting].every((each) => !each.isSettled)).toBe(true);
    expect(asked.length).toBeLessThanOrEqual(12);
    expect(lines).toEqual(["database server is down, logins are not passed on main Error: the database system is starting up"]);
    server.state = "up";
    for (let ms = 0; ms < 1200; ms += 10) {
      clock.advance(10);
      await settle();
    }
    for (const each of [first, ...waiting]) expect(each.value).toBeInstanceOf(FakeBackend);
  });

  it("says 57P03 to who has waited connect_wait_ms, at once where nobody is to wait, and 08006 to all when the server goes away meanwhile", async () => {
    const { clock, server, dial, asked } = makeWorld({ patienceMs: 2000 });
    server.state = "starting";
    const patient = dial("b");
    for (let ms = 0; ms < 2000; ms += 10) {
      await settle();
      expect(patient.isSettled).toBe(false);
      clock.advance(10);
    }
    await settle();
    clock.advance(100);
    await settle();
    expect(patient.error).toMatchObject({ sqlstate: "57P03", message: 'database server for "b" is starting up or shutting down' });
    const several = [dial("b"), dial("b")];
    await settle();
    server.state = "away";
    for (let ms = 0; ms < 1100; ms += 10) {
      clock.advance(10);
      await settle();
    }
    expect(asked.length).toBeLessThan(12);
    for (const each of several) expect(each.error).toMatchObject(away);
    const impatient = makeWorld();
    impatient.server.state = "starting";
    const told = impatient.dial("b");
    await settle();
    expect(told.error).toMatchObject({ sqlstate: "57P03" });
  });

  it("lets a client that waits for a server leave", async () => {
    const { server, dial } = makeWorld({ patienceMs: 10_000 });
    server.state = "starting";
    const abort = new AbortController();
    const waiting = dial("a", abort.signal);
    await settle();
    abort.abort(new Error("left"));
    await settle();
    expect(waiting.error).toEqual(new Error("left"));
  });
});
