/** Backends of the pool for clients that share them: which start-up settings make two clients' sessions different, and which are made anew each time. */
import type { InLine } from "../../../core/engine.ts";
import type { BackendRequest, Pool, PoolHandle } from "../../../core/pool.ts";
import { quoteLiteral } from "../../../core/sql.ts";
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

/** Too long or not ASCII: PostgreSQL changes such a name, so that it is left to the login. */
const plainName = /^[ -~]{0,63}$/;

/**
 * What a client of `pool_mode=transaction` has for a backend. One backend is looked at, for what it reports of itself.
 * @throws {GatewayError} no_backend_slot, backend_unreachable; the signal's reason.
 */
export async function openSharedBackend(request: BackendRequest, deps: SharingDeps, signal: AbortSignal): Promise<SharedBackend> {
  const { login, settings, told } = splitParameters(request.parameters);
  const handle = deps.pool.handle({ ...request, parameters: login, isShared: true });
  deps.onAsk(handle);
  const lender = lenderOf(handle);
  const lease = lender.take() ?? (await lender.wait(signal));
  const parameters = new Map([...lease.backend.initialParameters, ...told]);
  lease.rest();
  return new SharedBackend({ lender, parameters, settings, digest: deps.digest, shares: deps.shares });
}

/** A name of its own would keep each instance of an application from sharing with the others. */
function splitParameters(parameters: ReadonlyMap<string, string>) {
  const login = new Map(parameters);
  const settings: string[] = [];
  const told = new Map<string, string>();
  for (const [name, value] of parameters) {
    if (name.toLowerCase() !== "application_name" || !plainName.test(value)) continue;
    login.delete(name);
    settings.push(`SET application_name TO ${quoteLiteral(value)}`);
    told.set("application_name", value);
  }
  return { login, settings, told };
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
