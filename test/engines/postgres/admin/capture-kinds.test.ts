/** Schema changes as people make them: each kind captured with its exact text, and replayed on a tenant to the very same schema. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../../core/clock.ts";
import { silentLog } from "../../../../core/log.ts";
import type { PhysicalDatabase } from "../../../../core/model.ts";
import { createPostgresAdmin } from "../../../../engines/postgres/admin/admin.ts";
import { captureCases } from "./capture-kinds.ts";
import { readCatalog } from "./catalog.ts";
import { applyOptions, useAdmin, versionsFrom } from "./fixture.ts";

const { admin, workspace, as, postgres, asSuperuser } = useAdmin();

/** Messages as psql cuts a script: one a statement, `\\i`, variables and `\\gexec` worked off by psql itself. */
describe("capture of psql scripts", () => {
  test("a script with an include, variables, generated statements and a transaction", async () => {
    const database = await workspace();
    const folder = await mkdtemp(join(tmpdir(), "tdb-psql-"));
    try {
      await writeFile(join(folder, "inner.sql"), "CREATE INDEX ON :tab (id); -- from the include\n");
      await writeFile(
        join(folder, "main.sql"),
        `\\set ON_ERROR_STOP on
\\set tab orders
/* header */ CREATE TABLE :tab (id int,
  note text DEFAULT 'a;b');
BEGIN;
CREATE VIEW v AS SELECT * FROM :tab;
COMMENT ON VIEW v IS $$dollar; quoted$$;
COMMIT;
\\i ${folder}/inner.sql
SELECT format('CREATE TABLE part_%s (id int)', n) FROM generate_series(1, 2) n \\gexec
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
DO $$ BEGIN CREATE TABLE done (); END $$;
`,
      );
      const { socketDir, port } = postgres().target;
      await promisify(execFile)(
        "psql",
        ["-X", "-q", "-h", socketDir ?? "", "-p", String(port), "-U", `${database.name}_admin`, "-d", database.name, "-f", join(folder, "main.sql")],
        {
          env: { ...process.env, PGPASSWORD: postgres().secrets.nativeRolePassword(database, "admin") },
        },
      );
    } finally {
      await rm(folder, { recursive: true });
    }
    expect((await admin().readCapturedDdl(database, 0)).map((ddl) => ddl.sql)).toEqual([
      "CREATE TABLE orders (id int,\n  note text DEFAULT 'a;b')",
      "CREATE VIEW v AS SELECT * FROM orders",
      "COMMENT ON VIEW v IS $$dollar; quoted$$",
      "CREATE INDEX ON orders (id)",
      "CREATE TABLE part_1 (id int)",
      "CREATE TABLE part_2 (id int)",
      "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
      "CREATE TABLE done ()",
    ]);
  });
});

describe("what a workspace refuses", () => {
  const refusal = (database: PhysicalDatabase, ...messages: string[]) =>
    as(database, "admin", async (session) => {
      for (const message of messages) await session.query(message);
    }).then(
      () => "done",
      (error: { code?: string; message: string }) => `${error.code} ${error.message}`,
    );

  test("extensions that are not on the list, however they are asked for", async () => {
    const database = await workspace();
    const no = (name: string) => `42501 extension "${name}" is not on the list of allowed extensions`;
    expect(await refusal(database, "CREATE EXTENSION dblink")).toBe(no("dblink"));
    expect(await refusal(database, 'CREATE TABLE x (); create /* why */ extension "dblink"')).toMatch(/^42501 /);
    expect(await refusal(database, "CREATE EXTENSION IF NOT EXISTS Postgres_FDW")).toBe(no("postgres_fdw"));
    expect(await refusal(database, "DO $$ BEGIN EXECUTE 'CREATE EXT' || 'ENSION dblink'; END $$")).toMatch(/^42501 /);
    expect(await refusal(database, "CREATE EXTENSION citext")).toBe("done");
    expect((await admin().readCapturedDdl(database, 0)).map((ddl) => ddl.sql)).toEqual(["CREATE EXTENSION citext"]);
  });

  test("a changed list reaches workspaces made before, of either mode, and dependencies count", async () => {
    const narrow = (allowed: readonly string[]) =>
      createPostgresAdmin({
        dialer: postgres().dialer,
        secrets: postgres().secrets,
        log: silentLog,
        clock: systemClock,
        allowedExtensions: () => allowed,
      });
    for (const mode of ["tenant", "control"] as const) {
      const database = postgres().freshDatabase();
      await narrow(["hstore"]).createWorkspaceDatabase(database, mode);
      expect(await refusal(database, "CREATE EXTENSION citext")).toMatch(/^42501 extension "citext" is not on the list/);
      await narrow(["citext"]).refreshWorkspaceDatabase(database, mode);
      await narrow(["citext"]).refreshWorkspaceDatabase(database, mode);
      expect(await refusal(database, "CREATE EXTENSION citext", "CREATE TABLE t (c citext)")).toBe("done");
      expect(await refusal(database, "CREATE EXTENSION hstore")).toMatch(/^42501 extension "hstore" is not on the list/);
      const hidden = "DO $$ BEGIN EXECUTE 'CREATE EXT' || 'ENSION hstore'; END $$";
      expect(await refusal(database, hidden)).toMatch(/^42501 extension "hstore" is not on the list/);
      if (mode === "tenant")
        expect((await admin().readCapturedDdl(database, 0)).map((ddl) => ddl.sql)).toEqual(["CREATE EXTENSION citext", "CREATE TABLE t (c citext)"]);
    }
  });

  test("CREATE TABLE AS EXECUTE, which no tenant could run", async () => {
    const database = await workspace();
    expect(await refusal(database, "PREPARE p AS SELECT 1 AS one", "CREATE TABLE t AS\nEXECUTE p")).toBe(
      "0A000 CREATE TABLE AS EXECUTE cannot be deployed to tenants, where the statement is not prepared",
    );
    expect(await refusal(database, "PREPARE p AS SELECT 1 AS one", "CREATE TEMP TABLE t AS EXECUTE p")).toBe("done");
  });
});

describe("capture and replay", () => {
  test.each(captureCases)("$name", async ({ messages, versions }) => {
    const database = await workspace();
    const own = (sql: string) => sql.replaceAll("{db}", database.name);
    await as(database, "admin", async (session) => {
      for (const message of messages) await session.query(own(message));
    });
    const captured = await admin().readCapturedDdl(database, 0);
    expect(captured.map((ddl) => ddl.sql)).toEqual((versions ?? messages).map(own));

    const template = postgres().freshDatabase();
    await admin().createTemplateDatabase(template);
    await admin().applyVersions(template, versionsFrom(captured), applyOptions);
    const tenant = postgres().freshDatabase();
    await admin().createTenantDatabase(tenant, template);
    const designed = await asSuperuser(database, readCatalog);
    expect(designed.length).toBeGreaterThan(5);
    expect(await asSuperuser(template, readCatalog)).toEqual(designed);
    expect(await asSuperuser(tenant, readCatalog)).toEqual(designed);
  });
});
