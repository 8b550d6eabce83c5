/** What every part of the cluster administration works with, and how it opens connections, transactions and locks. */
import type { Clock } from "../../../core/clock.ts";
import type { Log } from "../../../core/log.ts";
import { type NativeRole, nativeRoleName, type PhysicalDatabase } from "../../../core/model.ts";
import type { Secrets } from "../../../core/secrets.ts";
import { quoteIdentifier, quoteLiteral, type SqlConnection, type SqlDialer } from "../../../core/sql.ts";
import { maxRestores, ownSettingsQueries } from "../own-settings.ts";
import { nativeRoles } from "./role-names.ts";
import { sqlStateOf, toGatewayError } from "./sql-errors.ts";

export interface AdminContext {
  readonly dialer: SqlDialer;
  readonly secrets: Secrets;
  readonly log: Log;
  readonly clock: Clock;
  /** Extensions that may be created in workspaces, as configured now; as the settings table has it where left out. */
  readonly allowedExtensions?: (() => readonly string[]) | undefined;
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

/** Runs `work` as one of the database's own roles. What its holders changed of the role is set back, and the login made anew. */
export async function withRole<T>(
  context: AdminContext,
  database: PhysicalDatabase,
  role: NativeRole,
  work: (connection: SqlConnection) => Promise<T>,
): Promise<T> {
  const connection = await open(() => logIn(context, database, role));
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

async function logIn(context: AdminContext, database: PhysicalDatabase, role: NativeRole): Promise<SqlConnection> {
  for (let restores = 0; ; restores++) {
    try {
      const connection = await context.dialer.asRole(database, role);
      if (await isUnaltered(connection)) return connection;
      await connection.close();
      if (restores === maxRestores) throw new Error("the settings of the native role are changed again and again");
    } catch (error) {
      if (sqlStateOf(error) !== "28P01" || restores === maxRestores) throw error;
    }
    await restoreRole(context, database, role);
  }
}

async function isUnaltered(connection: SqlConnection): Promise<boolean> {
  const [lift, ask, putBack] = ownSettingsQueries;
  try {
    await connection.query(lift);
    const { rowCount } = await connection.query(ask);
    await connection.query(putBack);
    return rowCount === 0;
  } catch {
    return false; // a setting of the role may be what makes the question fail
  }
}

async function open(dial: () => Promise<SqlConnection>): Promise<SqlConnection> {
  try {
    return await dial();
  } catch (error) {
    throw toGatewayError(error);
  }
}

/** Any role may change its own password and keep settings for itself, in its database and, as mere rows, in others: all of it is set back. */
export async function restoreRole(context: AdminContext, database: PhysicalDatabase, role: NativeRole): Promise<void> {
  const name = nativeRoleName(database.name, role);
  const verifier = await context.secrets.nativeRoleVerifier(database, role);
  context.log.write("warn", "password and settings of a native role set back", { database: database.name, role });
  await withAdmin(context, database.clusterId, undefined, async (connection) => {
    const kept = await connection.query(
      `SELECT d.datname AS name FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
        WHERE s.setrole = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = $1)`,
      [name],
    );
    const user = quoteIdentifier(name);
    const resets = kept.rows.map((row) => `ALTER ROLE ${user} IN DATABASE ${quoteIdentifier(String(row.name))} RESET ALL;\n`);
    await connection.query(`ALTER ROLE ${user} PASSWORD ${quoteLiteral(verifier)};\nALTER ROLE ${user} RESET ALL;\n${resets.join("")}`);
  });
}

/** The same, only where the role keeps settings: what a login that does not come about can be asked for cheaply. */
export async function restoreAlteredRole(context: AdminContext, database: PhysicalDatabase, role: NativeRole): Promise<void> {
  const isAltered = await withAdmin(context, database.clusterId, undefined, async (connection) => {
    const sql = "SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE r.rolname = $1 LIMIT 1";
    return (await connection.query(sql, [nativeRoleName(database.name, role)])).rowCount > 0;
  });
  if (isAltered) await restoreRole(context, database, role);
}

/** New passwords for all roles of a database, after the key they are derived from has changed. Sessions that are open stay open. */
export async function rekeyRoles(context: AdminContext, database: PhysicalDatabase): Promise<void> {
  await withAdmin(context, database.clusterId, undefined, async (connection) => {
    for (const role of nativeRoles) {
      const name = nativeRoleName(database.name, role);
      const { rowCount } = await connection.query("SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", [name]);
      if (rowCount === 0) continue; // being made or gone already
      const verifier = await context.secrets.nativeRoleVerifier(database, role);
      await connection.query(`ALTER ROLE ${quoteIdentifier(name)} PASSWORD ${quoteLiteral(verifier)}`);
    }
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
