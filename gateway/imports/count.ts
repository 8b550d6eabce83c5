/** Counts a source's rows: all of a table, and those that are nobody's. */
import type { ImportTable, ImportUnowned } from "../../core/imports.ts";
import type { SourceTable } from "./catalog.ts";
import { routingValuesSql, unownedConditions } from "./owner-sql.ts";
import type { Preparation } from "./prepare.ts";
import type { RoutedTable } from "./routing.ts";
import type { ImportSource } from "./source.ts";

export async function countTables(source: ImportSource, preparation: Preparation): Promise<readonly ImportTable[]> {
  const tables: ImportTable[] = [];
  for (const entry of preparation.routed) tables.push(await countRouted(source, preparation, entry));
  for (const table of preparation.copied) tables.push(await countOther(source, table, "shared"));
  const { shared } = preparation.plan;
  const undecided = shared.filter((table) => !preparation.copied.includes(table) && !preparation.skipped.includes(table));
  for (const table of undecided) tables.push(await countOther(source, table, "shared"));
  for (const table of preparation.skipped) tables.push(await countOther(source, table, "skipped"));
  return tables;
}

async function countRouted(source: ImportSource, { plan }: Preparation, entry: RoutedTable): Promise<ImportTable> {
  const { table } = entry;
  const rows = await countRows(source, table, undefined);
  const unowned: ImportUnowned[] = [];
  for (const { reason, find } of rows === 0 ? [] : unownedConditions(source.dialect, plan, table.key)) {
    const count = await countRows(source, table, find);
    if (count > 0) unowned.push({ reason, rows: count, find: `SELECT * FROM ${source.dialect.from(table)} t WHERE ${find}` });
  }
  const describe = (key: { name: string; target: string }) => `${key.name} → ${key.target}`;
  return {
    table: table.key,
    route: entry.routedBy,
    follows: [...entry.follows, ...(entry.selfReference ? [entry.selfReference] : [])].map(describe),
    ambiguous: entry.ambiguous.map(describe),
    rows,
    unowned,
  };
}

async function countOther(source: ImportSource, table: SourceTable, route: "shared" | "skipped"): Promise<ImportTable> {
  return { table: table.key, route, follows: [], ambiguous: [], rows: await countRows(source, table, undefined), unowned: [] };
}

async function countRows(source: ImportSource, table: SourceTable, condition: string | undefined): Promise<number> {
  const where = condition === undefined ? "" : ` WHERE ${condition}`;
  const [row] = await source.query(`SELECT count(*) AS n FROM ${source.dialect.from(table)} t${where}`);
  return Number(row?.n);
}

/** Every tenant the source names, with its rows in tables that name it. */
export async function readRoutingValues(source: ImportSource, preparation: Preparation): Promise<readonly { value: string; rows: number }[]> {
  const rows = await source.query(routingValuesSql(source.dialect, preparation.plan));
  return rows.map((row) => ({ value: String(row.value), rows: Number(row.n) }));
}

export function sumUnowned(tables: readonly ImportTable[]): number {
  return tables.reduce((sum, table) => sum + table.unowned.reduce((own, entry) => own + entry.rows, 0), 0);
}

/** Rows the import will write: a tenant's own, and as many copies of shared ones as there are tenants. */
export function sumRows(tables: readonly ImportTable[], tenants: number): number {
  return tables.reduce((sum, table) => {
    if (table.route === "skipped") return sum;
    return sum + (table.route === "shared" ? table.rows * tenants : table.rows - sumUnowned([table]));
  }, 0);
}
