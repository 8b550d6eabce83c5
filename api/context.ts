/** What every route is given: dependencies of the API, and what is known of the request once it is authorised. */
import type { Context } from "hono";
import type { Backups } from "../core/backups.ts";
import type { Clock } from "../core/clock.ts";
import type { ControlPlane } from "../core/control-plane.ts";
import type { Idempotency } from "../core/idempotency.ts";
import type { Imports } from "../core/imports.ts";
import type { Log } from "../core/log.ts";
import type { Account, Credential, Tenant, Workspace } from "../core/model.ts";
import type { Operations } from "../core/operations.ts";
import type { QueryHistory } from "../core/query-history.ts";
import type { Role } from "../core/role.ts";
import type { SchemaDesign } from "../core/schema-design.ts";
import type { Scope } from "../core/scope.ts";
import type { Tracer } from "../core/tracing.ts";
import type { RateLimiter, RateLimits } from "./rate-limit.ts";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Read at each request, so a gateway that learns its ports late may fill them in late. */
export interface ApiInfo {
  readonly version: string;
  /** As clients reach the API: `http://127.0.0.1:9876`. Its host is the one browsers may come from. */
  readonly apiUrl: string;
  /** Host and port that go into PostgreSQL connection strings. */
  readonly pgHost: string;
  readonly pgPort: number;
  /** Where clients find the CA certificate for `sslmode=verify-full`. */
  readonly caFile?: string | undefined;
  /** Listeners that are on; connection strings of the others are null. */
  readonly mysql?: Endpoint | undefined;
  readonly mongodb?: Endpoint | undefined;
  readonly redis?: Endpoint | undefined;
}

/** Bearer tokens that belong to no project; undefined: nobody has one. */
export interface Tokens {
  readonly operator?: string | undefined;
  readonly metrics?: string | undefined;
}

export interface ApiDeps {
  readonly control: ControlPlane;
  /** Moving in from shared databases; without it its routes are forbidden. */
  readonly imports?: Imports | undefined;
  /** Backups and what is made of them; without it its routes are forbidden. */
  readonly backups?: Backups | undefined;
  /** Without it the routes of schema design are forbidden. */
  readonly design?: SchemaDesign | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly info: ApiInfo;
  readonly signupEnabled: boolean;
  /** The gateway around the API; without it its routes are forbidden and changes are not recorded. */
  readonly operations?: Operations | undefined;
  /** Told of each request, where traces are wanted. */
  readonly tracer?: Tracer | undefined;
  /** What is remembered of requests with an Idempotency-Key; without it the header has no effect. */
  readonly idempotency?: Idempotency | undefined;
  /** What ran in the databases; without it its routes are forbidden. */
  readonly history?: QueryHistory | undefined;
  /** The configured tokens as of the last reload. */
  readonly tokens?: (() => Tokens) | undefined;
  /** Defaults: {@link defaultRateLimits}. */
  readonly rateLimits?: Partial<RateLimits> | undefined;
  /** Origins beside `info.apiUrl` that browsers may send state changes from. */
  readonly allowedOrigins?: readonly string[] | undefined;
}

/** The second argument of `app.fetch` and the third of `app.request`. */
export interface ApiBindings {
  /** The client's address as the socket (or a trusted PROXY header) tells it, without port. Never taken from a request header. */
  readonly remoteAddress?: string | undefined;
}

export type Principal =
  | { readonly type: "key"; readonly credential: Credential }
  /** A logged-in account acts with project scope and role admin on its own projects. */
  | { readonly type: "session"; readonly account: Account };

/** What the caller may do in the project it speaks about. */
export interface Access {
  readonly projectId: string;
  readonly role: Role;
  readonly scope: Scope;
}

export interface ApiEnv {
  Bindings: ApiBindings;
  Variables: {
    api: ApiDeps;
    limiter: RateLimiter;
    requestId: string;
    /** The answer is that of an earlier request: nothing was done. */
    isReplay: boolean | undefined;
    /** Something was done before the request was refused: it is recorded, and not done again. */
    hasActed: boolean | undefined;
    /** What a change replaced or took away, for the record of changes. */
    before: Readonly<Record<string, unknown>> | undefined;
    /** What is there now, where the request's fields do not say it or may not be recorded. */
    after: Readonly<Record<string, unknown>> | undefined;
    /** Fields of a successful answer, for the record of changes. */
    answered: Readonly<Record<string, unknown>> | undefined;
    /** Set on every route that is for keys and sessions. */
    principal: Principal;
    /** Set on routes whose policy names P, W or T. */
    access: Access;
    /** Set on routes whose policy targets a workspace or blueprint. */
    workspace: Workspace;
    /** Set on routes whose policy targets a tenant. */
    tenant: Tenant;
  };
}

export type ApiContext = Context<ApiEnv>;
