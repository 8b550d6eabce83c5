/** `npm run drivers`: runs what vitest's arguments choose of the drivers' tests, then writes docs/drivers.md from what they showed. */
import { spawnSync } from "node:child_process";
import { writeTable } from "./support/write-table.ts";

const done = spawnSync("vitest", ["run", "test/drivers", ...process.argv.slice(2)], { stdio: "inherit", shell: false });
await writeTable();
process.exitCode = done.status ?? 1;
