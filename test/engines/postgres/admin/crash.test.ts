/** Crashes: every operation is broken off at its n-th step, for every n, and run again; the outcome must be the same. */
import { describe, expect, test } from "vitest";
import type { PhysicalDatabase } from "../../../../core/model.ts";
import type { SqlConnection, SqlDialer } from "../../../../core/sql.ts";
import { applyOptions, useAdmin, versionsOf } from "./fixture.ts";

const { admin, adminOver, workspace, tenantOf, asSuperuser, postgres } = useAdmin();

class Crash extends Error {}

/** Passes `steps` statements and connects, then every one fails: at odd counts after it took effect, as when the answer is lost. */
function crashingAfter(dialer: SqlDialer, steps: number): { dialer: SqlDialer; crashed: () => boolean } {
  let left = steps;
  let crashed = false;
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    if (left > 0) {
      left--;
      return await work();
    }
    const takesEffect = !crashed && steps % 2 === 1;
    crashed = true;
    if (takesEffect) await work();
    throw new Crash("crash");
  };
  const wrap = (connection: SqlConnection): SqlConnection => ({
    query: (text, values) => step(() => connection.query(text, values)),
    queryArrays: (text, values, options) => step(() => connection.queryArrays(text, values, options)),
    copyOut: (text) => connection.copyOut(text),
    copyIn: (text, data) => step(() => connection.copyIn(text, data)),
    close: () => connection.close(),
  });
  return {
    dialer: {
      asAdmin: async (clusterId, database) => wrap(await dialer.asAdmin(clusterId, database)),
      asRole: async (database, role) => wrap(await dialer.asRole(database, role)),
    },
    crashed: () => crashed,
  };
}

/** Names of databases, roles, grants, triggers: what an operation is to leave behind, with `name` masked. */
async function state(database: PhysicalDatabase): Promise<unknown> {
  const list = (session: SqlConnection, sql: string) => session.query(sql).then(({ rows }) => rows.map((row) => Object.values(row).join(" ")));
  const cluster = await asSuperuser(undefined, async (session) => [
    await list(
      session,
      `SELECT datname, datconnlimit, datallowconn, array_to_string(datacl, ',') FROM pg_database WHERE datname LIKE '${database.name}%'`,
    ),
    await list(session, `SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname LIKE '${database.name}%' ORDER BY 1`),
  ]);
  const inside = await asSuperuser(database, async (session) => [
    await list(session, "SELECT evtname, evtenabled, evtowner::regrole FROM pg_event_trigger ORDER BY 1"),
    await list(session, "SELECT nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname IN ('public', 'tdb', 'app') ORDER BY 1"),
    await list(
      session,
      "SELECT c.oid::regclass, c.relowner::regrole, c.relacl FROM pg_class c WHERE c.oid > 16383 AND c.relnamespace <> 'pg_toast'::regnamespace AND relkind IN ('r', 'S', 'i') ORDER BY 1::text",
    ),
    await list(session, "SELECT defaclrole::regrole, defaclobjtype, defaclacl FROM pg_default_acl ORDER BY 1, 2"),
  ]);
  return JSON.parse(JSON.stringify([cluster, inside]).replaceAll(database.name, "NAME"));
}

/** Crashes at every step, repeats without crashing, compares with an undisturbed run. @returns how many steps there were */
async function crashEverywhere(operation: (over: ReturnType<typeof admin>, database: PhysicalDatabase) => Promise<void>): Promise<number> {
  const plain = postgres().freshDatabase();
  await operation(admin(), plain);
  const expected = await state(plain);
  for (let steps = 0; ; steps++) {
    const database = postgres().freshDatabase();
    const crashing = crashingAfter(postgres().dialer, steps);
    try {
      await operation(adminOver(crashing.dialer), database);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    await operation(admin(), database);
    expect({ steps, state: await state(database) }).toEqual({ steps, state: expected });
    await admin().dropDatabase(database);
    if (!crashing.crashed()) return steps;
  }
}

describe("crash: at any step", { timeout: 300_000 }, () => {
  test("creating a workspace", async () => {
    expect(await crashEverywhere((over, database) => over.createWorkspaceDatabase(database, "tenant"))).toBeGreaterThan(8);
  });

  test("creating a template and applying versions to it", async () => {
    const versions = versionsOf(
      ["CREATE SCHEMA app", "CREATE TABLE app.t (id serial)", "CREATE INDEX CONCURRENTLY ON app.t (id)", "CREATE TABLE u ()"],
      {
        2: { transactional: false, commandTag: "CREATE INDEX" },
      },
    );
    const steps = await crashEverywhere(async (over, database) => {
      await over.createTemplateDatabase(database);
      expect((await over.applyVersions(database, versions, applyOptions)).toVersion).toBe(4);
    });
    expect(steps).toBeGreaterThan(25);
  });

  test("creating a tenant", async () => {
    const { template } = await tenantOf("CREATE SCHEMA app", "CREATE TABLE app.t (id serial)");
    expect(await crashEverywhere((over, database) => over.createTenantDatabase(database, template))).toBeGreaterThan(8);
  });

  test("dropping", async () => {
    for (let steps = 0; ; steps++) {
      const database = await workspace();
      const crashing = crashingAfter(postgres().dialer, steps);
      await adminOver(crashing.dialer)
        .dropDatabase(database)
        .catch((error: unknown) => expect(error).toBeInstanceOf(Crash));
      await admin().dropDatabase(database);
      const left = await asSuperuser(undefined, (session) => session.query("SELECT 1 FROM pg_roles WHERE rolname LIKE $1", [`${database.name}%`]));
      expect(left.rowCount).toBe(0);
      if (!crashing.crashed()) break;
    }
  });

  test("a half-made database lets nobody in", async () => {
    const { template } = await tenantOf("CREATE TABLE t ()");
    const database = postgres().freshDatabase();
    let steps = 0;
    for (; ; steps++) {
      await adminOver(crashingAfter(postgres().dialer, steps).dialer)
        .createTenantDatabase(database, template)
        .catch((error: unknown) => expect(error).toBeInstanceOf(Crash));
      const made = await asSuperuser(undefined, (session) =>
        session.query("SELECT 1 FROM pg_database WHERE datname = $1 AND datconnlimit = 0", [database.name]),
      );
      if (made.rowCount > 0) break;
    }
    await expect(postgres().dialer.asRole(database, "read")).rejects.toMatchObject({ code: "53300" });
    await admin().createTenantDatabase(database, template);
    await (await postgres().dialer.asRole(database, "read")).close();
  });
});
