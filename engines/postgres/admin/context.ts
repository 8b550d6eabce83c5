/** What every part of the cluster administration works with, and how it opens connections, transactions and locks. */
import type { Clock } from "../../../core/clock.ts";
import type { Log } from "../../../core/log.ts";
import { type NativeRole, nativeRoleName, type PhysicalDatabase } from "../../../core/model.ts";
import type { Secrets } from "../../../core/secrets.ts";
import { quoteIdentifier, quoteLiteral, type SqlConnection, type SqlDialer } from "../../../core/sql.ts";
import { sqlStateOf, toGatewayError } from "./sql-errors.ts";

export interface AdminContext {
  readonly dialer: SqlDialer;
  readonly secrets: Secrets;
  readonly log: Log;
  readonly clock: Clock;
}

/** Runs `work` on a connection as the cluster's administrator; `database` undefined = the maintenance database. */
export async function withAdmin<T>(
  context: AdminContext,
  clusterId: string,
  database: string | undefined,
  work: (connection: SqlConnection) => Promise<T>,
): Promise<T> {
  const connection = await open(() => context.dialer.asAdmin(clusterId, database));
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

/** Runs `work` as one of the database's own roles. A password its holder changed is set back and the login tried once more. */
export async function withRole<T>(
  context: AdminContext,
  database: PhysicalDatabase,
  role: NativeRole,
  work: (connection: SqlConnection) => Promise<T>,
): Promise<T> {
  const connection = await open(async () => {
    try {
      return await context.dialer.asRole(database, role);
    } catch (error) {
      if (sqlStateOf(error) !== "28P01") throw error;
      await reassertRolePassword(context, database, role);
      return await context.dialer.asRole(database, role);
    }
  });
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

async function open(dial: () => Promise<SqlConnection>): Promise<SqlConnection> {
  try {
    return await dial();
  } catch (error) {
    throw toGatewayError(error);
  }
}

/** Any role may change its own password; this puts the derived one back. */
export async function reassertRolePassword(context: AdminContext, database: PhysicalDatabase, role: NativeRole): Promise<void> {
  const name = nativeRoleName(database.name, role);
  const verifier = await context.secrets.nativeRoleVerifier(database, role);
  context.log.write("warn", "password of a native role set back", { database: database.name, role });
  await withAdmin(context, database.clusterId, undefined, async (connection) => {
    await connection.query(`ALTER ROLE ${quoteIdentifier(name)} PASSWORD ${quoteLiteral(verifier)}`);
  });
}

export async function inTransaction<T>(connection: SqlConnection, work: () => Promise<T>): Promise<T> {
  await connection.query("BEGIN");
  try {
    const result = await work();
    await connection.query("COMMIT");
    return result;
  } catch (error) {
    // On a broken connection the server rolls back by itself; the first error is the one to tell.
    await connection.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

export interface DatabaseLock {
  readonly name: string;
  readonly mode: "exclusive" | "shared";
}

/**
 * Runs `work` on a maintenance connection that holds session-level advisory locks, one control-plane job per database at a time.
 * They are taken in the maintenance database, which no client reaches: in its own database a client could hold them.
 */
export function withLocks<T>(
  context: AdminContext,
  clusterId: string,
  locks: readonly DatabaseLock[],
  work: (connection: SqlConnection) => Promise<T>,
): Promise<T> {
  return withAdmin(context, clusterId, undefined, async (connection) => {
    for (const { name, mode } of locks) {
      const take = mode === "shared" ? "pg_advisory_lock_shared" : "pg_advisory_lock";
      await connection.query(`SELECT pg_catalog.${take}(pg_catalog.hashtextextended($1, 0))`, [`tenantry:${name}`]);
    }
    return await work(connection);
  });
}
