/** What moving a tenant's database to another cluster needs of the two: who is connected, the contents, and the doors opened at the end. */
import { nativeRoleName, type PhysicalDatabase } from "../../../core/model.ts";
import { type AdminContext, withAdmin, withLocks } from "./context.ts";
import { databaseGrantsSql } from "./provision-sql.ts";

/** A database made like a template becomes a tenant's: its clients' roles may connect. */
export async function openToClients(context: AdminContext, database: PhysicalDatabase): Promise<void> {
  const client = "CONNECT, TEMPORARY";
  const grants = { admin: client, write: client, read: client, owner: "CONNECT, CREATE, TEMPORARY" };
  await withLocks(context, database.clusterId, [{ name: database.name, mode: "exclusive" }], async (connection) => {
    await connection.query(databaseGrantsSql(database.name, grants));
  });
}

/** Sessions of the database's client roles. */
export async function countClientSessions(context: AdminContext, database: PhysicalDatabase): Promise<number> {
  const names = (["admin", "write", "read"] as const).map((role) => nativeRoleName(database.name, role));
  const { rows } = await withAdmin(context, database.clusterId, undefined, (connection) =>
    connection.query(
      "SELECT pg_catalog.count(*) AS n FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND usename = ANY ($2::pg_catalog.name[])",
      [database.name, names],
    ),
  );
  return Number(rows[0]?.n);
}
