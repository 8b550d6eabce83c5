/** Databases with open sessions: their settings now, their connection counts, and what happens to sessions when the store changes. */
import type { Clock } from "./clock.ts";
import type { Change, Directory, Route, RouteTarget } from "./directory.ts";
import { GatewayError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { Credential, DatabaseSettings } from "./model.ts";

/** A session asked to wait between two transactions. */
export interface SessionHold {
  /** True once it waits; false when it ended first. */
  readonly begun: Promise<boolean>;
  /** Lets it go on; where the schema changed, what it has prepared is made to fit first. */
  resume(schemaChanged: boolean): Promise<void>;
}

/** What a live database needs of its sessions. */
export interface LiveSession {
  hold(): SessionHold;
  readonly credentialId: string;
  /** Wall-clock end of the credential, undefined = none. */
  readonly expiresAt: number | undefined;
  /** Ends the session with this error at once. */
  terminate(error: GatewayError): void;
  /** Ends it with this error as soon as it is in no transaction. */
  leave(error: GatewayError): void;
}

/** Places under `max_connections`, counted for all processes that let clients in. */
export interface Places {
  /** @returns false when `limit` of the database's are taken. */
  take(database: string, limit: number): boolean | Promise<boolean>;
  give(database: string): void;
}

/** Those of this process, where no other lets clients in. */
export class OwnPlaces implements Places {
  readonly #taken = new Map<string, number>();

  take(database: string, limit: number): boolean {
    const taken = this.#taken.get(database) ?? 0;
    if (taken >= limit) return false;
    this.#taken.set(database, taken + 1);
    return true;
  }

  give(database: string): void {
    const left = (this.#taken.get(database) ?? 0) - 1;
    if (left > 0) this.#taken.set(database, left);
    else this.#taken.delete(database);
  }
}

/** One (project, database name) that at least one session uses. */
export class LiveDatabase {
  readonly projectId: string;
  readonly databaseName: string;
  target: RouteTarget;
  /** Sessions of this process on it, including those that have no place or backend yet. */
  connections = 0;
  readonly sessions: Set<LiveSession> = new Set();

  constructor(projectId: string, databaseName: string, target: RouteTarget) {
    this.projectId = projectId;
    this.databaseName = databaseName;
    this.target = target;
  }

  get settings(): DatabaseSettings {
    return this.target.settings;
  }
}

/** Keeps live databases in step with the store. */
export class LiveDatabases {
  readonly #directory: Directory;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #places: Places;
  readonly #byKey = new Map<string, LiveDatabase>();
  /** The store did not answer when they were looked at. */
  readonly #unsure = new Set<LiveDatabase>();
  readonly #stop: () => void;

  constructor(directory: Directory, clock: Clock, log: Log, places: Places = new OwnPlaces()) {
    this.#directory = directory;
    this.#clock = clock;
    this.#log = log;
    this.#places = places;
    this.#stop = clock.every(1000, () => {
      this.#endExpired();
      this.#lookAgain();
    });
  }

  /**
   * Takes a place under `max_connections`. Give it back with `leave`. A promise where others are asked: what is live hears of changes
   * meanwhile, the caller does not.
   * @throws {GatewayError} max_connections, or rejects with it.
   */
  enter(projectId: string, databaseName: string, target: RouteTarget): LiveDatabase | Promise<LiveDatabase> {
    const limit = target.settings.max_connections;
    const key = liveKey(projectId, databaseName);
    const live = this.#byKey.get(key) ?? new LiveDatabase(projectId, databaseName, target);
    live.target = target;
    live.connections++;
    this.#byKey.set(key, live);
    const seat = (isFree: boolean) => {
      if (isFree) return live;
      this.#forget(live);
      throw new GatewayError("max_connections", `too many connections for database "${databaseName}" (max_connections = ${limit})`);
    };
    const taken = this.#places.take(key, limit);
    if (typeof taken === "boolean") return seat(taken);
    return taken.then(seat, (error) => {
      this.#forget(live);
      throw error;
    });
  }

  leave(live: LiveDatabase): void {
    this.#places.give(liveKey(live.projectId, live.databaseName));
    this.#forget(live);
  }

  #forget(live: LiveDatabase): void {
    live.connections--;
    const key = liveKey(live.projectId, live.databaseName);
    if (live.connections === 0 && this.#byKey.get(key) === live) this.#byKey.delete(key);
  }

  /** Looks again at every live database a change may touch; `undefined` = at all of them. */
  async apply(change: Change | undefined): Promise<void> {
    const touched = [...this.#byKey.values()].filter((live) => isTouched(live, change));
    await Promise.all(touched.map((live) => this.#refresh(live)));
  }

  /** Asks every session that a change is about to wait. */
  hold(change: Change): readonly SessionHold[] {
    return [...this.#byKey.values()].filter((live) => isTouched(live, change)).flatMap((live) => [...live.sessions].map((session) => session.hold()));
  }

  /** Wall-clock time, for what expires. */
  get wallMs(): number {
    return this.#clock.wallMs();
  }

  stop(): void {
    this.#stop();
  }

  async #refresh(live: LiveDatabase): Promise<void> {
    let route: Route;
    try {
      route = await this.#directory.findRoute(live.projectId, live.databaseName);
    } catch (error) {
      this.#noteAway(live, error);
      return;
    }
    const ended = endOfTarget(route.target);
    const isGone = route.target?.tenant?.state === "deleting" || route.target?.workspaceState === "deleting";
    const isMoved =
      route.target?.database?.name !== live.target.database?.name || route.target?.database?.clusterId !== live.target.database?.clusterId;
    if (ended || isGone || isMoved || !route.target) {
      const error = ended ?? new GatewayError("revoked", `terminating connection: database "${live.databaseName}" was moved or removed`);
      for (const session of [...live.sessions]) session.terminate(error);
      return;
    }
    live.target = route.target;
    if (live.target.isHeld) for (const session of [...live.sessions]) session.leave(replaced(live.databaseName));
    await this.#endRevoked(live, route);
  }

  /** A credential not among those of the route may be one of too many to be tried at logins: it is asked for by itself. */
  async #endRevoked(live: LiveDatabase, route: Route): Promise<void> {
    const alive = new Set<string>();
    for (const credential of [...route.candidates, ...route.others]) if (isUsable(credential, this.#clock.wallMs())) alive.add(credential.id);
    const doubtful = [...live.sessions].filter((session) => !alive.has(session.credentialId));
    if (doubtful.length === 0) return;
    const ids = [...new Set(doubtful.map((session) => session.credentialId))];
    try {
      const usable = await this.#directory.findUsable(live.projectId, ids);
      for (const session of doubtful) if (!usable.has(session.credentialId)) session.terminate(credentialGone());
    } catch (error) {
      this.#noteAway(live, error);
    }
  }

  /** The store is away: sessions go on with what was last known, until it answers again. */
  #noteAway(live: LiveDatabase, error: unknown): void {
    this.#unsure.add(live);
    this.#log.write("warn", "live database not refreshed", { database: live.databaseName, error: String(error) });
  }

  #lookAgain(): void {
    for (const live of [...this.#unsure]) {
      this.#unsure.delete(live);
      if (live.connections > 0) void this.#refresh(live);
    }
  }

  #endExpired(): void {
    const now = this.#clock.wallMs();
    for (const live of this.#byKey.values()) {
      for (const session of [...live.sessions]) {
        if (session.expiresAt !== undefined && session.expiresAt <= now) session.terminate(credentialGone());
      }
    }
  }
}

function liveKey(projectId: string, databaseName: string): string {
  return `${projectId}\0${databaseName}`;
}

function isTouched(live: LiveDatabase, change: Change | undefined): boolean {
  if (!change) return true;
  if (change.projectId !== live.projectId) return false;
  if (change.tenantId !== undefined && change.tenantId !== live.target.tenant?.id) return false;
  return change.workspaceId === undefined || change.workspaceId === live.target.workspaceId;
}

function endOfTarget(target: RouteTarget | undefined): GatewayError | undefined {
  if (!target) return undefined;
  if (target.tenant?.state === "suspended") return new GatewayError("revoked", `terminating connection: tenant "${target.tenant.id}" is suspended`);
  if (target.tenant?.state === "trash") return new GatewayError("revoked", `terminating connection: tenant "${target.tenant.id}" is in trash`);
  return undefined;
}

function replaced(databaseName: string): GatewayError {
  return new GatewayError("revoked", `terminating connection: database "${databaseName}" is being restored; reconnect`);
}

export function credentialGone(): GatewayError {
  return new GatewayError("revoked", "terminating connection: the credential was revoked or has expired");
}

/** Neither revoked nor expired at `wallMs`. */
export function isUsable(credential: Credential, wallMs: number): boolean {
  return credential.revokedAt === undefined && (credential.expiresAt === undefined || credential.expiresAt > wallMs);
}
