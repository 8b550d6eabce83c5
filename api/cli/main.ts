/** Entry of the command line; bin/tdb.js calls it. */
import process from "node:process";
import { processHost } from "./host.ts";
import { runCli } from "./program.ts";

/**
 * Runs the command line of this process and sets its exit code.
 * `here` are the commands that work on this machine, by name: they are handed in because the API's side knows nothing of the gateway's.
 */
export async function main(args: readonly string[], here: Readonly<Record<string, (args: string[]) => Promise<number>>>): Promise<void> {
  // A reader that has seen enough (`tdb … | head`) is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  const runHere = Object.hasOwn(here, args[0] ?? "") ? here[args[0] as string] : undefined;
  process.exitCode = runHere ? await runHere(args.slice(1)) : await runCli(args, processHost());
}
