/**
 * Takes the routing column out of a structure that was loaded as it is shared: out of keys, foreign keys and indexes it is a part of,
 * with the policies that look at it, and at last the column. Each statement becomes a version of the blueprint.
 */
import { GatewayError } from "../../core/errors.ts";
import { quoteIdentifier, quoteLiteral } from "../../core/sql.ts";
import type { RunQuery } from "./postgres-catalog.ts";

export interface DropRouting {
  /** In the order they are to be run; empty when no table has the column. */
  readonly statements: readonly string[];
  /** What goes with the column and cannot be said without it. */
  readonly lost: readonly string[];
}

interface Constraint {
  readonly table: string;
  readonly name: string;
  readonly kind: "p" | "u" | "f" | "c" | "x";
  readonly columns: readonly string[];
  readonly target: string | null;
  readonly target_columns: readonly string[] | null;
  readonly definition: string;
}

const names = (table: string, numbers: string) =>
  `(SELECT json_agg(a.attname ORDER BY part.place) FROM unnest(${numbers}) WITH ORDINALITY AS part (number, place)
     JOIN pg_attribute a ON a.attrelid = ${table} AND a.attnum = part.number)`;

/** @param tables `schema.name` pairs that have the column. @throws {GatewayError} conflict naming views that look at it */
export async function planDropRouting(
  query: RunQuery,
  tables: readonly { readonly schema: string; readonly name: string }[],
  column: string,
): Promise<DropRouting> {
  const wanted = `(SELECT c.oid, a.attnum FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ${quoteLiteral(column)}
    WHERE (n.nspname, c.relname) IN (${tables.map(({ schema, name }) => `(${quoteLiteral(schema)}, ${quoteLiteral(name)})`).join(", ")}))`;
  const own = await query(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM ${wanted} w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1`,
  );
  if (own.length === 0) return { statements: [], lost: [] };
  await refuseViews(query, wanted, column);
  const constraints = (await query(constraintsSql(wanted))) as unknown as readonly Constraint[];
  const others = (await query(otherKeysSql)) as unknown as readonly Constraint[];
  const known = new Set(others.filter((other) => !constraints.some((one) => one.table === other.table && one.name === other.name)).map(shapeOf));
  const keys = constraints.filter(({ kind }) => kind === "f");
  const unique = constraints.filter(({ kind }) => kind === "p" || kind === "u");
  const rest = constraints.filter(({ kind }) => kind === "c" || kind === "x");
  const policies = await query(policiesSql(wanted));
  const indexes = await query(indexesSql(wanted, column));
  const alter = (table: string, what: string) => `ALTER TABLE ${table} ${what}`;
  return {
    statements: [
      ...policies.map((row) => String(row.sql)),
      ...[...keys, ...unique].map(({ table, name }) => alter(table, `DROP CONSTRAINT ${quoteIdentifier(name)}`)),
      ...own.map((row) => alter(String(row.name), `DROP COLUMN ${quoteIdentifier(column)}`)),
      ...[...unique, ...keys].flatMap((constraint) => rebuild(constraint, column, known)),
      ...indexes.flatMap((row) => (row.sql === null ? [] : [String(row.sql)])),
    ],
    lost: [
      ...policies.flatMap((row) => (row.policy === null ? [] : [`policy ${row.policy}, which looks at ${column}`])),
      ...rest.map(({ table, name, definition }) => `constraint ${name} of ${table}: ${definition}`),
      ...indexes.flatMap((row) => (row.lost === null ? [] : [`index ${row.lost}`])),
    ],
  };
}

async function refuseViews(query: RunQuery, wanted: string, column: string): Promise<void> {
  const views = await query(`
SELECT DISTINCT r.ev_class::regclass::text AS view FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN ${wanted} w ON w.oid = d.refobjid AND w.attnum = d.refobjsubid
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass ORDER BY 1`);
  if (views.length === 0) return;
  const list = views.map((row) => row.view).join(", ");
  throw new GatewayError(
    "conflict",
    `cannot drop ${column}: the view ${list} looks at it. Leave it out of the source, or import with drop_routing_column false`,
  );
}

const fields = `c.oid, format('%I.%I', n.nspname, c.relname) AS table, k.conname AS name, k.contype::text AS kind, ${names("k.conrelid", "k.conkey")} AS columns,
       CASE WHEN k.confrelid <> 0 THEN (SELECT format('%I.%I', tn.nspname, t.relname) FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace WHERE t.oid = k.confrelid) END AS target,
       ${names("k.confrelid", "k.confkey")} AS target_columns, pg_get_constraintdef(k.oid) AS definition
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace`;

/** Constraints the column is a part of, on either end. */
function constraintsSql(wanted: string): string {
  return `SELECT ${fields} WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0
   AND EXISTS (SELECT FROM ${wanted} w WHERE (w.oid = k.conrelid AND w.attnum = ANY (k.conkey)) OR (w.oid = k.confrelid AND w.attnum = ANY (k.confkey)))
 ORDER BY k.contype DESC, 2, 3`;
}

const otherKeysSql = `SELECT ${fields} WHERE k.contype IN ('p', 'u', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'tdb')`;

/** Policies first; where none is left, row security too: without a policy it would hide every row from the roles. */
function policiesSql(wanted: string): string {
  const depends = `EXISTS (SELECT FROM pg_depend d JOIN ${wanted} w ON w.oid = d.refobjid AND w.attnum = d.refobjsubid
    WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass)`;
  return `
SELECT format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass) AS sql, format('%I on %s', p.polname, p.polrelid::regclass) AS policy FROM pg_policy p WHERE ${depends}
UNION ALL
SELECT format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', c.oid::regclass), NULL FROM pg_class c
 WHERE c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND ${depends}) AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT ${depends})`;
}

/** An index without the column, unless it was about nothing else or there is one like it; with expressions or a condition it is lost. */
function indexesSql(wanted: string, column: string): string {
  const kept = `(SELECT string_agg(pg_get_indexdef(i.indexrelid, part.place::int, true) || CASE WHEN i.indoption[part.place - 1] & 1 = 1 THEN ' DESC' ELSE '' END, ', ' ORDER BY part.place)
    FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS part (number, place) WHERE part.number <> w.attnum AND part.place <= i.indnkeyatts)`;
  return `
SELECT CASE WHEN simple AND kept IS NOT NULL AND NOT EXISTS (SELECT FROM pg_index o WHERE o.indrelid = x.indrelid AND o.indexrelid <> x.indexrelid AND (o.indisunique OR NOT x.indisunique)
         AND pg_get_indexdef(o.indexrelid) LIKE '% (' || replace(replace(kept, '_', '\\_'), '%', '\\%') || ')')
       THEN format('CREATE %sINDEX %I ON %s USING %I (%s)', CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, name, indrelid::regclass, method, kept) END AS sql,
       CASE WHEN NOT simple THEN pg_get_indexdef(indexrelid) END AS lost
  FROM (SELECT i.indexrelid, i.indrelid, i.indisunique, c.relname AS name, m.amname AS method, i.indexprs IS NULL AND i.indpred IS NULL AS simple, ${kept} AS kept
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam JOIN ${wanted} w ON w.oid = i.indrelid
         WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AND NOT c.relispartition
           AND (w.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = w.oid AND d.refobjsubid = w.attnum))
       ) x /* ${column.replaceAll(/[^\w]/g, "_")} */ ORDER BY name`;
}

/** The constraint without the column; nothing where nothing is left of it, or there is one like it. */
function rebuild(constraint: Constraint, column: string, known: Set<string>): string[] {
  const places = constraint.columns.map((name, i) => ({ name, target: constraint.target_columns?.[i] }));
  const left = places.filter(({ name, target }) => name !== column && target !== column);
  if (left.length === 0) return [];
  const changed: Constraint = { ...constraint, columns: left.map(({ name }) => name), target_columns: left.flatMap(({ target }) => target ?? []) };
  if (known.has(shapeOf(changed))) return [];
  known.add(shapeOf(changed));
  return [`ALTER TABLE ${constraint.table} ADD CONSTRAINT ${quoteIdentifier(constraint.name)} ${define(changed)}`];
}

function shapeOf({ table, kind, columns, target, target_columns }: Constraint): string {
  return JSON.stringify([table, kind, columns, target, target_columns ?? []]);
}

function define({ kind, columns, target, target_columns, definition }: Constraint): string {
  const list = (of: readonly string[]) => `(${of.map(quoteIdentifier).join(", ")})`;
  const suffix =
    /\)((?: MATCH \w+| ON (?:UPDATE|DELETE) (?:NO ACTION|RESTRICT|CASCADE|SET NULL|SET DEFAULT)| DEFERRABLE| INITIALLY DEFERRED)*)(?: NOT VALID)?$/.exec(
      definition,
    )?.[1] ?? "";
  if (kind === "f") return `FOREIGN KEY ${list(columns)} REFERENCES ${target} ${list(target_columns ?? [])}${suffix}`;
  const nulls = definition.includes("NULLS NOT DISTINCT") ? " NULLS NOT DISTINCT" : "";
  return `${kind === "p" ? "PRIMARY KEY" : `UNIQUE${nulls}`} ${list(columns)}${suffix}`;
}
