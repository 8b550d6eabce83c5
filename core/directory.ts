/** Cached look-ups of the data path over the store: which project, which database, whose credentials. Invalidated by change events. */
import type { Clock } from "./clock.ts";
import { makeRoom } from "./make-room.ts";
import type { Credential, DatabaseSettings, EngineName, PhysicalDatabase, TenantState, WorkspaceState } from "./model.ts";

/** What one (project, database name) means on the wire. Fields of the target are undefined where it does not exist. */
export interface Route {
  readonly projectId: string;
  readonly databaseName: string;
  readonly target: RouteTarget | undefined;
  /** Credentials that could reach this database; always tried. */
  readonly candidates: readonly Credential[];
  /** A bounded few others of the project, tried when no candidate matches, so that a wrong scope gets its own message. */
  readonly others: readonly Credential[];
}

export interface RouteTarget {
  readonly workspaceId: string;
  readonly workspace: string;
  readonly workspaceState: WorkspaceState;
  readonly engine: EngineName;
  readonly redirectTo: string | undefined;
  readonly mode: "tenant" | "control";
  /** Undefined for a workspace's own database. */
  readonly tenant: { readonly id: string; readonly state: TenantState } | undefined;
  readonly database: PhysicalDatabase | undefined;
  readonly settings: DatabaseSettings;
  /** Another database is about to take its place: new sessions wait, open ones leave at the end of their transaction. */
  readonly isHeld?: boolean | undefined;
}

/** SCRAM parameters of a project, needed before the database is looked at. */
export interface ProjectKeys {
  readonly projectId: string;
  readonly scramSalt: Uint8Array;
  readonly scramIterations: number;
  /** PEM; where there are any, a client must show one of them or one issued by one of them. */
  readonly clientCertificates?: string | undefined;
}

/** Something changed in the store. `tenantId` or `credentialId` narrow it; a bare project id means anything in it may have changed. */
export interface Change {
  readonly projectId: string;
  readonly tenantId?: string | undefined;
  readonly workspaceId?: string | undefined;
  readonly credentialId?: string | undefined;
  /** DDL ran in the tenant's database: idle backends are retired, busy ones at transaction end, so that prepared plans never go stale. */
  readonly schemaChanged?: true | undefined;
}

/** What the store answers for the data path. All throw when the store cannot be asked. */
export interface RouteSource {
  findProjectKeys(projectId: string): Promise<ProjectKeys | undefined>;
  /** `databaseName` is as the client sent it; a name that means nothing still answers with the project's candidates. */
  findRoute(projectId: string, databaseName: string): Promise<Route>;
  /** Of these credentials, those neither revoked nor expired: a route has a bounded number, a session's may not be among them. */
  findUsable(projectId: string, credentialIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Calls `listener` for every change, from any instance; `undefined` when events may have been missed: forget everything. */
  onChange(listener: (change: Change | undefined) => void): () => void;
}

/** A question on its way to the store. Stale once something it may be about has changed. */
interface Flight {
  readonly projectId: string;
  isStale: boolean;
  answer: Promise<unknown>;
}

/** How often a look-up that is overtaken by changes is made again. */
const maxTries = 5;

interface Entry<T> {
  readonly value: T;
  readonly atMs: number;
}

export interface DirectoryOptions {
  /** How long an answer is used without asking again. Change events make it shorter. */
  readonly freshMs: number;
  /** Most entries kept of each kind; the oldest goes first. */
  readonly maxEntries: number;
}

/** A bounded cache that goes on answering with what it knows while the store is away, and never guesses about the rest. */
export class Directory {
  readonly #source: RouteSource;
  readonly #clock: Clock;
  readonly #options: DirectoryOptions;
  readonly #projects = new Map<string, Entry<ProjectKeys>>();
  /** Names that are no project, apart from the known ones so that guessing cannot push those out. */
  readonly #unknown = new Map<string, Entry<undefined>>();
  readonly #routes = new Map<string, Entry<Route>>();
  readonly #inFlight = new Map<string, Flight>();
  readonly #waiting = new Set<{ readonly projectId: string; readonly wake: () => void }>();

  constructor(source: RouteSource, clock: Clock, options: DirectoryOptions = { freshMs: 60_000, maxEntries: 50_000 }) {
    this.#source = source;
    this.#clock = clock;
    this.#options = options;
    source.onChange((change) => this.forget(change));
  }

  /** @throws what the source throws, when nothing is known yet. */
  async findProjectKeys(projectId: string): Promise<ProjectKeys | undefined> {
    const unknown = this.#unknown.get(projectId);
    if (unknown && this.#clock.nowMs() - unknown.atMs < this.#options.freshMs) return undefined;
    return this.#find(this.#projects, projectId, projectId, () => this.#source.findProjectKeys(projectId));
  }

  /** @throws what the source throws, when nothing is known yet. */
  async findRoute(projectId: string, databaseName: string): Promise<Route> {
    const route = await this.#find(this.#routes, projectId, routeKey(projectId, databaseName), () => this.#source.findRoute(projectId, databaseName));
    return route as Route;
  }

  /** Asked anew each time. @throws what the source throws. */
  async findUsable(projectId: string, credentialIds: readonly string[]): Promise<ReadonlySet<string>> {
    return await this.#source.findUsable(projectId, credentialIds);
  }

  /** Resolves when something of the project has changed, or after `withinMs`. @throws the signal's reason. */
  async nextChange(projectId: string, withinMs: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const onAbort = () => over.abort();
    const waiter = { projectId, wake: onAbort };
    this.#waiting.add(waiter);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      await this.#clock.sleep(withinMs, over.signal).catch(() => undefined); // something came first
      signal.throwIfAborted();
    } finally {
      this.#waiting.delete(waiter);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Drops what a change may have touched. */
  forget(change: Change | undefined): void {
    this.#drop(change);
    for (const waiter of [...this.#waiting]) if (!change || waiter.projectId === change.projectId) waiter.wake();
  }

  #drop(change: Change | undefined): void {
    for (const [key, flight] of this.#inFlight) {
      if (change && change.projectId !== flight.projectId) continue;
      flight.isStale = true;
      this.#inFlight.delete(key);
    }
    if (!change) {
      this.#projects.clear();
      this.#unknown.clear();
      this.#routes.clear();
      return;
    }
    this.#projects.delete(change.projectId);
    this.#unknown.delete(change.projectId);
    const prefix = routeKey(change.projectId, "");
    for (const key of this.#routes.keys()) if (key.startsWith(prefix)) this.#routes.delete(key);
  }

  async #find<T>(cache: Map<string, Entry<T>>, projectId: string, key: string, ask: () => Promise<T | undefined>): Promise<T | undefined> {
    const known = cache.get(key);
    if (known && this.#clock.nowMs() - known.atMs < this.#options.freshMs) return known.value;
    try {
      for (let tries = 1; ; tries++) {
        const { value, isStale } = await this.#ask(cache, projectId, key, ask);
        // What was read before a change must not be acted upon after it.
        if (!isStale || tries === maxTries) return value;
      }
    } catch (error) {
      if (known) return known.value; // the data plane outlives the store: what was known goes on working
      throw error;
    }
  }

  #ask<T>(
    cache: Map<string, Entry<T>>,
    projectId: string,
    key: string,
    ask: () => Promise<T | undefined>,
  ): Promise<{ value: T | undefined; isStale: boolean }> {
    const isRoute = cache === (this.#routes as unknown);
    const flightKey = `${isRoute ? "r" : "p"}${key}`;
    const flying = this.#inFlight.get(flightKey);
    if (flying) return flying.answer as Promise<{ value: T | undefined; isStale: boolean }>;
    const flight: Flight = { projectId, isStale: false, answer: Promise.resolve() };
    const answer = ask()
      .then((value) => {
        if (flight.isStale) return { value, isStale: true };
        if (value !== undefined) this.#remember(cache, key, value);
        else if (!isRoute) this.#remember(this.#unknown, key, undefined);
        return { value, isStale: false };
      })
      .finally(() => {
        if (this.#inFlight.get(flightKey) === flight) this.#inFlight.delete(flightKey);
      });
    flight.answer = answer;
    this.#inFlight.set(flightKey, flight);
    return answer;
  }

  #remember<T>(cache: Map<string, Entry<T>>, key: string, value: T): void {
    cache.delete(key);
    makeRoom(cache, this.#options.maxEntries);
    cache.set(key, { value, atMs: this.#clock.nowMs() });
  }
}

function routeKey(projectId: string, databaseName: string): string {
  return `${projectId}\0${databaseName}`;
}
