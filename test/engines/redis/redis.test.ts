/** The Redis listener in memory: log-ins, opening commands of drivers, verdicts, refusals. Bytes by hand. */
import { describe, expect, it } from "vitest";
import { createRedisEngine } from "../../../engines/redis/engine.ts";
import { makeCredential, makeTarget } from "../postgres/support/world.ts";
import { type Caller, type DoorOptions, DoorWorld, nobodyLeft } from "../support/door-world.ts";
import { respCommand as resp } from "../support/openings.ts";

const postgresVerdict = `blueprint "myapp" is PostgreSQL, not Redis. Connect via the postgres proxy instead.`;
const redisVerdict = `blueprint "cache" is Redis; this gateway does not proxy Redis yet. Connect to it directly at redis.example:6379.`;
const noPermit = (text: string) => `-NOPERM ${text}\r\n`;

async function makeWorld(options: DoorOptions = {}) {
  const world = new DoorWorld(options);
  const redis = { engine: "Redis", redirectTo: "redis.example:6379", database: undefined } as const;
  world.routes.targets.set("myapp_workspace", makeTarget("myapp", undefined));
  world.routes.targets.set("cache_workspace", makeTarget("cache", undefined, redis));
  world.routes.targets.set("shop_workspace", makeTarget("shop", undefined, { engine: "MySQL", database: undefined }));
  world.routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne"));
  world.routes.targets.set("cache__wayne", makeTarget("cache", "wayne", redis));
  world.routes.targets.set("myapp__globex", makeTarget("myapp", "globex"));
  world.routes.targets.set("myapp__idle", makeTarget("myapp", "idle", { tenant: { id: "idle", state: "suspended" } }));
  world.add(await makeCredential("project", "project-pw", { type: "project" }), "cache_workspace", "myapp_workspace", "shop_workspace");
  world.add(await makeCredential("wayne", "wayne-pw", { type: "tenant", values: ["wayne"] }), "cache__wayne", "myapp__wayne");
  world.add(await makeCredential("globex", "globex-pw", { type: "tenant", values: ["globex"] }), "myapp__globex");
  world.add(await makeCredential("both", "both-pw", { type: "tenant", values: ["wayne", "globex"] }), "myapp__globex", "myapp__wayne");
  world.add(await makeCredential("trashed", "trashed-pw", { type: "tenant", values: ["gone"] }));
  const ofMyapp = ["myapp_workspace", "myapp__globex", "myapp__idle", "myapp__wayne"];
  world.add(await makeCredential("myapp", "myapp-pw", { type: "workspace", values: ["myapp"] }), ...ofMyapp);
  world.add(await makeCredential("old", "old-pw", { type: "project" }, { expiresAt: 1 }));
  const engine = createRedisEngine();
  return { world, call: (address?: string) => world.connect(engine, address) };
}

async function leave(world: DoorWorld, ...callers: Caller[]) {
  for (const { pipe } of callers) pipe.end();
  await callers[0]?.ask();
  expect(world.counts()).toEqual(nobodyLeft);
  expect(world.lines.filter(({ level }) => level === "error")).toEqual([]);
}

describe("redis: verdicts", () => {
  it.each([
    ["myapp", "project-pw", noPermit(postgresVerdict)],
    ["cache", "project-pw", noPermit(redisVerdict)],
    ["shop", "project-pw", noPermit(`blueprint "shop" is MySQL, not Redis. Connect via the mysql proxy instead.`)],
    ["wayne", "wayne-pw", noPermit(redisVerdict)],
    ["globex", "globex-pw", noPermit(postgresVerdict)],
    ["globex", "myapp-pw", noPermit(postgresVerdict)],
    ["myapp", "myapp-pw", noPermit(postgresVerdict)],
    ["idle", "myapp-pw", noPermit(`tenant "idle" is suspended`)],
    ["wayne", "project-pw", noPermit("credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key")],
    ["globex", "wayne-pw", noPermit(`credential scoped to tenants [wayne], attempted tenant "globex"`)],
    ["cache", "myapp-pw", noPermit(`credential scoped to workspaces [myapp], attempted workspace "cache"`)],
    ["nobody", "project-pw", noPermit(`blueprint or tenant "nobody" does not exist`)],
    ["a b\r\nc", "project-pw", noPermit(`blueprint or tenant "a b??c" does not exist`)],
    ["gone", "trashed-pw", noPermit(`tenant "gone" has no database, or is in trash`)],
  ])("tells user %j with %s", async (user, password, told) => {
    const { world, call } = await makeWorld();
    const client = call();
    expect(await client.ask(resp("AUTH", user, password))).toBe("+OK\r\n");
    expect(await client.ask(resp("GET", "a"), resp("PING"), "set a b\r\n")).toBe(told.repeat(3));
    expect(client.isClosed).toBe(false);
    await leave(world, client);
  });

  it.each([
    ["globex-pw", noPermit(postgresVerdict)],
    ["myapp-pw", noPermit(postgresVerdict)],
    ["project-pw", /^-ERR no user name given: connect with the blueprint or the tenant as user name, [^\r\n]*\r\n$/],
    ["both-pw", /^-ERR no user name given: /],
  ])("lets the scope of %s decide where no user is named", async (password, told) => {
    const { world, call } = await makeWorld();
    const client = call();
    for (const login of [
      ["AUTH", password],
      ["AUTH", "default", password],
      ["HELLO", "2", "AUTH", "default", password],
    ]) {
      expect(await client.ask(resp(...login))).toMatch(/^[+*]/);
      expect(await client.ask(resp("GET", "a"))).toMatch(told);
      expect(await client.ask(resp("INFO"))).toMatch(/^-NOPERM /);
    }
    await leave(world, client);
  });

  it("looks again after a second, and keeps to what it knew while the store is away", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    await client.ask(resp("AUTH", "cache", "project-pw"));
    world.routes.targets.set("cache_workspace", makeTarget("cache", undefined, { engine: "Redis", redirectTo: "other:1", database: undefined }));
    world.routes.announce(undefined);
    expect(await client.ask(resp("GET", "a"))).toContain("redis.example:6379");
    world.clock.advance(1000);
    expect(await client.ask(resp("GET", "a"))).toContain("directly at other:1.");
    world.routes.announce(undefined);
    world.routes.isAway = true;
    world.clock.advance(1000);
    expect(await client.ask(resp("GET", "a"))).toMatch(/^-(NOPERM|ERR) /);
    await leave(world, client);
  });

  it("is not told a second time that its credential is good when it is not any more", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    await client.ask(resp("AUTH", "cache", "project-pw"));
    world.routes.candidates = [];
    world.routes.announce(undefined);
    world.clock.advance(1000);
    expect(await client.ask(resp("GET", "a"))).toBe(noPermit("terminating connection: the credential was revoked or has expired"));
    await leave(world, client);
  });
});

describe("redis: log-ins", () => {
  it("refuses wrong and expired secrets without closing, and then takes a right one", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    const wrong = `-WRONGPASS password authentication failed for user "cache"\r\n`;
    expect(await client.ask(resp("AUTH", "cache", "no"))).toBe(wrong);
    expect(await client.ask(resp("HELLO", "3", "AUTH", "cache", "old-pw"))).toBe(wrong);
    expect(await client.ask(resp("GET", "a"))).toBe("-NOAUTH Authentication required.\r\n");
    expect(await client.ask(resp("AUTH", "cache", "project-pw"))).toBe("+OK\r\n");
    await leave(world, client);
  });

  it("counts one secret sent by HELLO and again by AUTH once, and closes at the third wrong one", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    await client.ask(resp("HELLO", "3", "AUTH", "cache", "no"), resp("AUTH", "cache", "no"));
    expect(world.looked).toBe(1);
    expect(client.isClosed).toBe(false);
    expect(await client.ask(resp("AUTH", "cache", "no2"), resp("AUTH", "cache", "project-pw"))).toMatch(/^-WRONGPASS [^\r]*\r\n$/);
    expect(client.isClosed).toBe(true);
    await leave(world, client);
  });

  it("counts failures against the address, bans it, and tells so whatever is asked, without looking at a secret", async () => {
    const { world, call } = await makeWorld();
    for (let i = 0; i < 10; i++) await call().ask(resp("AUTH", "cache", `no${i}`));
    world.looked = 0;
    const banned = call();
    const text = "connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in 60s";
    expect(await banned.ask(resp("HELLO", "3", "AUTH", "cache", "project-pw"))).toMatch(/^%7\r\n/);
    expect(await banned.ask(resp("GET", "a"), resp("INFO"))).toBe(`-ERR ${text}\r\n-NOPERM ${text}\r\n`);
    expect(await call().ask(resp("GET", "a"))).toBe(`-ERR ${text}\r\n`);
    expect(world.looked).toBe(0);
    expect(await call("127.0.0.2").ask(resp("AUTH", "cache", "project-pw"))).toBe("+OK\r\n");
  });

  it("tells of too many connections from one address", async () => {
    const { world, call } = await makeWorld({ limits: { maxConnections: 1 } });
    const first = call();
    const second = call();
    expect(await second.ask(resp("AUTH", "cache", "project-pw"), resp("GET", "a"))).toBe(
      "+OK\r\n-ERR connection rejected: too many connections from your IP (limit 1)\r\n",
    );
    await leave(world, first, second);
  });

  it("asks for TLS before it looks at a secret", async () => {
    const { world, call } = await makeWorld({ tlsRequired: "always" });
    const client = call();
    expect(await client.ask(resp("AUTH", "cache", "project-pw"), resp("GET", "a"))).toBe("+OK\r\n-ERR TLS is required: connect with rediss://\r\n");
    expect(world.looked).toBe(0);
    await leave(world, client);
    const remote = await makeWorld();
    expect(await remote.call("10.0.0.1").ask(resp("AUTH", "cache", "project-pw"), resp("GET", "a"))).toContain("-ERR TLS is required");
  });

  it("closes whoever has not logged in at the deadline, and nobody else", async () => {
    const { world, call } = await makeWorld({ loginTimeoutMs: 5000 });
    const [silent, half, loggedIn] = [call(), call(), call()];
    await half.ask("*2\r\n$4\r\nAU");
    await loggedIn.ask(resp("AUTH", "cache", "project-pw"));
    world.clock.advance(5100);
    await half.ask();
    expect([silent.isClosed, half.isClosed, loggedIn.isClosed]).toEqual([true, true, false]);
    expect(silent.received.subarray(4, 7)).toEqual(Buffer.of(0xff, 0x13, 0x04));
    expect(silent.text).toContain("this is the Redis port; connect to MySQL on port 3306");
    expect(half.text).toBe("");
    expect(world.reasons("silent client")).toEqual([expect.stringContaining("closed at the login timeout: it sent nothing")]);
    await leave(world, loggedIn);
  });

  it("says -ERR while the store cannot be asked, and goes on when it can", async () => {
    const { world, call } = await makeWorld();
    const find = world.deps.findCredential;
    const { GatewayError } = await import("../../../core/errors.ts");
    Object.assign(world.deps, { findCredential: () => Promise.reject(new GatewayError("store_unavailable", "the control store is not reachable")) });
    const client = call();
    expect(await client.ask(resp("AUTH", "cache", "project-pw"))).toBe("-ERR the control store is not reachable\r\n");
    Object.assign(world.deps, { findCredential: find });
    expect(await client.ask(resp("AUTH", "cache", "project-pw"))).toBe("+OK\r\n");
    expect(world.bans.list()).toEqual([]);
    await leave(world, client);
  });
});

describe("redis: commands", () => {
  it.each([
    ["HELLO", [["HELLO", "3"]], /^-NOAUTH HELLO must be called with the client already authenticated/],
    ["a version too new", [["HELLO", "4"]], "-NOPROTO unsupported protocol version\r\n"],
    ["a version that is none", [["HELLO", "x"]], "-ERR Protocol version is not an integer or out of range\r\n"],
    ["an option cut short", [["HELLO", "3", "AUTH", "u"]], "-ERR Syntax error in HELLO option 'AUTH'\r\n"],
    ["AUTH without a secret", [["AUTH"]], "-ERR wrong number of arguments for 'auth' command\r\n"],
    ["AUTH with too much", [["AUTH", "a", "b", "c"]], "-ERR wrong number of arguments for 'auth' command\r\n"],
    ["anything else", [["CLIENT", "ID"], ["PING"], ["INFO"]], "-NOAUTH Authentication required.\r\n".repeat(3)],
    ["RESET", [["RESET"]], "+RESET\r\n"],
    ["an empty array and an empty line", [[], ["PING"]], "-NOAUTH Authentication required.\r\n"],
  ])("answers %s before a log-in", async (_, commands, told) => {
    const { world, call } = await makeWorld();
    const client = call();
    expect(await client.ask(...commands.map((command) => resp(...command)))).toMatch(told);
    await leave(world, client);
  });

  it.each([
    [2, "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:2\r\n", "$-1\r\n", "*0\r\n"],
    [3, "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:3\r\n", "_\r\n", "%0\r\n"],
  ])("speaks RESP%i", async (version, hello, nothing, emptyMap) => {
    const { world, call } = await makeWorld();
    const client = call();
    const answer = await client.ask(resp("HELLO", String(version), "AUTH", "cache", "project-pw"));
    expect(answer).toBe(`${hello}$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n`);
    expect(await client.ask(resp("client", "getname"))).toBe(nothing);
    expect(await client.ask(resp("CLIENT", "SETNAME", "é"), resp("CLIENT", "GETNAME"))).toBe("+OK\r\n$2\r\né\r\n");
    expect(await client.ask(resp("COMMAND", "DOCS"), resp("COMMAND"))).toBe(`${emptyMap}*0\r\n`);
    expect(await client.ask(resp("RESET"), resp("CLIENT", "GETNAME"))).toBe("+RESET\r\n-NOAUTH Authentication required.\r\n");
    await leave(world, client);
  });

  it("settles what drivers send first, and refuses data without closing", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    const opening = [
      resp("HELLO", "3", "AUTH", "cache", "project-pw", "SETNAME", "app"),
      resp("CLIENT", "SETINFO", "LIB-NAME", "ioredis"),
      resp("CLIENT", "GETNAME"),
      resp("CLIENT", "MAINT_NOTIFICATIONS", "ON"),
      resp("SELECT", "3"),
      resp("SELECT", "16"),
      resp("INFO"),
      resp("MULTI"),
      resp("SUBSCRIBE", "news"),
      resp("QUIT"),
    ];
    const said = (await client.ask(...opening)).split("\r\n");
    const told = noPermit(redisVerdict).trim();
    const subcommand = "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.";
    const range = "-ERR DB index is out of range";
    expect(said.slice(-11)).toEqual(["+OK", "$3", "app", subcommand, "+OK", range, told, told, told, "+OK", ""]);
    expect(client.isClosed).toBe(true);
    await leave(world, client);
  });

  it("reads refused commands of any size to their end without keeping them", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    await client.ask(resp("AUTH", "cache", "project-pw"));
    const large = "x".repeat(3_000_000);
    const many = Array.from({ length: 10_000 }, (_, i) => `key${i}`);
    expect(await client.ask(resp("SET", "a", large), resp("DEL", ...many), resp("PING"))).toBe(noPermit(redisVerdict).repeat(3));
    await leave(world, client);
  });

  it("waits for a client that does not read its answers", async () => {
    const { world, call } = await makeWorld();
    const client = call();
    await client.ask(resp("AUTH", "cache", "project-pw"));
    client.pipe.pause();
    const flood = Buffer.concat(Array.from({ length: 5000 }, () => resp("GET", "a")));
    await client.ask(flood);
    const kept = client.received.length;
    expect(kept).toBeLessThan(200_000);
    client.pipe.resume();
    for (let i = 0; i < 50; i++) await client.pipe.resume();
    await client.ask();
    await leave(world, client);
  });
});
