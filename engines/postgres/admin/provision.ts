/** Makes, closes and drops databases with their roles. Every function may be run again after a crash at any point and then finishes. */
import { type NativeRole, nativeRoleName, type PhysicalDatabase } from "../../../core/model.ts";
import { settings } from "../../../core/settings.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";
import { type AdminContext, inTransaction, withAdmin, withLocks } from "./context.ts";
import {
  createDatabaseSql,
  databaseGrantsSql,
  defaultPrivilegesSql,
  findDatabaseSql,
  finishSql,
  largeObjectSql,
  lockDownClusterSql,
  openDatabasesSql,
  publicSchemaSql,
  roleSql,
  terminateSessionsSql,
  unfinishedConnectionLimit,
} from "./provision-sql.ts";
import { nativeRoles } from "./role-names.ts";
import { guardSql, handOverSql, ownerGrantsSql } from "./tenant-sql.ts";
import { readMarkSql, setUpMark, workspaceSetUpSql } from "./workspace-sql.ts";

const clientRoles = ["admin", "write", "read"] as const;

/** What clients' roles may do with the database itself. */
const clientGrants = { admin: "CONNECT, TEMPORARY", write: "CONNECT, TEMPORARY", read: "CONNECT, TEMPORARY" };

/** Closes the databases every server starts with, and names those that stay open to every role of the cluster. */
export async function prepareCluster(context: AdminContext, clusterId: string): Promise<void> {
  await withLocks(context, clusterId, [{ name: "cluster", mode: "exclusive" }], async (connection) => {
    await connection.query(lockDownClusterSql);
    const open = await connection.query(openDatabasesSql);
    for (const row of open.rows) {
      context.log.write("warn", "database of the cluster is open to every role", { cluster: clusterId, database: String(row.name) });
    }
  });
}

export function createWorkspaceDatabase(context: AdminContext, database: PhysicalDatabase, mode: "tenant" | "control"): Promise<void> {
  const { name } = database;
  const setUp = [
    publicSchemaSql(name, "admin"),
    defaultPrivilegesSql(name, "admin"),
    largeObjectSql(name),
    workspaceSetUpSql(mode, allowedExtensions(context)),
    databaseGrantsSql(name, { ...clientGrants, admin: "CONNECT, TEMPORARY, CREATE", owner: "CONNECT" }),
  ];
  return create(context, database, "template0", setUp.join("\n"));
}

function allowedExtensions(context: AdminContext): readonly string[] {
  return context.allowedExtensions?.() ?? settings["extensions.allow"].default;
}

/** A look at the mark first: nearly always there is nothing to do. */
export async function refreshWorkspaceDatabase(context: AdminContext, database: PhysicalDatabase, mode: "tenant" | "control"): Promise<void> {
  const extensions = allowedExtensions(context);
  const isCurrent = async (inside: SqlConnection) => (await inside.query(readMarkSql)).rows[0]?.mark === setUpMark(mode, extensions);
  await withAdmin(context, database.clusterId, database.name, async (inside) => {
    if (await isCurrent(inside)) return;
    await withLocks(context, database.clusterId, [{ name: database.name, mode: "exclusive" }], async () => {
      await inTransaction(inside, async () => {
        if (await isCurrent(inside)) return;
        // A client in the middle of a change holds the log; the next try may find it free.
        await inside.query("SET LOCAL lock_timeout TO '5s'");
        await inside.query(workspaceSetUpSql(mode, extensions));
      });
    });
  });
}

export function createTemplateDatabase(context: AdminContext, database: PhysicalDatabase): Promise<void> {
  // Its clients' roles only mark who gets what in the copies.
  return create(context, database, "template0", emptyTenantSql(database, {}));
}

/** A tenant's database that is no copy: versions and rows are still to come. One found is dropped first: whatever is in it is a broken restore's. */
export async function createRestoreDatabase(context: AdminContext, database: PhysicalDatabase): Promise<void> {
  await dropDatabase(context, database);
  await create(context, database, "template0", emptyTenantSql(database, clientGrants));
}

function emptyTenantSql({ name }: PhysicalDatabase, grants: Partial<Record<NativeRole, string>>): string {
  return [
    publicSchemaSql(name, "owner"),
    defaultPrivilegesSql(name, "owner"),
    largeObjectSql(name),
    guardSql,
    ownerGrantsSql(name),
    databaseGrantsSql(name, { ...grants, owner: "CONNECT, CREATE, TEMPORARY" }),
  ].join("\n");
}

export function createTenantDatabase(context: AdminContext, database: PhysicalDatabase, template: PhysicalDatabase): Promise<void> {
  const { name } = database;
  const setUp = handOverSql(name, template.name) + databaseGrantsSql(name, { ...clientGrants, owner: "CONNECT, CREATE, TEMPORARY" });
  return create(context, database, template.name, setUp);
}

/** A copy of any database on the cluster that nobody is connected to; `setUp` runs inside it and must end with who may connect. */
export function createDatabaseFrom(context: AdminContext, database: PhysicalDatabase, source: string, setUp: string): Promise<void> {
  return create(context, database, source, setUp);
}

/** Roles, then the database, closed until its set-up has committed; one found closed is a crash's and made anew. */
async function create(context: AdminContext, database: PhysicalDatabase, template: string, setUp: string): Promise<void> {
  const locks = [
    ...(template === "template0" ? [] : [{ name: template, mode: "shared" as const }]),
    { name: database.name, mode: "exclusive" as const },
  ];
  await withLocks(context, database.clusterId, locks, async (connection) => {
    await ensureRoles(context, connection, database);
    const found = (await connection.query(findDatabaseSql, [database.name])).rows[0];
    if (found) {
      if (isFinished(found)) return;
      await dropNow(connection, database.name);
    }
    await connection.query(createDatabaseSql(database.name, template));
    await withAdmin(context, database.clusterId, database.name, async (inside) => {
      await inTransaction(inside, async () => {
        await inside.query(setUp);
        await inside.query(finishSql(database.name));
      });
    });
  });
}

/** -2 is PostgreSQL's own mark of a DROP DATABASE that was interrupted. */
function isFinished(row: Record<string, unknown>): boolean {
  return row.connection_limit !== unfinishedConnectionLimit && row.connection_limit !== -2;
}

async function ensureRoles(context: AdminContext, connection: SqlConnection, database: PhysicalDatabase): Promise<void> {
  const names = nativeRoles.map((role) => nativeRoleName(database.name, role));
  const found = await connection.query("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY ($1::pg_catalog.name[])", [names]);
  const existing = new Set(found.rows.map((row) => String(row.rolname)));
  const verifiers = await Promise.all(nativeRoles.map((role) => context.secrets.nativeRoleVerifier(database, role)));
  const statements = names.map((name, index) => roleSql(name, existing.has(name), verifiers[index] ?? ""));
  await connection.query(`BEGIN;\n${statements.join("")}COMMIT;`);
}

async function dropNow(connection: SqlConnection, name: string): Promise<void> {
  await connection.query(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`);
}

export async function dropDatabase(context: AdminContext, database: PhysicalDatabase): Promise<void> {
  await withLocks(context, database.clusterId, [{ name: database.name, mode: "exclusive" }], async (connection) => {
    await dropNow(connection, database.name);
    const names = nativeRoles.map((role) => quoteIdentifier(nativeRoleName(database.name, role)));
    await connection.query(`DROP ROLE IF EXISTS ${names.join(", ")}`);
  });
}

/** By the roles' CONNECT privilege, so that the owner and administrators still get in for maintenance and backup. */
export async function setConnectable(context: AdminContext, database: PhysicalDatabase, allowed: boolean): Promise<void> {
  const names = clientRoles.map((role) => nativeRoleName(database.name, role));
  const users = names.map(quoteIdentifier).join(", ");
  await withLocks(context, database.clusterId, [{ name: database.name, mode: "exclusive" }], async (connection) => {
    await connection.query(
      `${allowed ? "GRANT" : "REVOKE"} CONNECT ON DATABASE ${quoteIdentifier(database.name)} ${allowed ? "TO" : "FROM"} ${users}`,
    );
    if (allowed) return;
    // A login that had passed the check of its privilege just before shows up a moment later.
    for (let round = 0; round < 100; round++) {
      const ended = await connection.query(terminateSessionsSql, [database.name, names]);
      if (ended.rowCount === 0 && round > 0) return;
      await context.clock.sleep(20);
    }
    context.log.write("warn", "sessions of a suspended database do not end", { database: database.name });
  });
}
