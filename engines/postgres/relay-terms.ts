/** The words the relay is written in: what it is given, what it ends with, what may become of a frame. */
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { GatewayError } from "../../core/errors.ts";
import type { DatabaseSettings } from "../../core/model.ts";
import type { StatementJournal } from "../../core/query-log.ts";
import type { Traffic } from "../../core/wire-metrics.ts";
import type { PostgresBackend } from "./backend-session.ts";
import type { SharedBackend } from "./shared/shared-backend.ts";

export const forward = 0;
export const swallow = 1;
export const stop = 2;
export const announce = 3;
/** What becomes of a frame: forwarded, forwarded behind a notice, swallowed, replaced by these bytes, or the end of the session. */
export type Verdict = typeof forward | typeof swallow | typeof stop | typeof announce | Uint8Array;

/** What a session needs of its backend, one that stays or one after another. */
export interface RelayBackend {
  readonly pipe: BytePipe;
  /** As last reported to this client. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly isAlive: boolean;
  /** Why it is kept between transactions, where it would not have to be. */
  readonly pins: readonly string[];
  /** A ParameterStatus that the relay passes on. */
  noteParameter(body: Uint8Array | undefined): void;
  /** Asks the server to cancel what runs. Resolves when nothing later can be hit by it. */
  cancel(): Promise<void>;
}

export interface RelayDeps {
  readonly client: BytePipe;
  readonly backend: PostgresBackend | SharedBackend;
  /** What the client set at start-up. */
  readonly parameters?: ReadonlyMap<string, string> | undefined;
  /** The settings in force now. */
  readonly settings: () => DatabaseSettings;
  /** Tenant databases refuse DDL; workspaces do not. */
  readonly refuseDdl: boolean;
  /** A coarse monotonic clock, moved by the sweep: one reading costs nothing. */
  readonly nowMs: () => number;
  readonly onCancelFailure: (error: unknown) => void;
  /** Added to as messages pass. Default: counted for nobody. */
  readonly traffic?: Traffic | undefined;
  /** Told of each statement. Default: nobody is. */
  readonly journal?: StatementJournal | undefined;
}

export interface RelayEnd {
  /** Sent to the client before closing; undefined when the client left by itself. */
  readonly error: GatewayError | undefined;
  /** True when the backend is at rest and may be reset and lent again. */
  readonly reusable: boolean;
}

/** A refusal that replaces a statement's outcome while the backend finishes or is cancelled. */
export interface Override {
  readonly error: GatewayError;
  /** "statement": until it ends; "ready": its end was replaced, the rest up to ReadyForQuery is swallowed; "poison": a failing statement of ours fails the transaction. */
  stage: "statement" | "ready" | "poison";
  readonly atMs: number;
}
