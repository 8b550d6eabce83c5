/** Waiting for a client's first bytes, without taking them: how long, and until which protocol they are is certain. */
import type { Clock } from "../../core/clock.ts";
import type { PipeReader } from "../../core/pipe-reader.ts";
import { detect, maxFirstLineBytes, type Protocol } from "../detect.ts";

/**
 * For a protocol in which the server speaks first: gives a client of another one `ms` to speak. The bytes stay in the reader.
 * @returns whether something has come; false also when the client has left. @throws the signal's reason when aborted.
 */
export async function waitForFirstBytes(reader: PipeReader, ms: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
  if (reader.buffered > 0 || ms <= 0) return reader.buffered > 0;
  const enough = new AbortController();
  const onAbort = () => enough.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  reader.onArrival = () => enough.abort();
  reader.onClosed = () => enough.abort();
  try {
    if (!signal.aborted && !reader.pipe.isClosed) await clock.sleep(ms, enough.signal);
  } catch {
    signal.throwIfAborted(); // woken by bytes, or by their end
  } finally {
    signal.removeEventListener("abort", onAbort);
    reader.onArrival = undefined;
    reader.onClosed = undefined;
  }
  return reader.buffered > 0;
}

/**
 * The protocol of what the client sends, which stays in the reader. The reader must be allowed to buffer `maxFirstLineBytes`.
 * @throws {PipeClosedError} when the client leaves first; the reader's signal's reason.
 */
export async function detectFirst(reader: PipeReader): Promise<Protocol> {
  for (;;) {
    const known = Math.min(reader.buffered, maxFirstLineBytes);
    if (known > 0) {
      const protocol = detect(await reader.peek(known));
      if (protocol) return protocol;
    }
    await reader.peek(known + 1);
  }
}
