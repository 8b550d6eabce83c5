/** What every part of the control plane is given. */
import type { Clock } from "../../core/clock.ts";
import type { ClusterAdmin } from "../../core/cluster-admin.ts";
import type { ClusterDesign } from "../../core/cluster-design.ts";
import type { Log } from "../../core/log.ts";
import type { Cluster } from "../../core/model.ts";
import type { QueryLog } from "../../core/query-log.ts";
import type { ForeignSchema, SourceConnection } from "../../core/schema-design.ts";
import type { Secrets } from "../../core/secrets.ts";
import type { Tracer } from "../../core/tracing.ts";
import { CredentialUses } from "../store/credential-uses.ts";
import type { Store } from "../store/store.ts";
import { Background } from "./background.ts";
import { Batches } from "./batches.ts";
import { Claims } from "./claims.ts";
import { TenantHolds } from "./tenant-holds.ts";

export interface ControlConfig {
  /** Finished databases kept ready per blueprint that has a tenant; 0 makes every tenant wait for its copy. */
  readonly spareDatabases: number;
  /** How long a tenant stays in the trash. */
  readonly trashDays: number;
  /** Most rows the API answers with; what is beyond is cut and `truncated` says so. */
  readonly maxApiRows: number;
  /** Longest a statement sent over the API may take; settings may make it shorter. */
  readonly apiQueryTimeoutMs: number;
  /** Where databases are placed, unless a list that may change is given: the first takes isolation level 1, the others level 2. */
  readonly clusters: readonly Cluster[];
  /** Whether the listeners ask clients for certificates: tls.client_certificates. */
  readonly asksClientCertificates: boolean;
  /** PBKDF2-SHA-256 iterations of account passwords. */
  readonly passwordIterations: number;
  /** How often what was left over is looked for: unfinished databases, deployments nobody works on, trash past its time. */
  readonly sweepMs: number;
  /** Deployments of different blueprints one instance works on at a time. */
  readonly deploymentsAtOnce: number;
  /** Tries per tenant where a lock cannot be had. */
  readonly deploymentAttempts: number;
  /** How old a comparison of a tenant's schema with its version's may get; 0 makes none. */
  readonly driftCheckIntervalS: number;
}

export const defaultControlConfig: ControlConfig = {
  spareDatabases: 2,
  trashDays: 7,
  maxApiRows: 10_000,
  apiQueryTimeoutMs: 30_000,
  clusters: [{ id: "main", name: "main" }],
  asksClientCertificates: false,
  passwordIterations: 600_000,
  sweepMs: 5_000,
  deploymentsAtOnce: 4,
  deploymentAttempts: 5,
  driftCheckIntervalS: 3_600,
};

/** Connects where the caller says, within what the configuration allows. */
export type ReadForeignSchema = (connection: SourceConnection) => Promise<ForeignSchema>;

/** The clusters there are now, the first for isolation level 1. */
export interface ClusterList {
  list(): readonly Cluster[];
  /** Looks whether another instance has added or removed one. */
  refresh(): Promise<void>;
}

export interface ControlOptions {
  readonly store: Store;
  readonly admin: ClusterAdmin;
  readonly design: ClusterDesign;
  readonly readForeignSchema: ReadForeignSchema;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  readonly config?: Partial<ControlConfig> | undefined;
  /** Comes before the configuration's. */
  readonly clusters?: ClusterList | undefined;
  /** Told of statements sent over the API. */
  readonly queries?: QueryLog | undefined;
  readonly tracer?: Tracer | undefined;
}

export interface ControlContext {
  readonly store: Store;
  readonly admin: ClusterAdmin;
  readonly design: ClusterDesign;
  readonly readForeignSchema: ReadForeignSchema;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: ControlConfig;
  readonly clusters: ClusterList;
  readonly queries?: QueryLog | undefined;
  readonly tracer?: Tracer | undefined;
  /** What this instance is at work on. */
  readonly claims: Claims;
  /** Work nobody waits for. */
  readonly background: Background;
  /** Reads of capture logs, shared by callers that come at the same time. */
  readonly syncs: Batches<number>;
  /** Clients of a tenant kept waiting around a change. */
  readonly holds: TenantHolds;
  /** When credentials were last used. */
  readonly uses: CredentialUses;
}

export function makeContext(options: ControlOptions): ControlContext {
  const config = { ...defaultControlConfig, ...options.config };
  const clusters = options.clusters ?? { list: () => config.clusters, refresh: () => Promise.resolve() };
  if (clusters.list().length === 0) throw new RangeError("at least one cluster is needed");
  return {
    ...options,
    config,
    clusters,
    claims: new Claims(options.store),
    background: new Background(options.log),
    syncs: new Batches(),
    holds: new TenantHolds(options.store, options.clock, () => options.secrets.randomHex(8)),
    uses: new CredentialUses(options.store.db, options.clock, options.log),
  };
}

/** The wall clock as the store's columns take it. */
export function nowDate(context: ControlContext): Date {
  return new Date(context.clock.wallMs());
}
