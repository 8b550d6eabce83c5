/** Tables of deployments, as later migrations change them. */

export const deploymentOptionsSql = `
alter table tenantry.deployments
  add column canary integer not null default 0 check (canary >= 0),
  add column canary_watch_s integer not null default 0 check (canary_watch_s >= 0),
  add column on_failure text not null default 'continue' check (on_failure in ('continue', 'hold')),
  add column dry_run boolean not null default false,
  add column held_because text;

alter table tenantry.deployment_results
  add column is_canary boolean not null default false,
  add column started_at timestamptz,
  add column finished_at timestamptz,
  add column statements jsonb;
create index deployment_results_tenant on tenantry.deployment_results (tenant_id, deployment_id);
create index deployment_results_open on tenantry.deployment_results (deployment_id) where status in ('pending', 'running');

-- A copy is a scratch database of a dry run.
alter table tenantry.databases drop constraint databases_kind_check;
alter table tenantry.databases add constraint databases_kind_check check (kind in ('workspace', 'template', 'tenant', 'spare', 'copy'));
`;

export const canaryBaselineSql = `
alter table tenantry.deployments add column canary_baseline jsonb;
`;
