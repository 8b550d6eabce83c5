/** An import as asked for, held against what the source and the blueprint have: which table goes where, and what stands in the way. */
import type { ImportOptions } from "../../core/imports.ts";
import type { SourceCatalog, SourceTable } from "./catalog.ts";
import { type ConvertColumn, type MatchedTable, matchTable } from "./match-columns.ts";
import { planRouting, type RoutedTable, type RoutingPlan } from "./routing.ts";

export interface Preparation {
  readonly plan: RoutingPlan;
  /** Routed tables that are imported, nearest to the tenant first. */
  readonly routed: readonly RoutedTable[];
  /** Tables every tenant gets a copy of. */
  readonly copied: readonly SourceTable[];
  readonly skipped: readonly SourceTable[];
  /** By key; empty while there is no blueprint to compare with. */
  readonly matched: ReadonlyMap<string, MatchedTable>;
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** Rows from which a missing index is worth a word. */
const manyRows = 10_000;

/**
 * @param target the blueprint's tables; undefined when they are still to be made from the source's.
 * @throws {GatewayError} bad_request when no table has the routing field.
 */
export function prepare(
  source: SourceCatalog,
  target: readonly SourceTable[] | undefined,
  options: ImportOptions,
  convert: ConvertColumn,
): Preparation {
  const plan = planRouting(source.tables, options.routingField, options.follow);
  const problems = [...unknownTables(source, options)];
  const byDistance = [...plan.routed.values()].sort((a, b) => a.distance - b.distance);
  const routed = byDistance.filter(({ table }) => options.tables[table.key] !== "skip");
  for (const { table } of routed) {
    if (options.tables[table.key] === "copy")
      problems.push(`tables: ${table.key} belongs to tenants; a copy for each would show them each other's rows`);
  }
  const fateOf = (table: SourceTable) => options.tables[table.key] ?? options.sharedTables;
  const undecided = plan.shared.filter((table) => fateOf(table) === undefined);
  if (undecided.length > 0) problems.push(undecidedText(undecided));
  const copied = plan.shared.filter((table) => fateOf(table) === "copy");
  const skipped = [
    ...plan.shared.filter((table) => fateOf(table) === "skip"),
    ...byDistance.filter((entry) => !routed.includes(entry)).map(({ table }) => table),
  ];
  const matched = new Map<string, MatchedTable>();
  for (const table of target ? [...copied, ...routed.map((entry) => entry.table)] : []) {
    const into = target?.find(({ schema, name }) => schema === table.schema && name === table.name);
    const match = matchTable(table, into, plan.routed.get(table.key), options, convert);
    if (match.table) matched.set(table.key, match.table);
    problems.push(...match.problems);
  }
  return { plan, routed, copied, skipped, matched, warnings: [...source.warnings, ...warn(routed)], problems };
}

function undecidedText(tables: readonly SourceTable[]): string {
  const names = tables.map(({ key }) => key).join(", ");
  const many = tables.length === 1 ? "1 table belongs" : `${tables.length} tables belong`;
  return `${many} to no tenant: ${names}. Say with shared_tables whether each tenant gets a copy ("copy") or none ("skip"), or table by table with tables`;
}

function unknownTables(source: SourceCatalog, options: ImportOptions): string[] {
  const known = new Set(source.tables.map(({ key }) => key));
  const columns = new Set(source.tables.flatMap((table) => table.columns.map((column) => `${table.key}.${column.name}`)));
  return [
    ...Object.keys(options.tables).flatMap((key) => (known.has(key) ? [] : [`tables: there is no table "${key}" in the source`])),
    ...options.skipColumns.flatMap((name) => (columns.has(name) ? [] : [`skip_columns: there is no column "${name}" in the source`])),
  ];
}

function warn(routed: readonly RoutedTable[]): string[] {
  return routed.flatMap(({ table, routingColumn, follows, ambiguous }) => {
    const said: string[] = [];
    for (const columns of routingColumn === undefined ? follows.map((key) => key.columns) : [[routingColumn]]) {
      const isIndexed = table.indexes.some((index) => columns.every((column) => index.slice(0, columns.length).includes(column)));
      if (!isIndexed && table.estimatedRows >= manyRows) {
        said.push(
          `table ${table.key} has no index on ${columns.join(", ")}: it is read as a whole for every tenant. An index in the source makes it fast`,
        );
      }
    }
    if (ambiguous.length > 0) {
      const others = ambiguous.map((key) => `${key.name} (to ${key.target})`).join(", ");
      const [followed] = follows;
      said.push(
        `rows of ${table.key} follow ${followed?.name} (to ${followed?.target}); ${others} would lead to a tenant too. ` +
          "Where one leads to another tenant, that tenant's import fails; choose with follow",
      );
    }
    return said;
  });
}
