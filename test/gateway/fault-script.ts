/** Run by fault.test.ts on each runtime: something fails where nobody catches it, and stopping goes as the argument says. */
import { setTimeout as pause } from "node:timers/promises";
import { endOnFault } from "../../gateway/fault.ts";
import { createLog } from "../../gateway/log.ts";
import { detectRuntime } from "../../gateway/runtime/runtime.ts";

const [fault, stopping] = process.argv.slice(2);
const stop = async () => {
  process.stdout.write("stopping\n");
  setTimeout(() => {
    throw new Error("a second one");
  }, 0);
  if (stopping === "hangs") await new Promise(() => undefined);
  if (stopping === "fails") throw new Error("cannot stop");
  await pause(50);
  process.stdout.write("stopped\n");
};
endOnFault(await detectRuntime(), createLog({ level: "info", format: "json" }), stop, 500);
setInterval(() => undefined, 1000);
if (fault === "rejection") void Promise.reject(new Error("boom"));
else {
  setTimeout(() => {
    throw new Error("boom");
  }, 0);
}
