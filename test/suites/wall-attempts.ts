/** Statements that would take a session out of its database or above its role. None may succeed, whoever sends it and however. */

/** What the statements name, filled in per attacker. */
export interface Marks {
  /** Physical names: the attacker's own database, a tenant of the same blueprint, one of another project. */
  readonly own: string;
  readonly neighbour: string;
  readonly stranger: string;
  readonly ownRole: string;
  /** A path only the server's own user could write to. */
  readonly file: string;
}

export interface Attempt {
  readonly sql: string;
  /** SQLSTATEs it may be refused with. */
  readonly codes: readonly string[];
  /** Cannot stand in a function; PostgreSQL's refusal of that comes first. */
  readonly topLevel: boolean;
}

const denied = ["42501"];
const notThere = ["42883", "42501"];

function list(codes: readonly string[], ...statements: readonly string[]): Attempt[] {
  return statements.map((sql) => ({
    sql,
    codes,
    topLevel: /^(ALTER SYSTEM|CREATE (DATABASE|TABLESPACE|SUBSCRIPTION)|DROP DATABASE|PREPARE TRANSACTION|VACUUM)/.test(sql),
  }));
}

export function attemptsOf({ own, neighbour, stranger, ownRole, file }: Marks): readonly Attempt[] {
  const others = [`${own}_owner`, `${neighbour}_admin`, `${neighbour}_owner`, `${stranger}_admin`, "postgres", "pg_read_all_data", "pg_monitor"];
  return [
    // Becoming somebody else.
    ...others.flatMap((role) =>
      list(
        role.startsWith("pg_") ? ["42501", "42939"] : denied,
        `SET ROLE ${role}`,
        `SET LOCAL ROLE ${role}`,
        `SELECT set_config('role', '${role}', false)`,
        `GRANT ${role} TO CURRENT_USER`,
        `ALTER ROLE ${role} PASSWORD 'x'`,
        `ALTER ROLE ${role} SET search_path TO pg_temp`,
        `COMMENT ON ROLE ${role} IS 'x'`,
      ),
    ),
    ...others.flatMap((role) =>
      list(
        role.startsWith("pg_") ? ["42501", "22023", "0LP01"] : denied,
        `SET SESSION AUTHORIZATION ${role}`,
        `SELECT set_config('session_authorization', '${role}', false)`,
      ),
    ),
    // More rights for oneself.
    ...[
      "SUPERUSER",
      "CREATEROLE",
      "CREATEDB",
      "REPLICATION",
      "BYPASSRLS",
      "CONNECTION LIMIT 5",
      "VALID UNTIL 'infinity'",
      "NOLOGIN",
      "NOINHERIT",
    ].flatMap((attribute) => list(denied, `ALTER ROLE CURRENT_USER ${attribute}`)),
    ...list(
      denied,
      "CREATE ROLE x",
      "CREATE USER x PASSWORD 'x'",
      "CREATE ROLE x IN ROLE CURRENT_USER",
      `DROP ROLE ${neighbour}_read`,
      "ALTER ROLE ALL SET search_path TO x",
      `ALTER ROLE CURRENT_USER SET session_preload_libraries = 'x'`,
      `ALTER ROLE CURRENT_USER SET log_statement = 'all'`,
      `ALTER ROLE CURRENT_USER SET temp_file_limit = -1`,
      `REASSIGN OWNED BY ${own}_owner TO CURRENT_USER`,
      `DROP OWNED BY ${own}_owner`,
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${own}_owner GRANT ALL ON TABLES TO PUBLIC`,
      `ALTER TABLE ledger OWNER TO ${neighbour}_admin`,
    ),
    ...list(["42501", "0A000"], `ALTER ROLE ${ownRole} RENAME TO x`),
    // Databases.
    ...[own, neighbour, stranger, "postgres", "template1"].flatMap((name) =>
      list(
        denied,
        `ALTER DATABASE ${name} SET search_path TO x`,
        `ALTER DATABASE ${name} OWNER TO CURRENT_USER`,
        `ALTER DATABASE ${name} CONNECTION LIMIT 0`,
        `ALTER DATABASE ${name} RENAME TO x`,
        `COMMENT ON DATABASE ${name} IS 'x'`,
        `CREATE DATABASE x TEMPLATE ${name}`,
        `DROP DATABASE ${name}`,
      ),
    ),
    ...[neighbour, stranger, "postgres"].flatMap((name) => list(denied, `GRANT ALL ON DATABASE ${name} TO ${neighbour}_read`)),
    // On one's own database it is a warning and nothing happens.
    ...list(["ok", "42501"], `GRANT ALL ON DATABASE ${own} TO ${neighbour}_read`),
    ...list(denied, "CREATE TABLESPACE x LOCATION '/tmp'"),
    // Files, programs, the server itself.
    ...list(
      ["42501", "0A000"],
      "COPY ledger TO PROGRAM 'cat'",
      "COPY ledger FROM PROGRAM 'echo 1'",
      `COPY ledger TO '${file}'`,
      "COPY ledger FROM '/etc/passwd'",
      "COPY (SELECT 1) TO PROGRAM 'cat'",
    ),
    ...list(
      denied,
      "SELECT pg_read_file('/etc/passwd')",
      "SELECT pg_read_file('postgresql.conf')",
      "SELECT pg_read_binary_file('PG_VERSION')",
      "SELECT pg_ls_dir('.')",
      "SELECT pg_ls_logdir()",
      "SELECT pg_ls_waldir()",
      "SELECT pg_ls_tmpdir()",
      "SELECT pg_stat_file('PG_VERSION')",
      "SELECT pg_current_logfile()",
      `SELECT lo_export(1, '${file}')`,
      "SELECT lo_import('/etc/passwd')",
      "SELECT * FROM pg_hba_file_rules",
      "SELECT * FROM pg_file_settings",
      "SELECT * FROM pg_authid",
      "SELECT * FROM pg_shmem_allocations",
      "SELECT * FROM pg_backend_memory_contexts",
      "SELECT * FROM pg_user_mapping",
      "SELECT data FROM pg_largeobject",
      "SELECT subconninfo FROM pg_subscription",
      "ALTER SYSTEM SET work_mem = '1GB'",
      "ALTER SYSTEM RESET ALL",
      "SELECT pg_reload_conf()",
      "SELECT pg_rotate_logfile()",
      "SELECT pg_switch_wal()",
      "SELECT pg_create_restore_point('x')",
      "SELECT pg_log_backend_memory_contexts(1)",
      "SELECT pg_stat_reset()",
      "SELECT pg_replication_origin_create('x')",
      "CHECKPOINT",
      "LOAD 'plpgsql_check'",
      "SET session_replication_role TO replica",
      "SET log_statement TO 'all'",
      "SET temp_file_limit TO -1",
      "SET allow_system_table_mods TO on",
      "SET session_preload_libraries TO 'x'",
      "UPDATE pg_catalog.pg_class SET relacl = NULL",
      "DELETE FROM pg_catalog.pg_event_trigger",
    ).map((attempt) => (attempt.sql.startsWith("LOAD") ? { ...attempt, codes: ["42501", "58P01"] } : attempt)),
    // Not known to every version of PostgreSQL.
    ...list(["42501", "42704", "42883"], "SET event_triggers TO off", "SELECT pg_backup_start('x')"),
    // Code of others, and ways to other servers.
    ...list(
      ["42501", "0A000", "58P01", "42704"],
      "CREATE EXTENSION dblink",
      "CREATE EXTENSION postgres_fdw",
      "CREATE EXTENSION file_fdw",
      "CREATE EXTENSION adminpack",
      "CREATE EXTENSION pg_stat_statements",
      "CREATE EXTENSION plpython3u",
      "CREATE LANGUAGE plpython3u",
      "CREATE FOREIGN DATA WRAPPER x",
      "CREATE SERVER x FOREIGN DATA WRAPPER postgres_fdw",
      "CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
      "ALTER EVENT TRIGGER tdb_guard_ddl DISABLE",
      "DROP EVENT TRIGGER tdb_capture_ddl",
      "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'x', 'y'",
      "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE internal AS 'pg_read_file'",
      "CREATE ACCESS METHOD x TYPE TABLE HANDLER heap_tableam_handler",
    ).map((attempt) => (attempt.sql.includes("suppress_redundant") ? { ...attempt, codes: ["42501", "42P17"] } : attempt)),
    ...list(
      notThere,
      "SELECT dblink('dbname=postgres', 'SELECT 1')",
      "SELECT dblink_connect('host=localhost')",
      "SELECT postgres_fdw_get_connections()",
    ),
    // Replication and two-phase commit.
    ...list(
      ["42501", "55000", "0A000"],
      "SELECT pg_create_physical_replication_slot('x')",
      "SELECT pg_create_logical_replication_slot('x', 'pgoutput')",
      "SELECT pg_drop_replication_slot('x')",
      "CREATE SUBSCRIPTION x CONNECTION 'dbname=postgres' PUBLICATION x",
      "CREATE PUBLICATION x FOR ALL TABLES",
    ),
    // What is the gateway's.
    ...list(
      denied,
      "SELECT * FROM tdb.applied",
      "UPDATE tdb.applied SET version = 99",
      "SELECT tdb.record_applied(1, 99)",
      "SELECT tdb.lock_applied()",
      "SELECT * FROM tdb.ddl_log",
      "INSERT INTO tdb.ddl_message (pid, at, text) VALUES (1, now(), 'x')",
      "DELETE FROM tdb.ddl_log",
      "SELECT tdb.capture('x', 'x', 'x', 'x')",
      "SELECT nextval('tdb.ddl_order')",
      "CREATE FUNCTION tdb.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
      "DROP SCHEMA tdb CASCADE",
      "ALTER SCHEMA tdb OWNER TO CURRENT_USER",
      "GRANT USAGE ON SCHEMA tdb TO PUBLIC",
      "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
      `DROP OWNED BY CURRENT_USER`,
    ).map((attempt) => (/DROP OWNED BY CURRENT/.test(attempt.sql) ? { ...attempt, codes: ["42501", "0A000"] } : attempt)),
    ...list(["3F000", "42P01", "42501"], "SELECT * FROM tenantry.credentials", "SELECT * FROM postgres.tenantry.verifiers").map((attempt) => ({
      ...attempt,
      codes: ["42P01", "3F000", "0A000"],
    })),
  ];
}
