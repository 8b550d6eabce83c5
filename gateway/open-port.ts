/** Opens one listening port; what goes wrong is told with the option that helps. */
import type { BytePipe } from "../core/byte-pipe.ts";
import type { Listener, Runtime } from "./runtime/runtime.ts";
import { StartupError } from "./startup-error.ts";

/** One protocol's door. */
export interface OpenPort {
  readonly port: number;
  stopAccepting(): Promise<void>;
  /** Destroys what is still connected. */
  close(): Promise<void>;
}

/** @throws {StartupError} naming `option`, such as --pg-port, or --host. */
export async function openPort(
  runtime: Runtime,
  at: { readonly option: string; readonly host: string; readonly port: number; readonly shared?: boolean | undefined },
  onConnection: (pipe: BytePipe) => void,
): Promise<Listener> {
  try {
    return await runtime.listen({ host: at.host, port: at.port, reusePort: at.shared ?? false, onConnection });
  } catch (error) {
    throw listenError(at.option, at.host, at.port, error);
  }
}

/** A port that cannot be listened on, with the option that helps. */
export function listenError(option: string, host: string, port: number, error: unknown): StartupError {
  const code = (error as { code?: string }).code;
  const reason =
    code === "EADDRINUSE"
      ? `port ${port} on ${host} is in use; stop what uses it or choose another (0 = any free port, -1 = off)`
      : code === "EACCES"
        ? `port ${port} on ${host} may not be used by this user; choose one above 1023`
        : `cannot listen on ${host}:${port}: ${(error as Error).message}`;
  return new StartupError(code === "EADDRNOTAVAIL" ? "--host" : option, reason, error);
}
