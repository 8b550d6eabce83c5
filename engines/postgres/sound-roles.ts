/** Backends whose role has no settings of its own: what one client stored in its role (ALTER ROLE … SET) never reaches another client's session. */
import { GatewayError } from "../../core/errors.ts";
import type { BackendDialer, BackendRequest } from "../../core/pool.ts";
import type { PostgresBackend } from "./dial.ts";
import { maxRestores } from "./own-settings.ts";

/** `restore` takes the role's settings away; the login is then made anew, because settings are read at its beginning. */
export function withSoundRoles(
  dialer: BackendDialer<PostgresBackend>,
  restore: (request: BackendRequest) => Promise<void>,
): BackendDialer<PostgresBackend> {
  return {
    async dial(request, signal) {
      let cause: unknown;
      for (let restores = 0; ; restores++) {
        const backend = await dialer.dial(request, signal);
        if (await backend.isUnaltered(signal)) return backend;
        backend.close();
        if (signal.aborted) throw signal.reason;
        if (restores === maxRestores) break;
        try {
          await restore(request);
        } catch (error) {
          cause = error; // PostgreSQL refuses one of two changes of a role at the same moment; the next round looks again
        }
      }
      throw new GatewayError("backend_unreachable", `database server for "${request.displayName}" is not reachable`, {
        cause: cause ?? new Error("the settings of the native role are changed again and again"),
      });
    },
  };
}
