/** What designing a schema asks of a cluster, beside core/cluster-admin.ts: statements undone, run as the designer, reference data copied. */
import type { BlueprintVersion, PhysicalDatabase } from "./model.ts";

/** A table whose rows travel, as it is found in the workspace now. */
export interface FoundReferenceTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

export interface ClusterDesign {
  /**
   * The statements that undo a captured one.
   * @param before gives a database of the version before, where the old state has to be looked up
   * @throws {GatewayError} conflict saying why, where there is no inverse.
   */
  invertDdl(workspace: PhysicalDatabase, version: BlueprintVersion, before: () => Promise<PhysicalDatabase>): Promise<readonly string[]>;
  /** As the workspace's admin: in one transaction, or one after another where they cannot be in one. Captured. @throws {GatewayError} query_failed */
  runStatements(workspace: PhysicalDatabase, statements: readonly string[], options: { searchPath: string; transactional: boolean }): Promise<void>;
  /** @param table `name` or `schema.name`. @throws {GatewayError} not_found, bad_request for what is no table with a primary key. */
  findTable(workspace: PhysicalDatabase, table: string): Promise<FoundReferenceTable>;
  /** By oid, else by name; those that are gone are left out. */
  findMarked(workspace: PhysicalDatabase, marked: readonly FoundReferenceTable[]): Promise<readonly FoundReferenceTable[]>;
  /**
   * Rows of the workspace's tables into a tenant's or template's, by primary key: missing ones are added, different ones made equal, others left.
   * Tables and columns the target does not have are left out. One transaction. @throws {GatewayError} query_failed naming the table.
   * @returns rows written.
   */
  copyReferenceData(
    workspace: PhysicalDatabase,
    tables: readonly FoundReferenceTable[],
    target: PhysicalDatabase,
    options: { readonly lockTimeoutMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<number>;
}
