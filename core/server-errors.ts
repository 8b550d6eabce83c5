/** What a client is told of a database server that does not let it in, in its own name of the database: no host, no role. */
import { GatewayError } from "./errors.ts";
import type { BackendRequest } from "./pool.ts";

type Named = Pick<BackendRequest, "displayName">;

export function unreachable({ displayName }: Named, cause: unknown): GatewayError {
  return new GatewayError("backend_unreachable", `database server for "${displayName}" is not reachable`, { cause });
}

/** Its own code goes on: clients with several hosts, and those that retry, tell it from a server that is gone. */
export function starting({ displayName }: Named, cause: unknown): GatewayError {
  return new GatewayError("backend_starting", `database server for "${displayName}" is starting up or shutting down`, {
    hint: "Try again shortly.",
    cause,
  });
}
