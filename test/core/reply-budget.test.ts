/** What refused clients are told, and what that may cost: so many TLS handshakes a minute, then a second's wait and the end. */
import { describe, expect, it } from "vitest";
import { BanTracker } from "../../core/ban.ts";
import { pipePair, type TlsServerContext } from "../../core/byte-pipe.ts";
import { ManualClock } from "../../core/clock.ts";
import { AddressGate } from "../../core/limit.ts";
import { ReplyBudget } from "../../core/reply-budget.ts";

const context: TlsServerContext = { kind: "tls-server-context" };

function make(repliesPerMin: number) {
  const clock = new ManualClock();
  const bans = new BanTracker(clock, { threshold: 1, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  const gate = new AddressGate(clock, bans, { maxConnections: 1000, connectRate: 1000, connectBurst: 1000, exempt: [], repliesPerMin });
  bans.recordFailure("192.0.2.1");
  return { clock, bans, gate };
}

describe("reply budget", () => {
  it("tells a client that retries for as long as its ban lasts every time", () => {
    const { clock, gate } = make(60);
    const [, socket] = pipePair();
    for (let second = 0; second < 59; second++) {
      const admission = gate.admit("192.0.2.1");
      expect(admission.refusal?.kind).toBe("ip_banned");
      expect(admission.pipe(socket)).toBe(socket);
      admission.release();
      clock.advance(1000);
    }
  });

  it("withholds TLS from one that comes more often, and gives it back as the minute goes by", () => {
    const { clock, gate } = make(60);
    const [, socket] = pipePair();
    const told = () => Array.from({ length: 100 }, () => gate.admit("192.0.2.1")).filter((one) => one.pipe(socket) === socket).length;
    expect(told()).toBe(12);
    expect(told()).toBe(0);
    clock.advance(10_000);
    expect(told()).toBe(10);
  });

  it("does not count whoever is let in, nor other addresses", () => {
    const { gate } = make(1);
    const [, socket] = pipePair();
    for (let i = 0; i < 5; i++) gate.admit("192.0.2.1");
    for (let i = 0; i < 5; i++) expect(gate.admit("192.0.2.2").pipe(socket)).toBe(socket);
  });

  it("in clear, the message still goes out", async () => {
    const { gate } = make(1);
    gate.admit("192.0.2.1");
    const [client, socket] = pipePair();
    const received: number[] = [];
    client.sink = { data: (chunk) => received.push(...chunk), drain: () => undefined, closed: () => undefined };
    client.resume();
    const pipe = gate.admit("192.0.2.1").pipe(socket);
    expect(pipe).not.toBe(socket);
    pipe.end(Uint8Array.of(1, 2, 3));
    await new Promise(setImmediate);
    expect(received).toEqual([1, 2, 3]);
  });

  it("asked for TLS, it waits a second, then the connection is gone; a hundred wait at a time, others go at once", async () => {
    const { clock, gate } = make(1);
    gate.admit("192.0.2.1");
    const attempt = () => {
      const [, socket] = pipePair();
      const state = { socket, ended: false };
      void gate
        .admit("192.0.2.1")
        .pipe(socket)
        .startTls(context, undefined, new AbortController().signal)
        .catch(() => {
          state.ended = true;
        });
      return state;
    };
    const held = Array.from({ length: 100 }, attempt);
    const beyond = attempt();
    await new Promise(setImmediate);
    expect([beyond.ended, beyond.socket.isClosed]).toEqual([true, true]);
    expect(held.some(({ ended, socket }) => ended || socket.isClosed)).toBe(false);
    clock.advance(1000);
    await new Promise(setImmediate);
    expect(held.every(({ ended, socket }) => ended && socket.isClosed)).toBe(true);
    expect(attempt().ended).toBe(false); // there is room again
  });

  it("keeps a bounded number of a million addresses", () => {
    const budget = new ReplyBudget(new ManualClock(), 10);
    for (let i = 0; i < 1_000_000; i++) budget.take(String(i));
    expect(budget.size).toBeLessThanOrEqual(10_000);
  });
});
