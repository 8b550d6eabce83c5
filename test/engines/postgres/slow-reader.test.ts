/** A client that accepts nothing of its result: slow_reader_timeout_s ends it, cancels its query and destroys its backend. */
import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import { reply, settle } from "./support/wire.ts";
import { atRest, World } from "./support/world.ts";

const timeouts = { loginTimeoutMs: 60_000, clientIdleTimeoutMs: 1_800_000, maxUnauthenticated: 1000 };
const bigRow = reply.row("x".repeat(100_000));

/** A client that stopped reading while its result comes. */
async function stalled(slowReaderTimeoutMs: number, settings = {}) {
  const world = await World.create();
  world.sessions.reload({ ...timeouts, slowReaderTimeoutMs });
  const { client, backend } = await world.pair(settings);
  backend.isSilent = true;
  await client.say(serialize.query("select x from large"));
  client.pipe.pause();
  backend.send(bigRow);
  await settle();
  return { world, client, backend };
}

describe("slow reader", () => {
  it("is ended, its query cancelled, its backend closed and not lent again", async () => {
    const { world, client, backend } = await stalled(60_000);
    world.clock.advance(60_000);
    await settle();
    expect(world.counts().running).toBe(1);
    world.clock.advance(100);
    await settle();
    expect(world.server.cancels.map(({ pid }) => pid)).toEqual([backend.pid]);
    expect(world.counts()).toEqual(atRest);
    expect(world.pool.counts()).toMatchObject({ open: 0 });
    expect(world.lines).toContainEqual(
      expect.objectContaining({
        level: "warn",
        event: "session ended",
        fields: expect.objectContaining({ reason: "the client accepted nothing for slow_reader_timeout_s (60)" }),
      }),
    );
    client.pipe.resume();
    await settle();
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "57P05" });
    expect(client.isClosed).toBe(true);
    await world.end();
  });

  it("has its time anew whenever it accepts something", async () => {
    const { world, client, backend } = await stalled(60_000);
    for (let round = 0; round < 5; round++) {
      world.clock.advance(59_000);
      client.pipe.resume();
      await settle();
      client.pipe.pause();
      backend.send(bigRow);
      await settle();
    }
    expect(world.counts().running).toBe(1);
    client.pipe.resume();
    backend.send(reply.complete("SELECT 6"), reply.ready());
    await settle();
    world.clock.advance(600_000);
    await settle();
    expect(client.types).toBe("DDDDDDCZ");
    expect(world.server.cancels).toEqual([]);
    await world.end();
  });

  it("may take all the time it wants where the setting is 0", async () => {
    const { world } = await stalled(0);
    world.clock.advance(3_600_000);
    await settle();
    expect(world.counts().running).toBe(1);
    expect(world.server.cancels).toEqual([]);
    await world.end();
  });

  it("is told nothing in the middle of a message", async () => {
    const { world, client, backend } = await stalled(60_000);
    backend.send(bigRow.subarray(0, 50_000));
    await settle();
    client.pipe.resume();
    await settle();
    client.pipe.pause();
    backend.send(bigRow.subarray(50_000, 70_000), bigRow.subarray(70_000, 90_000), bigRow.subarray(90_000, 99_000));
    backend.send(new Uint8Array(0));
    await settle();
    const before = client.frames.length;
    world.clock.advance(60_100);
    client.pipe.resume();
    await settle();
    expect(client.frames).toHaveLength(before);
    await world.end();
  });
});
