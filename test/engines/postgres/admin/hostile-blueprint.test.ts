/** Code that a blueprint puts where the control plane's own work would call it: it may run as the database's owner, and never as more. */
import { describe, expect, test } from "vitest";
import { RowSum } from "../../../../core/backup-format.ts";
import type { PhysicalDatabase } from "../../../../core/model.ts";
import { useAdmin, versionsOf } from "./fixture.ts";

const { admin, tenantOf, as, asSuperuser, postgres } = useAdmin();

/** What each stands for is called when rows come in, tables are emptied or views are filled. */
const ddl = [
  `CREATE FUNCTION seize() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
   BEGIN
     IF (SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname IN (current_user, session_user)) THEN RAISE 'runs as a superuser'; END IF;
     RETURN true;
   END $$`,
  "CREATE FUNCTION seize_of(v int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN public.seize() THEN v END'",
  "CREATE FUNCTION seize_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.seize(); RAISE 'a copy fires no triggers'; END $$",
  "CREATE TABLE by_check (id int CHECK (seize()))",
  "CREATE DOMAIN seizing AS int CHECK (public.seize_of(VALUE) = VALUE)",
  "CREATE TABLE by_domain (id seizing)",
  "CREATE TABLE by_generated (id int, twice int GENERATED ALWAYS AS (seize_of(id)) STORED)",
  "CREATE TABLE by_index (id int)",
  "CREATE INDEX ON by_index (seize_of(id)) WHERE seize()",
  "CREATE TABLE by_trigger (id int)",
  "CREATE TRIGGER on_insert BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION seize_on()",
  "CREATE TRIGGER on_truncate BEFORE TRUNCATE ON by_trigger FOR EACH STATEMENT EXECUTE FUNCTION seize_on()",
  "ALTER TABLE by_trigger ENABLE ALWAYS TRIGGER on_insert",
  "ALTER TABLE by_trigger ENABLE REPLICA TRIGGER on_truncate",
  "CREATE TABLE by_policy (id int)",
  "ALTER TABLE by_policy ENABLE ROW LEVEL SECURITY",
  "ALTER TABLE by_policy FORCE ROW LEVEL SECURITY",
  "CREATE POLICY seizing ON by_policy USING (seize() AND id > 1)",
  "CREATE MATERIALIZED VIEW by_view AS SELECT seize(), count(*) AS n FROM by_index",
];
const tables = ["by_check", "by_domain", "by_generated", "by_index", "by_trigger", "by_policy"];

async function hostileTenant(): Promise<PhysicalDatabase> {
  const { tenant, template } = await tenantOf(...ddl);
  await as(tenant, "owner", async (owner) => {
    await owner.query("ALTER TABLE by_trigger DISABLE TRIGGER on_insert; ALTER TABLE by_policy NO FORCE ROW LEVEL SECURITY");
    for (const table of tables) await owner.query(`INSERT INTO ${table} (id) VALUES (1), (2)`);
    await owner.query("ALTER TABLE by_trigger ENABLE ALWAYS TRIGGER on_insert; ALTER TABLE by_policy FORCE ROW LEVEL SECURITY");
    await owner.query("REFRESH MATERIALIZED VIEW by_view");
  });
  await admin().dropDatabase(template);
  return tenant;
}

/** Read without calling any of it, which a mere query on a table may do: the planner works out the conditions of its indexes. */
const stateOf = (database: PhysicalDatabase) =>
  asSuperuser(database, async (session) => {
    const state: Record<string, unknown> = {};
    for (const table of tables) {
      const sum = new RowSum();
      for await (const chunk of session.copyOut(`COPY public.${table} TO STDOUT`)) sum.add(chunk);
      state[table] = sum.rows;
    }
    const { rows } = await session.query(
      `SELECT (SELECT n::int FROM public.by_view) AS by_view, (SELECT relforcerowsecurity FROM pg_class WHERE relname = 'by_policy') AS forced,
              (SELECT string_agg(tgenabled::text, '' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal) AS triggers,
              (SELECT count(*)::int FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()) AS settings`,
    );
    return { ...state, ...rows[0] };
  });
const expected = {
  ...Object.fromEntries(tables.map((table) => [table, 2])),
  ...{ by_view: 2, forced: true, triggers: "AR", settings: 0 },
};

describe("a hostile blueprint", () => {
  test("gains nothing from copies of its tenant, made for a dry run or a move", async () => {
    const tenant = await hostileTenant();
    const client = await postgres().dialer.asRole(tenant, "write");
    const scratch = postgres().freshDatabase();
    await admin().createScratchCopy(scratch, tenant, versionsOf(ddl)); // row by row: somebody is connected
    await client.close();
    expect(await stateOf(scratch)).toEqual(expected);
    const moved = postgres().freshDatabase();
    await admin().createTemplateDatabase(moved);
    await admin().applyVersions(moved, versionsOf(ddl), { lockTimeoutMs: 2000, attempts: 1 });
    await admin().copyContents(tenant, moved); // with verification
    expect(await stateOf(moved)).toEqual(expected);
    for (const database of [scratch, moved, tenant]) await admin().dropDatabase(database);
  });

  test("cannot put a view in the place of what the administrator reads", async () => {
    const { tenant } = await tenantOf(...ddl.slice(0, 1), "CREATE VIEW counter AS SELECT public.seize(), 1 AS last_value");
    await asSuperuser(tenant, async (session) => {
      await expect(session.query("SELECT last_value FROM public.counter")).rejects.toMatchObject({ code: "55000" });
    });
    expect(await as(tenant, "read", async (session) => (await session.query("SELECT last_value FROM counter")).rowCount)).toBe(1);
    await admin().dropDatabase(tenant);
  });
});
