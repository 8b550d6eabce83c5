/** The rows, sequence positions and large objects of one database into another that has the same tables, under one snapshot of the source. */
import { GatewayError } from "../../../core/errors.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { quoteIdentifier, quoteLiteral, type SqlConnection } from "../../../core/sql.ts";
import { type AdminContext, inTransaction, withAdmin } from "./context.ts";
import { quieten, withQuietOwner } from "./quiet-tables.ts";
import { digestTable, listTables, type TableRef, tableName } from "./table-digests.ts";

/** Pages of large objects fetched at a time; a page is 2 KiB. */
const pagesAtOnce = 512;

export interface CopyOptions {
  /** Reads both sides again and compares them, row for row by checksum, before anything is committed. */
  readonly verify: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Whatever the target's tables held is replaced. Nobody uses the target yet, and one that this failed for is thrown away: rows and large objects
 * commit one after the other. @throws {GatewayError} conflict when the two do not have the same tables.
 */
export async function copyContents(context: AdminContext, source: PhysicalDatabase, target: PhysicalDatabase, options: CopyOptions): Promise<void> {
  await withAdmin(context, source.clusterId, source.name, (from) =>
    withAdmin(context, target.clusterId, target.name, async (to) => {
      await from.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const tables = await sameTables(from, to);
      // What is copied has passed triggers and foreign keys once.
      await withQuietOwner(context, target, (owner) => copyRows({ from, to, owner }, tables, options));
      await inTransaction(to, () => copyLargeObjects(from, to, target.name));
    }),
  );
}

interface Sides {
  readonly from: SqlConnection;
  /** Reads catalogs of the target. */
  readonly to: SqlConnection;
  /** Writes to it. */
  readonly owner: SqlConnection;
}

async function copyRows({ from, to, owner }: Sides, tables: readonly TableRef[], options: CopyOptions): Promise<void> {
  const quiet = await quietenAll(to, tables);
  await inTransaction(owner, async () => {
    await owner.query("SET LOCAL lock_timeout = '10s'");
    for (const { before } of quiet) await owner.query(before);
    if (tables.length > 0) await owner.query(`TRUNCATE ONLY ${tables.map(tableName).join(", ")}`);
    for (const table of tables) {
      options.signal?.throwIfAborted();
      await copyTable(from, owner, table);
    }
    await copySequences(from, owner);
    if (options.verify) for (const table of tables) await verify(from, owner, table);
    for (const { after } of quiet) await owner.query(after);
    await refreshViews(from, owner);
  });
}

/** Only tables there is something to be said for. */
async function quietenAll(to: SqlConnection, tables: readonly TableRef[]): Promise<readonly { before: string; after: string }[]> {
  const all: { before: string; after: string }[] = [];
  for (const table of tables) {
    const quiet = await quieten(to, table);
    if (quiet.before !== "") all.push(quiet);
  }
  return all;
}

async function sameTables(from: SqlConnection, to: SqlConnection): Promise<readonly TableRef[]> {
  const [there, here] = [await listTables(from), await listTables(to)];
  const describe = (table: TableRef) => `${tableName(table)} (${table.columns.join(", ")})`;
  const [known, wanted] = [new Set(here.map(describe)), new Set(there.map(describe))];
  const odd = [...there.filter((table) => !known.has(describe(table))), ...here.filter((table) => !wanted.has(describe(table)))];
  if (odd.length > 0) {
    const names = [...new Set(odd.map(tableName))].join(", ");
    throw new GatewayError("conflict", `cannot copy the database: its tables are not those of its blueprint version (${names})`, {
      hint: "GET /blueprints/{name}/drift shows what differs.",
    });
  }
  return there;
}

async function copyTable(from: SqlConnection, to: SqlConnection, table: TableRef): Promise<void> {
  const columns = table.columns.map(quoteIdentifier).join(", ");
  const where = columns === "" ? tableName(table) : `${tableName(table)} (${columns})`;
  await to.copyIn(`COPY ${where} FROM STDIN (FORMAT binary)`, from.copyOut(`COPY ${where} TO STDOUT (FORMAT binary)`));
}

const sequencesSql = `
SELECT pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$|tdb$)'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')`;

async function copySequences(from: SqlConnection, to: SqlConnection): Promise<void> {
  const { rows } = await from.query(sequencesSql);
  for (const { name } of rows) {
    const { rows: at } = await from.query(`SELECT last_value::text AS value, is_called FROM ${String(name)}`);
    await to.query("SELECT pg_catalog.setval($1::pg_catalog.regclass, $2, $3)", [String(name), at[0]?.value, at[0]?.is_called]);
  }
}

/** Each belongs to one of the database's four roles, and may be granted to others of them. */
async function copyLargeObjects(from: SqlConnection, to: SqlConnection, target: string): Promise<void> {
  const { rows } = await from.query(
    `SELECT m.oid::pg_catalog.int8 AS oid, pg_catalog.regexp_replace(pg_catalog.pg_get_userbyid(m.lomowner)::text, '^.*_', '') AS owner,
            (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.privilege_type, pg_catalog.regexp_replace(r.rolname::text, '^.*_', '')))
               FROM pg_catalog.aclexplode(m.lomacl) a JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE a.grantee <> m.lomowner) AS grants
       FROM pg_catalog.pg_largeobject_metadata m`,
  );
  const role = (suffix: unknown) => quoteIdentifier(`${target}_${String(suffix)}`);
  for (const { oid, owner, grants } of rows) {
    await to.query("SELECT pg_catalog.lo_create($1::pg_catalog.oid)", [oid]);
    for (let page = -1; ; ) {
      const found = await from.query(
        "SELECT pageno, data FROM pg_catalog.pg_largeobject WHERE loid = $1::pg_catalog.oid AND pageno > $2 ORDER BY pageno LIMIT $3",
        [oid, page, pagesAtOnce],
      );
      for (const row of found.rows) {
        await to.query("SELECT pg_catalog.lo_put($1::pg_catalog.oid, $2::pg_catalog.int8 * 2048, $3)", [oid, row.pageno, row.data]);
      }
      if (found.rows.length < pagesAtOnce) break;
      page = Number(found.rows.at(-1)?.pageno);
    }
    await to.query(`ALTER LARGE OBJECT ${Number(oid)} OWNER TO ${role(owner)}`);
    for (const [privilege, grantee] of (grants as [string, string][] | null) ?? []) {
      await to.query(`GRANT ${privilege === "UPDATE" ? "UPDATE" : "SELECT"} ON LARGE OBJECT ${Number(oid)} TO ${role(grantee)}`);
    }
  }
}

const filledViewsSql = `
SELECT pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname !~ '^(pg_|information_schema$|tdb$)' ORDER BY c.oid`;

async function refreshViews(from: SqlConnection, to: SqlConnection): Promise<void> {
  const { rows } = await from.query(filledViewsSql);
  for (const { name } of rows) await to.query(`REFRESH MATERIALIZED VIEW ${String(name)}`);
}

async function verify(from: SqlConnection, to: SqlConnection, table: TableRef): Promise<void> {
  const [sent, arrived] = await Promise.all([digestTable(from, table), digestTable(to, table)]);
  if (sent.rows !== arrived.rows || sent.checksum !== arrived.checksum) {
    throw new GatewayError(
      "internal_error",
      `copy of ${quoteLiteral(tableName(table))} differs: ${sent.rows} rows were read, ${arrived.rows} arrived`,
    );
  }
}
