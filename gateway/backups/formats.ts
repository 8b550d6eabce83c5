/** Which format a backup gets, and the files each has. */
import type { BackupFormat, WantedFormat } from "../../core/backups.ts";
import type { ArchiveTools } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { howToInstall } from "./client-tools.ts";
import type { BackupDeps } from "./deps.ts";
import type { BackupStorage } from "./storage.ts";

export type ChosenFormat = { readonly format: "own" } | { readonly format: "custom"; readonly tools: ArchiveTools };

/** @throws {GatewayError} conflict where `custom` is wanted and cannot be, with what to do */
export async function chooseFormat(deps: BackupDeps, database: PhysicalDatabase, wanted: WantedFormat): Promise<ChosenFormat> {
  if (wanted === "own" || (wanted === "auto" && (await deps.tools.versions()).length === 0)) return { format: "own" };
  const { serverVersion, problem } = await deps.dumper.inspectForArchive(database);
  const tools = await deps.tools.forServer(serverVersion);
  if (tools && problem === undefined) return { format: "custom", tools };
  if (wanted === "auto") return { format: "own" };
  if (problem !== undefined) throw new GatewayError("conflict", `The database cannot be kept in custom format: ${problem}. Ask for format own`);
  throw new GatewayError("conflict", await explainMissing(deps, serverVersion));
}

async function explainMissing(deps: BackupDeps, serverVersion: number): Promise<string> {
  const newest = (await deps.tools.versions()).at(-1);
  const found = newest === undefined ? "there is no pg_dump with its pg_restore" : `the newest pg_dump found is ${newest}`;
  return `Custom format needs pg_dump ${serverVersion} or newer, as the database server is PostgreSQL ${serverVersion}; ${found}. ${howToInstall(serverVersion)} Or ask for format own`;
}

const suffixes: Record<BackupFormat, string> = { own: ".sql.gz", custom: ".dump" };

export function storageKey(projectId: string, tenantId: string, id: string, format: BackupFormat): string {
  return `${projectId}/${tenantId}/${id}${suffixes[format]}`;
}

/** Of the file beside an archive. */
export function contentsKey(archiveKey: string): string {
  return `${archiveKey}.contents.gz`;
}

/** All a backup has, or has begun to write. */
export async function removeFiles(storage: BackupStorage, key: string): Promise<void> {
  if (key.endsWith(suffixes.custom)) await storage.remove(contentsKey(key));
  await storage.remove(key);
}
