/** Statements on behalf of API callers: values, limits, refusals, and logins whose password was changed. */
import { describe, expect, test } from "vitest";
import type { QueryInput } from "../../../../core/cluster-admin.ts";
import type { SqlDialer } from "../../../../core/sql.ts";
import { useAdmin } from "./fixture.ts";

const { admin, adminOver, workspace, tenantOf, as, asSuperuser, postgres } = useAdmin();

function input(query: string, more: Partial<QueryInput> = {}): QueryInput {
  return { query, params: [], maxRows: 100, timeoutMs: 5000, refuseDdl: true, ...more };
}

describe("query: answers", () => {
  test("JSON-ready values with column types, user types included", async () => {
    const { tenant } = await tenantOf("CREATE TYPE mood AS ENUM ('sad')", "CREATE TABLE t (id bigint, m mood)");
    await admin().runQuery(tenant, "write", input("INSERT INTO t VALUES ($1, $2)", { params: [9007199254740993n.toString(), "sad"] }));
    const answer = await admin().runQuery(
      tenant,
      "read",
      input(`SELECT id, m, 1 AS i, 1.50::numeric AS n, true AS b, NULL::text AS z, '{"a":[1]}'::jsonb AS j, ARRAY['x',NULL,'y"z'] AS a,
             ARRAY[[1,2],[3,4]] AS g, '\\xbeef'::bytea AS y, 'NaN'::float8 AS nan, '2026-01-02 03:04:05+00'::timestamptz AT TIME ZONE 'UTC' AS ts FROM t`),
    );
    expect(answer.columns.map((column) => column.type)).toEqual([
      ...["bigint", "mood", "integer", "numeric", "boolean", "text", "jsonb", "text[]", "integer[]", "bytea", "double precision"],
      "timestamp without time zone",
    ]);
    expect(answer.rows).toEqual([
      [
        ...["9007199254740993", "sad", 1, "1.50", true, null, { a: [1] }, ["x", null, 'y"z']],
        ...[
          [
            [1, 2],
            [3, 4],
          ],
          "\\xbeef",
          "NaN",
          "2026-01-02 03:04:05",
        ],
      ],
    ]);
    expect(answer).toMatchObject({ row_count: 1, truncated: false, command: "SELECT" });
    expect(answer.execution_time_ms).toBeGreaterThan(0);
  });

  test("rows beyond the limit are not produced", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const answer = await admin().runQuery(tenant, "read", input("SELECT generate_series(1, 1000000000) AS i", { maxRows: 2 }));
    expect(answer).toMatchObject({ rows: [[1], [2]], row_count: 2, truncated: true, command: "SELECT" });
    const exact = await admin().runQuery(tenant, "read", input("SELECT generate_series(1, 2) AS i", { maxRows: 2 }));
    expect(exact).toMatchObject({ row_count: 2, truncated: false });
    const all = await admin().runQuery(tenant, "read", input("SELECT generate_series(1, 500) AS i", { maxRows: 0 }));
    expect(all).toMatchObject({ row_count: 500, truncated: false });
    const inserted = await admin().runQuery(tenant, "write", input("INSERT INTO t SELECT generate_series(1, 10)"));
    expect(inserted).toMatchObject({ rows: [], columns: [], row_count: 10, command: "INSERT" });
  });

  test("parameters of every JSON kind", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const params = [1, "two", null, true, [1, null, 3], ["a", 'b"c\\'], { k: [1, { x: "y" }] }, 1.5];
    const answer = await admin().runQuery(
      tenant,
      "read",
      input("SELECT $1::int, $2::text, $3::int, $4::bool, $5::int[], $6::text[], $7::jsonb, $8::float8", { params }),
    );
    expect(answer.rows).toEqual([params]);
  });
});

describe("query: refusals", () => {
  test("DDL on a tenant, by text or by the guard", async () => {
    const { tenant } = await tenantOf(
      "CREATE TABLE t (id int)",
      "CREATE FUNCTION run(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'begin execute q; end'",
    );
    const ddl = [
      "CREATE TABLE x ()",
      "/* x */ drop table t",
      "ALTER TABLE t ADD x int",
      "GRANT SELECT ON t TO PUBLIC",
      "SELECT 1 INTO x",
      "CREATE TABLE x AS SELECT 1",
    ];
    for (const query of [...ddl, "SELECT run('CREATE TABLE x ()')"]) {
      await expect(admin().runQuery(tenant, "admin", input(query))).rejects.toMatchObject({
        kind: "ddl_denied",
        message: "DDL not allowed on tenant databases. Deploy schema through blueprints.",
      });
    }
    await admin().runQuery(tenant, "admin", input("CREATE TEMP TABLE x AS SELECT 1"));
  });

  test("privileges, syntax, timeouts, COPY, several statements", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int PRIMARY KEY)");
    const query = (role: "read" | "write", text: string, more = {}) => admin().runQuery(tenant, role, input(text, more));
    await expect(query("read", "DELETE FROM t")).rejects.toMatchObject({ kind: "permission_denied", message: "permission denied for table t" });
    await expect(query("read", "SELEC 1")).rejects.toMatchObject({ kind: "query_failed", details: { sqlstate: "42601" } });
    await expect(query("read", "SELECT * FROM nope")).rejects.toMatchObject({ kind: "query_failed", details: { sqlstate: "42P01" } });
    await expect(query("write", "INSERT INTO t VALUES (1), (1)")).rejects.toMatchObject({
      details: { sqlstate: "23505", detail: "Key (id)=(1) already exists." },
    });
    await expect(query("read", "SELECT pg_sleep(60)", { timeoutMs: 50 })).rejects.toMatchObject({
      kind: "query_timeout",
      message: "query exceeded query_timeout_ms (50)",
    });
    await expect(query("read", "SELECT 1; SELECT 2")).rejects.toMatchObject({ details: { sqlstate: "42601" } });
    for (const copy of ["COPY t TO STDOUT", "COPY t FROM STDIN"]) {
      await expect(query("write", copy)).rejects.toMatchObject({ kind: "copy_denied" });
    }
  });

  test("a server that is not there", async () => {
    const database = { ...postgres().freshDatabase(), clusterId: "cluster_nowhere" };
    await expect(admin().runQuery(database, "read", input("SELECT 1"))).rejects.toMatchObject({
      kind: "backend_unreachable",
      message: "database server is not reachable",
    });
    expect(await admin().ping("cluster_nowhere")).toBe(false);
    expect(await admin().ping(postgres().clusterId)).toBe(true);
  });
});

describe("query: in a workspace", () => {
  test("DDL runs; a script runs whole or not at all, and is captured", async () => {
    const database = await workspace();
    await admin().runQuery(database, "admin", input("CREATE TABLE a (id int)", { refuseDdl: false }));
    await expect(admin().runScript(database, "CREATE TABLE b (); CREATE TABLE a ()")).rejects.toMatchObject({ details: { sqlstate: "42P07" } });
    await admin().runScript(database, "CREATE TABLE b (); INSERT INTO a VALUES (1); CREATE TABLE c ()");
    const captured = await admin().readCapturedDdl(database, 0);
    expect(captured.map((ddl) => ddl.sql)).toEqual(["CREATE TABLE a (id int)", "CREATE TABLE b ()", "CREATE TABLE c ()"]);
    await expect(admin().runScript(database, `SELECT '${"x".repeat(4_200_000)}'`)).rejects.toMatchObject({ kind: "payload_too_large" });
  });

  test("describes tables, views and columns", async () => {
    const database = await workspace();
    await admin().runScript(
      database,
      `CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric(10,2) NOT NULL DEFAULT 0, s text, d int GENERATED ALWAYS AS (1 + 1) STORED);
       CREATE VIEW v AS SELECT id FROM t; CREATE EXTENSION hstore; CREATE TABLE parts (a int, b int, PRIMARY KEY (b, a)) PARTITION BY RANGE (a); CREATE TABLE empty ()`,
    );
    expect(await admin().describeSchema(database)).toEqual([
      { schema: "public", name: "empty", kind: "table", columns: [] },
      {
        schema: "public",
        name: "parts",
        kind: "partitioned table",
        columns: [
          { name: "a", type: "integer", nullable: false, default: null, primary_key: true },
          { name: "b", type: "integer", nullable: false, default: null, primary_key: true },
        ],
      },
      {
        schema: "public",
        name: "t",
        kind: "table",
        columns: [
          { name: "id", type: "bigint", nullable: false, default: "generated always as identity", primary_key: true },
          { name: "n", type: "numeric(10,2)", nullable: false, default: "0", primary_key: false },
          { name: "s", type: "text", nullable: true, default: null, primary_key: false },
          { name: "d", type: "integer", nullable: true, default: "generated always as ((1 + 1))", primary_key: false },
        ],
      },
      { schema: "public", name: "v", kind: "view", columns: [{ name: "id", type: "bigint", nullable: true, default: null, primary_key: false }] },
    ]);
  });
});

describe("query: a role that changed its own password", () => {
  test("is let in again with the derived one", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    for (const change of ["PASSWORD 'hijacked'", "PASSWORD NULL"]) {
      await as(tenant, "read", (session) =>
        session.query(`DO $$ BEGIN EXECUTE format('ALTER ROLE %I ${change.replaceAll("'", "''")}', current_user); END $$`),
      );
      await expect(postgres().dialer.asRole(tenant, "read")).rejects.toMatchObject({ code: "28P01" });
      expect((await admin().runQuery(tenant, "read", input("SELECT 1"))).rows).toEqual([[1]]);
    }
    const { restoreRole } = admin();
    await as(tenant, "write", (session) => session.query("ALTER ROLE CURRENT_USER PASSWORD 'x'"));
    await restoreRole(tenant, "write");
    await as(tenant, "write", (session) => session.query("SELECT 1"));
  });

  test("other login failures are not retried", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    let logins = 0;
    const counting: SqlDialer = {
      asAdmin: (clusterId, database) => postgres().dialer.asAdmin(clusterId, database),
      asRole(database, role) {
        logins++;
        return postgres().dialer.asRole(database, role);
      },
    };
    await admin().setConnectable(tenant, false);
    await expect(adminOver(counting).runQuery(tenant, "read", input("SELECT 1"))).rejects.toMatchObject({ kind: "permission_denied" });
    expect(logins).toBe(1);
    await admin().setConnectable(tenant, true);
    await adminOver(counting).runQuery(tenant, "read", input("SELECT 1"));
  });
});

describe("query: suspension", () => {
  test("ends open sessions, refuses new ones, and can be taken back", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const open = await postgres().dialer.asRole(tenant, "write");
    await open.query("BEGIN; INSERT INTO t VALUES (1)");
    await admin().setConnectable(tenant, false);
    await admin().setConnectable(tenant, false);
    await expect(open.query("SELECT 1")).rejects.toBeDefined();
    await open.close();
    await expect(postgres().dialer.asRole(tenant, "read")).rejects.toMatchObject({ code: "42501" });
    await admin().setConnectable(tenant, true);
    expect((await as(tenant, "read", (session) => session.query("SELECT count(*)::int AS n FROM t"))).rows).toEqual([{ n: 0 }]);
  });

  test("dropping takes sessions, database and roles, and may be repeated", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const open = await postgres().dialer.asRole(tenant, "read");
    await admin().dropDatabase(tenant);
    await admin().dropDatabase(tenant);
    await expect(open.query("SELECT 1")).rejects.toBeDefined();
    await open.close();
    const left = await asSuperuser(undefined, (session) =>
      session.query(
        "SELECT rolname::text AS name FROM pg_roles WHERE rolname LIKE $1 UNION ALL SELECT datname FROM pg_database WHERE datname LIKE $1",
        [`${tenant.name}%`],
      ),
    );
    expect(left.rows).toEqual([]);
  });
});
