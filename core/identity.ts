/** What authenticate proves (identity) and what authorize allows (grant). */
import type { RouteTarget } from "./directory.ts";
import type { LiveDatabase } from "./live.ts";
import type { Credential, PhysicalDatabase } from "./model.ts";

/** A proven credential. Nothing is said yet about what it reaches. */
export interface Identity {
  readonly projectId: string;
  readonly credential: Credential;
  /** As the client named it. */
  readonly databaseName: string;
}

/** Permission to have one session on one database. Released exactly once, whatever happens. */
export interface Grant {
  readonly identity: Identity;
  readonly target: RouteTarget & { readonly database: PhysicalDatabase };
  /** Settings in force and the place in `max_connections`; follows changes while the session lives. */
  readonly live: LiveDatabase;
  release(): void;
}
