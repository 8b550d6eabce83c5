/** A source's tables as its catalog tells them, the same shape for every engine. */

export interface SourceColumn {
  readonly name: string;
  /** In full, as the engine writes it: `character varying(40)`, `int(11) unsigned`. */
  readonly type: string;
  readonly nullable: boolean;
  /** Computed from others: never written. */
  readonly generated: boolean;
  /** A row that does not name it gets a value all the same. */
  readonly hasDefault: boolean;
}

export interface SourceForeignKey {
  readonly name: string;
  readonly columns: readonly string[];
  /** Key of the table referred to. */
  readonly target: string;
  readonly targetColumns: readonly string[];
}

export interface SourceTable {
  /** Unique in the source: `orders`, or `sales.orders` outside the default schema. */
  readonly key: string;
  readonly schema: string;
  readonly name: string;
  readonly partitioned: boolean;
  readonly columns: readonly SourceColumn[];
  readonly primaryKey: readonly string[];
  readonly foreignKeys: readonly SourceForeignKey[];
  /** Columns that an index begins with, one list per index. */
  readonly indexes: readonly (readonly string[])[];
  /** The server's own estimate. */
  readonly estimatedRows: number;
}

export interface SourceCatalog {
  readonly serverVersion: string;
  readonly tables: readonly SourceTable[];
  /** What is there and is not read: foreign tables, engines without transactions. */
  readonly warnings: readonly string[];
}

export function columnOf(table: SourceTable, name: string): SourceColumn | undefined {
  return table.columns.find((column) => column.name === name);
}

/** Every column of the key may not be NULL. */
export function isRequired(table: SourceTable, columns: readonly string[]): boolean {
  return columns.every((name) => columnOf(table, name)?.nullable === false);
}
