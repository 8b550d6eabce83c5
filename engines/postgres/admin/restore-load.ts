/** Rows into a database that is being restored, table by table, and large objects with their owners and grants. */
import { type BackupTable, copyFrom, createLargeObjectTable, loadLargeObjects } from "../../../core/backup-format.ts";
import { quoteLiteral } from "../../../core/sql.ts";
import { quieten } from "./quiet-tables.ts";
import type { Loading } from "./restore.ts";

export async function loadTable(loading: Loading, table: BackupTable, data: AsyncIterable<Uint8Array>): Promise<void> {
  if (table.kind !== "table") {
    await loading.superuser.query(createLargeObjectTable(table));
    await loading.superuser.copyIn(copyFrom({ ...table, schema: "pg_temp" }), data);
    return;
  }
  const quiet = await quieten(loading.superuser, table);
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

/** From the temporary tables the sections were copied into. */
export async function restoreLargeObjects({ superuser, database }: Loading, tables: readonly BackupTable[]): Promise<void> {
  for (const kind of ["large objects", "large object pages", "large object contents"] as const) {
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
