/** The whole data path in memory: clock by hand, fake store, fake server, real everything else. */
import { BanTracker } from "../../../../core/ban.ts";
import { pipePair } from "../../../../core/byte-pipe.ts";
import { CancelRegistry } from "../../../../core/cancel.ts";
import { ManualClock } from "../../../../core/clock.ts";
import { type Change, Directory, type ProjectKeys, type Route, type RouteSource, type RouteTarget } from "../../../../core/directory.ts";
import { AddressGate, type AddressLimits } from "../../../../core/limit.ts";
import { LiveDatabases } from "../../../../core/live.ts";
import type { Log, LogFields } from "../../../../core/log.ts";
import { type Credential, type DatabaseSettings, defaultDatabaseSettings, type EngineName } from "../../../../core/model.ts";
import { Pool } from "../../../../core/pool.ts";
import type { Role } from "../../../../core/role.ts";
import type { Scope } from "../../../../core/scope.ts";
import { Secrets } from "../../../../core/secrets.ts";
import { runSession, type SessionDeps } from "../../../../core/session.ts";
import { SessionRegistry } from "../../../../core/session-registry.ts";
import type { PostgresBackend } from "../../../../engines/postgres/backend-session.ts";
import { createPostgresDialer } from "../../../../engines/postgres/dial.ts";
import { createPostgresEngine } from "../../../../engines/postgres/engine.ts";
import { SecuredPipe } from "../../support/secured-pipe.ts";
import { ScriptedClient } from "./client.ts";
import { FakeServer } from "./fake-server.ts";
import { settle, testCrypto } from "./wire.ts";

export const projectId = "tdb_2abf90d3";
export const project: ProjectKeys = { projectId, scramSalt: Buffer.alloc(16, 7), scramIterations: 4096 };
export const secrets = new Secrets(testCrypto, Buffer.alloc(32, 1));

/** A credential with one password. */
export async function makeCredential(
  id: string,
  password: string,
  scope: Scope,
  more: Partial<Credential> & { role?: Role } = {},
): Promise<Credential> {
  return {
    id,
    projectId,
    name: id,
    role: "admin",
    scope,
    prefix: "tenantsdb_sk_0000",
    verifiers: [await secrets.makeVerifier("password", password, project)],
    createdAt: 0,
    expiresAt: undefined,
    revokedAt: undefined,
    lastUsedAt: undefined,
    ...more,
  };
}

/** A store held in maps; `isAway` makes it fail, `gate` makes it slow. */
export class FakeRoutes implements RouteSource {
  readonly projects = new Map<string, ProjectKeys>([[projectId, project]]);
  readonly targets = new Map<string, RouteTarget>();
  candidates: Credential[] = [];
  others: Credential[] = [];
  /** Good ones that are too many to be tried. */
  untried: Credential[] = [];
  isAway = false;
  /** Only `findUsable` fails. */
  isUsableAway = false;
  away: Error = new Error("the store is away");
  asked = 0;
  readonly #listeners = new Set<(change: Change | undefined) => void>();

  async findProjectKeys(id: string): Promise<ProjectKeys | undefined> {
    this.#ask();
    return this.projects.get(id);
  }

  async findRoute(id: string, databaseName: string): Promise<Route> {
    this.#ask();
    return { projectId: id, databaseName, target: this.targets.get(databaseName), candidates: [...this.candidates], others: [...this.others] };
  }

  async findUsable(_id: string, credentialIds: readonly string[]): Promise<ReadonlySet<string>> {
    this.#ask();
    if (this.isUsableAway) throw this.away;
    const all = [...this.candidates, ...this.others, ...this.untried];
    return new Set(all.filter(({ id, revokedAt }) => revokedAt === undefined && credentialIds.includes(id)).map(({ id }) => id));
  }

  onChange(listener: (change: Change | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  announce(change: Change | undefined): void {
    for (const listener of this.#listeners) listener(change);
  }

  #ask(): void {
    this.asked++;
    if (this.isAway) throw this.away;
  }
}

export function makeTarget(workspace: string, tenant: string | undefined, more: Partial<RouteTarget> = {}): RouteTarget {
  return {
    workspaceId: `ws_${workspace}`,
    workspace,
    workspaceState: "ready",
    engine: "PostgreSQL",
    redirectTo: undefined,
    mode: "tenant",
    tenant: tenant === undefined ? undefined : { id: tenant, state: "ready" },
    database: { clusterId: "main", name: `tdb_${workspace}${tenant ?? ""}`, passwordGeneration: 1 },
    settings: defaultDatabaseSettings,
    ...more,
  };
}

export interface WorldOptions {
  readonly budget?: number;
  readonly connectWaitMs?: number;
  readonly loginTimeoutMs?: number;
  readonly idleInTransactionTimeoutMs?: number;
  readonly maxUnauthenticated?: number;
  readonly checkAfterMs?: number;
  readonly limits?: Partial<AddressLimits>;
  /** Clients may ask for TLS, and get it in name. */
  readonly offersTls?: boolean;
  readonly tlsRequired?: "remote" | "always" | "never";
  readonly ports?: Partial<Record<EngineName, number>>;
}

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly fields: LogFields | undefined;
}

/** Everything a session needs, and a tenant `wayne` and the workspace of a blueprint `myapp`. */
export class World {
  readonly clock = new ManualClock();
  readonly server = new FakeServer();
  readonly routes = new FakeRoutes();
  readonly lines: LogLine[] = [];
  readonly log: Log = { write: (level, event, fields) => void this.lines.push({ level, event, fields }) };
  readonly directory = new Directory(this.routes, this.clock);
  readonly live = new LiveDatabases(this.directory, this.clock, this.log);
  readonly bans = new BanTracker(this.clock, { threshold: 10, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  readonly cancels = new CancelRegistry(testCrypto);
  readonly gate: AddressGate;
  readonly sessions: SessionRegistry;
  readonly pool: Pool<PostgresBackend>;
  readonly engine: ReturnType<typeof createPostgresEngine>;
  readonly deps: SessionDeps;
  reasserted = 0;
  /** Sessions that have not ended. */
  running = 0;
  #nextId = 0;

  constructor(options: WorldOptions = {}) {
    const limits = { maxConnections: 1000, connectRate: 200, connectBurst: 1000, exempt: [], ...options.limits };
    this.gate = new AddressGate(this.clock, this.bans, limits);
    this.sessions = new SessionRegistry(this.clock, () => `s${this.#nextId++}`, {
      loginTimeoutMs: options.loginTimeoutMs ?? 60_000,
      clientIdleTimeoutMs: 1_800_000,
      idleInTransactionTimeoutMs: options.idleInTransactionTimeoutMs ?? 0,
      maxUnauthenticated: options.maxUnauthenticated ?? 1000,
    });
    const dialer = createPostgresDialer({
      secrets,
      addressOf: () => ({ connect: { path: "/tmp/.s" }, tls: undefined }),
      connect: this.server.connect,
      reassertPassword: async () => void this.reasserted++,
      sleep: (ms) => this.clock.sleep(ms),
    });
    this.pool = new Pool(dialer, this.clock, this.log, {
      budget: options.budget ?? 10,
      connectWaitMs: options.connectWaitMs ?? 10_000,
      idleTimeoutMs: 1_800_000,
      checkAfterMs: options.checkAfterMs ?? 0,
    });
    this.engine = createPostgresEngine({
      directory: this.directory,
      live: this.live,
      secrets,
      clock: this.clock,
      log: this.log,
      pool: this.pool,
      tls: options.offersTls ? { kind: "tls-server-context" } : undefined,
      tlsRequired: () => options.tlsRequired ?? "remote",
      ports: () => options.ports ?? {},
      nowMs: () => this.sessions.nowMs,
    });
    const { clock, log, gate, bans, sessions, cancels } = this;
    this.deps = { clock, log, gate, bans, sessions, cancels };
    this.routes.onChange((change) => void this.live.apply(change));
    this.routes.targets.set("myapp_workspace", makeTarget("myapp", undefined));
    this.routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne"));
  }

  /** With the passwords `tenant-pw`, `workspace-pw` and `project-pw`. */
  static async create(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    world.routes.candidates = [
      await makeCredential("key_tenant", "tenant-pw", { type: "tenant", values: ["wayne"] }),
      await makeCredential("key_workspace", "workspace-pw", { type: "workspace", values: ["myapp"] }),
      await makeCredential("key_project", "project-pw", { type: "project" }),
    ];
    return world;
  }

  /** A new connection, its session running. */
  connect(address = "127.0.0.1"): ScriptedClient {
    const [near, far] = pipePair({ address, port: 50_000 });
    far.startTls = (_context, received) => Promise.resolve(new SecuredPipe(far, received));
    const client = new ScriptedClient(near);
    this.running++;
    void runSession(far, this.engine, this.deps).finally(() => this.running--);
    return client;
  }

  /** A client that is in, its login answers forgotten. */
  async client(database = "myapp__wayne", password = "tenant-pw", parameters: Readonly<Record<string, string>> = {}): Promise<ScriptedClient> {
    const client = this.connect();
    await client.login({ user: projectId, database, password, parameters });
    if (!client.types.endsWith("Z")) throw new Error(`login failed: ${client.types} ${client.error?.message}`);
    return client;
  }

  /** As `client`, with the server side of its backend. */
  async pair(settings: Partial<DatabaseSettings> = {}, database = "myapp__wayne", password = "tenant-pw") {
    this.set(database, settings);
    const client = await this.client(database, password);
    const backend = this.server.last;
    client.clear();
    return { client, backend };
  }

  /** Changes a database's settings in the store, without telling anyone. */
  set(database: string, settings: Partial<DatabaseSettings>): void {
    const target = this.routes.targets.get(database) as RouteTarget;
    this.routes.targets.set(database, { ...target, settings: { ...target.settings, ...settings } });
  }

  /** What must be zero when everybody has left. */
  counts() {
    const { open, idle, waiting } = this.pool.counts();
    return { running: this.running, sessions: this.sessions.size, leased: open - idle, waiting };
  }

  async end(): Promise<void> {
    await settle();
    this.pool.close();
    this.live.stop();
    this.sessions.stop();
    this.gate.stop();
  }
}

export const atRest = { running: 0, sessions: 0, leased: 0, waiting: 0 };
