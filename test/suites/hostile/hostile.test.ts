/** Random misbehaviour at every stage of a session: nothing is thrown, nothing piles up, no statement is sent on twice, every place is given back. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Prng } from "../../engines/postgres/support/prng.ts";
import { settle } from "../../engines/postgres/support/wire.ts";
import { atRest, projectId, World } from "../../engines/postgres/support/world.ts";
import { playSeed } from "./actors.ts";

/** Each found a fault once, or walks a path that is easily broken. */
const keptSeeds = [0, 1, 7, 42, 1337];
const seedsPerRun = 1500;

const uncaught: unknown[] = [];
const note = (error: unknown) => void uncaught.push(error);

beforeAll(() => {
  process.on("uncaughtException", note);
  process.on("unhandledRejection", note);
});
afterAll(() => {
  process.off("uncaughtException", note);
  process.off("unhandledRejection", note);
});

/** Statements the server was sent since it was last asked. */
function takeMarks(world: World): string[] {
  const marks: string[] = [];
  for (const connection of world.server.connections) {
    if (connection.received.length === 0) continue;
    marks.push(...(connection.received.toString("latin1").match(/once \d+/g) ?? []));
    connection.received = Buffer.alloc(0);
  }
  return marks;
}

/** Plays seeds in one world, so that what one leaves behind trips the next. */
async function play(seeds: readonly number[]): Promise<void> {
  const world = await World.create({ budget: 3, connectWaitMs: 1000, limits: { connectBurst: 1e6, connectRate: 1e6, exempt: ["127.0.0.1"] } });
  const seen = new Set<string>();
  for (const seed of seeds) {
    try {
      const client = await playSeed(world, new Prng(seed));
      expect(client.received.length).toBeLessThan(1_000_000);
      for (const mark of takeMarks(world)) {
        expect({ seed, mark, isAgain: seen.has(mark) }).toEqual({ seed, mark, isAgain: false });
        seen.add(mark);
      }
      for (const connection of world.server.connections.filter((one) => one.isClosed)) connection.frames.length = 0;
      // A backend on its way back may still wait for its reset's answer.
      if (world.counts().leased > 0) {
        world.clock.advance(100_000);
        await settle();
      }
      expect({ seed, ...world.counts() }).toEqual({ seed, ...atRest });
      expect(world.pool.counts().open).toBeLessThanOrEqual(3);
      expect(world.server.open.length).toBe(world.pool.counts().idle);
      const faults = world.lines.filter((line) => line.event === "internal error");
      expect({ seed, faults }).toEqual({ seed, faults: [] });
      expect({ seed, uncaught }).toEqual({ seed, uncaught: [] });
    } catch (error) {
      throw new Error(`seed ${seed} failed`, { cause: error });
    }
  }
  // Whoever behaves still gets in, on whatever is left.
  world.set("myapp__wayne", { allow_copy: false, max_rows_per_query: 0, query_timeout_ms: 0, max_connections: 100 });
  world.routes.announce({ projectId });
  world.server.loginAnswer = undefined;
  const client = await world.client();
  expect(client.types).toMatch(/Z$/);
  if (seeds.length > 100) expect(seen.size).toBeGreaterThan(100);
  await world.end();
}

describe("hostile", () => {
  it.each(keptSeeds)("seed %i leaves nothing behind", (seed) => play([seed]));

  it("a thousand and a half of seeds after one another leave nothing behind", () => play(Array.from({ length: seedsPerRun }, (_, i) => 10_000 + i)));
});
