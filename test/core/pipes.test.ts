/** In-memory pipes, the reader on top of a pipe, cancel keys, and what the log hides. */
import { describe, expect, it } from "vitest";
import { pipePair } from "../../core/byte-pipe.ts";
import { CancelRegistry } from "../../core/cancel.ts";
import { type LogFields, redact, redactingLog } from "../../core/log.ts";
import { PipeClosedError, PipeReader } from "../../core/pipe-reader.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { settle, testCrypto } from "../engines/postgres/support/wire.ts";

describe("memory pipe", () => {
  it("delivers in order, and only while there is a sink that reads", async () => {
    const [left, right] = pipePair();
    const seen: number[] = [];
    left.write(Uint8Array.of(1));
    await settle();
    right.sink = { data: (chunk) => seen.push(...chunk), drain: () => undefined, closed: () => seen.push(-1) };
    await settle();
    expect(seen).toEqual([]);
    right.resume();
    left.write(Uint8Array.of(2));
    left.end(Uint8Array.of(3));
    left.write(Uint8Array.of(4));
    await settle();
    expect(seen).toEqual([1, 2, 3, -1]);
    expect(right.isClosed).toBe(true);
  });

  it("pushes back when the other side does not read, and tells when it does", async () => {
    const [left, right] = pipePair();
    let drains = 0;
    left.sink = { data: () => undefined, drain: () => void drains++, closed: () => undefined };
    right.sink = { data: () => undefined, drain: () => undefined, closed: () => undefined };
    expect(left.write(new Uint8Array(1000))).toBe(true);
    expect(left.write(new Uint8Array(70_000))).toBe(false);
    await settle();
    expect(drains).toBe(0);
    right.resume();
    await settle();
    expect(drains).toBe(1);
  });
});

describe("pipe reader", () => {
  it("reads what was asked for, however it was cut", async () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Prng(seed);
      const all = random.bytes(500);
      const [left, right] = pipePair();
      const reader = new PipeReader(right, 1000, new AbortController().signal);
      for (const piece of random.cut(all)) left.write(piece);
      for (let at = 0; at < all.length; ) {
        const length = Math.min(random.int(60), all.length - at);
        expect(Buffer.from(await reader.read(length)).equals(all.subarray(at, at + length)), `seed ${seed}`).toBe(true);
        at += length;
      }
      expect(reader.buffered).toBe(0);
    }
  });

  it("hands over what was not read when it lets go", async () => {
    const [left, right] = pipePair();
    const reader = new PipeReader(right, 100, new AbortController().signal);
    left.write(Uint8Array.of(1, 2));
    left.write(Uint8Array.of(3));
    await reader.read(1);
    await settle();
    expect([...reader.detach()]).toEqual([2, 3]);
    expect(right.sink).toBeUndefined();
  });

  it("keeps no more than it may", async () => {
    const [left, right] = pipePair();
    const reader = new PipeReader(right, 100, new AbortController().signal);
    for (let i = 0; i < 50; i++) left.write(new Uint8Array(30));
    await settle();
    expect(reader.buffered).toBeLessThanOrEqual(120);
    await expect(reader.read(101)).rejects.toThrow(RangeError);
    for (let i = 0; i < 15; i++) await reader.read(100);
  });

  it("says that the peer left, once what it sent is read", async () => {
    const [left, right] = pipePair();
    const reader = new PipeReader(right, 100, new AbortController().signal);
    const told: unknown[] = [];
    reader.onClosed = (reason) => told.push(reason);
    left.end(Uint8Array.of(1, 2));
    await settle();
    expect(await reader.read(2)).toHaveLength(2);
    await expect(reader.read(1)).rejects.toThrow(PipeClosedError);
    expect(told).toHaveLength(1);
  });

  it("gives up with the signal's reason", async () => {
    const abort = new AbortController();
    const [, right] = pipePair();
    const reading = new PipeReader(right, 100, abort.signal).read(1);
    abort.abort(new Error("too late"));
    await expect(reading).rejects.toThrow("too late");
    await expect(new PipeReader(pipePair()[1], 100, abort.signal).read(1)).rejects.toThrow("too late");
  });
});

describe("cancel registry", () => {
  it("calls the one session whose number and key are both right, while it is registered", () => {
    const registry = new CancelRegistry(testCrypto);
    const calls: string[] = [];
    const [a, b] = ["a", "b"].map((name) => registry.register({ cancel: () => calls.push(name) }, { pid: undefined, secretBytes: 32 }));
    registry.request(a!.pid, b!.secret);
    registry.request(a!.pid, a!.secret.subarray(0, 31));
    registry.request(a!.pid, new Uint8Array(0));
    registry.request(0, a!.secret);
    expect(calls).toEqual([]);
    registry.request(b!.pid, Uint8Array.from(b!.secret));
    registry.unregister(b!);
    registry.request(b!.pid, b!.secret);
    expect(calls).toEqual(["b"]);
  });

  it("tells sessions of the same number apart by their keys: two servers may each have a process of that id", () => {
    const registry = new CancelRegistry(testCrypto);
    const calls: string[] = [];
    const [a, b] = ["a", "b"].map((name) => registry.register({ cancel: () => calls.push(name) }, { pid: 4711, secretBytes: 4 }));
    expect([a!.pid, b!.pid]).toEqual([4711, 4711]);
    expect([registry.request(4711, b!.secret), registry.request(4711, a!.secret)]).toEqual([true, true]);
    registry.unregister(a!);
    expect([registry.request(4711, a!.secret), registry.request(4711, b!.secret)]).toEqual([false, true]);
    registry.unregister(b!);
    expect(registry.request(4711, b!.secret)).toBe(false);
    expect(calls).toEqual(["b", "a", "b"]);
  });

  it("gives out positive numbers that are all different, drawing again for 0 and those in use", () => {
    const draws = [0, 5, 5, 0x80000005, 6].map((value) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
    const registry = new CancelRegistry({ ...testCrypto, randomBytes: (length) => (length === 4 ? draws.shift()! : new Uint8Array(length)) });
    expect([1, 2].map(() => registry.register({ cancel: () => undefined }, { pid: undefined, secretBytes: 32 }).pid)).toEqual([5, 6]);
  });
});

describe("log", () => {
  it.each([
    [`key tenantsdb_sk_${"ab".repeat(32)} used`, "key tenantsdb_sk_… used"],
    [`TENANTSDB_SK_${"AB".repeat(32)}`, "tenantsdb_sk_…"],
    ["tdb_0123456789abcdef", "tdb_…"],
    ["user tdb_2abf90d3 failed", "user tdb_2abf90d3 failed"],
    ["role tdb_0123456789abcdef_admin", "role tdb_0123456789abcdef_admin"],
    ["postgresql://tdb_2abf90d3:secret@host/db", "postgresql://tdb_2abf90d3:…@host/db"],
    ["rediss://:hunter2@host", "rediss://:…@host"],
    ["password=hunter2 host=x", "password=… host=x"],
    ["Password: hunter2", "Password: …"],
    ["", ""],
  ])("%j is shown as %j", (text, shown) => {
    expect(redact(text)).toBe(shown);
    expect(redact(redact(text))).toBe(redact(text));
  });

  it("passes every field through, strings cleaned", () => {
    const lines: [string, string, LogFields | undefined][] = [];
    const log = redactingLog({ write: (level, event, fields) => void lines.push([level, event, fields]) });
    log.write("info", "a", { text: "password=x", count: 1, flag: true, none: undefined, nil: null });
    log.write("warn", "b");
    expect(lines).toEqual([
      ["info", "a", { text: "password=…", count: 1, flag: true, none: undefined, nil: null }],
      ["warn", "b", undefined],
    ]);
  });

  it("is not slowed down by texts made to be slow", () => {
    for (const text of ["://", "password", "password    ", ":// : @", "tenantsdb_sk_", "tdb_0"])
      expect(redact(text.repeat(20_000)).length).toBeGreaterThan(0);
  });
});
