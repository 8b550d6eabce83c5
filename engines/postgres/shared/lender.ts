/** Backends of the pool for clients that share them. */
import type { InLine } from "../../../core/engine.ts";
import type { BackendRequest, Pool, PoolHandle } from "../../../core/pool.ts";
import type { PostgresBackend } from "../backend-session.ts";
import { type Lender, SharedBackend, type SharedLease } from "./shared-backend.ts";

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
  const lender = lenderOf(handle);
  const lease = lender.take() ?? (await lender.wait(signal()));
  const { initialParameters } = lease.backend;
  lease.rest();
  return new SharedBackend({ lender, parameters: initialParameters, digest: deps.digest, shares: deps.shares });
}

function lenderOf(handle: PoolHandle<PostgresBackend>): Lender {
  const lend = (lease: NonNullable<ReturnType<typeof handle.tryAcquire>>): SharedLease => ({
    backend: lease.backend,
    rest() {
      lease.backend.rest();
      lease.releaseClean();
    },
    takeAgain: () => lease.retake(),
    release: (reusable) => lease.release(reusable),
  });
  return {
    take() {
      const lease = handle.tryAcquire();
      return lease && lend(lease);
    },
    wait: async (signal) => lend(await handle.acquire(signal)),
  };
}
