/** From a stored backup to its parts, decompressed and checked against what is known of it. */
import type { BackupPart } from "../../core/backup-format.ts";
import { damaged, readBackup } from "../../core/backup-reader.ts";
import type { RestoreResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { gunzip } from "./compress.ts";
import type { BackupDeps } from "./deps.ts";
import { watch } from "./make-backup.ts";
import type { KnownBackup } from "./rows.ts";

/** The file's bytes. @throws {GatewayError} backup_unusable */
export async function openBackup(deps: BackupDeps, row: KnownBackup): Promise<AsyncIterable<Uint8Array>> {
  const storage = deps.storages.find(row.storage);
  if (storage) return await storage.read(row.storage_key);
  throw new GatewayError(
    "backup_unusable",
    `The backup is kept in ${row.storage === "s3" ? "a bucket" : "a directory"} that is not configured any more`,
  );
}

/** Makes `database` out of a stored backup; it is not believed before its last byte has been checked. */
export async function restoreBackup(deps: BackupDeps, row: KnownBackup, database: PhysicalDatabase): Promise<RestoreResult> {
  const hash = deps.makeHash();
  const file = watch(await openBackup(deps, row), (chunk) => hash.update(chunk));
  const result = await deps.dumper.restore(database, ofTenant(readBackup(gunzip(file)), row), deps.stopping);
  if (hash.digest() !== row.sha256) throw damaged("its checksum is not what it was when it was made");
  return result;
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
