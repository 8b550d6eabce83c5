/** Where drivers are installed: outside the repository, once for each state of their lock files. */
import { createHash, randomBytes } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "../../e2e/support/gateway.ts";

const cacheDir = process.env.TDB_DRIVERS_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "tenantry-drivers");

const drivers = join(import.meta.dirname, "..");

/** The folder of a language's programs, in the repository. */
export function sourceDir(language: string): string {
  return join(drivers, language);
}

/**
 * A folder that `install` has filled, found again as long as the lock files are the same. `install` works in a folder of another name, so that
 * nobody meets a half-filled one; what it leaves must bear being moved.
 */
export async function installed(language: string, lockFiles: readonly string[], install: (dir: string) => Promise<void>): Promise<string> {
  const hash = createHash("sha256");
  for (const file of lockFiles) hash.update(await readFile(join(sourceDir(language), file)));
  const dir = join(cacheDir, `${language}-${hash.digest("hex").slice(0, 12)}`);
  if (await exists(dir)) return dir;
  const filling = `${dir}.${randomBytes(4).toString("hex")}`;
  await mkdir(filling, { recursive: true });
  try {
    for (const file of lockFiles) await cp(join(sourceDir(language), file), join(filling, file));
    await install(filling);
    await rename(filling, dir);
  } catch (error) {
    await rm(filling, { recursive: true, force: true });
    if (!(await exists(dir))) throw error; // else somebody else was quicker
  }
  return dir;
}

/** An empty folder below what `installed` gave, this repository's own, where programs find the packages beside them. */
export async function makeWorkDir(dir: string): Promise<string> {
  const work = join(dir, `work-${createHash("sha256").update(drivers).digest("hex").slice(0, 12)}`);
  await rm(work, { recursive: true, force: true });
  await mkdir(work);
  return work;
}

/** Runs a command. @throws Error with the last lines it printed, when it fails. */
export async function must(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  const done = await run(command, args, env);
  if (done.code !== 0)
    throw new Error(`${command} ${args[0] ?? ""}: ${lastLines(done.stderr) || lastLines(done.stdout) || `ended with ${done.code}`}`);
  return done.stdout;
}

/** @returns why it cannot be run here, if so. */
export async function missing(command: string, ...args: string[]): Promise<string | undefined> {
  const done = await run(command, args).catch(() => undefined);
  return done?.code === 0 ? undefined : `\`${[command, ...args].join(" ")}\` does not work here`;
}

/** What `work` fails with, as the reason a language is skipped for. */
export async function reasonOf(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function lastLines(text: string): string {
  return text.trim().split("\n").slice(-3).join(" / ");
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
