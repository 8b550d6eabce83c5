/** Whose each table's rows are: by the routing field, by the field of what its foreign keys lead to, or nobody's. Pure: no database is asked. */
import { GatewayError } from "../../core/errors.ts";
import { columnOf, isRequired, type SourceForeignKey, type SourceTable } from "./catalog.ts";

export interface RoutedTable {
  readonly table: SourceTable;
  /** How far from a table that names the tenant itself; 0 = it does. */
  readonly distance: number;
  /** The column that holds the routing value, for distance 0. */
  readonly routingColumn: string | undefined;
  /** The field itself, which a tenant's own database can do without; not where the value is the table's own key. */
  readonly routedBy: "field" | "registry" | "foreign_key";
  /** For distance 1 and up: a row belongs to what the first of these that is not NULL refers to. */
  readonly follows: readonly SourceForeignKey[];
  /** A row whose `follows` are all NULL belongs to what this key of the table to itself refers to. */
  readonly selfReference: SourceForeignKey | undefined;
  /** Foreign keys that lead to a tenant too and are not followed. */
  readonly ambiguous: readonly SourceForeignKey[];
}

export interface RoutingPlan {
  /** By table key, nearest first. */
  readonly routed: ReadonlyMap<string, RoutedTable>;
  /** Tables no foreign key leads from to a tenant. */
  readonly shared: readonly SourceTable[];
}

/**
 * Breadth first along foreign keys, from the tables that name the tenant: so cycles end, and every table is routed by its shortest way.
 * `follow` names, per table, the constraint to follow where the caller knows better.
 * @throws {GatewayError} bad_request: no table has the field, or `follow` names what leads nowhere.
 */
export function planRouting(tables: readonly SourceTable[], routingField: string, follow: Readonly<Record<string, string>> = {}): RoutingPlan {
  const byKey = new Map(tables.map((table) => [table.key, table]));
  const routed = new Map<string, RoutedTable>();
  for (const table of tables) {
    if (columnOf(table, routingField)) routed.set(table.key, direct(table, routingField, "field"));
  }
  if (routed.size === 0) {
    const message = `no table found with routing field '${routingField}'`;
    throw new GatewayError("bad_request", message, { issues: [{ path: "routing_field", message }] });
  }
  for (const registry of findRegistries(byKey, routed, routingField)) routed.set(registry.table.key, registry);
  for (let distance = 1; ; distance++) {
    const next = tables.filter((table) => !routed.has(table.key)).flatMap((table) => routeByKeys(table, routed, distance, follow[table.key]) ?? []);
    if (next.length === 0) break;
    for (const entry of next) routed.set(entry.table.key, entry);
  }
  const plan = new Map([...routed].map(([key, entry]) => [key, withAmbiguities(entry, routed)]));
  refuseUnknownChoices(follow, byKey, plan);
  return { routed: plan, shared: tables.filter((table) => !plan.has(table.key)) };
}

function direct(table: SourceTable, column: string, routedBy: "field" | "registry"): RoutedTable {
  return { table, distance: 0, routingColumn: column, routedBy, follows: [], selfReference: undefined, ambiguous: [] };
}

/** The table of the tenants themselves, which the routing field refers to: its key is the value. */
function findRegistries(byKey: ReadonlyMap<string, SourceTable>, routed: ReadonlyMap<string, RoutedTable>, routingField: string): RoutedTable[] {
  const found = new Map<string, RoutedTable>();
  for (const { table } of routed.values()) {
    for (const key of table.foreignKeys) {
      const target = byKey.get(key.target);
      if (key.columns.length !== 1 || key.columns[0] !== routingField || !target || routed.has(target.key)) continue;
      found.set(target.key, direct(target, key.targetColumns[0]!, "registry"));
    }
  }
  return [...found.values()];
}

/** @returns undefined while no foreign key of the table leads to one that is routed. */
function routeByKeys(
  table: SourceTable,
  routed: ReadonlyMap<string, RoutedTable>,
  distance: number,
  chosen: string | undefined,
): RoutedTable | undefined {
  const leading = table.foreignKeys.filter((key) => key.target !== table.key && routed.has(key.target));
  const usable = chosen === undefined ? leading : leading.filter((key) => key.name === chosen);
  if (usable.length === 0) return undefined;
  const follows = inOrderOfPreference(table, usable);
  // The first that is never NULL decides every row; those behind it would not be looked at.
  const last = follows.findIndex((key) => isRequired(table, key.columns));
  const selfReference = last === -1 ? table.foreignKeys.find((key) => key.target === table.key && table.primaryKey.length > 0) : undefined;
  return {
    table,
    distance,
    routingColumn: undefined,
    routedBy: "foreign_key",
    follows: last === -1 ? follows : [follows[last]!],
    selfReference,
    ambiguous: [],
  };
}

/** Required before nullable, then by name, so that the same database is always read the same way. */
function inOrderOfPreference(table: SourceTable, keys: readonly SourceForeignKey[]): SourceForeignKey[] {
  const rank = (key: SourceForeignKey) => (isRequired(table, key.columns) ? 0 : 1);
  return [...keys].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

/** Keys beside those followed that lead to a tenant as well, the routing field's own and those to itself left out. */
function withAmbiguities(entry: RoutedTable, routed: ReadonlyMap<string, RoutedTable>): RoutedTable {
  if (entry.distance === 0) return entry;
  const others = entry.table.foreignKeys.filter(
    (key) => key.target !== entry.table.key && routed.has(key.target) && !entry.follows.some((followed) => followed.name === key.name),
  );
  const alternatives = entry.follows.slice(1);
  return { ...entry, ambiguous: [...alternatives, ...others] };
}

function refuseUnknownChoices(
  follow: Readonly<Record<string, string>>,
  byKey: ReadonlyMap<string, SourceTable>,
  plan: ReadonlyMap<string, RoutedTable>,
): void {
  for (const [name, constraint] of Object.entries(follow)) {
    const table = byKey.get(name);
    const entry = plan.get(name);
    const known = table?.foreignKeys.map((key) => key.name) ?? [];
    if (entry?.follows[0]?.name === constraint) continue;
    const why = !table
      ? `there is no table "${name}" in the source`
      : entry?.distance === 0
        ? `table "${name}" names the tenant itself`
        : `table "${name}" has no foreign key "${constraint}" that leads to a tenant; it has ${known.join(", ") || "none"}`;
    throw new GatewayError("bad_request", `follow: ${why}`, { issues: [{ path: `follow.${name}`, message: why }] });
  }
}
