/** One backup: asked for, and made. */
import type { Backup } from "../../core/backups.ts";
import type { DumpResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Tenant, TenantDatabase } from "../../core/model.ts";
import { nowDate } from "../control/context.ts";
import { findTenant, stateConflict } from "../control/tenant-rows.ts";
import { loadVersions } from "../control/versions.ts";
import { gzip } from "./compress.ts";
import { type BackupDeps, explainFailure } from "./deps.ts";
import { type KnownBackup, toBackup } from "./rows.ts";

type DumpedDatabase = TenantDatabase & { readonly database: NonNullable<TenantDatabase["database"]> };

/** The tenant's PostgreSQL database; the other engines' are elsewhere. @throws {GatewayError} bad_request */
export function dumpedDatabase(tenant: Tenant): DumpedDatabase {
  for (const entry of tenant.databases) {
    if (entry.engine === "PostgreSQL" && entry.database && entry.state === "ready") return { ...entry, database: entry.database };
  }
  throw new GatewayError("bad_request", `Tenant '${tenant.id}' has no PostgreSQL database; only those are backed up here`);
}

export function storageKey(projectId: string, tenantId: string, id: string): string {
  return `${projectId}/${tenantId}/${id}.sql.gz`;
}

export async function createBackup(deps: BackupDeps, projectId: string, tenantId: string): Promise<Backup> {
  const { context } = deps;
  const tenant = await findTenant(context.store.db, projectId, tenantId);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenantId, tenant.state);
  const { workspaceId, blueprint } = dumpedDatabase(tenant);
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
      storage_key: storageKey(projectId, tenantId, id),
      created_at: nowDate(context),
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  deps.wake();
  return toBackup(row);
}

/** A backup this instance has claimed. Failures end in its row; what a stop breaks off is queued again. */
export async function makeBackup(deps: BackupDeps, row: KnownBackup): Promise<void> {
  const storage = deps.storages.find(row.storage) ?? deps.storages.current;
  try {
    const made = await store(deps, row);
    if (!(await finish(deps, row.id, { state: "ready", error: null, ...made }))) await storage.remove(row.storage_key);
  } catch (error) {
    await storage
      .remove(row.storage_key)
      .catch((failure: unknown) =>
        deps.context.log.write("warn", "unfinished backup not removed; tried again when it is deleted", { id: row.id, reason: String(failure) }),
      );
    if (deps.stopping.aborted) await finish(deps, row.id, { state: "queued" });
    else await finish(deps, row.id, { state: "failed", error: explainFailure(deps, "backup", row.id, error) });
  }
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

async function store(deps: BackupDeps, row: KnownBackup): Promise<Partial<KnownBackup>> {
  const { context } = deps;
  const tenant = await findTenant(context.store.db, row.project_id, row.tenant_id);
  if (tenant.createdAt !== row.tenant_created_at.getTime()) throw new GatewayError("not_found", `Tenant not found: ${row.tenant_id}`);
  if (tenant.state !== "ready" && tenant.state !== "suspended") throw stateConflict(tenant.id, tenant.state);
  const { database, workspaceId } = dumpedDatabase(tenant);
  let result: DumpResult | undefined;
  const dumped = deps.dumper.dump({
    database,
    project: row.project_id,
    tenant: row.tenant_id,
    blueprint: row.blueprint,
    loadVersions: (upTo) => loadVersions(context.store.db, workspaceId, upTo),
    signal: deps.stopping,
  });
  const hash = deps.makeHash();
  let bytes = 0;
  const compressed = watch(
    gzip(
      keepResult(dumped, (value) => {
        result = value;
      }),
    ),
    (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    },
  );
  await deps.storages.current.write(row.storage_key, compressed);
  if (!result) throw new Error("the dump has no end");
  const tables = result.manifest.tables.filter((table) => table.kind === "table");
  return {
    version: result.header.version,
    tables: tables.length,
    rows: tables.reduce((sum, table) => sum + table.rows, 0),
    size_bytes: bytes,
    sha256: hash.digest(),
    snapshot_at: new Date(result.header.snapshotAt),
    storage: deps.storages.current.kind,
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
