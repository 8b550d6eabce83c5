/** Backups in a directory: written beside their place, synced, then renamed, readable by the gateway's user only. */
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { GatewayError } from "../../core/errors.ts";
import type { BackupStorage } from "./storage.ts";

export function createDirectoryStorage(directory: string): BackupStorage {
  const pathOf = (key: string) => join(directory, key);
  return {
    kind: "directory",
    async write(key, data) {
      try {
        await writeFile(pathOf(key), data);
      } catch (error) {
        throw explain(error, directory);
      }
    },
    async read(key) {
      try {
        await stat(pathOf(key));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw explain(error, directory);
        throw new GatewayError("backup_unusable", "The backup's file is not in the backup directory any more", { cause: error });
      }
      return createReadStream(pathOf(key), { highWaterMark: 256 * 1024 });
    },
    async remove(key) {
      await rm(partOf(pathOf(key)), { force: true });
      await rm(pathOf(key), { force: true });
    },
  };
}

function partOf(path: string): string {
  return `${path}.part`;
}

async function writeFile(path: string, data: AsyncIterable<Uint8Array>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const part = partOf(path);
  try {
    const file = await open(part, "w", 0o600);
    try {
      for await (const chunk of data) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** So that the name survives a power cut as well as the bytes. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** The operator's words for what the system says; errors of the data's source pass. */
function explain(error: unknown, directory: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOSPC: "no space is left on its disk",
    EDQUOT: "its disk quota is used up",
    EACCES: "the gateway's user may not write there",
    EPERM: "the gateway's user may not write there",
    EROFS: "its file system is read-only",
    ENOTDIR: "a part of its path is not a directory",
    EIO: "its disk fails",
  };
  const reason = code === undefined ? undefined : reasons[code];
  return reason === undefined
    ? error
    : new StorageError(`the backup directory cannot be used: ${reason}`, { cause: new Error(directory, { cause: error }) });
}

/** The storage is at fault; its message may be shown to the project's administrators. */
export class StorageError extends Error {}
