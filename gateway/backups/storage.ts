/** Where backups are kept: files that are written once, read whole and deleted. */
import type { Log } from "../../core/log.ts";

export type StorageKind = "directory" | "s3";

export interface BackupStorage {
  readonly kind: StorageKind;
  /** Stores all of `data` under `key` or nothing; what failed half-way is removed. @throws {Error} whose message says what is wrong with the storage */
  write(key: string, data: AsyncIterable<Uint8Array>): Promise<void>;
  /** @throws {GatewayError} backup_unusable when there is none; {Error} when the storage cannot be asked */
  read(key: string): Promise<AsyncIterable<Uint8Array>>;
  /** Removes what is under `key`, an unfinished write included. Nothing there is fine. */
  remove(key: string): Promise<void>;
}

export interface StorageConfig {
  readonly directory: string;
  /** Undefined: backups are kept in the directory. */
  readonly s3: S3Config | undefined;
}

export interface S3Config {
  /** With the bucket, as `https://s3.eu-central-1.amazonaws.com/bucket/prefix`. */
  readonly url: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface StorageDeps {
  readonly log: Log;
}

/** Storage for new backups, and for those made under another configuration. */
export interface Storages {
  readonly current: BackupStorage;
  /** Undefined when it is not configured any more. */
  find(kind: StorageKind): BackupStorage | undefined;
}
