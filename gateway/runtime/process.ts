/** Signals, faults and exit through node:process, which all three runtimes have. */

import process from "node:process";
import type { SignalName } from "./runtime.ts";

export function onSignal(name: SignalName, handle: () => void): () => void {
  process.on(name, handle);
  return () => {
    process.off(name, handle);
  };
}

/** Exceptions and rejections nobody caught. */
export function onFault(handle: (fault: unknown) => void): () => void {
  process.on("uncaughtException", handle);
  process.on("unhandledRejection", handle);
  return () => {
    process.off("uncaughtException", handle);
    process.off("unhandledRejection", handle);
  };
}

export function exit(code: number): never {
  process.exit(code);
}
