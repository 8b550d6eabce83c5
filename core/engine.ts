/** What an engine gives the data path. core/session.ts calls these in order; everything protocol-specific is behind them. */
import type { BytePipe } from "./byte-pipe.ts";
import type { CancelKey, CancelKeyShape } from "./cancel.ts";
import type { GatewayError } from "./errors.ts";
import type { Grant, Identity } from "./identity.ts";
import type { EngineName } from "./model.ts";

/** A client that asks for a session, after TLS and its first packet. */
export interface LoginRequest {
  readonly type: "login";
  /** The client's side from now on, encrypted where it asked for that. */
  readonly client: BytePipe;
  /** For the log; client text, printable. */
  readonly user: string;
  readonly database: string;
}

export interface CancelCall {
  readonly type: "cancel";
  readonly pid: number;
  readonly secret: Uint8Array;
}

/** A backend of the right database and role, on loan. */
export interface EngineLease {
  release(reusable: boolean): void;
}

/** What a session is doing: a statement runs, the client is silent, or it is silent inside a transaction. */
export interface RelayActivity {
  readonly state: "active" | "idle" | "in_transaction";
  /** On the sweep's clock. */
  readonly sinceMs: number;
  /** Where backends are shared: what it has that would be lost on another one, so that it keeps its own between transactions. */
  readonly pins?: readonly string[];
}

/** Where the pool shows whether a client stands in line for a backend, and in which place. */
export interface InLine {
  readonly waiting: { readonly sinceMs: number; readonly position: number } | undefined;
}

/** A session while both sides talk. */
export interface RunningRelay {
  readonly activity: RelayActivity;
  readonly ended: Promise<{ readonly error: GatewayError | undefined; readonly reusable: boolean }>;
  readonly isBusy: boolean;
  cancel(): void;
  terminate(error: GatewayError): void;
  drain(error: GatewayError): void;
  /** From its next rest on, outside a transaction, the client waits. Each call needs a `resume`. @returns false when there was no rest. */
  hold(): Promise<boolean>;
  /** Lets the client go on; where the schema changed, what it has prepared is made to fit first. */
  resume(schemaChanged: boolean): Promise<void>;
  sweep(timeouts: SilenceTimeouts): void;
}

/** What becomes of a client that has logged in and is silent; 0 or absent = it may be for ever. */
export interface SilenceTimeouts {
  /** Without a statement for this long, it is told 57P05. */
  readonly clientIdleTimeoutMs: number;
  /** The same inside a transaction, whose locks others wait for: 25P03. */
  readonly idleInTransactionTimeoutMs?: number;
  /** Accepting nothing of a result for this long, it is ended. */
  readonly slowReaderTimeoutMs?: number;
}

/** An engine whose sessions are proxied to a database. `Login` and `Lease` are its own shapes of the two. */
export interface FullEngine<Login extends LoginRequest = LoginRequest, Lease extends EngineLease = EngineLease> {
  readonly name: EngineName;
  /** TLS and the first packet. `onPipe` is told of the encrypted pipe, so that a refusal goes out inside it. */
  open(socket: BytePipe, signal: AbortSignal, onPipe: (pipe: BytePipe) => void): Promise<Login | CancelCall>;
  /** @throws {GatewayError} auth_failed, store_unavailable, protocol_violation */
  authenticate(login: Login, signal: AbortSignal): Promise<Identity>;
  /** @throws {GatewayError} see core/authorize.ts */
  authorize(login: Login, identity: Identity, signal: AbortSignal): Promise<Grant>;
  /** `onAsk` is told where to look while it takes long. @throws {GatewayError} backend_unreachable, no_backend_slot */
  lease(login: Login, grant: Grant, signal: AbortSignal, onAsk: (asked: InLine) => void): Promise<Lease>;
  /** The cancel key this client understands. */
  cancelKeyShape(login: Login, lease: Lease): CancelKeyShape;
  /** Tells the client that it is in, and starts relaying. */
  relay(login: Login, grant: Grant, lease: Lease, cancelKey: CancelKey, sessionId: string): RunningRelay;
  /** The refusal as this protocol's last message, behind what a client that got as far as `login` is owed; undefined where it has none to send. */
  encodeRefusal(error: unknown, login: Login | undefined): Uint8Array | undefined;
}
