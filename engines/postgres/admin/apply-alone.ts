/** Statements that PostgreSQL refuses inside a transaction (CREATE INDEX CONCURRENTLY and its kin): run alone, repeated safely after a crash. */
import type { BlueprintVersion } from "../../../core/model.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";
import { type AdminContext, inTransaction } from "./context.ts";
import { ReplaySettings } from "./replay-settings.ts";
import { sqlStateOf } from "./sql-errors.ts";

interface Index {
  readonly schema: string;
  readonly name: string;
  readonly valid: boolean;
}

/** @param version its SQL as it is to be run here; the database is at the version before. */
export async function runAloneStep(
  context: AdminContext,
  connection: SqlConnection,
  version: BlueprintVersion,
  lockTimeoutMs: number,
): Promise<void> {
  const step = await inTransaction(connection, async () => {
    const { rows } = await connection.query("SELECT resumed, indexes::pg_catalog.text AS indexes FROM tdb.begin_step($1)", [version.version]);
    return { resumed: rows[0]?.resumed === true, indexes: String(rows[0]?.indexes ?? "{}") };
  });
  await setForSession(connection, "lock_timeout", String(lockTimeoutMs));
  await new ReplaySettings(connection, "session").set(version);
  const made = step.resumed ? await dropInvalid(connection, step.indexes) : [];
  // A valid index that was not there when the step began is what an earlier try finished and could not record.
  if (!(version.commandTag === "CREATE INDEX" && made.length > 0)) {
    try {
      await connection.queryArrays(version.sql, [], { maxRows: 0, timeoutMs: 0 });
    } catch (error) {
      if (!(step.resumed && version.commandTag === "DROP INDEX" && sqlStateOf(error) === "42704")) {
        await cleanUp(context, connection, version, step.indexes);
        throw error;
      }
    }
  }
  await setForSession(connection, "search_path", "pg_catalog, pg_temp");
  await connection.query("SELECT tdb.record_applied($1, $2)", [version.version - 1, version.version]);
}

function setForSession(connection: SqlConnection, name: string, value: string): Promise<unknown> {
  return connection.query("SELECT pg_catalog.set_config($1, $2, false)", [name, value]);
}

/** A failed build leaves an index that costs writes and serves no reads. What cannot be dropped now is dropped by the next try. */
async function cleanUp(context: AdminContext, connection: SqlConnection, version: BlueprintVersion, before: string): Promise<void> {
  try {
    await dropInvalid(connection, before);
  } catch (error) {
    context.log.write("warn", "invalid index left by a failed deployment step", { version: version.version, sqlstate: sqlStateOf(error) });
  }
}

/** Drops the invalid indexes made since. @returns the valid ones made since */
async function dropInvalid(connection: SqlConnection, before: string): Promise<readonly Index[]> {
  const made = await indexesSince(connection, before);
  for (const { schema, name } of made.filter((index) => !index.valid)) {
    await connection.queryArrays(`DROP INDEX CONCURRENTLY IF EXISTS ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`, [], {
      maxRows: 0,
      timeoutMs: 0,
    });
  }
  return made.filter((index) => index.valid);
}

/** The owner's own indexes outside `before`; the system's and other roles' never count. */
async function indexesSince(connection: SqlConnection, before: string): Promise<readonly Index[]> {
  const { rows } = await connection.query(
    `SELECT n.nspname AS schema, c.relname AS name, i.indisvalid AS valid
       FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
       JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
      WHERE pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.=) CURRENT_USER AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'
        AND NOT i.indexrelid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])`,
    [before],
  );
  return rows.map((row) => ({ schema: String(row.schema), name: String(row.name), valid: row.valid === true }));
}
