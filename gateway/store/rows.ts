/** From rows to the model's shapes. Times become milliseconds, bytes plain Uint8Arrays, nulls undefined. */
import type { Selectable } from "kysely";
import type {
  Account,
  BlueprintVersion,
  Credential,
  DatabaseSettings,
  DeploymentResult,
  EngineName,
  PhysicalDatabase,
  Project,
  TenantDatabase,
  Verifier,
  Workspace,
} from "../../core/model.ts";
import type { Scope } from "../../core/scope.ts";
import type {
  AccountRow,
  BlueprintVersionRow,
  CredentialRow,
  DatabaseRow,
  DeploymentResultRow,
  ProjectRow,
  VerifierRow,
  WorkspaceRow,
} from "./schema.ts";

export function toMs(time: Date): number;
export function toMs(time: Date | null): number | undefined;
export function toMs(time: Date | null): number | undefined {
  return time === null ? undefined : time.getTime();
}

/** A Buffer of the driver may be a view of a larger one; the copy is not. */
export function toBytes(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}

export function toAccount(row: AccountRow): Account {
  return { id: row.id, email: row.email, passwordHash: row.password_hash, createdAt: toMs(row.created_at) };
}

export function toProject(row: Selectable<ProjectRow>): Project {
  return {
    id: row.id,
    name: row.name,
    accountId: row.account_id ?? undefined,
    scramSalt: toBytes(row.scram_salt),
    scramIterations: row.scram_iterations,
    createdAt: toMs(row.created_at),
  };
}

export function toScope(type: Scope["type"], values: readonly string[]): Scope {
  return type === "project" ? { type } : { type, values };
}

export function toVerifier(row: Selectable<VerifierRow>): Verifier {
  return {
    use: row.use,
    lookupHash: row.lookup_hash,
    storedKey: toBytes(row.stored_key),
    serverKey: toBytes(row.server_key),
    validUntil: toMs(row.valid_until),
  };
}

export function toCredential(row: Selectable<CredentialRow>, verifiers: readonly Verifier[]): Credential {
  return {
    id: row.id,
    projectId: row.project_id,
    name: row.name,
    role: row.role,
    scope: toScope(row.scope_type, row.scope_values),
    prefix: row.prefix,
    verifiers,
    createdAt: toMs(row.created_at),
    expiresAt: toMs(row.expires_at),
    revokedAt: toMs(row.revoked_at),
    lastUsedAt: toMs(row.last_used_at),
  };
}

/** The columns of `databases` a look-up joins in; all null where there is none. */
export interface PhysicalColumns {
  readonly database_name: string | null;
  readonly cluster_id: string | null;
  readonly password_generation: number | null;
}

export function toPhysical(row: PhysicalColumns): PhysicalDatabase | undefined {
  if (row.database_name === null || row.cluster_id === null || row.password_generation === null) return undefined;
  return { clusterId: row.cluster_id, name: row.database_name, passwordGeneration: row.password_generation };
}

export function physicalOf(row: Pick<Selectable<DatabaseRow>, "name" | "cluster_id" | "password_generation">): PhysicalDatabase {
  return { clusterId: row.cluster_id, name: row.name, passwordGeneration: row.password_generation };
}

export function toWorkspace(row: Omit<Selectable<WorkspaceRow>, "database_name"> & PhysicalColumns): Workspace {
  return {
    id: row.id,
    projectId: row.project_id,
    name: row.name,
    engine: row.engine,
    mode: row.mode,
    state: row.state,
    database: toPhysical(row),
    redirectTo: row.redirect_to ?? undefined,
    settings: row.settings,
    createdAt: toMs(row.created_at),
  };
}

export function toBlueprintVersion(row: Selectable<BlueprintVersionRow>): BlueprintVersion {
  return {
    workspaceId: row.workspace_id,
    version: row.version,
    ddlId: row.ddl_id,
    sql: row.sql,
    commandTag: row.command_tag,
    searchPath: row.search_path,
    settings: row.settings,
    skippedAt: toMs(row.skipped_at),
    transactional: row.transactional,
    capturedAt: toMs(row.captured_at),
  };
}

export interface TenantDatabaseColumns extends PhysicalColumns {
  readonly workspace_id: string;
  readonly blueprint: string;
  readonly engine: EngineName;
  readonly isolation_level: 1 | 2;
  readonly version: number;
  readonly settings: Partial<DatabaseSettings>;
  readonly state: "creating" | "ready";
}

export function toTenantDatabase(row: TenantDatabaseColumns): TenantDatabase {
  return {
    workspaceId: row.workspace_id,
    blueprint: row.blueprint,
    engine: row.engine,
    isolationLevel: row.isolation_level,
    database: toPhysical(row),
    version: row.version,
    settings: row.settings,
    state: row.state,
  };
}

export function toDeploymentResult(row: Selectable<DeploymentResultRow>): DeploymentResult {
  return {
    tenantId: row.tenant_id,
    status: row.status,
    fromVersion: row.from_version ?? undefined,
    toVersion: row.to_version ?? undefined,
    durationMs: row.duration_ms ?? undefined,
    error: row.error ?? undefined,
    sqlstate: row.sqlstate ?? undefined,
    attempts: row.attempts,
    isCanary: row.is_canary,
    startedAt: toMs(row.started_at),
    finishedAt: toMs(row.finished_at),
    statements: row.statements ?? undefined,
  };
}
