/** DDL on tenants in every form it takes, and what each role may do: refused by text, by trigger or by privilege, the session goes on. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure, psql, psqlScript, refusal } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";

const message = "DDL not allowed on tenant databases, use workspace mode";

/** The text shows what it is: the clear message. */
const ddl = [
  "CREATE TABLE x (i int)",
  "create unlogged table if not exists x ()",
  "CREATE/**/TABLE x()",
  "/*/**/*/create table x()",
  "-- a comment; with a semicolon\nCREATE TABLE x()",
  ";;create table x()",
  "CREATE TABLE x AS SELECT 1 AS i",
  "SELECT 1 AS i INTO x",
  "WITH a AS (SELECT 1 AS i) SELECT * INTO x FROM a",
  "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1 AS i",
  'CREATE TABLE "public".U&"\\0078" ()',
  "ALTER TABLE accounts ADD COLUMN y int",
  "ALTER TABLE accounts RENAME TO y",
  "ALTER TABLE accounts OWNER TO CURRENT_USER",
  "DROP TABLE accounts",
  "DROP SCHEMA public CASCADE",
  "CREATE INDEX ON accounts (name)",
  "CREATE INDEX CONCURRENTLY ON accounts (name)",
  "CREATE VIEW v AS SELECT 1",
  "CREATE MATERIALIZED VIEW v AS SELECT 1",
  "CREATE SCHEMA s",
  "CREATE SEQUENCE s",
  "CREATE TYPE t AS ENUM ('a')",
  "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  "CREATE TRIGGER t BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
  "CREATE POLICY p ON accounts",
  "CREATE RULE r AS ON DELETE TO accounts DO NOTHING",
  "CREATE STATISTICS st ON name, email FROM accounts",
  "CREATE EXTENSION pgcrypto",
  "CREATE ROLE x",
  "ALTER ROLE CURRENT_USER PASSWORD 'x'",
  "CREATE DATABASE x",
  "ALTER SYSTEM SET work_mem = '1GB'",
  "GRANT SELECT ON accounts TO PUBLIC",
  "REVOKE ALL ON accounts FROM CURRENT_USER",
  "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
  "REASSIGN OWNED BY CURRENT_USER TO CURRENT_USER",
  "DROP OWNED BY CURRENT_USER",
  "COMMENT ON TABLE accounts IS 'mine'",
  "SECURITY LABEL ON TABLE accounts IS 'mine'",
];

/** The text does not show it: privileges and triggers refuse, and the error's context tells that it was DDL. */
const hidden = [
  "DO $$BEGIN CREATE TABLE x (i int); END$$",
  "DO $$BEGIN EXECUTE 'cre' || 'ate table x ()'; END$$",
  "DO $$BEGIN EXECUTE 'alter table accounts add y int'; END$$",
  "SELECT make_table()",
  "WITH a AS (SELECT make_table()) SELECT * FROM a",
];

export function describeDdl(fleetOf: () => Fleet): void {
  describe("DDL on a tenant", () => {
    let fleet: Fleet;
    let client: pg.Client;
    const catalog = async () =>
      (
        await client.query(
          `SELECT relname AS name, relkind AS what, relacl::text AS rights, relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace
           UNION ALL SELECT attname, 'c', NULL, 0 FROM pg_attribute WHERE attrelid = 'accounts'::regclass
           UNION ALL SELECT nspname, 's', nspacl::text, nspowner FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1, 2`,
        )
      ).rows;

    beforeAll(async () => {
      fleet = fleetOf();
      client = await connect(fleet.gateway, fleet.tenant("wayne"));
    });
    afterAll(async () => {
      await client.end();
    });

    for (const queryMode of ["simple", "extended"] as const) {
      it(`is refused in the ${queryMode} protocol, the session goes on and nothing has changed`, async () => {
        const before = await catalog();
        const wrong: unknown[] = [];
        for (const text of [...ddl, ...hidden]) {
          if (queryMode === "extended" && text.startsWith(";")) continue;
          const error = await failure(client.query({ text, ...(queryMode === "extended" && { queryMode }) } as pg.QueryConfig));
          if (error.severity !== "ERROR" || error.code !== "42501" || error.message !== message) wrong.push([text, error.code, error.message]);
          expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
        }
        expect(wrong).toEqual([]);
        expect(await catalog()).toEqual(before);
      });
    }

    it("is shown by psql with its SQLSTATE", async () => {
      const shown = await psqlScript(
        fleet.gateway,
        fleet.tenant("wayne"),
        "CREATE TABLE x (i int);\nDO $$BEGIN CREATE TABLE x (i int); END$$;\nSELECT 'alive';\n",
      );
      expect(shown.stderr.split("\n").filter((line) => line.startsWith("ERROR"))).toEqual([`ERROR:  42501: ${message}`, `ERROR:  42501: ${message}`]);
      expect(shown.stdout).toBe("alive\n");
    });

    it("takes the rest of its message with it", async () => {
      for (const text of [
        "INSERT INTO accounts (name) VALUES ('atomic'); CREATE TABLE x ()",
        "INSERT INTO accounts (name) VALUES ('atomic'); CREATE ROLE x",
        "INSERT INTO accounts (name) VALUES ('atomic'); SELECT make_table(); INSERT INTO accounts (name) VALUES ('atomic')",
      ]) {
        expect((await failure(client.query(text))).code).toBe("42501");
      }
      expect((await client.query("SELECT FROM accounts WHERE name = 'atomic'")).rowCount).toBe(0);
    });

    it("leaves an open transaction failed, in both protocols", async () => {
      for (const extra of [{}, { queryMode: "extended" }]) {
        for (const text of ["CREATE ROLE x", "CREATE TABLE x ()", "SELECT make_table()"]) {
          await client.query("BEGIN");
          await client.query("INSERT INTO accounts (name) VALUES ('never')");
          expect((await failure(client.query({ text, ...extra } as pg.QueryConfig))).code).toBe("42501");
          expect((await failure(client.query("SELECT 1"))).code).toBe("25P02");
          expect((await client.query("COMMIT")).command).toBe("ROLLBACK");
        }
      }
      expect((await client.query("SELECT FROM accounts WHERE name = 'never'")).rowCount).toBe(0);
    });

    it("is refused behind PREPARE and EXECUTE, and behind a named statement used twice", async () => {
      await client.query("PREPARE sneak AS SELECT make_table()");
      expect((await failure(client.query("EXECUTE sneak"))).code).toBe("42501");
      for (let turn = 0; turn < 2; turn++) {
        expect(await refusal(client.query({ name: "again", text: "CREATE TABLE x ()" }))).toEqual(["42501", message]);
        expect((await failure(client.query({ name: "select", text: "SELECT make_table()" }))).code).toBe("42501");
      }
    });

    it("is nothing to a word in a text, a comment or a name", async () => {
      await client.query(`SELECT 'CREATE TABLE x ()', $$DROP TABLE accounts$$ AS "alter table" /* DROP TABLE accounts */ -- CREATE ROLE x`);
    });
  });

  describe("roles", () => {
    let fleet: Fleet;
    const clients = new Map<string, pg.Client>();

    beforeAll(async () => {
      fleet = fleetOf();
      for (const role of ["read", "write", "admin"]) {
        const { password } = await fleet.makeKey({ role, scope_type: "tenant", scope_values: ["globex"] });
        clients.set(role, await connect(fleet.gateway, { ...fleet.tenant("globex"), password }));
      }
    });
    afterAll(async () => {
      for (const client of clients.values()) await client.end();
    });

    const denied = (what: string) => ["42501", `permission denied for ${what}`];
    const cases: [string, Record<string, unknown>][] = [
      ["INSERT INTO accounts (name) VALUES ('a')", { read: denied("table accounts") }],
      ["UPDATE accounts SET balance = 1", { read: denied("table accounts") }],
      ["DELETE FROM accounts", { read: denied("table accounts") }],
      ["TRUNCATE accounts", { read: denied("table accounts"), write: denied("table accounts") }],
      ["SELECT setval('accounts_id_seq', 100)", { read: denied("sequence accounts_id_seq"), write: denied("sequence accounts_id_seq") }],
      ["SELECT count(*) FROM accounts", {}],
      ["SELECT pg_advisory_xact_lock(1)", {}],
      ["LISTEN a", {}],
      ["SET work_mem = '8MB'", {}],
    ];
    for (const [sql, refused] of cases) {
      it(sql, async () => {
        for (const [role, client] of clients) {
          const outcome = await client.query(sql).then(
            () => "done",
            (error) => [error.code, error.message],
          );
          expect([role, outcome]).toEqual([role, refused[role] ?? "done"]);
        }
      });
    }

    it("all may use temporary tables, prepared statements and cursors", async () => {
      for (const [role, client] of clients) {
        for (const sql of [
          "CREATE TEMP TABLE t (i int PRIMARY KEY, s serial)",
          "CREATE LOCAL TEMPORARY TABLE t2 AS SELECT 1 AS a",
          "SELECT 1 AS a INTO TEMP t3",
          "INSERT INTO t SELECT generate_series(1, 10)",
          "ALTER TABLE t2 ADD COLUMN b int DEFAULT 1",
          "CREATE INDEX ON t2 (a)",
          "CREATE TEMP VIEW tv AS SELECT * FROM t",
          "ANALYZE t",
          "TRUNCATE t",
          "DROP VIEW tv",
          "DROP TABLE t, t2, t3",
          "PREPARE p AS SELECT $1::int + 1",
          "EXECUTE p (1)",
          "BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 3); FETCH 2 FROM c; COMMIT",
        ]) {
          const outcome = await client.query(sql).then(
            () => "done",
            (error) => `${error.code} ${error.message}`,
          );
          expect([role, sql, outcome]).toEqual([role, sql, "done"]);
        }
      }
    });

    it("no role gets beyond its database or becomes another", async () => {
      const admin = clients.get("admin")!;
      for (const sql of [
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_authid",
        "SELECT pg_reload_conf()",
      ]) {
        expect([sql, (await failure(admin.query(sql))).code]).toEqual([sql, "42501"]);
      }
    });

    it("in a workspace only admin may change the schema; PostgreSQL's own words for the others", async () => {
      for (const role of ["read", "write"]) {
        const { password } = await fleet.makeKey({ role, scope_type: "workspace", scope_values: ["myapp"] });
        const shown = await psql(fleet.gateway, { ...fleet.project(), password }, "CREATE TABLE x (i int)");
        expect(shown.stderr).toContain("ERROR:  42501: permission denied for schema public");
      }
    });
  });
}
