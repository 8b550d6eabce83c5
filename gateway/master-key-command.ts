/** `tdb master-key rotate`: a new master key in the file, and the gateway on this machine told of it. */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import process from "node:process";
import { ConfigError } from "../core/config.ts";
import { parseUpArguments } from "./config/arguments.ts";
import { loadConfig } from "./config/load.ts";
import { isAlive } from "./embedded/process.ts";
import { masterKeyPath, rotateMasterKey } from "./master-key.ts";
import { nodeCrypto } from "./runtime/crypto.ts";
import { StartupError } from "./startup-error.ts";

const help = `Usage: tdb master-key rotate [--data-dir DIR | --master-key-file FILE] [--config FILE]

Puts a new master key into the file. The running gateway takes it into use without a restart: it gives every native role of every
database a password derived from the new key. Open sessions go on; API keys and proxy passwords stay as they are.

A gateway with an embedded server on this machine is told at once (SIGHUP). Give the file to all other instances and send each of them
SIGHUP; until then they set passwords back to the old key, which costs their logins a moment and harms nothing. The log says
"master key rotated" when it is done. With the key in the environment (TDB_MASTER_KEY) set all lines of the new file,
separated by commas, and restart.
`;

/** @returns the exit code: 0 done, 1 could not, 2 bad usage. */
export async function runMasterKey(argv: readonly string[]): Promise<number> {
  try {
    const [verb, ...rest] = argv;
    const { flags, help: asked } = parseUpArguments(verb === "rotate" ? rest : argv.filter((each) => each.startsWith("-")));
    if (asked) {
      process.stdout.write(help);
      return 0;
    }
    if (verb !== "rotate") {
      process.stderr.write(help);
      return 2;
    }
    const { config } = await loadConfig({ env: process.env, flags });
    const dataDir = resolve(config.data_dir);
    const path = masterKeyPath({ dataDir, file: config.master_key_file });
    await rotateMasterKey(path, nodeCrypto);
    const pid = await findGateway(dataDir);
    if (pid !== undefined) process.kill(pid, "SIGHUP");
    const told =
      pid === undefined ? "No gateway with an embedded server runs here: start it, or send SIGHUP to the instances." : `Process ${pid} was told.`;
    process.stdout.write(`New master key in ${path}. ${told}\nKeep a copy of the file apart from the database's backups.\n`);
    return 0;
  } catch (error) {
    if (error instanceof ConfigError) {
      process.stderr.write(`${error.message}\n`);
      return 2;
    }
    const option = error instanceof StartupError ? `${error.option}: ` : "";
    process.stderr.write(`tdb master-key: ${option}${(error as Error).message}\n`);
    return 1;
  }
}

/** Whoever holds the data directory. */
async function findGateway(dataDir: string): Promise<number | undefined> {
  try {
    const { pid } = JSON.parse(await readFile(join(dataDir, "tdb.lock"), "utf8")) as { pid: number };
    return (await isAlive(pid)) ? pid : undefined;
  } catch {
    return undefined; // no lock, or one half written: nobody to tell
  }
}
