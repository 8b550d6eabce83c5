/** The query log as an administrator reads it: statements, their statistics, and how much a tenant uses its databases. */
import type { Listing, Page } from "./control-plane.ts";
import type { Usage } from "./query-log.ts";

/** Whose statements: a tenant's, or those in a workspace itself. */
export interface HistoryOwner {
  readonly projectId: string;
  /** Undefined: a workspace's own database. */
  readonly tenantId: string | undefined;
  /** Only these workspaces' databases; undefined = all of the tenant's. */
  readonly workspaceIds: readonly string[] | undefined;
  /** Wall clock: an earlier tenant of the same id is not this one. */
  readonly since: number;
  /** Physical databases it has now. */
  readonly databases: readonly string[];
}

export interface HistoryRange {
  /** Wall clock, from and up to but not including. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
}

export interface HistoryPage extends Page, HistoryRange {
  /** Only errors, only slow ones, or either. Empty = every statement. */
  readonly types: readonly ("error" | "slow")[];
  readonly credentialId?: string | undefined;
  readonly sqlstate?: string | undefined;
  readonly fingerprint?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly via?: "wire" | "api" | undefined;
  readonly transactionId?: string | undefined;
  /** Text that stands in the statement, upper and lower case alike. */
  readonly search?: string | undefined;
}

export interface HistoryEntry {
  readonly id: number;
  readonly at: number;
  readonly workspaceId: string;
  readonly credentialId: string;
  readonly address: string;
  /** Of a connection; of a request, where it came over the API. */
  readonly sessionId: string;
  readonly via: "wire" | "api";
  readonly transactionId: string;
  readonly durationMs: number;
  readonly rows: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly sqlstate: string | undefined;
  readonly isSlow: boolean;
  readonly statement: string;
  readonly isCut: boolean;
  readonly fingerprint: string;
}

/** Statements of one fingerprint. Where statements are sampled, an estimate of all of them. */
export interface StatementStatistics {
  readonly fingerprint: string;
  /** The latest of them. */
  readonly statement: string;
  readonly calls: number;
  readonly errors: number;
  readonly totalMs: number;
  readonly maxMs: number;
  readonly rows: number;
}

export interface ErrorStatistics {
  readonly sqlstate: string;
  readonly count: number;
  readonly lastAt: number;
  /** The latest statement that failed so. */
  readonly statement: string;
}

export interface HistoryStatistics {
  readonly top: readonly StatementStatistics[];
  readonly errors: readonly ErrorStatistics[];
  /** Statements that are not in the log because there were too many at once. */
  readonly dropped: number;
}

export interface UsageInterval extends Readonly<Usage> {
  /** Wall clock at its start. */
  readonly at: number;
}

export interface QueryHistory {
  /** Newest first. @throws {GatewayError} bad_request for a foreign cursor, timeout, backend_unreachable. */
  listStatements(owner: HistoryOwner, page: HistoryPage): Promise<Listing<HistoryEntry>>;
  summarize(owner: HistoryOwner, range: HistoryRange, limit: number): Promise<HistoryStatistics>;
  /** Oldest first; intervals in which nothing ran are left out. */
  listUsage(owner: HistoryOwner, range: HistoryRange): Promise<readonly UsageInterval[]>;
  readonly usageIntervalS: number;
}
