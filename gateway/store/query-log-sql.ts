/** Tables of the query log. No foreign keys: writing must not lock, and what ran outlives the tenant it ran for until its day is dropped. */

// Names of the indexes are the parents'; each day's partition has its own. A sequence instead of identity, which partitions have from PostgreSQL 17 on.
export const queryLogTables = `
create sequence tenantry.query_log_id;
create table tenantry.query_log (
  id bigint not null default nextval('tenantry.query_log_id'),
  at timestamptz not null,
  project_id text not null,
  workspace_id text not null,
  tenant_id text,
  credential_id text not null,
  address text not null,
  session_id text not null,
  transaction_id text not null,
  duration_ms double precision not null,
  rows bigint not null,
  bytes_received bigint not null,
  bytes_sent bigint not null,
  sqlstate text,
  is_slow boolean not null,
  statement text not null,
  is_cut boolean not null,
  fingerprint text not null,
  weight real not null
) partition by range (at);
create index query_log_tenant on tenantry.query_log (project_id, tenant_id, at desc, id desc);
create index query_log_trouble on tenantry.query_log (project_id, tenant_id, at desc, id desc) where sqlstate is not null or is_slow;

create table tenantry.query_usage (
  at timestamptz not null,
  project_id text not null,
  workspace_id text not null,
  tenant_id text not null,
  database_name text not null,
  statements bigint not null,
  errors bigint not null,
  slow bigint not null,
  rows bigint not null,
  bytes_received bigint not null,
  bytes_sent bigint not null,
  duration_ms double precision not null,
  dropped bigint not null,
  latencies bigint[] not null,
  primary key (project_id, tenant_id, workspace_id, at, database_name)
) partition by range (at);
`;
