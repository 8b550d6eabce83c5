/** Which columns of a source's table go into the blueprint's table of the same name, and what stands in the way. Pure. */
import type { ImportOptions } from "../../core/imports.ts";
import type { SourceColumn, SourceTable } from "./catalog.ts";
import type { RoutedTable } from "./routing.ts";
import type { ReadColumn } from "./source.ts";

export interface MatchedTable {
  readonly source: SourceTable;
  readonly target: SourceTable;
  /** Those whose text is the same on both sides come first; `exact` says how many. */
  readonly columns: readonly ReadColumn[];
  readonly exact: number;
}

/** How a source's type is read for a column of the target, and whether its text comes back the same. */
export type ConvertColumn = (source: SourceColumn, target: SourceColumn) => Omit<ReadColumn, "name"> & { readonly exact: boolean };

export interface Match {
  readonly table: MatchedTable | undefined;
  readonly problems: readonly string[];
}

/** @param route undefined for a table that is copied to every tenant. */
export function matchTable(
  source: SourceTable,
  target: SourceTable | undefined,
  route: RoutedTable | undefined,
  options: Pick<ImportOptions, "dropRoutingColumn" | "skipColumns">,
  convert: ConvertColumn,
): Match {
  if (!target) {
    const problem = `table ${source.key} is not in the blueprint: create it in the workspace, or leave it out with tables: {"${source.key}": "skip"}`;
    return { table: undefined, problems: [problem] };
  }
  const dropped = route?.routedBy === "field" && options.dropRoutingColumn ? route.routingColumn : undefined;
  const wanted = source.columns.filter((column) => column.name !== dropped && !options.skipColumns.includes(`${source.key}.${column.name}`));
  const problems: string[] = [];
  const columns: (ReadColumn & { exact: boolean })[] = [];
  for (const column of wanted) {
    const into = target.columns.find(({ name }) => name === column.name);
    if (into?.generated) continue;
    if (into) columns.push({ name: column.name, ...convert(column, into) });
    else if (!column.generated) problems.push(missingColumn(source, column.name, options.dropRoutingColumn ? undefined : route?.routingColumn));
  }
  problems.push(...unfilledColumns(target, columns, dropped));
  const ordered = [...columns.filter((column) => column.exact), ...columns.filter((column) => !column.exact)];
  const exact = columns.filter((column) => column.exact).length;
  return { table: { source, target, columns: ordered.map(({ exact: _exact, ...column }) => column), exact }, problems };
}

function missingColumn(source: SourceTable, name: string, routingColumn: string | undefined): string {
  const wayOut =
    name === routingColumn
      ? "set drop_routing_column to true"
      : `add it in the workspace, or leave it behind with skip_columns: ["${source.key}.${name}"]`;
  return `table ${source.key} of the blueprint has no column ${name}: ${wayOut}`;
}

/** Columns of the target that must have a value and would get none. */
function unfilledColumns(target: SourceTable, columns: readonly { readonly name: string }[], dropped: string | undefined): string[] {
  return target.columns.flatMap((column) => {
    if (column.name === dropped)
      return [`table ${target.key} of the blueprint still has ${column.name}: drop it in the workspace, or set drop_routing_column to false`];
    const isFilled = column.nullable || column.hasDefault || column.generated || columns.some(({ name }) => name === column.name);
    return isFilled ? [] : [`column ${column.name} of the blueprint's table ${target.key} must not be NULL and the source has no such column`];
  });
}

/** PostgreSQL's text of a value is its type's: the same type, the same text. */
export const convertPostgres: ConvertColumn = (source, target) => ({ as: "text", exact: source.type === target.type && source.type !== "money" });
