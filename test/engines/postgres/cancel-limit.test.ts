/** Cancel requests count for themselves: they use up no place of a login, and guessing keys gets nowhere faster than the limit. */
import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import { cancelPacket, settle, sslRequest } from "./support/wire.ts";
import { projectId, World } from "./support/world.ts";

const attacker = "198.51.100.7";
const login = { user: projectId, database: "myapp__wayne", password: "tenant-pw" };

async function makeWorld(offersTls = false) {
  const world = new World({ offersTls, tlsRequired: "never", limits: { maxConnections: 5, connectRate: 1, connectBurst: 5 } });
  world.routes.candidates = (await World.create()).routes.candidates;
  return world;
}

describe("cancel requests", () => {
  it("do not use up an address's logins, with good keys or bad ones, however many", async () => {
    const world = await makeWorld();
    const client = world.connect(attacker);
    await client.login(login);
    const { pid, secret } = client.key;
    for (let i = 0; i < 100; i++) {
      const other = world.connect(attacker);
      await other.say(cancelPacket(i % 2 ? pid : pid + 1, secret));
      expect(other.received).toHaveLength(0);
    }
    for (let i = 0; i < 4; i++) {
      const next = world.connect(attacker);
      await next.login(login);
      expect(next.types.endsWith("Z"), next.error?.message).toBe(true);
    }
    expect(world.bans.secondsLeft(attacker)).toBe(0);
    const tooMany = world.connect(attacker);
    await tooMany.login(login);
    expect(tooMany.error?.message).toBe("connection rejected: too many connections from your IP (limit 5)");
    await world.end();
  });

  it("get through with the right key although wrong ones flood, and although the address is banned", async () => {
    const world = await makeWorld();
    const client = world.connect(attacker);
    await client.login(login);
    const { pid, secret } = client.key;
    world.server.last.isSilent = true;
    await client.say(serialize.query("select pg_sleep(100)"));
    for (let i = 0; i < 30; i++) await world.connect(attacker).say(cancelPacket(pid, Buffer.alloc(4, i)));
    expect(world.server.cancels).toEqual([]);
    for (let i = 0; i < 10; i++) world.bans.recordFailure(attacker);
    await world.connect(attacker).say(cancelPacket(pid, secret));
    expect(world.server.cancels).toHaveLength(1);
    await world.end();
  });

  it("over TLS use up an address's connections once wrong keys are more than ten a second: handshakes are not free", async () => {
    const world = await makeWorld(true);
    const client = world.connect(attacker);
    await client.login(login);
    const { pid, secret } = client.key;
    const overTls = async (packet: Uint8Array) => {
      const other = world.connect(attacker);
      await other.say(sslRequest);
      await other.say(packet);
    };
    for (let i = 0; i < 30; i++) await overTls(cancelPacket(pid, secret));
    for (let i = 0; i < 10; i++) await overTls(cancelPacket(pid, Buffer.alloc(4, i)));
    const next = world.connect(attacker);
    await next.login(login);
    expect(next.types).toMatch(/Z$/);
    next.pipe.destroy();
    for (let i = 0; i < 10; i++) await overTls(cancelPacket(pid, Buffer.alloc(4, i)));
    const late = world.connect(attacker);
    await late.login(login);
    expect(late.error?.message).toMatch(/connecting too fast/);
    await world.end();
  });

  it("with wrong keys are closed at once beyond ten a second from one address, and again the second after", async () => {
    const world = await makeWorld();
    const admission = world.gate.admit(attacker);
    const allowed = () => Array.from({ length: 15 }, () => world.gate.allowWrongCancel(admission)).filter(Boolean).length;
    expect(allowed()).toBe(10);
    expect(world.gate.allowWrongCancel(world.gate.admit("198.51.100.8"))).toBe(true);
    world.clock.advance(999);
    expect(allowed()).toBe(0);
    world.clock.advance(1);
    expect(allowed()).toBe(10);
    const closed = world.connect(attacker);
    await closed.say(cancelPacket(1, Buffer.alloc(4)));
    await settle();
    expect([closed.isClosed, closed.received.length, world.sessions.size]).toEqual([true, 0, 0]);
    await world.end();
  });
});
