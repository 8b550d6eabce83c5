/** A tenant's database with one of everything a backup has to bring back, and what is in it. */
import type { BlueprintVersion, PhysicalDatabase } from "../../../../core/model.ts";
import { applyOptions, type useAdmin, versionsOf } from "./fixture.ts";

export const everything = versionsOf(
  [
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'it''s \\ fine')",
    "ALTER TYPE app.mood ADD VALUE 'new'",
    "CREATE DOMAIN app.positive AS int CHECK (VALUE > 0)",
    "CREATE TABLE accounts (id serial PRIMARY KEY, name text NOT NULL, mood app.mood DEFAULT 'new', n app.positive, doubled int GENERATED ALWAYS AS (n * 2) STORED)",
    'CREATE TABLE app."Odd ""name"", with; things" (id int GENERATED ALWAYS AS IDENTITY, account_id int NOT NULL REFERENCES accounts, parent int, v jsonb, b bytea, ts timestamptz, f float8, PRIMARY KEY (id))',
    'ALTER TABLE app."Odd ""name"", with; things" ADD FOREIGN KEY (parent) REFERENCES app."Odd ""name"", with; things"',
    "CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at)",
    "CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
    "CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)",
    "CREATE TABLE audit (what text)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NEW; END'",
    "CREATE TRIGGER always BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION note()",
    "ALTER TABLE accounts ENABLE ALWAYS TRIGGER always",
    "CREATE TABLE secret (id int, owner text)",
    "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE secret FORCE ROW LEVEL SECURITY",
    "CREATE POLICY own ON secret USING (owner = current_user)",
    "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM accounts",
    "CREATE VIEW sad AS SELECT * FROM accounts WHERE mood = 'sad'",
    "CREATE SEQUENCE app.tickets INCREMENT BY 7 START 100",
    "CREATE TABLE made AS SELECT g FROM generate_series(1, 3) g",
    "CREATE TABLE empty ()",
    "CREATE TABLE parents (a int)",
    "CREATE TABLE children (b int) INHERITS (parents)",
    "REVOKE ALL ON audit FROM PUBLIC",
    "CREATE INDEX CONCURRENTLY accounts_name ON accounts (name)",
  ],
  { 26: { transactional: false, commandTag: "CREATE INDEX" } },
);

export const odd = 'app."Odd ""name"", with; things"';

export function wholeDatabases({ admin, as, asSuperuser, postgres }: ReturnType<typeof useAdmin>) {
  async function tenantAt(versions: readonly BlueprintVersion[]): Promise<PhysicalDatabase> {
    const template = postgres().freshDatabase();
    await admin().createTemplateDatabase(template);
    await admin().applyVersions(template, versions, applyOptions);
    const tenant = postgres().freshDatabase();
    await admin().createTenantDatabase(tenant, template);
    return tenant;
  }

  async function fill(database: PhysicalDatabase): Promise<void> {
    await as(database, "admin", async (session) => {
      await session.query(
        `INSERT INTO accounts (name, mood, n) SELECT E'line\\n\\\\.\\n--:manifest {}\\ttab ' || g, 'sad', g FROM generate_series(1, 500) g`,
      );
      await session.query("INSERT INTO accounts (name, n) VALUES (E'\\\\.', 1), ('', 2), (E'\\\\N', 3), (E'\\u00fc\\U0001F600', 4)");
      await session.query(`INSERT INTO ${odd} (account_id, parent, v, b, ts, f) VALUES (1, NULL, '{"a": "\\\\"}', '\\xff00', '2026-11-23 01:02:03.123456+05', 'NaN'),
      (2, 1, NULL, NULL, 'infinity', 0.1), (3, 2, '[]', '', NULL, '-0')`);
      await session.query("INSERT INTO events VALUES ('1999-01-01', 'old'), ('2026-01-01', 'new')");
      await session.query("DELETE FROM made WHERE g = 2");
      await session.query("INSERT INTO empty DEFAULT VALUES");
      await session.query("INSERT INTO parents VALUES (1)");
      await session.query("INSERT INTO children VALUES (2, 3)");
      await session.query("SELECT nextval('app.tickets'), nextval('app.tickets')");
      await session.query("SELECT setval('accounts_id_seq', 9000, false)");
      await session.query("SELECT lo_put(lo_create(77777), 5000, '\\x0102030405')");
    });
    await as(database, "write", (session) => session.query("SELECT lo_from_bytea(77778, 'small')"));
    await asSuperuser(database, (session) =>
      session.query(
        "INSERT INTO public.secret VALUES (1, 'somebody'); REFRESH MATERIALIZED VIEW public.totals; GRANT SELECT ON LARGE OBJECT 77777 TO PUBLIC",
      ),
    );
  }

  /** Every row of every table in order, sequences, large objects, views. */
  async function contents(database: PhysicalDatabase): Promise<unknown> {
    const queries = [
      "SELECT * FROM public.accounts ORDER BY id",
      `SELECT id, account_id, parent, v, encode(b, 'hex') AS b, ts::text, f::text FROM ${odd} ORDER BY id`,
      "SELECT tableoid::regclass::text AS t, at::text, what FROM public.events ORDER BY at",
      "SELECT * FROM public.secret",
      "SELECT * FROM public.made ORDER BY g",
      "SELECT count(*) FROM public.empty",
      "SELECT tableoid::regclass::text AS t, a FROM public.parents ORDER BY a",
      "SELECT count(*) FROM public.audit",
      "SELECT n FROM public.totals",
      "SELECT last_value, is_called FROM app.tickets",
      "SELECT last_value, is_called FROM public.accounts_id_seq",
      `SELECT nextval(pg_get_serial_sequence('${odd}', 'id'))`,
      "SELECT oid, encode(sha256(lo_get(oid)), 'hex') AS hash FROM pg_largeobject_metadata ORDER BY oid",
      "SELECT version FROM tdb.applied",
    ];
    const view = await as(database, "read", async (session) => (await session.query("SELECT count(*) FROM public.sad")).rows);
    return await asSuperuser(database, async (session) => {
      const found: unknown[] = [view];
      for (const query of queries) found.push((await session.query(query)).rows);
      return found;
    });
  }

  return { tenantAt, fill, contents };
}

/** A table that takes no row, has no index and fills no view where the administrator's login is what does it. */
export function failsAsSuperuser(table: string): string[] {
  return [
    "CREATE FUNCTION whoami(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user) THEN RAISE ''superuser''; END IF; RETURN i; END'",
    `CREATE TABLE ${table} (i int CHECK (whoami(i) = i), g int GENERATED ALWAYS AS (whoami(i)) STORED)`,
    `CREATE INDEX ON ${table} (whoami(i))`,
    `CREATE MATERIALIZED VIEW m AS SELECT whoami(i) FROM ${table}`,
  ];
}
