/** Rows into a database that is being restored, table by table, and large objects with their owners and grants. */
import { type BackupTable, copyFrom, createLargeObjectTable, loadLargeObjects, tableName } from "../../../core/backup-format.ts";
import { quoteIdentifier, quoteLiteral } from "../../../core/sql.ts";
import type { Loading } from "./restore.ts";

export async function loadTable(loading: Loading, table: BackupTable, data: AsyncIterable<Uint8Array>): Promise<void> {
  if (table.kind !== "table") {
    await loading.superuser.query(createLargeObjectTable(table));
    await loading.superuser.copyIn(copyFrom({ ...table, schema: "pg_temp" }), data);
    return;
  }
  const quiet = await quieten(loading, table);
  if (quiet.before !== "") await loading.owner.query(quiet.before);
  await loading.owner.copyIn(copyFrom(table), withSignal(data, loading.signal));
  if (quiet.after !== "") await loading.owner.query(quiet.after);
}

async function* withSignal(data: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of data) {
    signal.throwIfAborted();
    yield chunk;
  }
}

/** Triggers that fire even while others rest, and row security that holds for the owner too: off, and on again as they were. */
async function quieten(loading: Loading, table: BackupTable): Promise<{ before: string; after: string }> {
  const { rows } = await loading.superuser.query(
    `SELECT c.relforcerowsecurity AS forced, coalesce((SELECT json_agg(json_build_object('name', t.tgname, 'mode', t.tgenabled)) FROM pg_trigger t
       WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')), '[]')::text AS triggers
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [table.schema, table.name],
  );
  const alter = `ALTER TABLE ${tableName(table)}`;
  const triggers = JSON.parse(String(rows[0]?.triggers ?? "[]")) as { name: string; mode: "A" | "R" }[];
  const before = triggers.map(({ name }) => `${alter} DISABLE TRIGGER ${quoteIdentifier(name)};`);
  const after = triggers.map(({ name, mode }) => `${alter} ENABLE ${mode === "A" ? "ALWAYS" : "REPLICA"} TRIGGER ${quoteIdentifier(name)};`);
  if (rows[0]?.forced === true) {
    before.push(`${alter} NO FORCE ROW LEVEL SECURITY;`);
    after.push(`${alter} FORCE ROW LEVEL SECURITY;`);
  }
  return { before: before.join("\n"), after: after.join("\n") };
}

/** From the temporary tables the sections were copied into. */
export async function restoreLargeObjects({ superuser, database }: Loading, tables: readonly BackupTable[]): Promise<void> {
  for (const kind of ["large objects", "large object pages"] as const) {
    if (tables.some((table) => table.kind === kind)) await superuser.query(loadLargeObjects[kind]);
  }
  if (!tables.some((table) => table.kind === "large objects")) return;
  await superuser.query(`
DO $tdb$
DECLARE
  item record;
  entry text;
BEGIN
  FOR item IN SELECT oid, owner, grants FROM pg_temp.tdb_large_objects LOOP
    IF item.owner IN ('owner', 'admin', 'write', 'read') THEN
      EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %I', item.oid, ${quoteLiteral(`${database.name}_`)} || item.owner);
    END IF;
    FOREACH entry IN ARRAY item.grants LOOP
      IF entry ~ '^(PUBLIC|owner|admin|write|read)=(SELECT|UPDATE)$' THEN
        EXECUTE format('GRANT %s ON LARGE OBJECT %s TO %s', split_part(entry, '=', 2), item.oid,
          CASE split_part(entry, '=', 1) WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(${quoteLiteral(`${database.name}_`)} || split_part(entry, '=', 1)) END);
      END IF;
    END LOOP;
  END LOOP;
END $tdb$`);
}
