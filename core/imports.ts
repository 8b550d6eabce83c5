/** Moving in from a shared database: rows are split by a routing field into tenants' own databases. What the API asks for and is told. */
import type { ResultsShown } from "./control-plane.ts";

/** Where the shared database is. The password is kept sealed until the import is done. */
export interface ImportConnection {
  readonly engine: "PostgreSQL" | "MySQL";
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** `disable`: in clear; `require`: encrypted; `verify-full`: the certificate must be of that host and of a known authority. */
  readonly sslmode: "disable" | "require" | "verify-full";
}

export interface ImportOptions {
  /** The column that says whose a row is. */
  readonly routingField: string;
  /** Make the tenants that do not exist yet; otherwise their rows stay where they are and are reported. */
  readonly createTenants: boolean;
  /** Leave the routing column behind: in its own database every row is the tenant's. */
  readonly dropRoutingColumn: boolean;
  /** What becomes of tables that belong to nobody. Undefined: the import is refused while there are any. */
  readonly sharedTables: "copy" | "skip" | undefined;
  /** Table (as in an analysis) → what becomes of it, where it differs. */
  readonly tables: Readonly<Record<string, "copy" | "skip">>;
  /** Table → foreign key constraint its rows follow, where there are several ways. */
  readonly follow: Readonly<Record<string, string>>;
  /** Routing value → tenant id, where the rule does not give what is wanted. */
  readonly tenantIds: Readonly<Record<string, string>>;
  /** `table.column` that is not brought along. */
  readonly skipColumns: readonly string[];
  /** `checksum`: what was written is read back and compared; `count`: rows are counted. */
  readonly verify: "checksum" | "count";
  /** Tenants at a time; MySQL sources have one, because their snapshot cannot be shared. */
  readonly concurrency: number;
}

/** How a table's rows find their tenant. */
export type ImportRouteKind = "field" | "registry" | "foreign_key" | "shared" | "skipped";

export interface ImportTable {
  /** `orders`, or `sales.orders` outside the default schema. */
  readonly table: string;
  readonly route: ImportRouteKind;
  /** Constraints that are followed, the first that is not NULL: `order_items_order_id_fkey → orders`. */
  readonly follows: readonly string[];
  /** Other constraints that lead to a tenant as well: if one of them leads elsewhere, the tenant's import fails and says so. */
  readonly ambiguous: readonly string[];
  readonly rows: number;
  /** Rows that belong to no tenant, by reason; they stay in the source. */
  readonly unowned: readonly ImportUnowned[];
}

export interface ImportUnowned {
  readonly reason: "null_routing_field" | "blank_routing_field" | "no_owner";
  readonly rows: number;
  /** A condition for the source that finds these rows. */
  readonly find: string;
}

export interface ImportTenantPlan {
  /** As text, as the source has it. */
  readonly value: string;
  readonly tenantId: string;
  /** Rows in tables with the routing field. */
  readonly rows: number;
  readonly exists: boolean;
}

export interface ImportAnalysis {
  readonly engine: "PostgreSQL" | "MySQL";
  readonly serverVersion: string;
  readonly routingField: string;
  readonly tables: readonly ImportTable[];
  /** At most 1000; `tenantCount` says how many there are. */
  readonly tenants: readonly ImportTenantPlan[];
  readonly tenantCount: number;
  readonly rows: number;
  readonly unownedRows: number;
  /** What to know before starting; nothing here stops an import. */
  readonly warnings: readonly string[];
  /** What stops an import as asked for, with the way out. */
  readonly problems: readonly string[];
}

export type ImportState = "queued" | "running" | "done" | "failed" | "cancelled";
export type ImportTenantState = "pending" | "running" | "done" | "failed" | "cancelled";

export interface ImportedTable {
  readonly table: string;
  readonly rows: number;
  /** Sum over the rows, the same in source and tenant; null where rows were only counted. */
  readonly checksum: string | null;
}

export interface ImportTenantResult {
  readonly value: string;
  readonly tenantId: string;
  readonly state: ImportTenantState;
  readonly created: boolean;
  /** The credential of a tenant that was made here: rotate it to get a password. */
  readonly credentialId: string | undefined;
  readonly rows: number;
  readonly durationMs: number | undefined;
  readonly error: string | undefined;
  readonly sqlstate: string | undefined;
  /** When the snapshot was taken that the tenant's rows are from. */
  readonly snapshotAt: number | undefined;
  readonly tables: readonly ImportedTable[];
}

export interface ImportStatus {
  /** `imp_` + hex. */
  readonly id: string;
  readonly projectId: string;
  readonly workspace: string;
  readonly kind: "data" | "full";
  readonly state: ImportState;
  readonly phase: "structure" | "data";
  readonly source: string;
  readonly routingField: string;
  readonly tenantsTotal: number;
  readonly tenantsDone: number;
  readonly tenantsFailed: number;
  readonly rowsTotal: number;
  readonly rowsDone: number;
  readonly tables: readonly ImportTable[];
  readonly warnings: readonly string[];
  readonly error: string | undefined;
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  readonly tenants: readonly ImportTenantResult[];
}

export interface ImportRequest {
  readonly connection: ImportConnection;
  readonly options: ImportOptions;
}

/** All methods throw {GatewayError}; `workspace` takes a name or id. */
export interface Imports {
  /** Reads the source and changes nothing. `full`: as for `startImport` of that kind, so without looking at the blueprint's tables. */
  analyze(projectId: string, workspace: string, request: ImportRequest, kind: "data" | "full"): Promise<ImportAnalysis>;
  /** Checks what `analyze` would call a problem, records the job and returns; the work goes on in the job queue, on any instance. */
  startImport(projectId: string, workspace: string, request: ImportRequest, kind: "data" | "full"): Promise<ImportStatus>;
  /** The newest one where no id is given; `shown`, all unless told: whose results it comes with. @throws not_found */
  getImport(projectId: string, workspace: string, importId: string | undefined, shown?: ResultsShown): Promise<ImportStatus>;
  /** Tenants in progress are taken back; those done stay. @throws conflict when it has ended */
  cancelImport(projectId: string, workspace: string, importId: string): Promise<ImportStatus>;
  /** The tenants not done again, from where it stopped. @throws conflict while it runs, or when it is done */
  retryImport(projectId: string, workspace: string, importId: string): Promise<ImportStatus>;
}
