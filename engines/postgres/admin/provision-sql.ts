/** SQL that sets up a new workspace or template database: owners, grants, default privileges, completion. */
import { type NativeRole, nativeRoleName } from "../../../core/model.ts";
import { type Role, roles, tenantSequencePrivileges, tenantTablePrivileges } from "../../../core/role.ts";
import { quoteIdentifier, quoteLiteral } from "../../../core/sql.ts";

/** Not finished yet: nobody but superusers gets in. Taken back in the transaction that finishes the set-up. */
export const unfinishedConnectionLimit = 0;

export const findDatabaseSql = `
SELECT datconnlimit AS connection_limit, pg_catalog.pg_encoding_to_char(encoding) AS encoding FROM pg_catalog.pg_database WHERE datname = $1`;

/** No STRATEGY: WAL_LOG, which asks for no checkpoint, is the default from 15 on, and 14 does not know the word. */
export function createDatabaseSql(name: string, template: string): string {
  return `CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE ${quoteIdentifier(template)} CONNECTION LIMIT ${unfinishedConnectionLimit}`;
}

/** Who may connect to the database and what it may do there. `PUBLIC` nothing: other databases' roles are part of it. */
export function databaseGrantsSql(name: string, grants: Partial<Record<NativeRole, string>>): string {
  const database = quoteIdentifier(name);
  const statements = [`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`];
  for (const [role, privileges] of Object.entries(grants)) {
    statements.push(`GRANT ${privileges} ON DATABASE ${database} TO ${quoteIdentifier(nativeRoleName(name, role as NativeRole))}`);
  }
  return `${statements.join(";\n")};\n`;
}

export function finishSql(name: string): string {
  return `ALTER DATABASE ${quoteIdentifier(name)} CONNECTION LIMIT -1;\n`;
}

/** Functions on large objects, open to everybody by default, let even a reader store data. */
export function largeObjectSql(name: string): string {
  const holders = [nativeRoleName(name, "admin"), nativeRoleName(name, "write")].map(quoteIdentifier).join(", ");
  return `
DO $tdb$
DECLARE
  functions text;
BEGIN
  SELECT pg_catalog.string_agg(p.oid::pg_catalog.regprocedure::text, ', ') INTO functions FROM pg_catalog.pg_proc p
   WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname ~ '^(lo_|loread$|lowrite$)' AND p.proname !~ '^lo_(import|export)$';
  EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || functions || ' FROM PUBLIC';
  EXECUTE 'GRANT EXECUTE ON FUNCTION ' || functions || ' TO ${holders}';
END $tdb$;
`;
}

/** Schema `public` as its owner's, closed to everybody but the database's own roles. */
export function publicSchemaSql(name: string, owner: NativeRole): string {
  const users = (["admin", "write", "read"] as const).map((role) => quoteIdentifier(nativeRoleName(name, role))).join(", ");
  return `
ALTER SCHEMA public OWNER TO ${quoteIdentifier(nativeRoleName(name, owner))};
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO ${users};
`;
}

/**
 * For whatever \`owner\` will create, in any schema. Functions and types stay at PostgreSQL's default, EXECUTE and USAGE for PUBLIC, which is
 * these roles only: so a blueprint's REVOKE … FROM PUBLIC works as its author means it.
 */
export function defaultPrivilegesSql(name: string, owner: NativeRole): string {
  const forOwner = `ALTER DEFAULT PRIVILEGES FOR ROLE ${quoteIdentifier(nativeRoleName(name, owner))} GRANT`;
  return roles
    .filter((role: Role) => role !== owner)
    .map((role) => {
      const user = quoteIdentifier(nativeRoleName(name, role));
      return `
${forOwner} USAGE ON SCHEMAS TO ${user};
${forOwner} ${tenantTablePrivileges[role].join(", ")} ON TABLES TO ${user};
${forOwner} ${tenantSequencePrivileges[role].join(", ")} ON SEQUENCES TO ${user};`;
    })
    .join("");
}

/** Attributes of every native role; it is a member of nothing. `verifier` is a SCRAM verifier, not a password. */
export function roleSql(name: string, exists: boolean, verifier: string): string {
  return (
    `${exists ? "ALTER" : "CREATE"} ROLE ${quoteIdentifier(name)} ` +
    `LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT PASSWORD ${quoteLiteral(verifier)};\n`
  );
}

/** Databases every PostgreSQL server has and lets everybody into. */
export const lockDownClusterSql = `
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
`;

/** Databases of the cluster that PUBLIC, and with it every tenant's role, may connect to. */
export const openDatabasesSql = `
SELECT d.datname AS name FROM pg_catalog.pg_database d
 WHERE d.datallowconn AND EXISTS (
   SELECT FROM pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
    WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
 ORDER BY d.datname`;

/** Sessions of the database's own roles; administrators stay. */
export const terminateSessionsSql = `
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND usename = ANY ($2::pg_catalog.name[])`;
