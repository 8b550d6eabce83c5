/** One tenant's rows from source to database, in one transaction with the record of it: wholly there and checked, or not at all. */
import { GatewayError } from "../../core/errors.ts";
import type { ImportedTable } from "../../core/imports.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { quoteIdentifier, type SqlConnection, type SqlDialer } from "../../core/sql.ts";
import {
  advanceSequenceSql,
  findImportRecordSql,
  foreignKeysSql,
  importRecordSql,
  sequencesSql,
  triggersSql,
} from "../../engines/postgres/admin/import-sql.ts";
import { RowSum } from "./checksum.ts";
import type { MatchedTable } from "./match-columns.ts";
import { settleSessionSql } from "./postgres-catalog.ts";
import type { SourceReader } from "./source.ts";

/** One table of a tenant: what is read, and which of it. */
export interface TableTask {
  readonly matched: MatchedTable;
  readonly from: string;
  /** Undefined: all rows, for a table that is copied to every tenant. */
  readonly condition: string | undefined;
}

export interface TenantTask {
  readonly importId: string;
  readonly database: PhysicalDatabase;
  readonly tables: readonly TableTask[];
  readonly verify: "checksum" | "count";
  readonly onRows: (rows: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Written as the database's owner, so that nothing a blueprint defines runs as more than that.
 * @returns what the database holds of this import, also when an earlier try had written it already.
 */
export async function writeTenant(dialer: SqlDialer, reader: SourceReader, task: TenantTask): Promise<readonly ImportedTable[]> {
  task.signal.throwIfAborted();
  await prepareRecord(dialer, task.database);
  const connection = await dialer.asRole(task.database, "owner");
  const onAbort = () => void Promise.all([connection.close(), reader.close()]);
  task.signal.addEventListener("abort", onAbort);
  try {
    await connection.query(settleSessionSql);
    await connection.query("BEGIN");
    const earlier = await takeRecord(connection, task.importId);
    if (earlier) return earlier;
    const tables = await writeTables(connection, reader, task);
    await connection.query("SELECT tdb.record_import($1, $2)", [task.importId, JSON.stringify(tables)]);
    await connection.query("COMMIT");
    return tables;
  } catch (error) {
    task.signal.throwIfAborted();
    throw error;
  } finally {
    task.signal.removeEventListener("abort", onAbort);
    await connection.close(); // an open transaction goes with it
  }
}

async function prepareRecord(dialer: SqlDialer, database: PhysicalDatabase): Promise<void> {
  const admin = await dialer.asAdmin(database.clusterId, database.name);
  try {
    await admin.query(importRecordSql(database.name));
  } finally {
    await admin.close();
  }
}

/** Written first and without a result: a second writer of the same import waits here until this one has ended. */
async function takeRecord(connection: SqlConnection, importId: string): Promise<readonly ImportedTable[] | undefined> {
  await connection.query("SELECT tdb.record_import($1, NULL)", [importId]);
  const { rows } = await connection.query(findImportRecordSql, [importId]);
  return (rows[0]?.result as readonly ImportedTable[] | null | undefined) ?? undefined;
}

async function writeTables(connection: SqlConnection, reader: SourceReader, task: TenantTask): Promise<readonly ImportedTable[]> {
  const targets = task.tables.map(({ matched }) => matched.target);
  if (targets.length === 0) return [];
  const filled = await findFilled(connection, task.tables);
  const aside = [...(await askAside(connection, triggersSql(targets))), ...(await askAside(connection, foreignKeysSql(targets)))];
  for (const { drop } of aside) await connection.query(drop);
  const written: ImportedTable[] = [];
  for (const table of task.tables) {
    if (!filled.has(table)) written.push(await writeTable(connection, reader, table, task));
  }
  await connection.query("SET CONSTRAINTS ALL IMMEDIATE"); // what is deferred would keep its table from being altered
  for (const { add, describe } of aside.reverse()) {
    await connection.query(add);
    if (describe !== null) await connection.query(describe);
  }
  const sequences = await connection.query(sequencesSql(targets));
  for (const row of sequences.rows) await connection.query(advanceSequenceSql(row as unknown as Parameters<typeof advanceSequenceSql>[0]));
  return written;
}

/** A trigger or foreign key that is out of the way while rows are written: these may come in any order, and referred to each other in rings. */
interface Aside {
  readonly drop: string;
  /** Checks a foreign key for all rows at once. */
  readonly add: string;
  readonly describe: string | null;
}

async function askAside(connection: SqlConnection, text: string): Promise<readonly Aside[]> {
  return (await connection.query(text)).rows as unknown as readonly Aside[];
}

/** Shared tables that hold rows already came with the blueprint. @throws {GatewayError} conflict for a tenant's own table with rows in it */
async function findFilled(connection: SqlConnection, tables: readonly TableTask[]): Promise<Set<TableTask>> {
  const filled = new Set<TableTask>();
  for (const table of tables) {
    const { rows } = await connection.query(`SELECT 1 FROM ${nameOf(table)} LIMIT 1`);
    if (rows.length === 0) continue;
    if (table.condition !== undefined) {
      throw new GatewayError("conflict", `table ${table.matched.target.key} already holds rows; an import only goes into empty tables`);
    }
    filled.add(table);
  }
  return filled;
}

function nameOf({ matched: { target } }: TableTask): string {
  return `${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)}`;
}

async function writeTable(connection: SqlConnection, reader: SourceReader, table: TableTask, task: TenantTask): Promise<ImportedTable> {
  const { columns, source } = table.matched;
  const sum = sumFor(table);
  const rows = reader.readRows(table.from, columns, table.condition);
  await connection.copyIn(`COPY ${nameOf(table)} (${listColumns(table)}) FROM STDIN`, watch(rows, sum, task));
  await verifyTable(connection, table, sum, task.verify);
  return { table: source.key, rows: sum.rows, checksum: task.verify === "checksum" ? sum.digest() : null };
}

async function* watch(rows: AsyncIterable<Uint8Array>, sum: RowSum, task: TenantTask): AsyncGenerator<Uint8Array> {
  for await (const chunk of rows) {
    const before = sum.rows;
    sum.add(chunk);
    task.onRows(sum.rows - before);
    yield chunk;
  }
}

function sumFor({ matched: { columns, exact } }: TableTask): RowSum {
  return new RowSum(exact === columns.length ? undefined : exact);
}

function listColumns({ matched: { columns } }: TableTask): string {
  return columns.map(({ name }) => quoteIdentifier(name)).join(", ");
}

/** Reads back what was written. @throws {GatewayError} conflict when it is not what was read */
async function verifyTable(connection: SqlConnection, table: TableTask, sum: RowSum, verify: "checksum" | "count"): Promise<void> {
  const { target } = table.matched;
  if (verify === "count") {
    const { rows } = await connection.query(`SELECT count(*) AS count FROM ${nameOf(table)}`);
    const found = Number(rows[0]?.count);
    if (found !== sum.rows) throw differs(target.key, sum.rows, found);
    return;
  }
  const back = sumFor(table);
  for await (const chunk of connection.copyOut(`COPY (SELECT ${listColumns(table)} FROM ${nameOf(table)}) TO STDOUT`)) back.add(chunk);
  if (back.rows !== sum.rows || back.digest() !== sum.digest()) throw differs(target.key, sum.rows, back.rows);
}

function differs(table: string, read: number, found: number): GatewayError {
  const what = read === found ? `its ${read} rows are not those that were read` : `${read} rows were read and ${found} are there`;
  return new GatewayError("conflict", `table ${table} is not what the source has: ${what}. Nothing of this tenant was kept`);
}
