/** Entry of the command line; bin/tdb.js calls it. */
import process from "node:process";
import { processHost } from "./host.ts";
import { runCli } from "./program.ts";

/**
 * Runs the command line of this process and sets its exit code.
 * `runUp` starts the gateway; it is handed in because the API's side knows nothing of the gateway's.
 */
export async function main(args: readonly string[], runUp: (args: string[]) => Promise<number>): Promise<void> {
  // A reader that has seen enough (`tdb … | head`) is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  process.exitCode = args[0] === "up" ? await runUp(args.slice(1)) : await runCli(args, processHost());
}
