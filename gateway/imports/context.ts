/** What every part of imports is given. */
import type { Clock } from "../../core/clock.ts";
import type { ClusterAdmin } from "../../core/cluster-admin.ts";
import type { ControlPlane } from "../../core/control-plane.ts";
import type { Log } from "../../core/log.ts";
import type { ForeignSchema, SourceConnection } from "../../core/schema-design.ts";
import type { Secrets } from "../../core/secrets.ts";
import type { SqlDialer } from "../../core/sql.ts";
import { Background } from "../control/background.ts";
import { Claims } from "../control/claims.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import type { SourceLimits } from "../outbound/source-guard.ts";
import type { Store } from "../store/store.ts";

export interface ImportsConfig {
  /** How often a source that was lost is connected to again before the import fails; the wait doubles each time. */
  readonly sourceAttempts: number;
  readonly firstWaitMs: number;
  /** Tries per tenant while what a crash left of it is cleared away. */
  readonly settleAttempts: number;
  /** Tries per tenant while its cluster does not answer. */
  readonly clusterAttempts: number;
  /** Imports one instance works on at a time. */
  readonly importsAtOnce: number;
  /** How often progress is written and a cancellation looked for. */
  readonly progressMs: number;
  /** How often imports nobody works on are looked for. */
  readonly sweepMs: number;
  /** How long the connection of an import that did not end well is kept for another try. */
  readonly keepConnectionDays: number;
}

export const defaultImportsConfig: ImportsConfig = {
  sourceAttempts: 6,
  firstWaitMs: 1_000,
  settleAttempts: 60,
  clusterAttempts: 3,
  importsAtOnce: 2,
  progressMs: 1_000,
  sweepMs: 5_000,
  keepConnectionDays: 7,
};

export interface ImportsOptions {
  readonly control: Pick<ControlPlane, "createTenant" | "getTenant" | "getBlueprint">;
  readonly store: Store;
  readonly dialer: SqlDialer;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  /** The structure of a database elsewhere as SQL, and what of it is lost. */
  readonly readSchema: (connection: SourceConnection) => Promise<ForeignSchema>;
  /** Several statements in one transaction, as a workspace's designer. */
  readonly runScript: ClusterAdmin["runScript"];
  /** As of the last reload of the configuration. */
  readonly outbound: () => OutboundRules;
  /** As of the last reload of the configuration. */
  readonly limits: () => SourceLimits;
  readonly config?: Partial<ImportsConfig> | undefined;
}

export interface ImportsContext extends Omit<ImportsOptions, "config"> {
  readonly config: ImportsConfig;
  readonly claims: Claims;
  readonly background: Background;
}

export function makeImportsContext(options: ImportsOptions): ImportsContext {
  return {
    ...options,
    config: { ...defaultImportsConfig, ...options.config },
    claims: new Claims(options.store),
    background: new Background(options.log),
  };
}

export function nowDate(context: ImportsContext): Date {
  return new Date(context.clock.wallMs());
}
