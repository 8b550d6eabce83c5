/** Backends of the pool for clients that share them. */
import type { InLine } from "../../../core/engine.ts";
import type { BackendRequest, Lease, Pool, PoolHandle } from "../../../core/pool.ts";
import type { PostgresBackend } from "../backend-session.ts";
import { SharedBackend } from "./shared-backend.ts";

/** A backend on loan for a transaction. */
export interface SharedLease {
  readonly backend: PostgresBackend;
  /** At rest: anybody may take it, its state unproven. */
  rest(): void;
  /** Where nobody has taken it since: as it was. */
  takeAgain(): boolean;
  /** For good. `reusable` as in core/pool.ts. */
  release(reusable: boolean): void;
}

/** Where backends of one database, role and start-up come from. */
export interface Lender {
  /** One that can be had at once; undefined: it has to be waited for. */
  take(): SharedLease | undefined;
  /** @throws {GatewayError} no_backend_slot, backend_unreachable; the signal's reason. */
  wait(signal: AbortSignal): Promise<SharedLease>;
}

export interface SharingDeps {
  readonly pool: Pool<PostgresBackend>;
  readonly digest: (data: Uint8Array) => Uint8Array;
  /** False once the client's next transaction is to be on a backend of its own. */
  readonly shares: () => boolean;
  /** Told where to look whether the client stands in line. */
  readonly onAsk: (asked: InLine) => void;
}

/**
 * What a client of `pool_mode=transaction` has for a backend. One backend is looked at, for what it reports of itself.
 * @throws {GatewayError} no_backend_slot, backend_unreachable; the signal's reason.
 */
export async function openSharedBackend(request: BackendRequest, deps: SharingDeps, signal: () => AbortSignal): Promise<SharedBackend> {
  const handle = deps.pool.handle({ ...request, isShared: true });
  deps.onAsk(handle);
  const lender = new PoolLender(handle);
  const lease = lender.take() ?? (await lender.wait(signal()));
  const { initialParameters } = lease.backend;
  lease.rest();
  return new SharedBackend({ lender, parameters: initialParameters, digest: deps.digest, shares: deps.shares });
}

/** One for each client: it holds nothing but the way to the pool. */
class PoolLender implements Lender {
  readonly #handle: PoolHandle<PostgresBackend>;

  constructor(handle: PoolHandle<PostgresBackend>) {
    this.#handle = handle;
  }

  take(): SharedLease | undefined {
    const lease = this.#handle.tryAcquire();
    return lease && new Loan(lease);
  }

  async wait(signal: AbortSignal): Promise<SharedLease> {
    return new Loan(await this.#handle.acquire(signal));
  }
}

class Loan implements SharedLease {
  readonly backend: PostgresBackend;
  readonly #lease: Lease<PostgresBackend>;

  constructor(lease: Lease<PostgresBackend>) {
    this.backend = lease.backend;
    this.#lease = lease;
  }

  rest(): void {
    this.backend.rest();
    this.#lease.releaseClean();
  }

  takeAgain(): boolean {
    return this.#lease.retake();
  }

  release(reusable: boolean): void {
    this.#lease.release(reusable);
  }
}
