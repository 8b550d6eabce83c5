/** One gateway per data directory: an exclusive lock file naming its holder. */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StartupError } from "../startup-error.ts";
import { isAlive, startMark } from "./process.ts";

interface Holder {
  readonly pid: number;
  readonly started: string | undefined;
  readonly id: string;
}

export interface DataDirLock {
  release(): Promise<void>;
  /** For exit hooks, which cannot wait. */
  releaseNow(): void;
}

/** Ids of locks this very process holds or is about to take; a restarted container often has the pid of the one before it. */
const idsHere = new Set<string>();

/** @throws {StartupError} when a live process holds it. */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const path = join(dataDir, "tdb.lock");
  const id = randomBytes(8).toString("hex");
  const mine = join(dataDir, `tdb.lock.${id}`);
  const holder: Holder = { pid: process.pid, started: await startMark(process.pid), id };
  idsHere.add(id);
  await writeFile(mine, `${JSON.stringify(holder)}\n`, { mode: 0o600 });
  try {
    // link() fails when the name is taken: whoever links first has the lock, and its content is whole from the start.
    while (!(await tryLink(mine, path))) await clearStale(dataDir, path, mine);
  } catch (error) {
    idsHere.delete(id);
    throw error;
  } finally {
    await rm(mine, { force: true });
  }
  return {
    async release() {
      if (idsHere.delete(id)) await rm(path, { force: true });
    },
    releaseNow() {
      if (idsHere.delete(id)) rmSync(path, { force: true });
    },
  };
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/**
 * Removes a dead holder's lock. Several starters may find it dead at once: only one at a time may remove, and it looks again
 * once it may, so that nobody removes the lock of a faster one.
 */
async function clearStale(dataDir: string, path: string, mine: string): Promise<void> {
  const found = await readHolder(path);
  if (found === undefined) return;
  if (await holds(found)) throw inUse(dataDir, found.pid);
  const permit = `${path}.clearing`;
  if (!(await tryLink(mine, permit))) return await waitForPermit(permit);
  try {
    const still = await readHolder(path);
    if (still && !(await holds(still))) await rm(path, { force: true });
  } finally {
    await rm(permit, { force: true });
  }
}

/** Held for moments; one that stays was left by a crash. */
async function waitForPermit(permit: string): Promise<void> {
  await new Promise((done) => setTimeout(done, 10));
  const left = await readHolder(permit);
  if (left && !(await holds(left))) await rm(permit, { force: true });
}

async function holds(holder: Holder): Promise<boolean> {
  if (holder.pid === 0) return false;
  if (holder.pid === process.pid) return idsHere.has(holder.id);
  if (!(await isAlive(holder.pid))) return false;
  const started = await startMark(holder.pid);
  return started === undefined || holder.started === undefined || started === holder.started;
}

/** @returns undefined when the file is gone; pid 0, which nobody has, for one that cannot be read as a lock. */
async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "pid" in value && Number.isInteger(value.pid) && (value.pid as number) > 0) {
      const { started, id } = value as { started?: unknown; id?: unknown };
      return { pid: value.pid as number, started: typeof started === "string" ? started : undefined, id: String(id) };
    }
  } catch {
    // Not JSON: written by nobody we know. Falls through to "held by nobody".
  }
  return { pid: 0, started: undefined, id: "" };
}

function inUse(dataDir: string, pid: number): StartupError {
  return new StartupError(
    "--data-dir",
    `data directory "${dataDir}" is in use by another tdb up (pid ${pid}); stop it or choose another with --data-dir`,
  );
}
