/** What the first process and its workers ask each other. */
import type { Config } from "../../core/config.ts";
import type { RefusalKind } from "../../core/errors.ts";
import type { MetricType, Sample } from "../../core/metrics.ts";
import type { EngineName } from "../../core/model.ts";
import type { ClusterCounts } from "../../core/pool.ts";
import type { EmbeddedAddress } from "../server-target.ts";

/** What is decided about a new connection; see core/limit.ts. */
export interface Verdict {
  readonly isTold: boolean;
  readonly refusal?: { readonly kind: RefusalKind; readonly message: string; readonly retryAfterS: number | undefined } | undefined;
}

/** How many backends of a cluster a worker could do without. */
export interface Offer {
  /** Room it has and does not use. */
  readonly unused: number;
  /** For how long its longest idle backend has been idle; absent where none is. */
  readonly idleMs?: number | undefined;
}

/** Answered by the first process. Connections carry numbers that their worker gave them. */
export interface KeeperCalls {
  /** The worker listens to what it is asked. */
  ready(): void;
  admit(connection: number, address: string): Promise<Verdict>;
  refund(connection: number): void;
  release(connection: number): void;
  allowWrongCancel(connection: number): boolean | Promise<boolean>;
  recordFailure(addressKey: string): Promise<void>;
  recordSuccess(addressKey: string): void;
  takePlace(database: string, limit: number): boolean | Promise<boolean>;
  givePlace(database: string): void;
  /** Looks for the session at the other workers. */
  cancel(pid: number, secret: string): Promise<boolean>;
  /** More room for backends is needed: for `waiting` clients in line, or, with 0, instead of closing idle ones. Answered when all was tried. */
  wantRoom(cluster: string, waiting: number): Promise<void>;
  /** So many are in line now, fewer than was said. */
  wantLess(cluster: string, waiting: number): void;
  /** What a worker has is smaller by `backends`; `promised` are still to come of what it was asked for. */
  returnRoom(cluster: string, backends: number, promised: number): void;
}

export interface WorkerStart {
  readonly number: number;
  /** As many as it shares what is not counted together with. */
  readonly workers: number;
  readonly config: Config;
  /** Where the embedded server listens; absent for a server of somebody else's. */
  readonly embedded?: EmbeddedAddress | undefined;
  /** Backends it may have, by cluster. */
  readonly room: Readonly<Record<string, number>>;
  /** Base64, the same for all: what the keys of TLS session tickets are made of. */
  readonly ticketSeed: string;
}

export interface WorkerStarted {
  readonly ports?: Partial<Readonly<Record<EngineName, number>>>;
  /** Why it did not: a StartupError. */
  readonly failure?: { readonly option: string; readonly message: string };
}

export interface MetricSnapshot {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly samples: readonly Sample[];
}

/** Answered by a worker. */
export interface WorkerCalls {
  start(start: WorkerStart): Promise<WorkerStarted>;
  reload(config: Config): Promise<void>;
  /** The master key may have changed. */
  reloadKeys(): Promise<void>;
  cancel(pid: number, secret: string): boolean;
  offerRoom(cluster: string): Offer;
  /** Gives up unused room, and closes idle backends where it may. @returns how many it will return; some may have been already. */
  surrenderRoom(cluster: string, backends: number, mayClose: boolean): number;
  lendRoom(cluster: string, backends: number): void;
  /** So many are missing elsewhere: what nobody waits for here, and what is more than its part, goes back as it comes free; 0 = none any more. */
  recallRoom(cluster: string, backends: number, part: number): void;
  metrics(): readonly MetricSnapshot[];
  clusterCounts(): readonly (readonly [string, ClusterCounts])[];
  /** Answers when everything is closed; the process then ends. */
  stop(graceMs: number): Promise<void>;
}
