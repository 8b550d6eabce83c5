/** Designing a schema in a workspace: what is not deployed yet, what is passed over or undone, what is loaded, whose rows travel. */
import type { TableShape } from "./cluster-admin.ts";
import type { BlueprintVersion } from "./model.ts";

export interface PendingChange extends BlueprintVersion {
  /** Tenants that do not have it. */
  readonly tenantsBehind: number;
}

export interface Pending {
  /** The newest version. */
  readonly version: number;
  /** Of the blueprint; those in the trash do not count. */
  readonly tenants: number;
  /** Oldest first; skipped ones are not among them. All versions where there is no tenant yet. */
  readonly changes: readonly PendingChange[];
}

export interface Reverted {
  readonly reverted: BlueprintVersion;
  /** The statements run in the workspace, now the newest versions. */
  readonly undoneBy: readonly BlueprintVersion[];
  /** True when no tenant will see either: nobody had the change, and nothing came after it. */
  readonly skipped: boolean;
}

export const templateNames = ["ecommerce", "saas", "blog", "fintech", "iot"] as const;
export type TemplateName = (typeof templateNames)[number];

export interface JsonColumn {
  readonly name: string;
  /** As PostgreSQL writes it: `numeric(10,2)`, `text[]`. */
  readonly type: string;
  readonly nullable: boolean;
  /** An SQL expression. */
  readonly default?: string | undefined;
  readonly unique: boolean;
  readonly primaryKey: boolean;
  readonly identity: boolean;
  readonly references?:
    | { readonly table: string; readonly column: string; readonly onDelete?: "cascade" | "restrict" | "set null" | undefined }
    | undefined;
}

export interface JsonTable {
  readonly schema?: string | undefined;
  readonly name: string;
  readonly columns: readonly JsonColumn[];
  readonly primaryKey?: readonly string[] | undefined;
  readonly indexes: readonly { readonly columns: readonly string[]; readonly unique: boolean; readonly name?: string | undefined }[];
}

export interface SourceConnection {
  readonly type: "PostgreSQL" | "MySQL";
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  /** `verify`: certificate and name are checked; `require`: encrypted; `prefer`: encrypted where the server can; `off`. */
  readonly tls: "verify" | "require" | "prefer" | "off";
}

export type SchemaSource =
  | { readonly source: "template"; readonly template: TemplateName }
  | { readonly source: "json"; readonly tables: readonly JsonTable[] }
  | { readonly source: "sql"; readonly sql: string }
  | { readonly source: "database"; readonly connection: SourceConnection };

/** A schema read elsewhere, as SQL of ours. */
export interface ForeignSchema {
  readonly sql: string;
  /** What the source had and this cannot say, for people. */
  readonly lost: readonly string[];
}

export interface LoadedSchema {
  /** The newest version now. */
  readonly version: number;
  /** Versions the load became, in order; empty in a control-mode workspace. */
  readonly versions: readonly BlueprintVersion[];
  readonly lost: readonly string[];
}

export interface ReferenceTable {
  readonly schema: string;
  readonly name: string;
}

/** Methods throw {GatewayError}: not_found, conflict, bad_request, query_failed, backend_unreachable. */
export interface SchemaDesign {
  listPending(projectId: string, workspace: string): Promise<Pending>;
  /** Passed over from now on by deployments, templates and new tenants. @throws conflict when a tenant has it. */
  skipChange(projectId: string, workspace: string, ddlId: number): Promise<BlueprintVersion>;
  /** Undone in the workspace. @throws conflict with the reason where there is no inverse. */
  revertChange(projectId: string, workspace: string, ddlId: number): Promise<Reverted>;
  readSchema(projectId: string, workspace: string): Promise<{ readonly version: number; readonly tables: readonly TableShape[] }>;
  /** All or nothing. */
  loadSchema(projectId: string, workspace: string, source: SchemaSource): Promise<LoadedSchema>;
  listReferenceTables(projectId: string, workspace: string): Promise<readonly ReferenceTable[]>;
  /** `table`: `name` or `schema.name`. */
  setReferenceTable(projectId: string, workspace: string, table: string, deployData: boolean): Promise<ReferenceTable>;
}
