/** What a backup holds and its blueprint does not: tables and columns somebody made by hand. Their rows are not to be lost. */
import { type BackupTable, tableName } from "../../../core/backup-format.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";

/** Types are format_type's own words, from a file: anything that is not a type's name is refused. */
const typeName = /^[\p{L}\p{N}_ ".,()[\]-]+$/u;

/** @returns a sentence for each thing that was added */
export async function addMissing(owner: SqlConnection, wanted: BackupTable, found: BackupTable | undefined): Promise<readonly string[]> {
  const name = `${wanted.schema}.${wanted.name}`;
  if (!found) {
    await owner.query(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(wanted.schema)}`);
    await owner.query(`CREATE TABLE ${tableName(wanted)} (${wanted.columns.map(columnSql).join(", ")})`);
    return [`table ${name} is not part of the blueprint; it was made anew with its rows, without constraints and indexes`];
  }
  const known = new Set(found.columns.map((column) => column.name));
  const missing = wanted.columns.filter((column) => !known.has(column.name));
  for (const column of missing) await owner.query(`ALTER TABLE ${tableName(wanted)} ADD COLUMN ${columnSql(column)}`);
  return missing.map(
    (column) => `column ${name}.${column.name} is not part of the blueprint; it was added with its values, without default and constraints`,
  );
}

function columnSql(column: BackupTable["columns"][number]): string {
  if (!typeName.test(column.type) || column.type.includes("--")) throw new RangeError("not the name of a type");
  return `${quoteIdentifier(column.name)} ${column.type}`;
}
