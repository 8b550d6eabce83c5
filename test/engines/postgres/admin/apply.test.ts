/** Applying blueprint versions: all or nothing per run, retries, steps outside transactions, resuming after a crash. */
import { describe, expect, test } from "vitest";
import type { GatewayError } from "../../../../core/errors.ts";
import type { PhysicalDatabase } from "../../../../core/model.ts";
import { applyOptions, useAdmin, versionsOf } from "./fixture.ts";

const { admin, tenantOf, as, asSuperuser, postgres } = useAdmin();

async function tables(database: PhysicalDatabase): Promise<string[]> {
  return (await admin().describeSchema(database)).map((table) => table.name);
}

async function indexes(database: PhysicalDatabase, table: string): Promise<unknown[]> {
  const { rows } = await asSuperuser(database, (session) =>
    session.query(
      `SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'public.${table}'::regclass ORDER BY 1`,
    ),
  );
  return rows.map((row) => [row.name, row.valid]);
}

describe("apply: transactional versions", () => {
  test("brings a tenant from its own version to the last, skipping what it has", async () => {
    const ddl = ["CREATE TABLE a ()", "CREATE TABLE b ()"];
    const { tenant } = await tenantOf(...ddl);
    expect(await admin().readAppliedVersion(tenant)).toBe(2);
    const more = versionsOf([...ddl, "CREATE TABLE c ()", "ALTER TABLE c ADD x int"]);
    expect(await admin().applyVersions(tenant, more, applyOptions)).toEqual({ fromVersion: 2, toVersion: 4, attempts: 1 });
    expect(await admin().applyVersions(tenant, more, applyOptions)).toEqual({ fromVersion: 4, toVersion: 4, attempts: 1 });
    expect(await tables(tenant)).toEqual(["a", "b", "c"]);
  });

  test("a failing statement leaves version and schema as they were", async () => {
    const { tenant } = await tenantOf("CREATE TABLE a ()");
    const versions = versionsOf(["CREATE TABLE a ()", "CREATE TABLE b ()", "CREATE TABLE a ()", "CREATE TABLE c ()"]);
    await expect(admin().applyVersions(tenant, versions, applyOptions)).rejects.toMatchObject({
      kind: "query_failed",
      message: 'version 3 (CREATE TABLE, statement 2 of 3): relation "a" already exists',
      details: { sqlstate: "42P07" },
    });
    expect(await admin().readAppliedVersion(tenant)).toBe(1);
    expect(await tables(tenant)).toEqual(["a"]);
  });

  test("a gap in the versions is refused", async () => {
    const { tenant } = await tenantOf("CREATE TABLE a ()");
    const versions = versionsOf(["", "CREATE TABLE b ()", "CREATE TABLE c ()"]).slice(2);
    await expect(admin().applyVersions(tenant, versions, applyOptions)).rejects.toMatchObject({ kind: "conflict" });
  });

  test("a version cannot smuggle in a second statement", async () => {
    const { tenant } = await tenantOf("CREATE TABLE a ()");
    const versions = versionsOf(["CREATE TABLE a ()", "COMMIT; CREATE TABLE b ()"]);
    await expect(admin().applyVersions(tenant, versions, applyOptions)).rejects.toMatchObject({ details: { sqlstate: "42601" } });
    expect(await tables(tenant)).toEqual(["a"]);
  });

  test("each statement runs under the search_path it was captured with", async () => {
    const { tenant } = await tenantOf("CREATE SCHEMA app");
    const versions = versionsOf(["CREATE SCHEMA app", "CREATE TABLE t ()", "CREATE TABLE u ()"], { 1: { searchPath: "app" } });
    await admin().applyVersions(tenant, versions, applyOptions);
    expect((await admin().describeSchema(tenant)).map((table) => `${table.schema}.${table.name}`)).toEqual(["app.t", "public.u"]);
  });

  test("an enum value can be used by the next version", async () => {
    const ddl = ["CREATE TYPE mood AS ENUM ('sad')"];
    const { tenant } = await tenantOf(...ddl);
    const versions = versionsOf([
      ...ddl,
      "ALTER TYPE mood ADD VALUE 'ok'",
      "CREATE TABLE t (m mood DEFAULT 'ok')",
      "CREATE TABLE u AS SELECT 'ok'::mood AS m",
    ]);
    expect((await admin().applyVersions(tenant, versions, applyOptions)).toVersion).toBe(4);
  });

  test("roles of the workspace become the tenant's own, owner in place of admin where an owner is named", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const ws = postgres().freshDatabase().name;
    const versions = versionsOf(["", `CREATE SCHEMA app AUTHORIZATION ${ws}_admin`, `GRANT UPDATE ON t TO "${ws}_read", ${ws}_write`]);
    await admin().applyVersions(tenant, versions, applyOptions);
    const { rows } = await asSuperuser(tenant, (session) =>
      session.query(
        "SELECT has_table_privilege($1, 'public.t', 'UPDATE') AS granted, nspowner::regrole::text AS owner FROM pg_namespace WHERE nspname = 'app'",
        [`${tenant.name}_read`],
      ),
    );
    expect(rows).toEqual([{ granted: true, owner: `${tenant.name}_owner` }]);
  });
});

describe("apply: locks", () => {
  test("waits no longer than lock_timeout, tries again, and gets through when the lock is gone", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const versions = versionsOf(["", "ALTER TABLE t ADD x int"]);
    const holder = await postgres().dialer.asRole(tenant, "admin");
    await holder.query("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE");
    const failed = admin().applyVersions(tenant, versions, { lockTimeoutMs: 50, attempts: 2 });
    await expect(failed).rejects.toMatchObject({ details: { sqlstate: "55P03" } });
    expect(await admin().readAppliedVersion(tenant)).toBe(1);
    const applying = admin().applyVersions(tenant, versions, { lockTimeoutMs: 50, attempts: 50 });
    // The holder lets go once the deployment has been seen waiting.
    await asSuperuser(undefined, async (session) => {
      const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
      while ((await session.query(waiting, [tenant.name])).rowCount === 0);
    });
    await holder.query("COMMIT");
    await holder.close();
    const result = await applying;
    expect(result.toVersion).toBe(2);
  });

  test("two deployments of one database come one after the other", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const versions = versionsOf(["", "ALTER TABLE t ADD x int", "CREATE TABLE u ()"]);
    const results = await Promise.all([1, 2, 3].map(() => admin().applyVersions(tenant, versions, applyOptions)));
    expect(results.map((result) => result.fromVersion).sort()).toEqual([1, 3, 3]);
  });

  test("an aborted deployment stops at a whole version", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const abort = new AbortController();
    abort.abort(new Error("stopped"));
    await expect(admin().applyVersions(tenant, versionsOf(["", "CREATE TABLE u ()"]), { ...applyOptions, signal: abort.signal })).rejects.toThrow(
      "stopped",
    );
    expect(await admin().readAppliedVersion(tenant)).toBe(1);
  });
});

describe("apply: outside a transaction", () => {
  const alone = { transactional: false, commandTag: "CREATE INDEX" };
  const base = "CREATE TABLE t (id int, v int)";

  test("runs between transactional runs", async () => {
    const { tenant } = await tenantOf(base);
    const versions = versionsOf(
      ["", "ALTER TABLE t ADD w int", "CREATE INDEX CONCURRENTLY ON t (w)", "CREATE TABLE u ()", "DROP INDEX CONCURRENTLY t_w_idx"],
      {
        2: alone,
        4: { ...alone, commandTag: "DROP INDEX" },
      },
    );
    expect(await admin().applyVersions(tenant, versions.slice(0, 4), applyOptions)).toEqual({ fromVersion: 1, toVersion: 4, attempts: 1 });
    expect(await indexes(tenant, "t")).toEqual([["t_w_idx", true]]);
    await admin().applyVersions(tenant, versions, applyOptions);
    expect(await indexes(tenant, "t")).toEqual([]);
  });

  test("a failed unique build leaves no invalid index and can be tried again", async () => {
    const { tenant } = await tenantOf(base);
    await as(tenant, "write", (session) => session.query("INSERT INTO t VALUES (1), (1)"));
    const versions = versionsOf(["", "CREATE TABLE before ()", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON t (id)"], { 2: alone });
    const error = await admin()
      .applyVersions(tenant, versions, applyOptions)
      .catch((caught: GatewayError) => caught);
    expect(error).toMatchObject({ kind: "query_failed", details: { sqlstate: "23505" } });
    expect((error as GatewayError).message).toBe('version 3 (CREATE INDEX, statement 2 of 2): could not create unique index "u"');
    expect((error as GatewayError).details.detail).toBeUndefined();
    expect(await indexes(tenant, "t")).toEqual([]);
    expect(await admin().readAppliedVersion(tenant)).toBe(2);
    await as(tenant, "write", (session) => session.query("DELETE FROM t"));
    expect((await admin().applyVersions(tenant, versions, applyOptions)).toVersion).toBe(3);
    expect(await indexes(tenant, "t")).toEqual([["u", true]]);
  });

  test("resumes after a crash: a finished index is kept, an invalid one rebuilt, a dropped one is fine", async () => {
    const { tenant } = await tenantOf(base);
    const versions = versionsOf(
      ["", "CREATE INDEX CONCURRENTLY ON t (id)", "CREATE UNIQUE INDEX CONCURRENTLY u ON t (v)", "DROP INDEX CONCURRENTLY u"],
      {
        1: alone,
        2: alone,
        3: { ...alone, commandTag: "DROP INDEX" },
      },
    );
    const beginStep = (version: number) => as(tenant, "owner", (session) => session.query("SELECT tdb.begin_step($1)", [version]));
    await beginStep(2);
    await as(tenant, "owner", (session) => session.query("CREATE INDEX CONCURRENTLY ON t (id)"));
    await admin().applyVersions(tenant, versions.slice(0, 2), applyOptions);
    expect(await indexes(tenant, "t")).toEqual([["t_id_idx", true]]);
    await beginStep(3);
    await as(tenant, "write", (session) => session.query("INSERT INTO t VALUES (1, 1), (1, 1)"));
    await as(tenant, "owner", (session) => expect(session.query("CREATE UNIQUE INDEX CONCURRENTLY u ON t (v)")).rejects.toThrow("could not create"));
    await as(tenant, "write", (session) => session.query("DELETE FROM t"));
    expect(await indexes(tenant, "t")).toEqual([
      ["t_id_idx", true],
      ["u", false],
    ]);
    await admin().applyVersions(tenant, versions.slice(0, 3), applyOptions);
    expect(await indexes(tenant, "t")).toEqual([
      ["t_id_idx", true],
      ["u", true],
    ]);
    await beginStep(4);
    await as(tenant, "owner", (session) => session.query("DROP INDEX CONCURRENTLY u"));
    expect((await admin().applyVersions(tenant, versions, applyOptions)).toVersion).toBe(4);
  });
});

describe("apply: lost connections", () => {
  test("a backend ended in the middle is tried again from the recorded version", async () => {
    const { tenant } = await tenantOf("CREATE TABLE t (id int)");
    const versions = versionsOf(["", "CREATE TABLE u ()", "SELECT pg_sleep(3600)"]);
    const applying = admin().applyVersions(tenant, versions, { lockTimeoutMs: 1000, attempts: 2 });
    const ended = expect(applying).rejects.toMatchObject({ kind: "backend_unreachable" });
    await asSuperuser(undefined, async (session) => {
      // One that was told to end may be seen once more.
      const kill = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'";
      for (const killed = new Set(); killed.size < 2; ) for (const { pid } of (await session.query(kill, [tenant.name])).rows) killed.add(pid);
    });
    await ended;
    expect(await admin().readAppliedVersion(tenant)).toBe(1);
    expect(await tables(tenant)).toEqual(["t"]);
  });
});
