/** From a stored backup to its parts, decompressed and checked against what is known of it. */
import { joinArchive } from "../../core/archive-parts.ts";
import type { ArchivedTables, BackupPart } from "../../core/backup-format.ts";
import { readBackup } from "../../core/backup-reader.ts";
import { damaged } from "../../core/byte-source.ts";
import type { RestoreResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { gunzip } from "./compress.ts";
import type { BackupDeps } from "./deps.ts";
import { contentsKey } from "./formats.ts";
import { watch } from "./make-backup.ts";
import type { KnownBackup } from "./rows.ts";

/** The file's bytes. @throws {GatewayError} backup_unusable */
export async function openBackup(deps: BackupDeps, row: KnownBackup, key = row.storage_key): Promise<AsyncIterable<Uint8Array>> {
  const storage = deps.storages.find(row.storage);
  if (storage) return await storage.read(key);
  throw new GatewayError(
    "backup_unusable",
    `The backup is kept in ${row.storage === "s3" ? "a bucket" : "a directory"} that is not configured any more`,
  );
}

/** Makes `database` out of a stored backup; it is not believed before its last byte has been checked. */
export async function restoreBackup(deps: BackupDeps, row: KnownBackup, database: PhysicalDatabase): Promise<RestoreResult> {
  if (row.format === "custom") return await restoreArchive(deps, row, database);
  const file = openSummed(deps, row, row.storage_key, row.sha256);
  const result = await deps.dumper.restore(database, ofTenant(readBackup(gunzip(file.data)), row), deps.stopping);
  file.check();
  return result;
}

/**
 * Both files are read once before anything reads what is in them, and summed up again while it does: pg_restore is not written for archives that somebody
 * has tampered with, nor is the blueprint in the file beside it to be run then.
 */
async function restoreArchive(deps: BackupDeps, row: KnownBackup, database: PhysicalDatabase): Promise<RestoreResult> {
  const beside = contentsKey(row.storage_key);
  await checkWhole(deps, row, beside, row.contents_sha256);
  await checkWhole(deps, row, row.storage_key, row.sha256);
  const contents = openSummed(deps, row, beside, row.contents_sha256);
  const archive = openSummed(deps, row, row.storage_key, row.sha256);
  const decode = ({ toolVersion }: ArchivedTables) => deps.tools.decode(archive.data, toolVersion, deps.stopping);
  const result = await deps.dumper.restore(database, joinArchive(ofTenant(readBackup(gunzip(contents.data)), row), decode), deps.stopping);
  contents.check();
  archive.check();
  return result;
}

async function checkWhole(deps: BackupDeps, row: KnownBackup, key: string, sha256: string | null): Promise<void> {
  const file = openSummed(deps, row, key, sha256);
  for await (const _ of file.data) deps.stopping.throwIfAborted();
  file.check();
}

/** Opened when it is first read: a bucket does not keep a download waiting for long. `check` is for when all of `data` has been read. */
function openSummed(deps: BackupDeps, row: KnownBackup, key: string, sha256: string | null) {
  const hash = deps.makeHash();
  const read = async function* () {
    yield* watch(await openBackup(deps, row, key), (chunk) => hash.update(chunk));
  };
  return {
    data: read(),
    check: () => {
      if (hash.digest() !== sha256) throw damaged("its checksum is not what it was when it was made");
    },
  };
}

/** A file that was exchanged for another tenant's must not get into this one's database. */
async function* ofTenant(parts: AsyncIterable<BackupPart>, row: KnownBackup): AsyncGenerator<BackupPart> {
  for await (const part of parts) {
    if (part.type === "header" && (part.header.tenant !== row.tenant_id || part.header.project !== row.project_id)) {
      throw damaged("it is another tenant's");
    }
    yield part;
  }
}
