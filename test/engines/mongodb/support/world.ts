/** The MongoDB listener in memory: clock by hand, fake store, real doorman and everything behind it. */
import { BanTracker } from "../../../../core/ban.ts";
import { pipePair } from "../../../../core/byte-pipe.ts";
import { ManualClock } from "../../../../core/clock.ts";
import { Directory } from "../../../../core/directory.ts";
import { type DoormanDeps, type RedirectEngine, runVisit } from "../../../../core/doorman.ts";
import { AddressGate } from "../../../../core/limit.ts";
import type { Log } from "../../../../core/log.ts";
import { SessionRegistry } from "../../../../core/session-registry.ts";
import { createMongoEngine } from "../../../../engines/mongodb/engine.ts";
import { type WatcherLimits, watcherLimits } from "../../../../engines/mongodb/watchers.ts";
import { FakeRoutes, type LogLine, makeCredential, makeTarget, secrets } from "../../postgres/support/world.ts";
import { ScriptedClient } from "./client.ts";

export interface WorldOptions {
  readonly loginTimeoutMs?: number;
  readonly maxConnections?: number;
  readonly watchers?: Partial<WatcherLimits>;
}

export const loginTimeoutMs = 60_000;

/** Blueprints `myapp` of PostgreSQL, `shop` and `cart` of MongoDB, and tenant `wayne` of all of them. */
export class World {
  readonly clock = new ManualClock();
  readonly routes = new FakeRoutes();
  readonly lines: LogLine[] = [];
  readonly log: Log = { write: (level, event, fields) => void this.lines.push({ level, event, fields }) };
  readonly bans = new BanTracker(this.clock, { threshold: 10, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  readonly sessions: SessionRegistry;
  readonly deps: DoormanDeps;
  /** Visits that have not ended. */
  running = 0;
  /** Bytes sent to clients, read by them or not. */
  written = 0;
  readonly #engine: RedirectEngine;
  #nextId = 0;

  constructor(options: WorldOptions) {
    const { clock, log, bans, routes } = this;
    const limits = { maxConnections: options.maxConnections ?? 1000, connectRate: 200, connectBurst: 1000, exempt: [] };
    this.sessions = new SessionRegistry(clock, () => `s${this.#nextId++}`, {
      loginTimeoutMs: options.loginTimeoutMs ?? loginTimeoutMs,
      clientIdleTimeoutMs: 1_800_000,
      maxUnauthenticated: 1000,
    });
    this.deps = {
      clock,
      log,
      bans,
      gate: new AddressGate(clock, bans, limits),
      sessions: this.sessions,
      directory: new Directory(routes, clock),
      secrets,
      tls: undefined,
      greetingDelayMs: () => 0,
      tlsRequired: () => "remote",
      findCredential: async (hash) => routes.candidates.find((one) => one.verifiers.some((verifier) => verifier.lookupHash === hash)),
      listDatabases: async () => ["shop_workspace", "shop__wayne"],
      ports: () => ({ PostgreSQL: 5432, MongoDB: 27017 }),
    };
    this.#engine = createMongoEngine({ ...watcherLimits, ...options.watchers });
  }

  /** With the passwords `tenant-pw`, `workspace-pw` and `project-pw`. */
  static async create(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    const { routes } = world;
    const outside = { database: undefined, engine: "MongoDB" } as const;
    for (const tenant of [undefined, "wayne"]) {
      const suffix = tenant === undefined ? "_workspace" : `__${tenant}`;
      routes.targets.set(`myapp${suffix}`, makeTarget("myapp", tenant));
      routes.targets.set(`shop${suffix}`, makeTarget("shop", tenant, { ...outside, redirectTo: "db.example:27017" }));
      routes.targets.set(`cart${suffix}`, makeTarget("cart", tenant, outside));
    }
    routes.candidates = [
      await makeCredential("key_tenant", "tenant-pw", { type: "tenant", values: ["wayne"] }),
      await makeCredential("key_workspace", "workspace-pw", { type: "workspace", values: ["myapp"] }),
      await makeCredential("key_project", "project-pw", { type: "project" }),
    ];
    return world;
  }

  connect(address = "127.0.0.1"): ScriptedClient {
    const [near, far] = pipePair({ address, port: 50_000 });
    const client = new ScriptedClient(near);
    const write = far.write.bind(far);
    far.write = (chunk) => {
      this.written += chunk.length;
      return write(chunk);
    };
    this.running++;
    void runVisit(far, this.#engine, this.deps).finally(() => this.running--);
    return client;
  }

  /** Reasons written to the log, in order. */
  reasons(event: string): unknown[] {
    return this.lines.filter((line) => line.event === event).map((line) => line.fields?.reason);
  }
}
