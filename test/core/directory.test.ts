/** The directory's cache and the databases in use: fresh, stale, invalidated while asked, and what open sessions notice of a change. */
import { describe, expect, it } from "vitest";
import { authorize } from "../../core/authorize.ts";
import { ManualClock } from "../../core/clock.ts";
import { type Change, Directory, type ProjectKeys, type Route, type RouteSource } from "../../core/directory.ts";
import type { GatewayError } from "../../core/errors.ts";
import { LiveDatabases } from "../../core/live.ts";
import { defaultDatabaseSettings } from "../../core/model.ts";
import { settle } from "../engines/postgres/support/wire.ts";
import { FakeRoutes, makeCredential, makeTarget, project, projectId } from "../engines/postgres/support/world.ts";

const neverHeld = () => ({ begun: Promise.resolve(true), resume: async () => undefined });

/** A store whose answers are given by hand. */
class SlowRoutes implements RouteSource {
  readonly waiting: { name: string; answer: (route: Partial<Route>) => void; fail: (error: Error) => void }[] = [];
  #listener: (change: Change | undefined) => void = () => undefined;

  async findProjectKeys(): Promise<ProjectKeys | undefined> {
    return project;
  }

  findRoute(id: string, databaseName: string): Promise<Route> {
    return new Promise((resolve, reject) => {
      const answer = (route: Partial<Route>) => resolve({ projectId: id, databaseName, target: undefined, candidates: [], others: [], ...route });
      this.waiting.push({ name: databaseName, answer, fail: reject });
    });
  }

  async findUsable(): Promise<ReadonlySet<string>> {
    return new Set();
  }

  onChange(listener: (change: Change | undefined) => void): () => void {
    this.#listener = listener;
    return () => undefined;
  }

  announce(change: Change | undefined): void {
    this.#listener(change);
  }
}

function make(options?: { freshMs: number; maxEntries: number }) {
  const clock = new ManualClock();
  const routes = new FakeRoutes();
  routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne"));
  return { clock, routes, directory: new Directory(routes, clock, options) };
}

describe("directory", () => {
  it("asks once for many at the same time, and again only when the answer is old", async () => {
    const { clock, routes, directory } = make();
    await Promise.all(Array.from({ length: 20 }, () => directory.findRoute(projectId, "myapp__wayne")));
    expect(routes.asked).toBe(1);
    clock.advance(59_999);
    await directory.findRoute(projectId, "myapp__wayne");
    expect(routes.asked).toBe(1);
    clock.advance(1);
    await directory.findRoute(projectId, "myapp__wayne");
    expect(routes.asked).toBe(2);
  });

  it("remembers for a while that a project does not exist, until one is made", async () => {
    const { clock, routes, directory } = make();
    for (let i = 0; i < 5; i++) expect(await directory.findProjectKeys("tdb_00000000")).toBeUndefined();
    expect(routes.asked).toBe(1);
    routes.projects.set("tdb_00000000", { ...project, projectId: "tdb_00000000" });
    routes.announce({ projectId: "tdb_00000000" });
    expect(await directory.findProjectKeys("tdb_00000000")).toBeDefined();
    clock.advance(60_000);
    expect(await directory.findProjectKeys("tdb_00000001")).toBeUndefined();
  });

  it("goes on with what it knows while the store is away, and guesses nothing else", async () => {
    const { clock, routes, directory } = make();
    await directory.findRoute(projectId, "myapp__wayne");
    await directory.findProjectKeys(projectId);
    routes.isAway = true;
    clock.advance(3_600_000);
    expect((await directory.findRoute(projectId, "myapp__wayne")).target?.workspace).toBe("myapp");
    expect(await directory.findProjectKeys(projectId)).toEqual(project);
    await expect(directory.findRoute(projectId, "myapp__other")).rejects.toThrow("away");
    await expect(directory.findProjectKeys("tdb_00000000")).rejects.toThrow("away");
    routes.isAway = false;
    expect((await directory.findRoute(projectId, "myapp__other")).target).toBeUndefined();
  });

  it("forgets a project's answers at its change, everything when events were missed, nothing at another's", async () => {
    const { routes, directory } = make();
    const ask = async () => {
      await directory.findRoute(projectId, "myapp__wayne");
      return routes.asked;
    };
    expect(await ask()).toBe(1);
    routes.announce({ projectId: "tdb_11111111" });
    expect(await ask()).toBe(1);
    routes.announce({ projectId, tenantId: "wayne" });
    expect(await ask()).toBe(2);
    routes.announce(undefined);
    expect(await ask()).toBe(3);
  });

  it("does not act upon an answer that a change has overtaken, but asks again", async () => {
    const routes = new SlowRoutes();
    const directory = new Directory(routes, new ManualClock());
    const found = directory.findRoute(projectId, "myapp__wayne");
    routes.announce({ projectId });
    routes.waiting[0]!.answer({ target: makeTarget("myapp", "wayne") });
    await settle();
    expect(routes.waiting).toHaveLength(2);
    routes.waiting[1]!.answer({ target: makeTarget("myapp", "wayne", { tenant: { id: "wayne", state: "suspended" } }) });
    expect((await found).target?.tenant?.state).toBe("suspended");
    expect((await directory.findRoute(projectId, "myapp__wayne")).target?.tenant?.state).toBe("suspended");
    expect(routes.waiting).toHaveLength(2);
  });

  it("takes an answer although something else changed meanwhile", async () => {
    const routes = new SlowRoutes();
    const directory = new Directory(routes, new ManualClock());
    const found = directory.findRoute(projectId, "myapp__wayne");
    routes.announce({ projectId: "tdb_11111111" });
    routes.waiting[0]!.answer({ target: makeTarget("myapp", "wayne") });
    expect((await found).target?.workspace).toBe("myapp");
    expect(routes.waiting).toHaveLength(1);
  });

  it("gives up asking again when changes never stop", async () => {
    const routes = new SlowRoutes();
    const directory = new Directory(routes, new ManualClock());
    const found = directory.findRoute(projectId, "myapp__wayne");
    for (let i = 0; i < 5; i++) {
      routes.announce({ projectId });
      routes.waiting[i]!.answer({});
      await settle();
    }
    expect((await found).databaseName).toBe("myapp__wayne");
    expect(routes.waiting).toHaveLength(5);
  });

  it("keeps no more than maxEntries, and lets guessed names push out no known ones", async () => {
    const { routes, directory } = make({ freshMs: 60_000, maxEntries: 3 });
    await directory.findProjectKeys(projectId);
    for (let i = 0; i < 50; i++) await directory.findProjectKeys(`tdb_0000${i}`);
    const before = routes.asked;
    await directory.findProjectKeys(projectId);
    expect(routes.asked).toBe(before);
    for (const name of ["a", "b", "c", "d"]) await directory.findRoute(projectId, name);
    await directory.findRoute(projectId, "a");
    expect(routes.asked).toBe(before + 5);
  });
});

describe("live database", () => {
  async function open() {
    const { clock, routes, directory } = make();
    const lines: string[] = [];
    const live = new LiveDatabases(directory, clock, { write: (_, event) => void lines.push(event) });
    const credential = await makeCredential("key_a", "a", { type: "tenant", values: ["wayne"] });
    routes.candidates = [credential];
    const entry = await live.enter(projectId, "myapp__wayne", makeTarget("myapp", "wayne"));
    const ended: GatewayError[] = [];
    const left: GatewayError[] = [];
    const session = {
      credentialId: "key_a",
      expiresAt: undefined as number | undefined,
      hold: neverHeld,
      terminate: (error: GatewayError) => void ended.push(error),
      leave: (error: GatewayError) => void left.push(error),
    };
    entry.sessions.add(session);
    const change = async (more: Partial<Change> = {}) => {
      routes.announce({ projectId, ...more });
      await live.apply({ projectId, ...more });
    };
    return { clock, routes, directory, live, entry, ended, left, session, change, lines, credential };
  }

  it("brings changed settings to open sessions", async () => {
    const { routes, entry, change, ended } = await open();
    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", { settings: { ...defaultDatabaseSettings, allow_copy: true } }));
    await change({ workspaceId: "ws_other" });
    await change({ tenantId: "globex" });
    expect(entry.settings.allow_copy).toBe(false);
    await change({ workspaceId: "ws_myapp" });
    expect([entry.settings.allow_copy, ended]).toEqual([true, []]);
  });

  it.each([
    ["suspended", { tenant: { id: "wayne", state: "suspended" } }, 'terminating connection: tenant "wayne" is suspended'],
    ["put in trash", { tenant: { id: "wayne", state: "trash" } }, 'terminating connection: tenant "wayne" is in trash'],
    ["being deleted", { tenant: { id: "wayne", state: "deleting" } }, 'terminating connection: database "myapp__wayne" was moved or removed'],
    ["in a workspace being deleted", { workspaceState: "deleting" }, 'terminating connection: database "myapp__wayne" was moved or removed'],
    [
      "moved",
      { database: { clusterId: "other", name: "tdb_myappwayne", passwordGeneration: 1 } },
      'terminating connection: database "myapp__wayne" was moved or removed',
    ],
  ] as const)("ends sessions when it is %s", async (_, target, message) => {
    const { routes, change, ended } = await open();
    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", target));
    await change();
    expect(ended).toMatchObject([{ kind: "revoked", sqlstate: "57P01", message }]);
  });

  it("ends sessions when it is gone", async () => {
    const { routes, change, ended } = await open();
    routes.targets.clear();
    await change();
    expect(ended).toHaveLength(1);
  });

  it("ends the sessions of a revoked credential, and those only", async () => {
    const { routes, entry, change, ended, credential } = await open();
    const other: GatewayError[] = [];
    routes.candidates.push(await makeCredential("key_b", "b", { type: "tenant", values: ["wayne"] }));
    const end = (error: GatewayError) => void other.push(error);
    entry.sessions.add({ credentialId: "key_b", expiresAt: undefined, hold: neverHeld, terminate: end, leave: end });
    routes.candidates[0] = { ...credential, revokedAt: 1 };
    await change({ credentialId: "key_a" });
    expect(ended).toMatchObject([{ message: "terminating connection: the credential was revoked or has expired" }]);
    expect(other).toEqual([]);
  });

  it("ends a session within a second of its credential's expiry", async () => {
    const { clock, session, ended } = await open();
    session.expiresAt = clock.wallMs() + 5000;
    clock.advance(4999);
    expect(ended).toEqual([]);
    clock.advance(1001);
    expect(ended[0]?.kind).toBe("revoked");
  });

  it("asks sessions to leave between transactions while another database takes its place", async () => {
    const { routes, change, ended, left } = await open();
    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", { isHeld: true }));
    await change();
    expect(ended).toEqual([]);
    expect(left).toMatchObject([{ sqlstate: "57P01", message: 'terminating connection: database "myapp__wayne" is being restored; reconnect' }]);
  });

  it("makes new sessions wait for the other database, and refuses them when it does not come in time or they leave", async () => {
    const { clock, routes, directory, live, change, credential } = await open();
    const { signal } = new AbortController();
    const identity = { projectId, databaseName: "myapp__wayne", credential };
    const enter = (by = signal) =>
      authorize(identity, { directory, live, engine: "PostgreSQL", patience: { clock, waitMs: 10_000, signal: () => by } });
    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", { isHeld: true }));
    await change();
    const entering = enter();
    let isIn = false;
    void entering.then(() => {
      isIn = true;
    });
    await settle();
    clock.advance(5_000);
    await settle();
    expect(isIn).toBe(false);
    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", { database: { clusterId: "c", name: "tdb_other", passwordGeneration: 1 } }));
    await change();
    expect((await entering).target.database.name).toBe("tdb_other");

    routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne", { isHeld: true }));
    await change();
    const tooLong = expect(enter()).rejects.toMatchObject({ sqlstate: "57P03", message: 'database "myapp__wayne" is being restored' });
    for (let i = 0; i < 25; i++) {
      await settle();
      clock.advance(500);
    }
    await tooLong;
    const gone = new AbortController();
    const leaving = expect(enter(gone.signal)).rejects.toThrow("it left");
    await settle();
    gone.abort(new Error("it left"));
    await leaving;
  });

  it("leaves sessions alone while the store is away", async () => {
    const { routes, change, ended, lines } = await open();
    routes.isAway = true;
    await change();
    expect([ended, lines]).toEqual([[], ["live database not refreshed"]]);
  });

  it("counts places, and is forgotten with its last session", async () => {
    const { live, entry } = await open();
    const target = makeTarget("myapp", "wayne", { settings: { ...defaultDatabaseSettings, max_connections: 2 } });
    live.enter(projectId, "myapp__wayne", target);
    expect(() => live.enter(projectId, "myapp__wayne", target)).toThrow('too many connections for database "myapp__wayne" (max_connections = 2)');
    live.leave(entry);
    live.leave(entry);
    expect(live.enter(projectId, "myapp__wayne", target)).not.toBe(entry);
  });
});
