/** tdb version: which release of the program this is. */
import type { Command } from "commander";
import { readVersion } from "../../package-version.ts";
import type { CliSession } from "../session.ts";

export function addVersionCommand(program: Command, session: CliSession): void {
  program
    .command("version")
    .description("The version of this program")
    .action(async () => {
      const version = await readVersion();
      await session.print({ success: true, version }, { quiet: () => version, human: () => `tdb v${version}` });
    });
}
