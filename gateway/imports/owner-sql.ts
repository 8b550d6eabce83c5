/** Conditions over a source's tables: which rows are one tenant's, which are nobody's. */
import type { SourceForeignKey, SourceTable } from "./catalog.ts";
import type { Dialect } from "./dialect.ts";
import type { RoutedTable, RoutingPlan } from "./routing.ts";

/** What the routing column must be: one tenant's value, or any value that can be a tenant's. */
export type OwnerTest = { readonly value: string } | "anybody";

/** SQL over `alias`: the row belongs to whom `test` names. */
export function ownedBy(dialect: Dialect, plan: RoutingPlan, key: string, test: OwnerTest, alias = "t"): string {
  const entry = plan.routed.get(key);
  if (!entry) throw new RangeError(`table ${key} belongs to nobody`);
  return new OwnerSql(dialect, plan, test).owned(entry, alias);
}

class OwnerSql {
  readonly #dialect: Dialect;
  readonly #plan: RoutingPlan;
  readonly #test: OwnerTest;
  #aliases = 0;

  constructor(dialect: Dialect, plan: RoutingPlan, test: OwnerTest) {
    this.#dialect = dialect;
    this.#plan = plan;
    this.#test = test;
  }

  owned(entry: RoutedTable, alias: string): string {
    if (entry.routingColumn !== undefined) return this.#names(`${alias}.${this.#dialect.identifier(entry.routingColumn)}`);
    const byKeys = this.#byKeys(entry, alias);
    return entry.selfReference ? `(${byKeys} OR ${this.#byItself(entry, entry.selfReference, alias)})` : byKeys;
  }

  #names(column: string): string {
    if (this.#test !== "anybody") return this.#dialect.equals(column, this.#test.value);
    return `(${column} IS NOT NULL AND NOT ${this.#dialect.isBlank(column)})`;
  }

  /** The first key that is not NULL decides. */
  #byKeys(entry: RoutedTable, alias: string): string {
    const cases = entry.follows.map((key, index) => {
      const earlier = entry.follows.slice(0, index).map((before) => this.#isNull(before, alias));
      return [...earlier, this.#refersToOwned(key, alias)].join(" AND ");
    });
    return cases.length === 1 ? cases[0]! : `(${cases.map((each) => `(${each})`).join(" OR ")})`;
  }

  #refersToOwned(key: SourceForeignKey, alias: string): string {
    const parent = this.#plan.routed.get(key.target)!;
    const inner = this.#alias();
    return `EXISTS (SELECT 1 FROM ${this.#dialect.from(parent.table)} ${inner} WHERE ${this.#joins(key, alias, inner)} AND ${this.owned(parent, inner)})`;
  }

  /** Down from the rows that know their owner to those that only know their parent. */
  #byItself(entry: RoutedTable, key: SourceForeignKey, alias: string): string {
    const [name, root, child, parent] = [this.#alias(), this.#alias(), this.#alias(), this.#alias()];
    const quote = (column: string) => this.#dialect.identifier(column);
    const columns = key.targetColumns.map(quote);
    const from = this.#dialect.from(entry.table);
    const undecided = entry.follows.map((followed) => this.#isNull(followed, child)).join(" AND ");
    const known = key.targetColumns.map((_, i) => `k${i}`);
    const onParent = key.columns.map((column, i) => `${child}.${quote(column)} = ${parent}.${known[i]}`).join(" AND ");
    return (
      `(${columns.map((column) => `${alias}.${column}`).join(", ")}) IN (WITH RECURSIVE ${name} (${known.join(", ")}) AS (` +
      `SELECT ${columns.map((column) => `${root}.${column}`).join(", ")} FROM ${from} ${root} WHERE ${this.#byKeys(entry, root)}` +
      ` UNION SELECT ${columns.map((column) => `${child}.${column}`).join(", ")} FROM ${from} ${child} JOIN ${name} ${parent} ON ${onParent}` +
      ` WHERE ${undecided}) SELECT ${known.join(", ")} FROM ${name})`
    );
  }

  /** A foreign key of several columns refers to nothing as soon as one of them is NULL. */
  #isNull(key: SourceForeignKey, alias: string): string {
    const parts = key.columns.map((column) => `${alias}.${this.#dialect.identifier(column)} IS NULL`);
    return parts.length === 1 ? parts[0]! : `(${parts.join(" OR ")})`;
  }

  #joins(key: SourceForeignKey, alias: string, inner: string): string {
    return key.columns
      .map((column, i) => `${inner}.${this.#dialect.identifier(key.targetColumns[i]!)} = ${alias}.${this.#dialect.identifier(column)}`)
      .join(" AND ");
  }

  #alias(): string {
    return `o${++this.#aliases}`;
  }
}

/** For people, to be put behind `SELECT * FROM table t WHERE`: rows of a table that belong to nobody, by reason. */
export function unownedConditions(dialect: Dialect, plan: RoutingPlan, key: string): readonly { reason: Reason; find: string }[] {
  const entry = plan.routed.get(key)!;
  if (entry.routingColumn === undefined) return [{ reason: "no_owner", find: `(${ownedBy(dialect, plan, key, "anybody")}) IS NOT TRUE` }];
  const column = `t.${dialect.identifier(entry.routingColumn)}`;
  return [
    { reason: "null_routing_field", find: `${column} IS NULL` },
    { reason: "blank_routing_field", find: dialect.isBlank(column) },
  ];
}

type Reason = "null_routing_field" | "blank_routing_field" | "no_owner";

/** Every routing value and how many rows name it, over all tables that do. */
export function routingValuesSql(dialect: Dialect, plan: RoutingPlan): string {
  const parts = [...plan.routed.values()].flatMap((entry) => {
    if (entry.routingColumn === undefined) return [];
    const column = `t.${dialect.identifier(entry.routingColumn)}`;
    const where = `${column} IS NOT NULL AND NOT ${dialect.isBlank(column)}`;
    return [`SELECT ${dialect.asText(column)} AS value, count(*) AS n FROM ${dialect.from(entry.table)} t WHERE ${where} GROUP BY 1`];
  });
  return `SELECT value, sum(n) AS n FROM (${parts.join(" UNION ALL ")}) v GROUP BY value ORDER BY value`;
}

/** Routed or not, in the order they are written: nearest to the tenant first. */
export function tablesInOrder(plan: RoutingPlan, shared: readonly SourceTable[]): readonly SourceTable[] {
  const routed = [...plan.routed.values()].sort((a, b) => a.distance - b.distance);
  return [...shared, ...routed.map((entry) => entry.table)];
}
