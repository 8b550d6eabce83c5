/** Rows written by a database's owner, whose tables' own code is not to act on them: triggers and row security rest, and are put back as they were. */
import type { PhysicalDatabase } from "../../../core/model.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";
import { type AdminContext, withAdmin, withRole } from "./context.ts";

/**
 * A session of the owner in which triggers and foreign keys rest: by a setting of the database, which the owner itself could not make. Whatever the
 * tables call all the same (checks, domains, generated columns, indexes) is the customer's code and runs as the owner, not as the administrator.
 */
export async function withQuietOwner<T>(context: AdminContext, database: PhysicalDatabase, work: (owner: SqlConnection) => Promise<T>): Promise<T> {
  const name = quoteIdentifier(database.name);
  const admin = (sql: string) => withAdmin(context, database.clusterId, undefined, (connection) => connection.query(sql));
  await admin(`ALTER DATABASE ${name} SET session_replication_role TO replica`);
  const result = await withRole(context, database, "owner", work);
  await admin(`ALTER DATABASE ${name} RESET session_replication_role`);
  return result;
}

/** Triggers that fire even while others rest, and row security that holds for the owner too: off, and on again as they were. */
export async function quieten(
  superuser: SqlConnection,
  table: { readonly schema: string; readonly name: string },
): Promise<{ readonly before: string; readonly after: string }> {
  const { rows } = await superuser.query(
    `SELECT c.relforcerowsecurity AS forced, coalesce((SELECT json_agg(json_build_object('name', t.tgname, 'mode', t.tgenabled)) FROM pg_trigger t
       WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')), '[]')::text AS triggers
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [table.schema, table.name],
  );
  const alter = `ALTER TABLE ${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
  const triggers = JSON.parse(String(rows[0]?.triggers ?? "[]")) as { name: string; mode: "A" | "R" }[];
  const before = triggers.map(({ name }) => `${alter} DISABLE TRIGGER ${quoteIdentifier(name)};`);
  const after = triggers.map(({ name, mode }) => `${alter} ENABLE ${mode === "A" ? "ALWAYS" : "REPLICA"} TRIGGER ${quoteIdentifier(name)};`);
  if (rows[0]?.forced === true) {
    before.push(`${alter} NO FORCE ROW LEVEL SECURITY;`);
    after.push(`${alter} FORCE ROW LEVEL SECURITY;`);
  }
  return { before: before.join("\n"), after: after.join("\n") };
}
