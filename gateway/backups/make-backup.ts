/** One backup: asked for, and made. */
import type { Backup, BackupFormat, WantedFormat } from "../../core/backups.ts";
import type { ArchiveRequest, ArchiveResult, DumpRequest, DumpResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Tenant, TenantDatabase } from "../../core/model.ts";
import { nowDate } from "../control/context.ts";
import { findTenant, stateConflict } from "../control/tenant-rows.ts";
import { loadVersions } from "../control/versions.ts";
import { checkArchive } from "./check-archive.ts";
import { gzip } from "./compress.ts";
import { type BackupDeps, explainFailure } from "./deps.ts";
import { chooseFormat, contentsKey, removeFiles, storageKey } from "./formats.ts";
import { type KnownBackup, toBackup } from "./rows.ts";
import type { BackupStorage } from "./storage.ts";

type DumpedDatabase = TenantDatabase & { readonly database: NonNullable<TenantDatabase["database"]> };

/** The tenant's PostgreSQL database; the other engines' are elsewhere. @throws {GatewayError} bad_request */
export function dumpedDatabase(tenant: Tenant): DumpedDatabase {
  for (const entry of tenant.databases) {
    if (entry.engine === "PostgreSQL" && entry.database && entry.state === "ready") return { ...entry, database: entry.database };
  }
  throw new GatewayError("bad_request", `Tenant '${tenant.id}' has no PostgreSQL database; only those are backed up here`);
}

export async function createBackup(deps: BackupDeps, projectId: string, tenantId: string, format?: WantedFormat): Promise<Backup> {
  const { context } = deps;
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  const { database, workspaceId, blueprint } = dumpedDatabase(tenant);
  // Told to whoever asks, not only to whoever looks at what became of it.
  if ((format ?? deps.config().format) === "custom") await chooseFormat(deps, database, "custom");
  const id = `bak_${context.secrets.randomHex(8)}`;
  const row = await context.store.db
    .insertInto("backups")
    .values({
      id,
      project_id: projectId,
      tenant_id: tenantId,
      tenant_created_at: new Date(tenant.createdAt),
      workspace_id: workspaceId,
      blueprint,
      trigger: "manual",
      state: "queued",
      storage: deps.storages.current.kind,
      storage_key: storageKey(projectId, tenantId, id, "own"),
      wanted_format: format ?? null,
      created_at: nowDate(context),
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  deps.wake();
  return toBackup(row);
}

/** A backup this instance has claimed. Failures end in its row; what a stop breaks off is queued again. */
export async function makeBackup(deps: BackupDeps, claimed: KnownBackup): Promise<void> {
  let row = claimed;
  try {
    const { database, workspaceId } = await findSource(deps, claimed);
    const chosen = await chooseFormat(deps, database, claimed.wanted_format ?? deps.config().format);
    row = await recordPlace(deps, claimed, chosen.format);
    const request = {
      database,
      project: row.project_id,
      tenant: row.tenant_id,
      blueprint: row.blueprint,
      loadVersions: (upTo: number) => loadVersions(deps.context.store.db, workspaceId, upTo),
      signal: deps.stopping,
    };
    const made = chosen.format === "own" ? await storeOwn(deps, row, request) : await storeArchive(deps, row, { ...request, tools: chosen.tools });
    if (!(await finish(deps, row.id, { state: "ready", error: null, ...made }))) await removeFiles(storageOf(deps, row), row.storage_key);
  } catch (error) {
    if (row !== claimed) await discardFiles(deps, row);
    if (deps.stopping.aborted) await finish(deps, row.id, { state: "queued" });
    else await finish(deps, row.id, { state: "failed", error: explainFailure(deps, "backup", row.id, error) });
  }
}

async function discardFiles(deps: BackupDeps, row: KnownBackup): Promise<void> {
  try {
    await removeFiles(storageOf(deps, row), row.storage_key);
  } catch (error) {
    const reason = String(error);
    deps.context.log.write("warn", "unfinished backup not removed; tried again when it is deleted", { id: row.id, reason });
  }
}

async function findSource(deps: BackupDeps, row: KnownBackup): Promise<DumpedDatabase> {
  const tenant = await findTenant(deps.context.store.db, row.project_id, row.tenant_id);
  if (tenant.createdAt !== row.tenant_created_at.getTime()) throw new GatewayError("not_found", `Tenant not found: ${row.tenant_id}`);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenant.id, tenant.state);
  return dumpedDatabase(tenant);
}

function storageOf(deps: BackupDeps, row: KnownBackup): BackupStorage {
  return deps.storages.find(row.storage) ?? deps.storages.current;
}

/** Written down before the first byte, so that whoever takes over knows what to clear away. @throws Error when this instance has lost its claim */
async function recordPlace(deps: BackupDeps, row: KnownBackup, format: BackupFormat): Promise<KnownBackup> {
  const { store, claims } = deps.context;
  return await store.db
    .updateTable("backups")
    .set({ format, storage: deps.storages.current.kind, storage_key: storageKey(row.project_id, row.tenant_id, row.id, format) })
    .where("id", "=", row.id)
    .where("state", "=", "running")
    .where("claimed_by", "=", claims.key)
    .returningAll()
    .executeTakeFirstOrThrow();
}

async function finish(deps: BackupDeps, id: string, columns: Partial<KnownBackup>): Promise<boolean> {
  const { store, claims } = deps.context;
  const done = await store.db
    .updateTable("backups")
    .set({ ...columns, claimed_by: null, ...(columns.state !== "queued" && { finished_at: nowDate(deps.context) }) })
    .where("id", "=", id)
    .where("state", "=", "running")
    .where("claimed_by", "=", claims.key)
    .executeTakeFirst();
  return done.numUpdatedRows === 1n;
}

async function storeOwn(deps: BackupDeps, row: KnownBackup, request: DumpRequest): Promise<Partial<KnownBackup>> {
  let result: DumpResult | undefined;
  const dumped = keepResult(deps.dumper.dump(request), (value) => {
    result = value;
  });
  const file = await writeSummed(deps, row.storage_key, gzip(dumped));
  if (!result) throw new Error("the dump has no end");
  return { ...describe(result), size_bytes: file.bytes, sha256: file.sha256 };
}

/** The archive first: what describes it is known when all of it was read. */
async function storeArchive(deps: BackupDeps, row: KnownBackup, request: ArchiveRequest): Promise<Partial<KnownBackup>> {
  return await deps.dumper.dumpArchive(request, async ({ archive, contents }) => {
    const check = checkArchive(archive, deps.tools, request.tools.version, request.signal);
    const file = await writeSummed(deps, row.storage_key, check.archive);
    let result: ArchiveResult | undefined;
    const described = keepResult(contents(), (value) => {
      result = value;
    });
    const beside = await writeSummed(deps, contentsKey(row.storage_key), gzip(described));
    if (!result) throw new Error("the dump has no end");
    await check.compare(result);
    return { ...describe(result), size_bytes: file.bytes, sha256: file.sha256, contents_sha256: beside.sha256 };
  });
}

async function writeSummed(deps: BackupDeps, key: string, data: AsyncIterable<Uint8Array>): Promise<{ bytes: number; sha256: string }> {
  const hash = deps.makeHash();
  let bytes = 0;
  const summed = watch(data, (chunk) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  await deps.storages.current.write(key, summed);
  return { bytes, sha256: hash.digest() };
}

function describe({ header, manifest }: DumpResult): Partial<KnownBackup> {
  const tables = manifest.tables.filter((table) => table.kind === "table");
  return {
    version: header.version,
    tables: tables.length,
    rows: tables.reduce((sum, table) => sum + table.rows, 0),
    snapshot_at: new Date(header.snapshotAt),
  };
}

/** A generator's chunks, and its return value by the way. */
export async function* keepResult<R>(source: AsyncGenerator<Uint8Array, R>, keep: (result: R) => void): AsyncGenerator<Uint8Array> {
  keep(yield* source);
}

export async function* watch(source: AsyncIterable<Uint8Array>, see: (chunk: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    see(chunk);
    yield chunk;
  }
}
