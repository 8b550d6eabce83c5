/** 100,000 random openings on each of the four ports: nothing is thrown but refusals, nobody is left behind. */
import { describe, expect, it } from "vitest";
import { pipePair } from "../../../core/byte-pipe.ts";
import type { RedirectEngine } from "../../../core/doorman.ts";
import { runSession } from "../../../core/session.ts";
import { createMongoEngine } from "../../../engines/mongodb/engine.ts";
import { createMysqlEngine } from "../../../engines/mysql/engine.ts";
import { createRedisEngine } from "../../../engines/redis/engine.ts";
import { Prng } from "../postgres/support/prng.ts";
import { settle } from "../postgres/support/wire.ts";
import { atRest, World } from "../postgres/support/world.ts";
import { DoorWorld, nobodyLeft } from "../support/door-world.ts";
import { mongoCommand, openings, respCommand } from "../support/openings.ts";

const perPort = 100_000;
const batch = 500;
const bodies = [...openings.map(([, , bytes]) => bytes), mongoCommand({ find: 1, $db: "x" }), respCommand("AUTH", "u", "p"), Buffer.from("QUIT\r\n")];

/** One client's bytes: real ones, spoiled ones, several in a row, junk. */
function makeOpening(random: Prng): Uint8Array {
  if (random.chance(0.15)) return random.bytes(random.int(64));
  const parts = [random.pick(bodies)];
  while (random.chance(0.4)) parts.push(random.pick(bodies));
  const bytes = Uint8Array.from(Buffer.concat(parts));
  if (random.chance(0.6)) for (let n = 1 + random.int(4); n > 0; n--) bytes[random.int(bytes.length)] = random.pick([random.int(256), 0, 255, 1, 10]);
  return random.chance(0.4) ? bytes.subarray(0, random.int(bytes.length)) : bytes;
}

/** Connects a batch of clients that say their openings and leave, in pieces or not, before or after they are answered. */
async function run(seed: number, serve: (address: string) => ReturnType<typeof pipePair>[0], check: () => void): Promise<void> {
  const random = new Prng(seed);
  for (let done = 0; done < perPort; done += batch) {
    const pipes = Array.from({ length: batch }, (_, i) => {
      const pipe = serve(`10.0.${i >> 8}.${i & 255}`);
      pipe.sink = { data: () => undefined, drain: () => undefined, closed: () => undefined };
      pipe.resume();
      const bytes = makeOpening(random);
      const pieces = random.chance(0.2) ? random.cut(bytes) : [bytes];
      for (const piece of pieces) pipe.write(piece);
      if (random.chance(0.3)) random.chance(0.5) ? pipe.end() : pipe.destroy();
      return pipe;
    });
    await settle();
    for (const pipe of pipes) pipe.end();
    await settle();
    check();
  }
}

describe("random openings", () => {
  it.each<[string, () => RedirectEngine]>([
    ["MySQL", createMysqlEngine],
    ["MongoDB", createMongoEngine],
    ["Redis", createRedisEngine],
  ])("on the %s port crash nothing and leak nothing", async (name, create) => {
    const world = new DoorWorld({ limits: { exempt: ["0.0.0.0/0"] } });
    const engine = create();
    await run(
      name.length,
      (address) => world.connect(engine, address).pipe,
      () => {
        expect(world.counts()).toEqual(nobodyLeft);
        expect(world.lines.filter(({ level }) => level === "error")).toEqual([]);
        world.lines.length = 0;
      },
    );
  });

  it("on the PostgreSQL port crash nothing and leak nothing", async () => {
    const world = await World.create({ limits: { exempt: ["0.0.0.0/0"] } });
    const serve = (address: string) => {
      const [near, far] = pipePair({ address, port: 50_000 });
      world.running++;
      void runSession(far, world.engine, world.deps).finally(() => world.running--);
      return near;
    };
    await run(1, serve, () => {
      expect(world.counts()).toEqual(atRest);
      expect(world.lines.filter(({ level }) => level === "error")).toEqual([]);
      world.lines.length = 0;
    });
    expect(world.server.connections).toHaveLength(0);
  });
});
