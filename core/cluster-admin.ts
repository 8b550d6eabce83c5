/** What the control plane does to a cluster. One implementation per engine that is fully proxied; every operation may be repeated after a crash. */
import type { BlueprintVersion, DryRunStatement, PhysicalDatabase } from "./model.ts";
import type { Role } from "./role.ts";

/** One row of a workspace's capture log, committed. */
export interface CapturedDdl {
  readonly ddlId: number;
  readonly sql: string;
  readonly commandTag: string;
  readonly searchPath: string;
  /** Of the session it ran in, by name: those that change what its text means. */
  readonly settings: Readonly<Record<string, string>>;
  readonly transactional: boolean;
  readonly capturedAt: number;
}

export interface ColumnShape {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly default: string | null;
  readonly primary_key: boolean;
}

export interface TableShape {
  readonly schema: string;
  readonly name: string;
  readonly kind: "table" | "partitioned table" | "view" | "materialized view" | "foreign table";
  readonly columns: readonly ColumnShape[];
}

/** One thing of a schema; names of the database's own roles are told without the database's name. */
export interface SchemaObject {
  readonly kind: string;
  readonly name: string;
  readonly definition: string;
}

export interface ApplyOptions {
  readonly lockTimeoutMs: number;
  /** Tries after 55P03, 40P01, 40001, with jitter. */
  readonly attempts: number;
  readonly signal?: AbortSignal | undefined;
  /** Runs a try's transaction, around which something else is to be done. */
  readonly around?: ((attempt: () => Promise<void>, isLast: boolean) => Promise<void>) | undefined;
  /** Told what each statement took, by a try that gets that far. Costs a look at the locks after each. */
  readonly onStatement?: ((statement: DryRunStatement) => void) | undefined;
}

export interface ApplyResult {
  readonly fromVersion: number;
  readonly toVersion: number;
  readonly attempts: number;
}

export interface QueryInput {
  readonly query: string;
  readonly params: readonly unknown[];
  /** 0 = no limit. */
  readonly maxRows: number;
  readonly timeoutMs: number;
  /** True for tenant databases: DDL is refused as `ddl_denied` with the API's message. */
  readonly refuseDdl: boolean;
  /** Aborts when the answer is no longer wanted: the statement is cancelled. */
  readonly signal?: AbortSignal | undefined;
}

export interface QueryAnswer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly (readonly unknown[])[];
  readonly row_count: number;
  readonly execution_time_ms: number;
  readonly truncated: boolean;
  readonly command: string;
  /** Of the values, as the server sent them. */
  readonly bytes: number;
}

export interface ClusterAdmin {
  /** Database, four native roles, grants and, in tenant mode, DDL capture. */
  createWorkspaceDatabase(database: PhysicalDatabase, mode: "tenant" | "control"): Promise<void>;
  /** Brings an existing workspace's capture and list of allowed extensions to what this program and its configuration say. */
  refreshWorkspaceDatabase(database: PhysicalDatabase, mode: "tenant" | "control"): Promise<void>;
  /** An empty database whose objects the template's own owner will own; versions are applied to it like to a tenant. */
  createTemplateDatabase(database: PhysicalDatabase): Promise<void>;
  /** A copy of `template` with its own owner and roles, grants, default privileges and DDL guard. The applied version comes with the copy. */
  createTenantDatabase(database: PhysicalDatabase, template: PhysicalDatabase): Promise<void>;
  /**
   * A copy of a tenant's database for trying things out, its data included, which its own owner alone may enter. Where clients are
   * connected to the source, it is rebuilt from `versions` (1 … the source's own) and the rows are copied under one snapshot.
   */
  createScratchCopy(database: PhysicalDatabase, source: PhysicalDatabase, versions: readonly BlueprintVersion[]): Promise<void>;
  /** Rows, sequence positions and large objects of one into the other, which has the same schema; compared by checksum before it counts. */
  copyContents(source: PhysicalDatabase, target: PhysicalDatabase): Promise<void>;
  /** A database made with `createTemplateDatabase` becomes a tenant's. */
  openToClients(database: PhysicalDatabase): Promise<void>;
  countClientSessions(database: PhysicalDatabase): Promise<number>;
  /** Ends sessions, drops the database and its roles. Nothing happens when they are gone already. */
  dropDatabase(database: PhysicalDatabase): Promise<void>;
  /** Suspension: nobody but administrators may connect any more, open backends are ended; or the reverse. */
  setConnectable(database: PhysicalDatabase, allowed: boolean): Promise<void>;
  /** Committed DDL with a log row above `afterDdlId`, in order, split into single statements with exact text. */
  readCapturedDdl(database: PhysicalDatabase, afterDdlId: number): Promise<readonly CapturedDdl[]>;
  /** The version recorded inside a tenant or template database; 0 when none. */
  readAppliedVersion(database: PhysicalDatabase): Promise<number>;
  /**
   * Brings a tenant or template database from its own recorded version to the last of `versions` (consecutive, oldest first, any already applied ones are skipped):
   * one transaction with the version record in it; statements that cannot run in one run alone and are repeated safely.
   * @throws {GatewayError} query_failed with PostgreSQL's SQLSTATE and message; the database is then at a whole version.
   */
  applyVersions(database: PhysicalDatabase, versions: readonly BlueprintVersion[], options: ApplyOptions): Promise<ApplyResult>;
  describeSchema(database: PhysicalDatabase): Promise<readonly TableShape[]>;
  /** Everything a blueprint can make, in a fixed order: equal in two databases exactly when their schemas are. */
  readSchemaObjects(database: PhysicalDatabase): Promise<readonly SchemaObject[]>;
  /**
   * One statement as the native role, with the limits of the settings.
   * @throws {GatewayError} permission_denied, ddl_denied, query_timeout, backend_unreachable, query_failed (PostgreSQL's own SQLSTATE).
   */
  runQuery(database: PhysicalDatabase, role: Role, input: QueryInput): Promise<QueryAnswer>;
  /** Several statements in one transaction as the workspace's admin role (schema loading). @throws as runQuery */
  runScript(database: PhysicalDatabase, sql: string): Promise<void>;
  /** True when the cluster answers. */
  ping(clusterId: string): Promise<boolean>;
}
