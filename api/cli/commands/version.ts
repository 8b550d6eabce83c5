/** tdb version: which release of the program this is. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
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

/** From package.json, which lies three folders up in the sources and four in the build. */
async function readVersion(): Promise<string> {
  for (const up of ["../../../package.json", "../../../../package.json"]) {
    const text = await readFile(new URL(up, import.meta.url), "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    const found = text === undefined ? undefined : JSON.parse(text);
    if (found?.name === "tenantry") return found.version;
  }
  throw new Error("package.json is missing beside the program");
}
