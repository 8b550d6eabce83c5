/** The master key: 32 random bytes in a file of mode 0600, made at first start. Whoever has it and the database can be any tenant. */
import { chmod, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Crypto } from "../core/crypto.ts";
import { toHex } from "../core/secrets.ts";
import { StartupError } from "./startup-error.ts";

export interface MasterKeyOptions {
  readonly dataDir: string;
  /** The setting master_key_file; default `master.key` in the data directory. */
  readonly file: string | undefined;
  readonly crypto: Crypto;
}

/** @throws {StartupError} naming --master-key-file: unreadable, or not 64 hex digits. */
export async function loadMasterKey(options: MasterKeyOptions): Promise<Uint8Array> {
  const path = options.file ?? join(options.dataDir, "master.key");
  const known = await readKey(path);
  if (known) return known;
  if (options.file !== undefined) throw new StartupError("--master-key-file", `the master key file "${path}" does not exist`);
  return await createKey(path, options.crypto);
}

async function readKey(path: string): Promise<Uint8Array | undefined> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StartupError("--master-key-file", `cannot read the master key file "${path}": ${(error as Error).message}`, error);
  }
  if (!/^[0-9a-f]{64}$/i.test(text)) throw new StartupError("--master-key-file", `the master key file "${path}" must hold 64 hex digits`);
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Exclusive creation: two first starts at once must not end with two keys. */
async function createKey(path: string, crypto: Crypto): Promise<Uint8Array> {
  const key = crypto.randomBytes(32);
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(`${toHex(key)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(path, 0o600);
    return key;
  } catch (error) {
    throw new StartupError("--data-dir", `cannot write the master key "${path}": ${(error as Error).message}`, error);
  }
}
