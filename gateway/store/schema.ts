/** The tables of schema `tenantry` as Kysely sees them. Columns are described where their names do not say enough. */
import type { ColumnType, Generated, JSONColumnType } from "kysely";
import type { SchemaObject } from "../../core/cluster-admin.ts";
import type { SchemaDifference } from "../../core/fleet.ts";
import type {
  BlueprintVersion,
  DatabaseSettings,
  DeploymentResultState,
  DeploymentState,
  DryRunStatement,
  EngineName,
  TenantState,
  Verifier,
  WorkspaceState,
} from "../../core/model.ts";
import type { Role } from "../../core/role.ts";
import type { Scope } from "../../core/scope.ts";
import type { CanaryBaseline } from "../control/deployment-canary.ts";
import type { BackupRow, BackupScheduleRow, RollbackRow } from "./backup-tables.ts";
import type { ImportTables } from "./import-tables.ts";

export const storeSchema = "tenantry";

type Nullable<T> = ColumnType<T | null, T | null | undefined, T | null>;
type Settings = JSONColumnType<Partial<DatabaseSettings>>;

export interface AccountRow {
  id: string;
  /** Lower case. */
  email: string;
  password_hash: string;
  created_at: Date;
}

export interface AccountSessionRow {
  token_hash: string;
  account_id: string;
  expires_at: Date;
}

export interface ProjectRow {
  id: string;
  name: string;
  account_id: Nullable<string>;
  state: Generated<"ready" | "deleting">;
  scram_salt: Uint8Array;
  scram_iterations: number;
  created_at: Date;
  client_certificates: Nullable<string>;
}

export interface CredentialRow {
  id: string;
  project_id: string;
  name: string;
  role: Role;
  scope_type: Scope["type"];
  scope_values: string[];
  prefix: string;
  created_at: Date;
  expires_at: Nullable<Date>;
  revoked_at: Nullable<Date>;
  last_used_at: Nullable<Date>;
}

export interface VerifierRow {
  lookup_hash: string;
  credential_id: string;
  use: Verifier["use"];
  stored_key: Uint8Array;
  server_key: Uint8Array;
  valid_until: Nullable<Date>;
}

export interface ClusterRow {
  id: string;
  name: string;
  created_at: Date;
  /** How its administrator connects, sealed; null where that is configuration. */
  connection: Nullable<string>;
}

/** `restore`: being made out of a backup. `replaced`: kept for a while after a rollback. */
export type DatabaseKind = "workspace" | "template" | "tenant" | "spare" | "copy" | "restore" | "replaced";
export type DatabaseState = "creating" | "ready" | "deleting";

/** Every physical database that exists or may exist on a cluster: the row is written before the database is made and removed after it is dropped. */
export interface DatabaseRow {
  name: string;
  cluster_id: string;
  project_id: string;
  workspace_id: string;
  kind: DatabaseKind;
  state: DatabaseState;
  /** Blueprint version applied, as far as the store knows. */
  version: Generated<number>;
  password_generation: Generated<number>;
  /** Whether clients may connect, as last set on the cluster. */
  connectable: Generated<boolean>;
  /** Presence key of the instance at work on it; see presence.ts. */
  claimed_by: Nullable<number>;
  /** Set on a replaced one. */
  drop_after: Nullable<Date>;
  created_at: Date;
}

export interface WorkspaceRow {
  id: string;
  project_id: string;
  name: string;
  engine: EngineName;
  mode: "tenant" | "control";
  state: WorkspaceState;
  database_name: Nullable<string>;
  redirect_to: Nullable<string>;
  settings: Settings;
  /** Newest blueprint version, and the capture log's row it came from. */
  version: Generated<number>;
  last_ddl_id: Generated<number>;
  created_at: Date;
}

export interface BlueprintVersionRow {
  workspace_id: string;
  version: number;
  ddl_id: number;
  sql: BlueprintVersion["sql"];
  command_tag: string;
  search_path: string;
  transactional: boolean;
  captured_at: Date;
  settings: ColumnType<Record<string, string>, string, never>;
  skipped_at: Nullable<Date>;
}

/** A table whose rows travel with the blueprint. */
export interface ReferenceTableRow {
  workspace_id: string;
  /** As it was called when it was marked; the oid finds it after a rename. */
  schema_name: string;
  table_name: string;
  table_oid: number;
  marked_at: Date;
}

export interface TenantRow {
  project_id: string;
  id: string;
  state: TenantState;
  /** What `restore` goes back to. */
  state_before_trash: Nullable<"ready" | "suspended">;
  trashed_at: Nullable<Date>;
  claimed_by: Nullable<number>;
  created_at: Date;
}

export interface TenantDatabaseRow {
  project_id: string;
  tenant_id: string;
  workspace_id: string;
  engine: EngineName;
  isolation_level: 1 | 2;
  database_name: Nullable<string>;
  version: number;
  settings: Settings;
  state: "creating" | "ready";
  claimed_by: Nullable<number>;
  /** Another database is about to take its place: new sessions wait, open ones leave. */
  held: Generated<boolean>;
}

export interface DeploymentRow {
  id: string;
  /** Order of work within a blueprint; a retry goes to the end. */
  position: Generated<number>;
  project_id: string;
  workspace_id: string;
  version: number;
  state: DeploymentState;
  cancel_requested: Generated<boolean>;
  concurrency: number;
  lock_timeout_ms: number;
  canary: Generated<number>;
  canary_watch_s: Generated<number>;
  on_failure: Generated<"continue" | "hold">;
  dry_run: Generated<boolean>;
  /** Why it stopped by itself. */
  held_because: Nullable<string>;
  /** What the canaries' statements were like before; see gateway/control/deployment-canary.ts. */
  canary_baseline: ColumnType<CanaryBaseline | null, string | null | undefined, string | null>;
  claimed_by: Nullable<number>;
  created_at: Date;
  started_at: Nullable<Date>;
  finished_at: Nullable<Date>;
}

export interface DeploymentResultRow {
  deployment_id: string;
  tenant_id: string;
  status: DeploymentResultState;
  from_version: Nullable<number>;
  to_version: Nullable<number>;
  duration_ms: Nullable<number>;
  error: Nullable<string>;
  sqlstate: Nullable<string>;
  attempts: Generated<number>;
  is_canary: Generated<boolean>;
  started_at: Nullable<Date>;
  finished_at: Nullable<Date>;
  /** Of a dry run. */
  statements: ColumnType<readonly DryRunStatement[] | null, string | null | undefined, string | null>;
}

/** What a blueprint version is made of; see gateway/control/version-schemas.ts. */
export interface VersionSchemaRow {
  workspace_id: string;
  version: number;
  fingerprint: string;
  objects: ColumnType<readonly SchemaObject[], string, string>;
}

/** How a tenant's schema compared with its version's when it was last looked at. */
export interface SchemaCheckRow {
  project_id: string;
  tenant_id: string;
  workspace_id: string;
  version: number;
  drifted: boolean;
  difference: ColumnType<readonly SchemaDifference[] | null, string | null, string | null>;
  checked_at: Date;
}

/** One change made over the API; see gateway/operations/audit.ts. */
export interface AuditRow {
  id: Generated<number>;
  project_id: string;
  at: Date;
  credential_id: Nullable<string>;
  account_id: Nullable<string>;
  actor: string;
  /** Method and route: `POST /tenants/{id}/suspend`. */
  action: string;
  target: Nullable<string>;
  before: ColumnType<Record<string, unknown> | null, string | null, never>;
  after: ColumnType<Record<string, unknown> | null, string | null, never>;
  status: number;
  address: string;
  request_id: string;
}

/** One statement that ran; see gateway/query-log/. */
export interface QueryLogRow {
  id: Generated<number>;
  at: Date;
  project_id: string;
  workspace_id: string;
  /** Null in a workspace's own database. */
  tenant_id: Nullable<string>;
  credential_id: string;
  address: string;
  session_id: string;
  transaction_id: string;
  duration_ms: number;
  rows: number;
  bytes_received: number;
  bytes_sent: number;
  sqlstate: Nullable<string>;
  is_slow: boolean;
  statement: string;
  is_cut: boolean;
  fingerprint: string;
  weight: number;
}

export interface Tables extends ImportTables {
  backups: BackupRow;
  backup_schedules: BackupScheduleRow;
  rollbacks: RollbackRow;
  query_log: QueryLogRow;
  audit: AuditRow;
  accounts: AccountRow;
  account_sessions: AccountSessionRow;
  projects: ProjectRow;
  credentials: CredentialRow;
  verifiers: VerifierRow;
  clusters: ClusterRow;
  databases: DatabaseRow;
  workspaces: WorkspaceRow;
  blueprint_versions: BlueprintVersionRow;
  reference_tables: ReferenceTableRow;
  tenants: TenantRow;
  tenant_databases: TenantDatabaseRow;
  deployments: DeploymentRow;
  deployment_results: DeploymentResultRow;
  version_schemas: VersionSchemaRow;
  schema_checks: SchemaCheckRow;
  meta: { key: string; value: string };
}
