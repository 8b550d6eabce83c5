/** Backends whose role has no settings of its own: what one client stored in its role (ALTER ROLE … SET) never reaches another client's session. */
import type { Clock } from "../../core/clock.ts";
import type { BackendDialer, BackendRequest } from "../../core/pool.ts";
import { unreachable } from "../../core/server-errors.ts";
import type { PostgresBackend } from "./backend-session.ts";
import { maxRestores } from "./own-settings.ts";

export interface SoundRoles {
  /** Takes the role's settings away; the login is then made anew, because settings are read at its beginning. */
  restore(request: BackendRequest): Promise<void>;
  /** The same where there are any, for a login that takes long. */
  restoreAltered(request: BackendRequest): Promise<void>;
  readonly clock: Pick<Clock, "sleep">;
}

/** A server behind a pooler ends sessions of such roles before they begin, and the pooler tries again and again without a word. */
const patienceMs = 1500;

export function withSoundRoles(dialer: BackendDialer<PostgresBackend>, roles: SoundRoles): BackendDialer<PostgresBackend> {
  return {
    async dial(request, signal) {
      let cause: unknown;
      for (let restores = 0; ; restores++) {
        const backend = await lookedAfter(roles, request, () => dialSound(dialer, request, signal));
        if (backend) return backend;
        if (signal.aborted) throw signal.reason;
        if (restores === maxRestores) break;
        try {
          await roles.restore(request);
        } catch (error) {
          cause = error; // PostgreSQL refuses one of two changes of a role at the same moment; the next round looks again
        }
      }
      throw unreachable(request, cause ?? new Error("the settings of the native role are changed again and again"));
    },
  };
}

/** @returns undefined where the role's own settings had a part in the session. */
async function dialSound(dialer: BackendDialer<PostgresBackend>, request: BackendRequest, signal: AbortSignal): Promise<PostgresBackend | undefined> {
  const backend = await dialer.dial(request, signal);
  if (await backend.isUnaltered(signal)) return backend;
  await backend.close(); // the next login is not to stand beside it
  return undefined;
}

async function lookedAfter<T>(roles: SoundRoles, request: BackendRequest, work: () => Promise<T>): Promise<T> {
  const done = new AbortController();
  const watching = roles.clock.sleep(patienceMs, done.signal).then(() => roles.restoreAltered(request));
  watching.catch(() => undefined); // what the login comes to is said by the login
  try {
    return await work();
  } finally {
    done.abort();
  }
}
