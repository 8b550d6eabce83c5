/** What all instances say together: asked once per connection while the client speaks, turned into the same refusals, never waited for when off. */
import { describe, expect, it } from "vitest";
import { BanTracker } from "../../core/ban.ts";
import { pipePair } from "../../core/byte-pipe.ts";
import { ManualClock } from "../../core/clock.ts";
import { runVisit, type Visit } from "../../core/doorman.ts";
import { AddressGate } from "../../core/limit.ts";
import { runSession } from "../../core/session.ts";
import type { SharedAnswer, SharedCounts } from "../../core/shared-counts.ts";
import { ScriptedClient } from "../engines/postgres/support/client.ts";
import { cancelPacket, settle, startupPacket } from "../engines/postgres/support/wire.ts";
import { projectId, World } from "../engines/postgres/support/world.ts";
import { DoorWorld } from "../engines/support/door-world.ts";

const fine: SharedAnswer = { bannedS: 0, connections: 1, waitS: 0 };

/** Answers when told to, and keeps what it was told. */
class FakeCounts implements SharedCounts {
  readonly told: string[] = [];
  readonly #waiting: ((answer: SharedAnswer | undefined) => void)[] = [];
  admit(key: string, open: number): Promise<SharedAnswer | undefined> {
    this.told.push(`admit ${key} ${open}`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  answer(answer: SharedAnswer | undefined): void {
    for (const resolve of this.#waiting.splice(0)) resolve(answer);
  }
  refund(key: string): void {
    this.told.push(`refund ${key}`);
  }
  released(key: string, open: number): void {
    this.told.push(`released ${key} ${open}`);
  }
  failed(key: string): void {
    this.told.push(`failed ${key}`);
  }
  succeeded(key: string): void {
    this.told.push(`succeeded ${key}`);
  }
  lifted(key: string): void {
    this.told.push(`lifted ${key}`);
  }
}

const limits = { maxConnections: 3, connectRate: 100, connectBurst: 100, exempt: [] };

function make(clock = new ManualClock()) {
  const shared = new FakeCounts();
  const bans = new BanTracker(clock, { threshold: 3, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 }, shared);
  return { clock, shared, bans, gate: new AddressGate(clock, bans, limits, shared) };
}

describe("shared counts", () => {
  it.each([
    [{ ...fine, bannedS: 47 }, "ip_banned", "retry in 47s"],
    [{ ...fine, connections: 4 }, "ip_connections", "(limit 3)"],
    [{ ...fine, waitS: 3 }, "ip_rate", "retry in 3s"],
    [{ bannedS: 1, connections: 9, waitS: 9 }, "ip_banned", "retry in 1s"],
  ] as const)("%j is %s", async (answer, kind, text) => {
    const { gate, shared } = make();
    const admission = gate.admit("192.0.2.1");
    shared.answer(answer);
    expect(await admission.shared).toMatchObject({ kind, message: expect.stringContaining(text) });
  });

  it.each([[fine], [{ ...fine, connections: 3 }], [undefined]])("%j lets it in", async (answer) => {
    const { gate, shared } = make();
    const admission = gate.admit("192.0.2.1");
    shared.answer(answer);
    expect(await admission.shared).toBeUndefined();
  });

  it("are told of everything, and not asked about what is refused here", () => {
    const { gate, bans, shared } = make();
    const admissions = [1, 2, 3, 4].map(() => gate.admit("192.0.2.1"));
    expect(admissions[3]!.shared).toBeUndefined();
    for (const each of admissions.slice(2)) each.release();
    admissions[0]!.refund();
    bans.recordFailure("192.0.2.1");
    bans.recordSuccess("192.0.2.1");
    bans.lift("192.0.2.1");
    const key = "192.0.2.1";
    expect(shared.told).toEqual([
      ...[1, 2, 3].map((open) => `admit ${key} ${open}`),
      ...[`released ${key} 3`, `released ${key} 2`, `refund ${key}`, `failed ${key}`, `succeeded ${key}`, `lifted ${key}`],
    ]);
  });

  it("are waited for before a password is looked at, not before a cancel request", async () => {
    const world = await World.create();
    const { shared, gate } = make(world.clock);
    const connect = () => {
      const [near, far] = pipePair({ address: "127.0.0.1", port: 50_000 });
      const client = new ScriptedClient(near);
      void runSession(far, world.engine, { ...world.deps, gate });
      return client;
    };
    const cancel = connect();
    await cancel.say(cancelPacket(1, Buffer.alloc(4)));
    expect(cancel.isClosed).toBe(true);
    const client = connect();
    await client.say(startupPacket({ user: projectId, database: "myapp__wayne" }));
    expect(client.received).toHaveLength(0);
    shared.answer({ ...fine, bannedS: 9 });
    await settle();
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "53300", message: expect.stringContaining("retry in 9s") });
    await world.end();
  });

  it("are waited for before a redirecting engine speaks", async () => {
    const world = new DoorWorld();
    const { shared, gate } = make(world.clock);
    const [, far] = pipePair({ address: "127.0.0.1", port: 50_000 });
    const seen: Visit[] = [];
    const visit = runVisit(far, { name: "MySQL", serve: async (_, one) => void seen.push(one) }, { ...world.deps, gate });
    await settle();
    expect(seen).toEqual([]);
    shared.answer({ ...fine, waitS: 2 });
    await visit;
    expect(seen[0]?.refusal?.message).toBe("connection rejected: your IP is connecting too fast, retry in 2s");
    expect(shared.told).toEqual(["admit 127.0.0.1 1", "released 127.0.0.1 0"]);
  });
});
