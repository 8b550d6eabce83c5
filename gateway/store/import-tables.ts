/** The store's tables of imports: the jobs, and each tenant of one. */
import type { ColumnType, Generated, JSONColumnType } from "kysely";
import type { ImportedTable, ImportOptions, ImportState, ImportStatus, ImportTable, ImportTenantState } from "../../core/imports.ts";

type Nullable<T> = ColumnType<T | null, T | null | undefined, T | null>;

export interface ImportRow {
  id: string;
  project_id: string;
  workspace_id: string;
  kind: ImportStatus["kind"];
  state: ImportState;
  phase: ImportStatus["phase"];
  /** For people: engine, host, port and database. */
  source: string;
  /** The connection, sealed under the master key; gone when the import is done. */
  connection: Nullable<string>;
  options: JSONColumnType<ImportOptions>;
  tables: JSONColumnType<readonly ImportTable[]>;
  warnings: JSONColumnType<readonly string[]>;
  rows_total: Generated<number>;
  /** Snapshots of the source taken so far. */
  snapshots: Generated<number>;
  error: Nullable<string>;
  cancel_requested: Generated<boolean>;
  claimed_by: Nullable<number>;
  created_at: Date;
  started_at: Nullable<Date>;
  finished_at: Nullable<Date>;
}

export interface ImportTenantRow {
  import_id: string;
  tenant_id: string;
  value: string;
  state: ImportTenantState;
  created: Generated<boolean>;
  rows: Generated<number>;
  duration_ms: Nullable<number>;
  error: Nullable<string>;
  sqlstate: Nullable<string>;
  snapshot_at: Nullable<Date>;
  tables: JSONColumnType<readonly ImportedTable[]>;
}

export interface ImportTables {
  imports: ImportRow;
  import_tenants: ImportTenantRow;
}

export const importTables = `
create table tenantry.imports (
  id text primary key,
  project_id text not null references tenantry.projects on delete cascade,
  workspace_id text not null references tenantry.workspaces on delete cascade,
  kind text not null check (kind in ('data', 'full')),
  state text not null check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
  phase text not null check (phase in ('structure', 'data')),
  source text not null,
  connection text,
  options jsonb not null,
  tables jsonb not null default '[]',
  warnings jsonb not null default '[]',
  rows_total bigint not null default 0,
  snapshots integer not null default 0,
  error text,
  cancel_requested boolean not null default false,
  claimed_by integer,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz
);
create index imports_workspace on tenantry.imports (workspace_id, created_at desc);
create unique index imports_open on tenantry.imports (workspace_id) where state in ('queued', 'running');

create table tenantry.import_tenants (
  import_id text not null references tenantry.imports on delete cascade,
  tenant_id text not null,
  value text not null,
  state text not null check (state in ('pending', 'running', 'done', 'failed', 'cancelled')),
  created boolean not null default false,
  rows bigint not null default 0,
  duration_ms integer,
  error text,
  sqlstate text,
  snapshot_at timestamptz,
  tables jsonb not null default '[]',
  primary key (import_id, tenant_id)
);
create index import_tenants_state on tenantry.import_tenants (import_id, state);
`;
