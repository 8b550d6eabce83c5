/** A fault that nobody caught: it is told in the log, and what state it left nobody knows, so the process ends, in order where it can. */
import type { Log } from "../core/log.ts";
import type { Runtime } from "./runtime/runtime.ts";

/** How long stopping in order may take. */
const stopWithinMs = 5000;

/** @param stop ends clients with a word and gives back what is held. @returns a function that stops watching. */
export function endOnFault(runtime: Pick<Runtime, "onFault" | "exit">, log: Log, stop: () => Promise<unknown>, withinMs = stopWithinMs): () => void {
  let isEnding = false;
  return runtime.onFault((fault) => {
    log.write("error", "fault nobody caught, stopping", { error: describe(fault) });
    if (isEnding) return;
    isEnding = true;
    const end = () => runtime.exit(1);
    setTimeout(end, withinMs);
    const failed = (error: unknown) => log.write("error", "not stopped cleanly", { error: describe(error) });
    void stop().catch(failed).finally(end);
  });
}

function describe(fault: unknown): string {
  return fault instanceof Error ? (fault.stack ?? fault.message) : String(fault);
}
