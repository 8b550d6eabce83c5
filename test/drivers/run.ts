/** `npm run drivers`: runs what vitest's arguments choose of the drivers' tests, then writes docs/drivers.md from what they showed in session mode. */
import { spawnSync } from "node:child_process";
import { usualPoolMode } from "./support/world.ts";
import { writeTable } from "./support/write-table.ts";

const done = spawnSync("vitest", ["run", "test/drivers", ...process.argv.slice(2)], { stdio: "inherit", shell: false });
if (usualPoolMode === "session") await writeTable();
process.exitCode = done.status ?? 1;
