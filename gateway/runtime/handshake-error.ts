/** What a failed TLS handshake is reported as, on every runtime. */

import { type CodedError, codeOf } from "./socket-error.ts";

/** `cause` is what the runtime said; undefined when the peer just left. */
export function handshakeError(cause: Error | undefined): CodedError {
  const error = new Error(`TLS handshake failed: ${cause?.message.trim() ?? "the peer left before it was complete"}`, { cause });
  return Object.assign(error, { code: cause === undefined ? "ECONNRESET" : codeOf(cause) });
}
