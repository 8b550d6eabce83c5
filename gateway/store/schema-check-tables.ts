/** Tables of the look for drift: what each version is made of, and how each tenant compares. */

export const schemaChecksSql = `
create table tenantry.version_schemas (
  workspace_id text not null,
  version integer not null,
  fingerprint text not null,
  objects jsonb not null,
  primary key (workspace_id, version),
  foreign key (workspace_id, version) references tenantry.blueprint_versions on delete cascade
);

create table tenantry.schema_checks (
  project_id text not null,
  tenant_id text not null,
  workspace_id text not null,
  version integer not null,
  drifted boolean not null,
  difference jsonb,
  checked_at timestamptz not null,
  primary key (project_id, tenant_id, workspace_id),
  foreign key (project_id, tenant_id, workspace_id) references tenantry.tenant_databases on delete cascade
);
create index schema_checks_drifted on tenantry.schema_checks (workspace_id, tenant_id) where drifted;
create index schema_checks_workspace on tenantry.schema_checks (workspace_id, version) include (drifted, checked_at);
create index schema_checks_age on tenantry.schema_checks (checked_at);
`;
