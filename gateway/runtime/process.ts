/** Signals and exit through node:process, which all three runtimes have. */

import process from "node:process";
import type { SignalName } from "./runtime.ts";

export function onSignal(name: SignalName, handle: () => void): () => void {
  process.on(name, handle);
  return () => {
    process.off(name, handle);
  };
}

export function exit(code: number): never {
  process.exit(code);
}
