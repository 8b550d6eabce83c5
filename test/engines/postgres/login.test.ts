/** Logging in through the whole data path: who gets in, what each refusal says, and that nothing is left behind. */
import { describe, expect, it } from "vitest";
import type { RouteTarget } from "../../../core/directory.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { ScriptedClient } from "./support/client.ts";
import { message, reply, settle } from "./support/wire.ts";
import { atRest, makeCredential, makeTarget, projectId, World } from "./support/world.ts";

const wayne = { user: projectId, database: "myapp__wayne", password: "tenant-pw" };

/** Logs in and tells what came of it; then the client leaves. */
async function attempt(world: World, options: Partial<typeof wayne>, address?: string): Promise<ScriptedClient> {
  const client = world.connect(address);
  await client.login({ ...wayne, ...options });
  client.pipe.destroy();
  await settle();
  return client;
}

function fatal(sqlstate: string, text: string) {
  return expect.objectContaining({ severity: "FATAL", sqlstate, message: text });
}

describe("login", () => {
  it("tells the client its parameters, the server's process id with a key of our own, and that it is ready", async () => {
    const world = await World.create();
    const client = await world.client();
    expect(client.types).toBe("RRRRSSSKZ");
    expect(client.frames.filter((frame) => frame.type === "S").map((frame) => frame.body.toString())).toEqual([
      "server_version\u000015.18\0",
      "client_encoding\0UTF8\0",
      "DateStyle\0ISO, MDY\0",
    ]);
    expect(client.key.pid).toBe(world.server.last.pid);
    expect(client.key.secret).toHaveLength(4);
    expect(Buffer.from(client.key.secret)).not.toEqual(Buffer.from(world.server.last.secret));
    expect(Object.fromEntries(world.server.last.startup)).toEqual({ user: "tdb_myappwayne_admin", database: "tdb_myappwayne" });
    client.pipe.destroy();
    await world.end();
    expect(world.counts()).toEqual(atRest);
  });

  it("finds the right one among fifty credentials, and logs in as its role", async () => {
    const world = await World.create();
    for (let i = 0; i < 50; i++) {
      const role = (["read", "write", "admin"] as const)[i % 3] as "read";
      world.routes.candidates.push(await makeCredential(`key_${i}`, `password ${i}`, { type: "tenant", values: ["wayne"] }, { role }));
    }
    for (const i of [0, 1, 26, 49]) {
      const client = await world.client("myapp__wayne", `password ${i}`);
      expect(world.server.last.startup.get("user")).toBe(`tdb_myappwayne_${["read", "write", "admin"][i % 3]}`);
      expect(client.types.endsWith("Z")).toBe(true);
    }
  });

  it("passes start-up parameters on to the backend, options taken apart", async () => {
    const world = await World.create();
    const parameters = { application_name: "app", options: "-c search_path=a,b --work-mem=64MB -cgeqo=off", TimeZone: "UTC", work_mem: "1MB" };
    await world.client("myapp__wayne", "tenant-pw", parameters);
    const { user, database, ...rest } = Object.fromEntries(world.server.last.startup);
    expect(rest).toEqual({ search_path: "a,b", work_mem: "1MB", geqo: "off", application_name: "app", TimeZone: "UTC" });
  });

  it("answers an unknown project, an unknown database and a wrong password alike, message by message and byte by byte long", async () => {
    const world = await World.create();
    const shapes = new Set<string>();
    for (const options of [
      { password: "wrong" },
      { user: "tdb_99999999" },
      { database: "myapp__nobody", password: "wrong" },
      { user: "somebody1234" },
    ]) {
      const client = await attempt(world, options);
      shapes.add(JSON.stringify(client.frames.map((frame) => [frame.type, frame.body.length])));
      expect(client.error).toEqual(fatal("28P01", `password authentication failed for user "${options.user ?? projectId}"`));
    }
    expect([...shapes]).toHaveLength(1);
    expect(world.server.connections).toHaveLength(0);
  });

  it("shows one salt for one unknown name, every time", async () => {
    const salts = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const world = await World.create();
      const client = await attempt(world, { user: "tdb_99999999" });
      salts.add(/s=([^,]+)/.exec(client.frames[1]!.body.toString())![1]!);
    }
    expect(salts.size).toBe(1);
  });

  it("tells nothing of a database before the password was right", async () => {
    const world = await World.create();
    world.routes.targets.set("myapp__joker", makeTarget("myapp", "joker", { tenant: { id: "joker", state: "suspended" } }));
    for (const database of ["myapp__joker", "myapp__nobody", "no such form", "shop_workspace"]) {
      expect((await attempt(world, { database, password: "wrong" })).error).toEqual(
        fatal("28P01", `password authentication failed for user "${projectId}"`),
      );
    }
  });

  it("refuses a revoked, an expired and a rotated secret as a wrong password", async () => {
    const world = await World.create();
    const now = world.clock.wallMs();
    const scope = { type: "tenant", values: ["wayne"] } as const;
    world.routes.candidates.push(await makeCredential("key_a", "revoked", scope, { revokedAt: now - 1 }));
    world.routes.candidates.push(await makeCredential("key_b", "expired", scope, { expiresAt: now }));
    const rotated = await makeCredential("key_c", "rotated", scope);
    world.routes.candidates.push({ ...rotated, verifiers: rotated.verifiers.map((verifier) => ({ ...verifier, validUntil: now })) });
    for (const password of ["revoked", "expired", "rotated"]) expect((await attempt(world, { password })).error?.sqlstate, password).toBe("28P01");
  });

  describe.each<[string, Partial<typeof wayne>, Partial<RouteTarget> | undefined, ReturnType<typeof fatal>]>([
    [
      "project credential on a tenant",
      { password: "project-pw" },
      undefined,
      fatal("28000", "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key"),
    ],
    [
      "workspace credential on another blueprint",
      { password: "workspace-pw", database: "other_app_workspace" },
      undefined,
      fatal("28000", 'credential scoped to workspaces [myapp], attempted workspace "other_app"'),
    ],
    [
      "tenant credential on another tenant",
      { database: "myapp__globex" },
      undefined,
      fatal("28000", 'credential scoped to tenants [wayne], attempted tenant "globex"'),
    ],
    [
      "tenant credential on a workspace",
      { database: "myapp_workspace" },
      undefined,
      fatal("28000", 'credential scoped to tenants [wayne], attempted workspace "myapp"'),
    ],
    [
      "wrong engine",
      {},
      { engine: "MySQL", workspace: "mysql_test" },
      fatal("08004", 'blueprint "mysql_test" is MySQL, not PostgreSQL. Connect via the mysql proxy instead.'),
    ],
    [
      "no such database",
      { database: "myapp__nobody", password: "workspace-pw" },
      undefined,
      fatal("3D000", 'database "myapp__nobody" does not exist'),
    ],
    ["name of no known form", { database: "postgres", password: "project-pw" }, undefined, fatal("3D000", 'database "postgres" does not exist')],
    ["suspended tenant", {}, { tenant: { id: "wayne", state: "suspended" } }, fatal("57P03", 'tenant "wayne" is suspended')],
    ["tenant in trash", {}, { tenant: { id: "wayne", state: "trash" } }, fatal("3D000", 'tenant "wayne" is in trash')],
    ["tenant being deleted", {}, { tenant: { id: "wayne", state: "deleting" } }, fatal("3D000", 'database "myapp__wayne" does not exist')],
    ["tenant being created", {}, { tenant: { id: "wayne", state: "creating" } }, fatal("57P03", 'database "myapp__wayne" is still being created')],
    ["database not placed yet", {}, { database: undefined }, fatal("57P03", 'database of blueprint "myapp" is still being created')],
  ])("%s", (_, options, target, error) => {
    it("is refused after the password, in its own words, and counts as no failure", async () => {
      const world = await World.create();
      if (target) world.routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", target));
      for (let i = 0; i < 11; i++) expect((await attempt(world, options, "10.0.0.9")).error?.sqlstate).toBe("28000"); // no TLS from outside
      const client = await attempt(world, options);
      expect(client.error).toEqual(error);
      expect(world.bans.list()).toEqual([]);
      expect(world.server.connections).toHaveLength(0);
      await world.end();
      expect(world.counts()).toEqual(atRest);
    });
  });

  it("bans an address after ten wrong passwords, says for how long, and lets it in when that is over", async () => {
    const world = await World.create({ tlsRequired: "never" });
    for (let i = 0; i < 10; i++) expect((await attempt(world, { password: "wrong" }, "10.0.0.9")).error?.sqlstate).toBe("28P01");
    const text = (seconds: number) =>
      `connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in ${seconds}s`;
    expect((await attempt(world, {}, "10.0.0.9")).error).toEqual(fatal("53300", text(60)));
    world.clock.advance(13_000);
    expect((await attempt(world, {}, "10.0.0.9")).error).toEqual(fatal("53300", text(47)));
    expect((await attempt(world, {}, "10.0.0.10")).types).toMatch(/Z$/);
    world.clock.advance(46_999);
    expect((await attempt(world, {}, "10.0.0.9")).error).toEqual(fatal("53300", text(1)));
    world.clock.advance(1);
    expect((await attempt(world, {}, "10.0.0.9")).types).toMatch(/Z$/);
    expect(world.lines.filter((line) => line.event === "address banned")).toHaveLength(1);
  });

  it("refuses connections over the limit of an address, and too fast ones", async () => {
    const world = await World.create({ tlsRequired: "never", limits: { maxConnections: 2, connectRate: 1, connectBurst: 3 } });
    const open = [world.connect("10.0.0.9"), world.connect("10.0.0.9")];
    expect((await attempt(world, {}, "10.0.0.9")).error).toEqual(fatal("53300", "connection rejected: too many connections from your IP (limit 2)"));
    for (const client of open) client.pipe.destroy();
    await settle();
    expect((await attempt(world, {}, "10.0.0.9")).types).toMatch(/Z$/);
    expect((await attempt(world, {}, "10.0.0.9")).error).toEqual(fatal("53300", "connection rejected: your IP is connecting too fast, retry in 1s"));
  });

  it("refuses one client more than max_connections, and takes the next when one has left", async () => {
    const world = await World.create();
    world.set("myapp__wayne", { max_connections: 2 });
    const first = await world.client();
    await world.client();
    expect((await attempt(world, {})).error).toEqual(fatal("53300", 'too many connections for database "myapp__wayne" (max_connections = 2)'));
    first.pipe.destroy();
    await settle();
    await world.client();
  });

  it("names no host when the server cannot be reached, and gives back every place", async () => {
    const world = await World.create();
    world.server.refuseConnect = new Error("connect ECONNREFUSED 10.1.2.3:5432");
    expect((await attempt(world, {})).error).toEqual(fatal("08006", 'database server for "myapp__wayne" is not reachable'));
    expect(world.lines.some((line) => String(line.fields?.cause).includes("ECONNREFUSED"))).toBe(true);
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
    expect((await world.live.enter(projectId, "myapp__wayne", makeTarget("myapp", "wayne"))).connections).toBe(1);
  });

  it("passes PostgreSQL's own error about a client's setting on unchanged", async () => {
    const world = await World.create();
    const refusal = reply.error("22023", 'invalid value for parameter "TimeZone": "Mars"', "FATAL");
    world.server.loginAnswer = () => [message("R", Buffer.alloc(4)), refusal];
    const client = world.connect();
    await client.login({ ...wayne, parameters: { TimeZone: "Mars" } });
    expect(client.received.subarray(-refusal.length)).toEqual(refusal);
  });

  it("does not take a store that is away for wrong passwords: nobody is banned, and who is known comes in", async () => {
    const world = await World.create({ tlsRequired: "never" });
    const known = await world.client();
    known.pipe.destroy();
    world.routes.away = new GatewayError("store_unavailable", "credentials cannot be looked up right now, try again");
    world.routes.isAway = true;
    for (let i = 0; i < 30; i++) {
      const { error } = await attempt(world, { database: `myapp__new${i}`, password: i % 2 ? "tenant-pw" : "wrong" }, "198.51.100.7");
      expect(error).toEqual(fatal("57P03", "credentials cannot be looked up right now, try again"));
    }
    expect(world.bans.secondsLeft("198.51.100.7")).toBe(0);
    await world.client();
    world.routes.isAway = false;
    const back = await attempt(world, {}, "198.51.100.7");
    expect(back.types).not.toContain("E");
  });

  it("hides a failure of its own behind an id, and logs it in full", async () => {
    const world = await World.create();
    world.routes.findRoute = () => Promise.reject(new TypeError("a bug with tdb_0123456789abcdef in it"));
    const client = await attempt(world, {});
    expect(client.error).toEqual(fatal("XX000", "internal error (id s0)"));
    expect(world.lines.find((line) => line.level === "error")?.fields?.error).toContain("a bug");
  });

  it.each([
    ["role", { role: "postgres" }],
    ["ROLE in another case", { RoLe: "postgres" }],
    ["session_authorization", { session_authorization: "postgres" }],
    ["role in options", { options: "-c role=x" }],
    ["role in long options", { options: "--role=x" }],
    ["role behind an escaped blank", { options: "-crole=\\ x" }],
    ["preloaded libraries", { local_preload_libraries: "x" }],
  ])("never passes %s on", async (_, parameters: Record<string, string>) => {
    const world = await World.create();
    const client = world.connect();
    await client.login({ ...wayne, parameters });
    expect(client.error).toMatchObject({ severity: "FATAL", sqlstate: "42501" });
    expect(world.server.connections).toHaveLength(0);
  });

  it.each([
    "-c options=-crole=x",
    "-c user=postgres",
    "--database=other",
    "-c=  -c",
    "-c role",
    "-d 5",
    "--single",
    "x",
    "-c",
    "-c\u00a0search_path=a",
  ])("refuses the options %j before anything is asked of a server", async (options) => {
    const world = await World.create();
    const client = world.connect();
    await client.login({ ...wayne, parameters: { options } });
    expect(client.error?.severity).toBe("FATAL");
    expect(world.server.connections).toHaveLength(0);
  });

  it.each(["true", "on", "1", "database", "yes"])("refuses replication=%s after the password", async (replication) => {
    const world = await World.create();
    const client = world.connect();
    await client.login({ ...wayne, parameters: { replication } });
    expect(client.error).toEqual(fatal("0A000", "replication connections are not supported through the gateway"));
    expect(world.server.connections).toHaveLength(0);
  });

  it("lets nobody but loopback in without TLS, before a password is asked for", async () => {
    const world = await World.create();
    const client = await attempt(world, {}, "192.0.2.1");
    expect(client.error).toEqual(fatal("28000", "TLS is required: connect with sslmode=require"));
    expect(client.types).toBe("E");
  });
});
