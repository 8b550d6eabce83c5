/** Tables of backups: what there is, when new ones are due, rollbacks and how far they are. */
import type { Generated } from "kysely";

type Nullable<T> = T | null;

/** One backup of a tenant's database. No foreign keys: the row stays until its file is deleted, whatever became of the tenant. */
export interface BackupRow {
  id: string;
  project_id: string;
  tenant_id: string;
  /** Tells a tenant from an earlier one of the same name. */
  tenant_created_at: Date;
  workspace_id: string;
  blueprint: string;
  trigger: "manual" | "schedule";
  state: "queued" | "running" | "ready" | "failed" | "deleting";
  claimed_by: Generated<Nullable<number>>;
  attempts: Generated<number>;
  storage: "directory" | "s3";
  storage_key: string;
  /** Null until it is decided, when the backup is begun. */
  format: Generated<Nullable<"own" | "custom">>;
  /** What was asked for; null: as configured when it is begun. */
  wanted_format: Generated<Nullable<"auto" | "own" | "custom">>;
  /** Of the file beside an archive. */
  contents_sha256: Generated<Nullable<string>>;
  version: Generated<Nullable<number>>;
  tables: Generated<Nullable<number>>;
  rows: Generated<Nullable<number>>;
  /** Of the file. */
  size_bytes: Generated<Nullable<number>>;
  sha256: Generated<Nullable<string>>;
  error: Generated<Nullable<string>>;
  created_at: Date;
  snapshot_at: Generated<Nullable<Date>>;
  finished_at: Generated<Nullable<Date>>;
}

export interface BackupScheduleRow {
  workspace_id: string;
  cron: string;
  time_zone: string;
  keep_count: number;
  keep_days: number;
  next_run_at: Date;
  last_run_at: Generated<Nullable<Date>>;
}

export interface RollbackRow {
  id: string;
  project_id: string;
  tenant_id: string;
  tenant_created_at: Date;
  workspace_id: string;
  /** Undefined for the undoing of another rollback. */
  backup_id: Nullable<string>;
  undoes: Nullable<string>;
  /** To the blueprint's newest version before it goes live. */
  upgrade: boolean;
  state: "queued" | "restoring" | "switching" | "done" | "failed";
  claimed_by: Generated<Nullable<number>>;
  attempts: Generated<number>;
  /** The database that takes over, and the one it replaces. */
  database_name: Generated<Nullable<string>>;
  replaced_name: Generated<Nullable<string>>;
  version: Generated<Nullable<number>>;
  warnings: Generated<string[]>;
  error: Generated<Nullable<string>>;
  created_at: Date;
  started_at: Generated<Nullable<Date>>;
  finished_at: Generated<Nullable<Date>>;
}

export const backupTablesSql = `
create table tenantry.backups (
  id text primary key,
  project_id text not null,
  tenant_id text not null,
  tenant_created_at timestamptz not null,
  workspace_id text not null,
  blueprint text not null,
  trigger text not null check (trigger in ('manual', 'schedule')),
  state text not null check (state in ('queued', 'running', 'ready', 'failed', 'deleting')),
  claimed_by integer,
  attempts integer not null default 0,
  storage text not null check (storage in ('directory', 's3')),
  storage_key text not null,
  version integer,
  tables integer,
  rows bigint,
  size_bytes bigint,
  sha256 text,
  error text,
  created_at timestamptz not null,
  snapshot_at timestamptz,
  finished_at timestamptz
);
create index backups_tenant on tenantry.backups (project_id, tenant_id, created_at desc, id desc);
create index backups_open on tenantry.backups (state, created_at) where state in ('queued', 'running', 'deleting');
create index backups_scheduled on tenantry.backups (workspace_id) where trigger = 'schedule';

create table tenantry.backup_schedules (
  workspace_id text primary key references tenantry.workspaces on delete cascade,
  cron text not null,
  time_zone text not null,
  keep_count integer not null,
  keep_days integer not null,
  next_run_at timestamptz not null,
  last_run_at timestamptz
);
create index backup_schedules_due on tenantry.backup_schedules (next_run_at);

create table tenantry.rollbacks (
  id text primary key,
  project_id text not null,
  tenant_id text not null,
  tenant_created_at timestamptz not null,
  workspace_id text not null,
  backup_id text,
  undoes text,
  upgrade boolean not null,
  state text not null check (state in ('queued', 'restoring', 'switching', 'done', 'failed')),
  claimed_by integer,
  attempts integer not null default 0,
  database_name text,
  replaced_name text,
  version integer,
  warnings text[] not null default '{}',
  error text,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  check ((backup_id is null) <> (undoes is null))
);
create index rollbacks_tenant on tenantry.rollbacks (project_id, tenant_id, created_at desc, id desc);
create unique index rollbacks_one_at_a_time on tenantry.rollbacks (project_id, tenant_id) where state in ('queued', 'restoring', 'switching');

alter table tenantry.databases drop constraint databases_kind_check;
alter table tenantry.databases add constraint databases_kind_check
  check (kind in ('workspace', 'template', 'tenant', 'spare', 'copy', 'restore', 'replaced'));
alter table tenantry.databases add column drop_after timestamptz;
create index databases_drop_after on tenantry.databases (drop_after) where drop_after is not null;
alter table tenantry.tenant_databases add column held boolean not null default false;
`;

/** Backups made until then are in the own format. */
export const backupFormatsSql = `
alter table tenantry.backups
  add column format text default 'own' check (format in ('own', 'custom')),
  add column wanted_format text check (wanted_format in ('auto', 'own', 'custom')),
  add column contents_sha256 text;
alter table tenantry.backups alter column format drop default;
`;
