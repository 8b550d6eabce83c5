/** PostgreSQL's Dumper: backups and restores, put together. */
import type { Dumper } from "../../../core/dumper.ts";
import { nativeRoleName } from "../../../core/model.ts";
import { withAdmin } from "./context.ts";
import { type DumpContext, dump } from "./dump.ts";
import { dumpArchive, inspectForArchive } from "./dump-archive.ts";
import { restore } from "./restore.ts";

export function createPostgresDumper(context: DumpContext): Dumper {
  return {
    dump: (request) => dump(context, request),
    dumpArchive: (request, store) => dumpArchive(context, request, store),
    inspectForArchive: (database) => inspectForArchive(context, database),
    restore: (database, parts, signal) => restore(context, database, parts, signal),
    countClients: (database) =>
      withAdmin(context, database.clusterId, undefined, async (connection) => {
        const names = ["admin", "write", "read"].map((role) => nativeRoleName(database.name, role as "admin" | "write" | "read"));
        const found = await connection.query("SELECT FROM pg_stat_activity WHERE datname = $1 AND usename = ANY ($2::name[])", [
          database.name,
          names,
        ]);
        return found.rowCount;
      }),
  };
}
