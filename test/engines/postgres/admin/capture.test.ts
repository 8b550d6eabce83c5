/** Capture of DDL in a workspace: what is recorded, as what text, in which order. */
import { describe, expect, test } from "vitest";
import type { PhysicalDatabase } from "../../../../core/model.ts";
import { applyOptions, useAdmin, versionsFrom } from "./fixture.ts";

const { admin, workspace, as, postgres, asSuperuser } = useAdmin();

async function run(database: PhysicalDatabase, ...messages: string[]): Promise<void> {
  await as(database, "admin", async (session) => {
    for (const message of messages) await session.query(message);
  });
}

async function sqlOf(database: PhysicalDatabase, after = 0): Promise<string[]> {
  return (await admin().readCapturedDdl(database, after)).map((ddl) => ddl.sql);
}

describe("capture: exact text", () => {
  test("splits a message into its statements and keeps their text", async () => {
    const database = await workspace();
    await run(
      database,
      `-- Überschrift
       CREATE TABLE "größe" (id int, s text DEFAULT ';é'); /* x; y */ select 1;
       create   function f() returns text language plpgsql as $q$ begin return ';'; -- ü;
       end $q$ -- after
       ; CREATE INDEX ON "größe" (id); insert into "größe" values (1)`,
    );
    expect(await sqlOf(database)).toEqual([
      `CREATE TABLE "größe" (id int, s text DEFAULT ';é')`,
      "create   function f() returns text language plpgsql as $q$ begin return ';'; -- ü;\n       end $q$",
      `CREATE INDEX ON "größe" (id)`,
    ]);
  });

  test("keeps tag, search_path and the extended protocol's text", async () => {
    const database = await workspace();
    await as(database, "admin", async (session) => {
      await session.query("CREATE SCHEMA app");
      await session.query("SET search_path = app, public");
      await session.queryArrays("CREATE TABLE t (id int PRIMARY KEY)", [], { maxRows: 0, timeoutMs: 0 });
    });
    const captured = await admin().readCapturedDdl(database, 0);
    expect(captured.map(({ sql, commandTag, searchPath, transactional }) => ({ sql, commandTag, searchPath, transactional }))).toEqual([
      { sql: "CREATE SCHEMA app", commandTag: "CREATE SCHEMA", searchPath: '"$user", public', transactional: true },
      { sql: "CREATE TABLE t (id int PRIMARY KEY)", commandTag: "CREATE TABLE", searchPath: "app, public", transactional: true },
    ]);
    expect(captured[0]?.capturedAt).toBeGreaterThan(Date.now() - 60_000);
  });

  test("leaves the caller's search_path as it was", async () => {
    const database = await workspace();
    await as(database, "admin", async (session) => {
      await session.query("BEGIN; SET LOCAL search_path = public; CREATE TABLE t ()");
      expect((await session.query("SHOW search_path")).rows[0]).toEqual({ search_path: "public" });
      await session.query("COMMIT");
      expect((await session.query("SHOW search_path")).rows[0]).toEqual({ search_path: '"$user", public' });
    });
  });
});

describe("capture: what counts", () => {
  test("rolled-back DDL is not recorded, by ROLLBACK, by savepoint, by an error", async () => {
    const database = await workspace();
    await run(database, "BEGIN", "CREATE TABLE gone ()", "ROLLBACK");
    await run(database, "BEGIN", "SAVEPOINT s", "CREATE TABLE gone ()", "ROLLBACK TO s", "CREATE TABLE kept (a int)", "COMMIT");
    await expect(run(database, "CREATE TABLE gone (); SELECT 1/0")).rejects.toThrow("division by zero");
    expect(await sqlOf(database)).toEqual(["CREATE TABLE kept (a int)"]);
  });

  test("rollbacks inside one message do not shift the matching", async () => {
    const database = await workspace();
    await run(
      database,
      "BEGIN; CREATE TABLE a (x int); ROLLBACK; BEGIN; SAVEPOINT s; CREATE TABLE b (y int); ROLLBACK TO s; CREATE TABLE a (z int); COMMIT; CREATE TABLE c ()",
    );
    expect(await sqlOf(database)).toEqual(["CREATE TABLE a (z int)", "CREATE TABLE c ()"]);
  });

  test("temporary objects, no-ops and refreshes are not recorded", async () => {
    const database = await workspace();
    await run(database, "CREATE TABLE t (id int); CREATE MATERIALIZED VIEW m AS SELECT * FROM t");
    await run(
      database,
      `CREATE TEMP TABLE x (id serial PRIMARY KEY); CREATE INDEX ON x (id); ALTER TABLE x ADD a int; CREATE TEMP VIEW v AS SELECT * FROM x;
       CREATE TABLE IF NOT EXISTS t (id int); DROP TABLE IF EXISTS nothing; REFRESH MATERIALIZED VIEW m; REINDEX TABLE t;
       CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
       CREATE TRIGGER trg BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION pg_temp.f(); DROP TRIGGER trg ON x;
       CREATE TABLE u ()`,
    );
    await run(database, "CREATE TEMP TABLE y AS SELECT 1; DROP TABLE y; SELECT 1 AS a INTO TEMP z", "DROP TABLE t CASCADE");
    expect(await sqlOf(database)).toEqual([
      "CREATE TABLE t (id int)",
      "CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
      "CREATE TABLE u ()",
      "DROP TABLE t CASCADE",
    ]);
  });

  test("every kind of schema statement is recorded once", async () => {
    const database = await workspace();
    const statements = [
      "CREATE TYPE mood AS ENUM ('sad', 'ok')",
      "ALTER TYPE mood ADD VALUE 'happy'",
      "CREATE DOMAIN positive AS int CHECK (value > 0)",
      "CREATE SEQUENCE seq",
      "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, n positive, s serial)",
      "COMMENT ON TABLE t IS 'it''s; a table'",
      "ALTER TABLE t ADD COLUMN c text DEFAULT 'x', DROP COLUMN n",
      "CREATE UNIQUE INDEX i ON t (c)",
      "ALTER INDEX i RENAME TO j",
      "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
      "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
      "CREATE PROCEDURE p() LANGUAGE sql AS 'select 1'",
      "CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'",
      "CREATE TRIGGER trg BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()",
      "CREATE POLICY pol ON t USING (true)",
      "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
      "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
      "CREATE TABLE u AS SELECT 1 AS one",
      "SELECT 2 AS two INTO w",
      "CREATE EXTENSION hstore",
      "GRANT SELECT ON t TO PUBLIC",
      "REVOKE SELECT ON t FROM PUBLIC",
      "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
      "CREATE STATISTICS st ON id, c FROM t",
      "CREATE SCHEMA s CREATE TABLE in_s (id int) CREATE VIEW v_s AS SELECT 1 AS x",
      "ALTER TABLE s.in_s SET SCHEMA public",
      "DROP VIEW v",
      "DROP FUNCTION g()",
      "DROP SCHEMA s CASCADE",
      "DROP EXTENSION hstore",
    ];
    await run(database, statements.join(";\n"));
    expect(await sqlOf(database)).toEqual(statements);
    await run(database, ...statements.toReversed().filter((sql) => sql.startsWith("COMMENT")));
    expect(await sqlOf(database)).toHaveLength(statements.length + 1);
  });

  test("owner changes are left out; DROP OWNED is refused", async () => {
    const database = await workspace();
    await run(database, "CREATE TABLE t ()", `ALTER TABLE t OWNER TO ${database.name}_admin`, "ALTER SCHEMA public OWNER TO CURRENT_USER");
    await expect(run(database, "DROP OWNED BY CURRENT_USER")).rejects.toThrow("DROP OWNED is not supported in a workspace");
    expect(await sqlOf(database)).toEqual(["CREATE TABLE t ()"]);
  });

  test("CREATE INDEX CONCURRENTLY is recorded as not transactional", async () => {
    const database = await workspace();
    await run(database, "CREATE TABLE t (id int)", "CREATE INDEX CONCURRENTLY i ON t (id)", "DROP INDEX CONCURRENTLY i");
    const captured = await admin().readCapturedDdl(database, 0);
    expect(captured.map(({ sql, transactional }) => [sql, transactional])).toEqual([
      ["CREATE TABLE t (id int)", true],
      ["CREATE INDEX CONCURRENTLY i ON t (id)", false],
      ["DROP INDEX CONCURRENTLY i", false],
    ]);
  });

  test("a message too long to be split is refused", async () => {
    const database = await workspace();
    await expect(run(database, `CREATE TABLE t (); SELECT '${"x".repeat(4_200_000)}'`)).rejects.toMatchObject({ code: "54000" });
  });

  test("deeply nested text that only the server can parse is kept whole, and later ones still split", async () => {
    const database = await workspace();
    const deep = `CREATE VIEW v AS SELECT ${Array.from({ length: 4000 }, () => "1").join("+")} AS x`;
    await run(database, deep, "CREATE TABLE a (); CREATE TABLE b ()");
    expect(await sqlOf(database)).toEqual([deep, "CREATE TABLE a ()", "CREATE TABLE b ()"]);
  });
});

describe("capture: DDL run by other code", () => {
  test("DO blocks give the text of each inner statement", async () => {
    const database = await workspace();
    await run(
      database,
      `CREATE TABLE first (); DO $$ BEGIN
         CREATE TABLE a (s text DEFAULT 'x"y');
         EXECUTE 'CREATE TABLE b (); CREATE TABLE c ()';
         FOR i IN 1..2 LOOP EXECUTE format('CREATE TABLE part_%s ()', i); END LOOP;
       END $$; CREATE TABLE last ()`,
    );
    expect(await sqlOf(database)).toEqual([
      "CREATE TABLE first ()",
      `CREATE TABLE a (s text DEFAULT 'x"y')`,
      "CREATE TABLE b ()",
      "CREATE TABLE c ()",
      "CREATE TABLE part_1 ()",
      "CREATE TABLE part_2 ()",
      "CREATE TABLE last ()",
    ]);
  });

  test("PL/pgSQL functions and triggers give the inner text, caught exceptions nothing", async () => {
    const database = await workspace();
    await run(
      database,
      `CREATE TABLE t (n text);
       CREATE FUNCTION make() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         EXECUTE format('CREATE TABLE %I ()', new.n);
         BEGIN EXECUTE 'CREATE TABLE undone ()'; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
         RETURN new;
       END $$;
       CREATE TRIGGER trg AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION make();
       INSERT INTO t VALUES ('one'), ('two')`,
    );
    expect((await sqlOf(database)).slice(3)).toEqual(["CREATE TABLE one ()", "CREATE TABLE two ()"]);
  });

  test("SQL functions give the calling statement, once per call", async () => {
    const database = await workspace();
    await run(database, "CREATE FUNCTION mk() RETURNS void LANGUAGE sql AS $$ CREATE TABLE a (); CREATE TABLE b () $$");
    await run(database, "SELECT 1; SELECT mk(); CREATE TABLE c (); DROP TABLE a, b; SELECT mk() AS again");
    expect((await sqlOf(database)).slice(1)).toEqual(["SELECT mk()", "CREATE TABLE c ()", "DROP TABLE a, b", "SELECT mk() AS again"]);
  });
});

describe("capture: reading", () => {
  test("starts after the given id and never skips what commits late", async () => {
    const database = await workspace();
    const early = await postgres().dialer.asRole(database, "admin");
    await early.query("BEGIN; CREATE TABLE early ()");
    await run(database, "CREATE TABLE late ()");
    const first = await admin().readCapturedDdl(database, 0);
    expect(first.map((ddl) => ddl.sql)).toEqual(["CREATE TABLE late ()"]);
    await early.query("CREATE TABLE early2 ()");
    await early.query("COMMIT");
    await early.close();
    const second = await admin().readCapturedDdl(database, first[0]?.ddlId ?? -1);
    expect(second.map((ddl) => ddl.sql)).toEqual(["CREATE TABLE early ()", "CREATE TABLE early2 ()"]);
    expect((await admin().readCapturedDdl(database, 0)).map((ddl) => ddl.sql)).toEqual([...first, ...second].map((ddl) => ddl.sql));
  });

  test("a message read while it runs is read to its end later", async () => {
    const database = await workspace();
    await run(database, "CREATE TABLE a (); BEGIN; CREATE TABLE b (); COMMIT; CREATE TABLE c ()");
    const all = await admin().readCapturedDdl(database, 0);
    expect(all.map((ddl) => ddl.sql)).toEqual(["CREATE TABLE a ()", "CREATE TABLE b ()", "CREATE TABLE c ()"]);
    expect(await sqlOf(database, all[1]?.ddlId)).toEqual(["CREATE TABLE c ()"]);
  });

  test("the log is out of the clients' reach", async () => {
    const database = await workspace();
    for (const role of ["admin", "write", "read"] as const) {
      await as(database, role, async (session) => {
        for (const sql of [
          "TABLE tdb.ddl_log",
          "SELECT tdb.dropped_effect()",
          "DROP SCHEMA tdb CASCADE",
          "ALTER EVENT TRIGGER tdb_capture_ddl DISABLE",
        ]) {
          await expect(session.query(sql)).rejects.toMatchObject({ code: "42501" });
        }
        await expect(session.query("SET event_triggers = off")).rejects.toMatchObject({ code: "42501" });
        await expect(session.query("SET session_replication_role = replica")).rejects.toMatchObject({ code: "42501" });
      });
    }
  });

  test("only admin adds to the blueprint: what PostgreSQL lets others say without effect would take effect in tenants", async () => {
    const database = await workspace();
    await run(
      database,
      "CREATE TABLE t (id int)",
      "CREATE FUNCTION run(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'begin execute q; end'",
    );
    const before = await sqlOf(database);
    for (const role of ["write", "read"] as const) {
      await as(database, role, async (session) => {
        for (const sql of [
          `GRANT INSERT, SELECT ON t TO ${database.name}_read`,
          "GRANT SELECT ON t TO PUBLIC",
          "REVOKE SELECT ON t FROM PUBLIC",
          `ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO ${database.name}_read`,
          "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
          "DO $$ BEGIN EXECUTE 'GRANT SELECT ON t TO PUBLIC'; END $$",
          "SELECT run('CREATE TABLE x ()')",
          "SELECT run('DROP TABLE t')",
        ]) {
          await expect(session.query(sql), `${role}: ${sql}`).rejects.toMatchObject({ code: "42501" });
        }
        await session.query("CREATE TEMP TABLE x (id int); CREATE INDEX ON x (id); ALTER TABLE x ADD y int; DROP TABLE x");
      });
    }
    expect(await sqlOf(database)).toEqual(before);
  });

  test("objects planted under our names are not called", async () => {
    const database = await workspace();
    await run(
      database,
      `CREATE TABLE public.witness (who text);
       CREATE FUNCTION public.spy(text, text) RETURNS boolean LANGUAGE plpgsql AS 'begin insert into public.witness values (current_user); return true; end';
       CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.spy);
       CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS 'begin insert into public.witness values (current_user); return 1; end';
       CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS 'begin insert into public.witness values (current_user); return 1; end';
       CREATE FUNCTION public.current_query() RETURNS text LANGUAGE plpgsql AS 'begin insert into public.witness values (current_user); return 1; end'`,
    );
    await run(database, "SET search_path = public, pg_catalog", "CREATE TABLE t (id int)", "CREATE INDEX ON t (id)", "DROP TABLE t");
    await admin().readCapturedDdl(database, 0);
    await admin().describeSchema(database);
    expect((await asSuperuser(database, (session) => session.query("SELECT * FROM public.witness"))).rows).toEqual([]);
  });

  test.each(["admin", "write", "read"] as const)("types planted under the names ours have do not run as the administrator, by %s", async (role) => {
    const database = await workspace();
    await as(database, role, async (session) => {
      // The first DDL of a session: only now is the trigger's function compiled.
      await session.query("SET search_path = pg_temp, pg_catalog");
      for (const type of ["text", "regclass", "bigint", "oid", "name"]) {
        const check = `pg_catalog.set_config('app.who', pg_catalog.concat(pg_catalog.current_setting('app.who', true), ' ', current_user), false) IS NOT NULL`;
        await session.query(`CREATE DOMAIN pg_temp.${type === "bigint" ? "int8" : type} AS pg_catalog.text CHECK (${check})`);
      }
      await session.query("CREATE TEMP TABLE x (id int); DROP TABLE x");
      expect((await session.query("SELECT pg_catalog.current_setting('app.who', true) AS who")).rows).toEqual([{ who: null }]);
    });
  });

  test("replayed on a template, the capture gives the same schema", async () => {
    const database = await workspace();
    await run(
      database,
      `CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id bigserial PRIMARY KEY, m mood DEFAULT 'sad', n numeric(10,2) NOT NULL);
       CREATE SCHEMA app; SET search_path = app; CREATE TABLE u (t_id bigint REFERENCES public.t, PRIMARY KEY (t_id)); CREATE VIEW v AS SELECT * FROM u;`,
      "SET search_path = public",
      "DO $$ BEGIN ALTER TABLE t ADD COLUMN extra jsonb; END $$",
    );
    await run(
      database,
      "CREATE INDEX CONCURRENTLY ON t (n)",
      `GRANT UPDATE ON t TO ${database.name}_read`,
      "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    );
    await run(
      database,
      "CREATE TABLE again (id int)",
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${database.name}_admin REVOKE SELECT ON TABLES FROM ${database.name}_read`,
    );
    const template = postgres().freshDatabase();
    await admin().createTemplateDatabase(template);
    const versions = versionsFrom(await admin().readCapturedDdl(database, 0));
    const result = await admin().applyVersions(template, versions, applyOptions);
    expect(result).toEqual({ fromVersion: 0, toVersion: versions.length, attempts: 1 });
    expect(await admin().describeSchema(template)).toEqual(await admin().describeSchema(database));
  });
});
