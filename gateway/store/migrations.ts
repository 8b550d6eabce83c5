/** Numbered, forward-only changes of the store's schema. A released migration is never edited; the next one is added below it. */

import { backupFormatsSql, backupTablesSql } from "./backup-tables.ts";
import { canaryBaselineSql, deploymentOptionsSql } from "./deployment-tables.ts";
import { idempotencyTable } from "./idempotency-sql.ts";
import { importTables } from "./import-tables.ts";
import { instanceAnswersTable } from "./instance-answers-sql.ts";
import { queryLogTables } from "./query-log-sql.ts";
import { schemaChecksSql } from "./schema-check-tables.ts";

export interface Migration {
  readonly version: number;
  readonly name: string;
  /** Several statements; they run in one transaction with every other pending migration. */
  readonly sql: string;
}

const first = `
create table tenantry.accounts (
  id text primary key,
  email text not null unique,
  password_hash text not null,
  created_at timestamptz not null
);

create table tenantry.account_sessions (
  token_hash text primary key,
  account_id text not null references tenantry.accounts on delete cascade,
  expires_at timestamptz not null
);
create index account_sessions_account on tenantry.account_sessions (account_id);

create table tenantry.projects (
  id text primary key check (id ~ '^tdb_[0-9a-f]{8}$'),
  name text not null,
  account_id text references tenantry.accounts,
  state text not null default 'ready' check (state in ('ready', 'deleting')),
  scram_salt bytea not null,
  scram_iterations integer not null,
  created_at timestamptz not null
);
create index projects_account on tenantry.projects (account_id);

create table tenantry.credentials (
  id text primary key,
  project_id text not null references tenantry.projects on delete cascade,
  name text not null,
  role text not null check (role in ('admin', 'write', 'read')),
  scope_type text not null check (scope_type in ('project', 'workspace', 'tenant')),
  scope_values text[] not null,
  prefix text not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  check ((scope_type = 'project') = (cardinality(scope_values) = 0) or revoked_at is not null)
);
create index credentials_recent on tenantry.credentials (project_id, scope_type, created_at desc, id) where revoked_at is null;
create index credentials_values on tenantry.credentials using gin (scope_values) where revoked_at is null;

create table tenantry.verifiers (
  lookup_hash text primary key,
  credential_id text not null references tenantry.credentials on delete cascade,
  use text not null check (use in ('key', 'password')),
  stored_key bytea not null,
  server_key bytea not null,
  valid_until timestamptz
);
create index verifiers_credential on tenantry.verifiers (credential_id);
create index verifiers_expiry on tenantry.verifiers (valid_until) where valid_until is not null;

create table tenantry.clusters (
  id text primary key,
  name text not null,
  created_at timestamptz not null
);

create table tenantry.workspaces (
  id text primary key,
  project_id text not null references tenantry.projects on delete cascade,
  name text not null,
  engine text not null check (engine in ('PostgreSQL', 'MySQL', 'MongoDB', 'Redis')),
  mode text not null check (mode in ('tenant', 'control')),
  state text not null check (state in ('creating', 'ready', 'deleting')),
  database_name text,
  redirect_to text,
  settings jsonb not null default '{}',
  version integer not null default 0,
  last_ddl_id bigint not null default 0,
  created_at timestamptz not null,
  unique (project_id, name)
);

create table tenantry.databases (
  name text primary key check (name ~ '^tdb_[0-9a-f]{16}$'),
  cluster_id text not null references tenantry.clusters,
  project_id text not null references tenantry.projects,
  workspace_id text not null references tenantry.workspaces,
  kind text not null check (kind in ('workspace', 'template', 'tenant', 'spare')),
  state text not null check (state in ('creating', 'ready', 'deleting')),
  version integer not null default 0,
  password_generation integer not null default 1,
  connectable boolean not null default true,
  claimed_by integer,
  created_at timestamptz not null
);
create index databases_workspace on tenantry.databases (workspace_id, kind, state);
create index databases_unfinished on tenantry.databases (state) where state <> 'ready';
create unique index databases_workspace_once on tenantry.databases (workspace_id) where kind = 'workspace';
create unique index databases_template_once on tenantry.databases (workspace_id, cluster_id) where kind = 'template' and state <> 'deleting';

alter table tenantry.workspaces add foreign key (database_name) references tenantry.databases on delete set null;

create table tenantry.blueprint_versions (
  workspace_id text not null references tenantry.workspaces on delete cascade,
  version integer not null check (version > 0),
  ddl_id bigint not null,
  sql text not null,
  command_tag text not null,
  search_path text not null,
  transactional boolean not null,
  captured_at timestamptz not null,
  primary key (workspace_id, version)
);

create table tenantry.tenants (
  project_id text not null references tenantry.projects on delete cascade,
  id text not null,
  state text not null check (state in ('creating', 'ready', 'suspended', 'trash', 'deleting')),
  state_before_trash text check (state_before_trash in ('ready', 'suspended')),
  trashed_at timestamptz,
  claimed_by integer,
  created_at timestamptz not null,
  primary key (project_id, id)
);
create index tenants_unsettled on tenantry.tenants (state) where state not in ('ready', 'suspended');

create table tenantry.tenant_databases (
  project_id text not null,
  tenant_id text not null,
  workspace_id text not null references tenantry.workspaces,
  engine text not null,
  isolation_level integer not null check (isolation_level in (1, 2)),
  database_name text unique references tenantry.databases on delete set null,
  version integer not null default 0,
  settings jsonb not null default '{}',
  state text not null check (state in ('creating', 'ready')),
  claimed_by integer,
  primary key (project_id, tenant_id, workspace_id),
  constraint one_blueprint_per_engine unique (project_id, tenant_id, engine),
  foreign key (project_id, tenant_id) references tenantry.tenants on delete cascade
);
create index tenant_databases_workspace on tenantry.tenant_databases (workspace_id, version);
create index tenant_databases_unfinished on tenantry.tenant_databases (state) where state = 'creating';

create table tenantry.deployments (
  id text primary key,
  position bigint generated by default as identity,
  project_id text not null references tenantry.projects on delete cascade,
  workspace_id text not null references tenantry.workspaces on delete cascade,
  version integer not null,
  state text not null check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
  cancel_requested boolean not null default false,
  concurrency integer not null check (concurrency > 0),
  lock_timeout_ms integer not null check (lock_timeout_ms >= 0),
  claimed_by integer,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz
);
create index deployments_open on tenantry.deployments (workspace_id, position) where state in ('queued', 'running');
create index deployments_project on tenantry.deployments (project_id, position desc);

create table tenantry.deployment_results (
  deployment_id text not null references tenantry.deployments on delete cascade,
  tenant_id text not null,
  status text not null check (status in ('pending', 'running', 'done', 'failed', 'skipped', 'cancelled')),
  from_version integer,
  to_version integer,
  duration_ms integer,
  error text,
  sqlstate text,
  attempts integer not null default 0,
  primary key (deployment_id, tenant_id)
);
`;

// No foreign keys: the record outlives what it is about.
const audit = `
create table tenantry.audit (
  id bigint generated always as identity primary key,
  project_id text not null,
  at timestamptz not null,
  credential_id text,
  account_id text,
  actor text not null,
  action text not null,
  target text,
  before jsonb,
  after jsonb,
  status integer not null,
  address text not null,
  request_id text not null
);
create index audit_project on tenantry.audit (project_id, id desc);
create index audit_time on tenantry.audit (project_id, at);
`;

const schemaChanges = `
alter table tenantry.blueprint_versions
  add column settings jsonb not null default '{}',
  add column skipped_at timestamptz;

create table tenantry.reference_tables (
  workspace_id text not null references tenantry.workspaces on delete cascade,
  schema_name text not null,
  table_name text not null,
  table_oid bigint not null,
  marked_at timestamptz not null,
  primary key (workspace_id, schema_name, table_name)
);
`;

export const migrations: readonly Migration[] = [
  { version: 1, name: "first tables", sql: first },
  { version: 2, name: "record of changes", sql: audit },
  { version: 3, name: "deployments with canaries and dry runs", sql: deploymentOptionsSql },
  { version: 4, name: "schemas of versions and drift", sql: schemaChecksSql },
  { version: 5, name: "backups", sql: backupTablesSql },
  { version: 6, name: "query log", sql: queryLogTables },
  { version: 7, name: "skipped versions, settings of captured statements, reference data", sql: schemaChanges },
  { version: 8, name: "imports", sql: importTables },
  { version: 9, name: "idempotency keys", sql: idempotencyTable },
  { version: 10, name: "what canaries were like before", sql: canaryBaselineSql },
  { version: 11, name: "answers between instances", sql: instanceAnswersTable },
  { version: 12, name: "client certificates", sql: "alter table tenantry.projects add column client_certificates text" },
  { version: 13, name: "clusters added over the API", sql: "alter table tenantry.clusters add column connection text" },
  { version: 14, name: "formats of backups", sql: backupFormatsSql },
];
