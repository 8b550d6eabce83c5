/** The master key: 32 random bytes in a file of mode 0600, made at first start, or in the environment. Whoever has it and the database can be any tenant. */
import { chmod, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Crypto } from "../core/crypto.ts";
import { toHex } from "../core/secrets.ts";
import { StartupError } from "./startup-error.ts";

export interface MasterKeyOptions {
  readonly dataDir: string;
  /** The setting master_key_file; default `master.key` in the data directory. */
  readonly file: string | undefined;
  /** The setting master_key, the same text as the file's; comes before it. */
  readonly text?: string | undefined;
  readonly crypto: Crypto;
}

/** What the file holds: one line for the key, and after a rotation `lookup` and `previous` lines. */
export interface MasterKeys {
  /** Passwords of native roles are derived from it. */
  readonly current: Uint8Array;
  /** What secrets are found by; it stays through rotations, since nobody has the secrets to hash them anew. */
  readonly lookup: Uint8Array;
  /** The one before, while native roles may still have passwords derived from it. */
  readonly previous: Uint8Array | undefined;
}

export function masterKeyPath(options: Pick<MasterKeyOptions, "dataDir" | "file">): string {
  return options.file ?? join(options.dataDir, "master.key");
}

/** @throws {StartupError} naming --master-key-file or TDB_MASTER_KEY: unreadable, or not 64 hex digits. */
export async function loadMasterKeys(options: MasterKeyOptions): Promise<MasterKeys> {
  if (options.text !== undefined) return parseKeys(options.text, "TDB_MASTER_KEY", "it");
  const path = masterKeyPath(options);
  const text = await readText(path);
  if (text !== undefined) return parseKeys(text, "--master-key-file", `the master key file "${path}"`);
  if (options.file !== undefined) throw new StartupError("--master-key-file", `the master key file "${path}" does not exist`);
  const current = await createKey(path, options.crypto);
  return { current, lookup: current, previous: undefined };
}

/**
 * Puts a new key on top of the file; the old one stays as `previous` until every native role has a password of the new one.
 * @throws {StartupError} when there is no file, or the rotation before is not finished.
 */
export async function rotateMasterKey(path: string, crypto: Crypto): Promise<void> {
  const text = await readText(path);
  if (text === undefined) throw new StartupError("--master-key-file", `the master key file "${path}" does not exist`);
  const keys = parseKeys(text, "--master-key-file", `the master key file "${path}"`);
  if (keys.previous) {
    throw new StartupError(
      "--master-key-file",
      `"${path}" still names a previous key: the rotation before is not finished. Start or reload the gateway (SIGHUP) and wait for "master key rotated" in its log; ` +
        "it takes the line out of its own file, take it out by hand of one that master_key_file names",
    );
  }
  await replaceFile(path, formatKeys({ current: crypto.randomBytes(32), lookup: keys.lookup, previous: keys.current }));
}

/** Takes the previous key out once nothing needs it. @returns false when the file has changed meanwhile. */
export async function forgetPrevious(path: string, keys: MasterKeys): Promise<boolean> {
  const text = await readText(path);
  if (text?.trim() !== formatKeys(keys).trim()) return false;
  await replaceFile(path, formatKeys({ ...keys, previous: undefined }));
  return true;
}

function formatKeys({ current, lookup, previous }: MasterKeys): string {
  const lines = [toHex(current)];
  if (toHex(lookup) !== toHex(current)) lines.push(`lookup ${toHex(lookup)}`);
  if (previous) lines.push(`previous ${toHex(previous)}`);
  return `${lines.join("\n")}\n`;
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StartupError("--master-key-file", `cannot read the master key file "${path}": ${(error as Error).message}`, error);
  }
}

/** Lines may be separated by commas, for the environment. */
function parseKeys(text: string, option: string, shown: string): MasterKeys {
  const found = new Map<string, Uint8Array>();
  for (const line of text.trim().split(/\s*[\n,]\s*/)) {
    const [, name = "current", hex] = /^(?:(lookup|previous)\s+)?([0-9a-f]{64})$/i.exec(line) ?? [];
    if (hex === undefined || found.has(name)) {
      throw new StartupError(option, `${shown} must hold 64 hex digits, and after a rotation lines "lookup …" and "previous …" with as many`);
    }
    found.set(
      name,
      Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)),
    );
  }
  const current = found.get("current");
  if (!current)
    throw new StartupError(option, `${shown} must hold 64 hex digits, and after a rotation lines "lookup …" and "previous …" with as many`);
  return { current, lookup: found.get("lookup") ?? current, previous: found.get("previous") };
}

/** Exclusive creation: two first starts at once must not end with two keys. */
async function createKey(path: string, crypto: Crypto): Promise<Uint8Array> {
  const key = crypto.randomBytes(32);
  try {
    await writeNew(path, `${toHex(key)}\n`);
    return key;
  } catch (error) {
    throw new StartupError("--data-dir", `cannot write the master key "${path}": ${(error as Error).message}`, error);
  }
}

/** Whole or not at all: written beside, then renamed. */
async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  try {
    await rm(fresh, { force: true });
    await writeNew(fresh, text);
    await rename(fresh, path);
  } catch (error) {
    throw new StartupError("--master-key-file", `cannot write the master key file "${path}": ${(error as Error).message}`, error);
  }
}

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(path, 0o600);
}
