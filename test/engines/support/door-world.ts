/** A listener that redirects, in memory: clock by hand, fake store, real gate, bans, sessions and directory. */
import { BanTracker } from "../../../core/ban.ts";
import { type BytePipe, pipePair } from "../../../core/byte-pipe.ts";
import { ManualClock } from "../../../core/clock.ts";
import { Directory } from "../../../core/directory.ts";
import { type DoormanDeps, type RedirectEngine, runVisit } from "../../../core/doorman.ts";
import { AddressGate, type AddressLimits } from "../../../core/limit.ts";
import type { Log } from "../../../core/log.ts";
import type { Credential, EngineName } from "../../../core/model.ts";
import { SessionRegistry } from "../../../core/session-registry.ts";
import { settle } from "../postgres/support/wire.ts";
import { FakeRoutes, type LogLine, secrets } from "../postgres/support/world.ts";

export interface DoorOptions {
  readonly limits?: Partial<AddressLimits>;
  readonly loginTimeoutMs?: number;
  readonly tlsRequired?: "remote" | "always" | "never";
  readonly ports?: Partial<Record<EngineName, number>>;
}

export const standardPorts = { PostgreSQL: 5432, MySQL: 3306, MongoDB: 27017, Redis: 6379 } as const;

export class DoorWorld {
  readonly clock = new ManualClock();
  readonly routes = new FakeRoutes();
  readonly lines: LogLine[] = [];
  readonly log: Log = { write: (level, event, fields) => void this.lines.push({ level, event, fields }) };
  readonly bans = new BanTracker(this.clock, { threshold: 10, windowMs: 60_000, banMs: 60_000, maxBanMs: 900_000 });
  readonly gate: AddressGate;
  readonly sessions: SessionRegistry;
  readonly deps: DoormanDeps;
  readonly credentials: Credential[] = [];
  /** Database names by credential id. */
  readonly databases = new Map<string, readonly string[]>();
  running = 0;
  /** Secrets looked at. */
  looked = 0;
  #nextId = 0;

  constructor(options: DoorOptions = {}) {
    this.gate = new AddressGate(this.clock, this.bans, {
      maxConnections: 1000,
      connectRate: 1e6,
      connectBurst: 1e6,
      exempt: [],
      ...options.limits,
    });
    this.sessions = new SessionRegistry(this.clock, () => `s${this.#nextId++}`, {
      loginTimeoutMs: options.loginTimeoutMs ?? 60_000,
      clientIdleTimeoutMs: 1_800_000,
      maxUnauthenticated: 10_000,
    });
    const { clock, log, gate, bans, sessions } = this;
    this.deps = {
      clock,
      log,
      gate,
      bans,
      sessions,
      directory: new Directory(this.routes, clock),
      secrets,
      tls: undefined,
      tlsRequired: () => options.tlsRequired ?? "remote",
      findCredential: async (hash) => {
        this.looked++;
        return this.credentials.find(({ verifiers }) => verifiers.some(({ lookupHash }) => lookupHash === hash));
      },
      listDatabases: async ({ id }) => this.databases.get(id) ?? [],
      greetingDelayMs: () => 25,
      ports: () => options.ports ?? standardPorts,
    };
  }

  /** A credential the store knows, and the databases it reaches. */
  add(credential: Credential, ...databases: string[]): void {
    this.credentials.push(credential);
    this.routes.candidates.push(credential);
    this.databases.set(credential.id, databases);
  }

  /** A new connection to `engine`'s port, its visit running. */
  connect(engine: RedirectEngine, address = "127.0.0.1"): Caller {
    const [near, far] = pipePair({ address, port: 50_000 });
    this.running++;
    void runVisit(far, engine, this.deps).finally(() => this.running--);
    return new Caller(near);
  }

  /** What must be zero when everybody has left. */
  counts() {
    return { running: this.running, sessions: this.sessions.size };
  }

  reasons(event: string): unknown[] {
    return this.lines.filter((line) => line.event === event).map((line) => line.fields?.reason);
  }
}

export const nobodyLeft = { running: 0, sessions: 0 };

/** One end of an in-memory connection that keeps what it hears. */
export class Caller {
  readonly pipe: BytePipe;
  readonly #chunks: Uint8Array[] = [];
  isClosed = false;

  constructor(pipe: BytePipe) {
    this.pipe = pipe;
    pipe.sink = {
      data: (chunk) => void this.#chunks.push(chunk),
      drain: () => undefined,
      closed: () => {
        this.isClosed = true;
      },
    };
    pipe.resume();
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get text(): string {
    return this.received.toString("utf8");
  }

  /** Sends, lets everything run. @returns what was answered. */
  async ask(...sent: (Uint8Array | string)[]): Promise<string> {
    this.#chunks.length = 0;
    for (const each of sent) this.pipe.write(Buffer.from(each as string));
    await settle();
    return this.text;
  }
}
