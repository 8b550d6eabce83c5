/** Runs the conformance cases on the runtime this file is started with: one JSON line per case. Arguments choose cases by part of their name. */

import process from "node:process";
import { detectRuntime } from "../../../gateway/runtime/runtime.ts";
import { casesOf, runCase } from "./cases/all.ts";
import { makeCertificates } from "./harness.ts";

export interface CaseResult {
  readonly name: string;
  readonly error?: string;
}

/** A case that hangs is reported instead of holding up the rest. */
const hungAfterMs = 45_000;

const runtime = await detectRuntime();
const { certificates, remove } = await makeCertificates();
let current = "no case";

function report(result: CaseResult): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

// Whatever escapes a case (an unhandled 'error' event, a sink that threw) is that case's failure.
process.on("uncaughtException", (error: Error) => report({ name: current, error: `uncaught: ${error.stack ?? error.message}` }));
process.on("unhandledRejection", (error) => report({ name: current, error: `unhandled: ${error instanceof Error ? error.stack : String(error)}` }));

const chosen = process.argv.slice(2);
for (const one of casesOf(runtime.name)) {
  if (one.canRun && !one.canRun()) continue;
  if (chosen.length > 0 && !chosen.some((part) => one.name.includes(part))) continue;
  current = one.name;
  let watchdog: NodeJS.Timeout | undefined;
  const hung = new Promise<never>((_, reject) => {
    watchdog = setTimeout(() => reject(new Error("the case did not finish")), hungAfterMs);
  });
  try {
    await Promise.race([runCase(runtime, certificates, one), hung]);
    report({ name: one.name });
  } catch (error) {
    report({ name: one.name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  } finally {
    clearTimeout(watchdog);
  }
}
await remove();
runtime.exit(0);
