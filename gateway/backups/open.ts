/** Backups as the configuration has them. */
import { resolve } from "node:path";
import type { Clock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import type { Log } from "../../core/log.ts";
import type { Secrets } from "../../core/secrets.ts";
import type { SqlDialer } from "../../core/sql.ts";
import { createPostgresDumper } from "../../engines/postgres/admin/dumper.ts";
import type { ControlContext } from "../control/context.ts";
import { makeStreamHash } from "../runtime/crypto.ts";
import type { ClusterTargets } from "../sql-dialer.ts";
import { StartupError } from "../startup-error.ts";
import { createBackups, createStorages, type RunningBackups } from "./backups.ts";
import { createClientTools } from "./client-tools.ts";
import type { S3Config } from "./storage.ts";

export interface OpenBackupsDeps {
  readonly dataDir: string;
  readonly context: ControlContext;
  readonly dialer: SqlDialer;
  readonly clusters: ClusterTargets;
  readonly secrets: Secrets;
  readonly log: Log;
  readonly clock: Clock;
}

/** Not yet started. @throws {StartupError} when a bucket is configured by half. */
export function openBackups(config: Config, inForce: () => Config, deps: OpenBackupsDeps): RunningBackups {
  const { dataDir, context, dialer, clusters, secrets, log, clock } = deps;
  const directory = resolve(config["backup.directory"] ?? `${dataDir}/backups`);
  return createBackups({
    context,
    dumper: createPostgresDumper({ dialer, secrets, log, clock, makeHash: makeStreamHash }),
    tools: createClientTools({ clusters, log, folder: config["backup.client_tools_dir"] }),
    storages: createStorages({ directory, s3: readBucket(config) }, log),
    config: () => ({
      concurrency: inForce()["backup.concurrency"],
      keepReplacedMs: inForce()["backup.keep_replaced_h"] * 3_600_000,
      connectWaitMs: inForce().connect_wait_ms,
      format: inForce()["backup.format"],
    }),
    makeHash: makeStreamHash,
  });
}

function readBucket(config: Config): S3Config | undefined {
  const url = config["backup.s3_url"];
  if (url === undefined) return undefined;
  const accessKeyId = config["backup.s3_access_key_id"];
  const secretAccessKey = config["backup.s3_secret_access_key"];
  if (!accessKeyId) throw new StartupError("backup.s3_access_key_id", "backup.s3_url needs an access key");
  if (!secretAccessKey) throw new StartupError("backup.s3_secret_access_key", "backup.s3_url needs the access key's secret");
  return { url, region: config["backup.s3_region"], accessKeyId, secretAccessKey };
}
