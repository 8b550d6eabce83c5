/** Designing a schema against real databases: the diff, skipping, undoing, loading, reference data. */
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { templateNames } from "../../../core/schema-design.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { readCatalog } from "../../engines/postgres/admin/catalog.ts";
import { everyResult, type Instance, useWorld, type World } from "./world.ts";

const world = useWorld();

interface Project {
  readonly at: Instance;
  readonly projectId: string;
  readonly workspace: PhysicalDatabase;
  ddl(...statements: string[]): Promise<void>;
  tenant(id: string): Promise<PhysicalDatabase>;
  deploy(): Promise<string>;
  /** Rows as `a|b`, sorted by the query. */
  rows(database: PhysicalDatabase, sql: string): Promise<string[]>;
  write(database: PhysicalDatabase, ...statements: string[]): Promise<void>;
  pending(): Promise<string[]>;
  idOf(sql: string): Promise<number>;
  catalog(database: PhysicalDatabase): Promise<readonly string[]>;
}

async function project(given: World, options: Parameters<World["start"]>[0] = {}): Promise<Project> {
  const { server } = given;
  const admin = createPostgresAdmin({ dialer: server.dialer, secrets: server.secrets, log: silentLog, clock: systemClock });
  const at = await given.start({ admin, ...options });
  const { project } = await at.signup({ email: `${server.secrets.randomHex(4)}@example.com`, password: "password1", projectName: "p" });
  const made = await at.createWorkspace(project.id, { name: "app", engine: "PostgreSQL", mode: "tenant", redirectTo: undefined });
  const workspace = made.database!;
  const run = async (database: PhysicalDatabase, role: "admin" | "write", statements: string[]) => {
    const session = await server.dialer.asRole(database, role);
    try {
      for (const statement of statements) await session.query(statement);
    } finally {
      await session.close();
    }
  };
  const versions = async () => (await at.listBlueprintVersions(project.id, "app", { limit: 1000 })).items;
  return {
    at,
    projectId: project.id,
    workspace,
    ddl: (...statements) => run(workspace, "admin", statements),
    write: (database, ...statements) => run(database, "admin", statements),
    async tenant(id) {
      const { tenant } = await at.createTenant(project.id, { tenantId: id, databases: [{ blueprint: "app", isolationLevel: 1 }] });
      return (await at.getTenant(project.id, tenant.id)).databases[0]!.database!;
    },
    async deploy() {
      const { id } = await at.createDeployment(project.id, { blueprint: "app", tenants: "all", concurrency: 2, lockTimeoutMs: 5000 });
      await at.waitForDeployment(project.id, id, AbortSignal.timeout(30_000));
      const ended = await at.getDeployment(project.id, id, everyResult);
      return [ended.state, ...ended.results.flatMap((result) => result.error ?? [])].join(": ");
    },
    async rows(database, sql) {
      const session = await server.dialer.asRole(database, "admin");
      try {
        return (await session.queryArrays(sql, [], { maxRows: 10_000, timeoutMs: 0 })).rows.map((row) => row.join("|"));
      } finally {
        await session.close();
      }
    },
    pending: async () => (await at.design.listPending(project.id, "app")).changes.map((change) => change.sql),
    async idOf(sql) {
      const found = (await versions()).find((version) => version.sql === sql);
      if (!found) throw new Error(`no version ${sql}`);
      return found.ddlId;
    },
    async catalog(database) {
      const session = await server.dialer.asAdmin(server.clusterId, database.name);
      try {
        return await readCatalog(session);
      } finally {
        await session.close();
      }
    },
  };
}

describe("diff and skip", () => {
  test("a skipped version is passed over by deployments, templates and new tenants; one that a tenant has is not skipped", async () => {
    const p = await project(world());
    await p.ddl("CREATE TABLE a (id int PRIMARY KEY)");
    expect(await p.pending()).toEqual(["CREATE TABLE a (id int PRIMARY KEY)"]);
    const wayne = await p.tenant("wayne");
    expect(await p.pending()).toEqual([]);
    await p.ddl("CREATE TABLE b (id int)", "CREATE INDEX CONCURRENTLY b_id ON b (id)", "ALTER TABLE a ADD COLUMN c text");
    expect((await p.at.design.listPending(p.projectId, "app")).changes.map((change) => change.tenantsBehind)).toEqual([1, 1, 1]);
    // Brings the template to the newest version, which the skip has to take back.
    await p.tenant("early").then(() => p.at.deleteTenant(p.projectId, "early", true));
    for (const sql of ["CREATE INDEX CONCURRENTLY b_id ON b (id)", "CREATE TABLE b (id int)"]) {
      expect((await p.at.design.skipChange(p.projectId, "app", await p.idOf(sql))).skippedAt).toBeGreaterThan(0);
    }
    expect(await p.pending()).toEqual(["ALTER TABLE a ADD COLUMN c text"]);
    expect(await p.deploy()).toBe("done");
    const globex = await p.tenant("globex");
    const tables = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1";
    expect(await p.rows(wayne, tables)).toEqual(["a.c", "a.id"]);
    expect(await p.rows(globex, tables)).toEqual(["a.c", "a.id"]);
    const skip = (id: number) => p.at.design.skipChange(p.projectId, "app", id);
    await expect(skip(await p.idOf("ALTER TABLE a ADD COLUMN c text"))).rejects.toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("2 of 2 tenants have it"),
    });
    await expect(skip(await p.idOf("CREATE TABLE b (id int)"))).rejects.toMatchObject({ kind: "conflict", message: "Version 2 is skipped already" });
    await expect(skip(999)).rejects.toMatchObject({ kind: "not_found" });
    await expect(p.at.design.listPending(p.projectId, "nope")).rejects.toMatchObject({ kind: "not_found" });
  });
});

describe("revert", () => {
  /** set-up, the statement undone, what undoes it (undefined: none) */
  const cases: readonly (readonly [setUp: readonly string[], sql: string, inverse: readonly string[] | string])[] = [
    [[], "CREATE TABLE t (id serial)", ['DROP TABLE "t"']],
    [["CREATE SCHEMA s"], 'CREATE TABLE IF NOT EXISTS s."A b" AS SELECT 1 AS one', ['DROP TABLE "s"."A b"']],
    [["CREATE TABLE t (id int)"], "CREATE INDEX ON t (id)", ["DROP INDEX public.t_id_idx"]],
    [["CREATE TABLE t (id int)"], "CREATE UNIQUE INDEX CONCURRENTLY i ON t (id)", ["DROP INDEX CONCURRENTLY public.i"]],
    [[], "CREATE TYPE e AS ENUM ('a')", ['DROP TYPE "e"']],
    [[], "CREATE EXTENSION citext", ['DROP EXTENSION "citext"']],
    [[], "CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'", ["DROP FUNCTION public.f(integer,pg_catalog.text)"]],
    [["CREATE VIEW v AS SELECT 1 AS a"], "CREATE OR REPLACE VIEW v AS SELECT 1 AS a, 2 AS b", ['DROP VIEW "v"', 'CREATE VIEW "v" AS  SELECT 1 AS a']],
    [
      ["CREATE TABLE t (id int)"],
      "ALTER TABLE t ADD COLUMN a int, ADD COLUMN b text NOT NULL DEFAULT 'x'",
      ['ALTER TABLE "t" DROP COLUMN "b"', 'ALTER TABLE "t" DROP COLUMN "a"'],
    ],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0)", ['ALTER TABLE "t" DROP CONSTRAINT "c"']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ADD UNIQUE (id)", ['ALTER TABLE "t" DROP CONSTRAINT "t_id_key"']],
    [
      ["CREATE TABLE t (id int CONSTRAINT c CHECK (id > 7))"],
      "ALTER TABLE t DROP CONSTRAINT c",
      ['ALTER TABLE "t" ADD CONSTRAINT "c" CHECK ((id > 7))'],
    ],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ALTER id SET NOT NULL", ['ALTER TABLE "t" ALTER COLUMN "id" DROP NOT NULL']],
    [["CREATE TABLE t (id int DEFAULT 7)"], "ALTER TABLE t ALTER id SET DEFAULT 8", ['ALTER TABLE "t" ALTER COLUMN "id" SET DEFAULT 7']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ALTER id SET DEFAULT 8", ['ALTER TABLE "t" ALTER COLUMN "id" DROP DEFAULT']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t RENAME TO u", ['ALTER TABLE "u" RENAME TO "t"']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t RENAME COLUMN id TO key", ['ALTER TABLE "t" RENAME COLUMN "key" TO "id"']],
    [["CREATE TYPE e AS ENUM ('a')"], "ALTER TYPE e RENAME VALUE 'a' TO 'it''s'", [`ALTER TYPE "e" RENAME VALUE 'it''s' TO 'a'`]],
    [["CREATE TABLE t (id int)", "CREATE INDEX i ON t (id)"], "DROP INDEX i", ["CREATE INDEX i ON public.t USING btree (id)"]],
    [["CREATE SCHEMA s", "CREATE TABLE t (id int)"], "ALTER TABLE t SET SCHEMA s", ['ALTER TABLE "s"."t" SET SCHEMA "public"']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ENABLE ROW LEVEL SECURITY", ['ALTER TABLE "t" DISABLE ROW LEVEL SECURITY']],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t DROP COLUMN id", "the values of the column are gone"],
    [["CREATE TABLE t (id int)"], "ALTER TABLE t ALTER id TYPE bigint", "changing the type back may lose values"],
    [["CREATE TYPE e AS ENUM ('a')"], "ALTER TYPE e ADD VALUE 'b'", "PostgreSQL cannot take a value away from an enum"],
    [["CREATE TABLE t (id int)"], "DROP TABLE t", "what was in it is gone"],
    [["CREATE TABLE t (id int)"], "GRANT SELECT ON t TO PUBLIC", "what was granted before is not known"],
  ];

  test("each kind is undone to the schema of before, or says why it cannot be", async () => {
    const p = await project(world());
    for (const [setUp, sql, inverse] of cases) {
      await p.ddl(...setUp);
      const before = await p.catalog(p.workspace);
      await p.ddl(sql);
      const undo = p.at.design.revertChange(p.projectId, "app", (await p.at.design.listPending(p.projectId, "app")).changes.at(-1)!.ddlId);
      if (typeof inverse === "string") {
        await expect(undo, sql).rejects.toMatchObject({ kind: "conflict", message: expect.stringContaining(inverse) });
      } else {
        const { undoneBy, skipped } = await undo;
        expect(
          undoneBy.map((version) => version.sql),
          sql,
        ).toEqual(inverse);
        expect(await p.catalog(p.workspace), sql).toEqual(before);
        expect(skipped, sql).toBe(true);
      }
      await p.ddl("DROP SCHEMA public CASCADE", "DROP SCHEMA IF EXISTS s CASCADE", "CREATE SCHEMA public");
    }
    // Everything that is left can be replayed, what was undone being left out.
    expect(await p.tenant("wayne")).toBeDefined();
  }, 120_000);

  test("what a tenant has is deployed together with what undoes it", async () => {
    const p = await project(world());
    await p.ddl("CREATE TABLE t (id int)", "ALTER TABLE t ADD COLUMN a int");
    const wayne = await p.tenant("wayne");
    const { skipped, reverted } = await p.at.design.revertChange(p.projectId, "app", await p.idOf("ALTER TABLE t ADD COLUMN a int"));
    expect([skipped, reverted.version]).toEqual([false, 2]);
    expect(await p.pending()).toEqual(['ALTER TABLE "t" DROP COLUMN "a"']);
    expect(await p.deploy()).toBe("done");
    expect(await p.rows(wayne, "SELECT column_name FROM information_schema.columns WHERE table_name = 't'")).toEqual(["id"]);
  });

  test("what the workspace itself refuses is a conflict in PostgreSQL's words, and changes nothing", async () => {
    const p = await project(world());
    await p.ddl("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int REFERENCES t)");
    await expect(p.at.design.revertChange(p.projectId, "app", await p.idOf("CREATE TABLE t (id int PRIMARY KEY)"))).rejects.toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("other objects depend on it"),
    });
    expect(await p.pending()).toHaveLength(2);
  });
});

describe("reference data", () => {
  test("travels with deployments and to new tenants by primary key; a tenant's own rows stay", async () => {
    const p = await project(world(), { config: { spareDatabases: 1 } });
    await p.ddl(
      "CREATE TABLE plans (code text PRIMARY KEY, price numeric(10,2), meta jsonb, at timestamptz, tags text[], raw bytea, mood text DEFAULT 'x')",
      "CREATE TABLE levels (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, plan text NOT NULL REFERENCES plans, parent int REFERENCES levels)",
      "CREATE TABLE own (id int)",
      `INSERT INTO plans VALUES ('free', 0.10, 'null', 'infinity', '{"a,b","c"}', '\\\\x00ff', NULL), ('pro', 'NaN', '{"a": 1.0}', '2026-01-01', NULL, NULL, 'it''s')`,
      "INSERT INTO levels (plan, parent) VALUES ('free', NULL), ('pro', 1)",
      "INSERT INTO own VALUES (1)",
    );
    const wayne = await p.tenant("wayne");
    await p.write(wayne, "INSERT INTO plans (code) VALUES ('theirs')");
    const set = (table: string, on = true) => p.at.design.setReferenceTable(p.projectId, "app", table, on);
    await expect(set("own")).rejects.toMatchObject({ kind: "bad_request", message: expect.stringContaining("has no primary key") });
    await expect(set("nothing")).rejects.toMatchObject({ kind: "not_found" });
    await set("levels");
    await set("public.plans");
    await p.at.settled();
    expect(await p.at.design.listReferenceTables(p.projectId, "app")).toEqual([
      { schema: "public", name: "levels" },
      { schema: "public", name: "plans" },
    ]);
    const plans = "SELECT code, price, meta, at, tags, raw, mood FROM plans WHERE code <> 'theirs' ORDER BY code";
    const levels = "SELECT id, plan, parent FROM levels ORDER BY id";
    const [wantedPlans, wantedLevels] = [await p.rows(p.workspace, plans), await p.rows(p.workspace, levels)];
    expect(await p.deploy()).toBe("done");
    expect(await p.rows(wayne, plans)).toEqual(wantedPlans);
    expect(await p.rows(wayne, levels)).toEqual(wantedLevels);
    expect(await p.rows(wayne, "SELECT count(*) FROM plans WHERE code = 'theirs'")).toEqual(["1"]);
    expect(await p.rows(wayne, "SELECT count(*) FROM own")).toEqual(["0"]);
    // A tenant's own next row does not meet a key that came along.
    await p.write(
      wayne,
      "INSERT INTO levels (plan) VALUES ('free')",
      "UPDATE plans SET price = 1 WHERE code = 'pro'",
      "DELETE FROM plans WHERE code = 'theirs'",
    );
    expect(await p.rows(wayne, "SELECT max(id) FROM levels")).toEqual(["3"]);

    await p.ddl(
      "ALTER TABLE plans RENAME TO offers",
      "ALTER TABLE offers ADD COLUMN note text",
      "UPDATE offers SET note = 'n', price = 5 WHERE code = 'pro'",
      "INSERT INTO offers (code) SELECT 'p' || n FROM generate_series(1, 1203) n",
    );
    const spared = await p.tenant("spared");
    const offers = "SELECT count(*), sum(price) FILTER (WHERE code = 'pro'), max(note) FROM offers";
    expect(await p.rows(spared, offers)).toEqual(["1205|5.00|n"]);
    expect(await p.deploy()).toBe("done");
    expect(await p.rows(wayne, offers)).toEqual(["1205|5.00|n"]);
    await set("offers", false);
    await p.ddl("INSERT INTO offers (code) VALUES ('late')");
    expect(await p.deploy()).toBe("done");
    expect(await p.rows(wayne, "SELECT count(*) FROM offers WHERE code = 'late'")).toEqual(["0"]);
  });

  test("rows a tenant cannot take fail its deployment with the table's name, and change nothing there", async () => {
    const p = await project(world());
    await p.ddl("CREATE TABLE plans (code text PRIMARY KEY, name text UNIQUE)", "INSERT INTO plans VALUES ('a', 'A'), ('b', 'B')");
    const wayne = await p.tenant("wayne");
    await p.write(wayne, "INSERT INTO plans VALUES ('mine', 'B')");
    await p.at.design.setReferenceTable(p.projectId, "app", "plans", true);
    expect(await p.deploy()).toMatch(/^failed: reference data of table public\.plans: duplicate key value/);
    expect(await p.rows(wayne, "SELECT code FROM plans")).toEqual(["mine"]);
  });
});

describe("loading", () => {
  test("every template loads, is captured, and makes tenants that are like the workspace", async () => {
    const p = await project(world());
    for (const template of templateNames) {
      const { versions } = await p.at.design.loadSchema(p.projectId, "app", { source: "template", template });
      expect(versions.length, template).toBeGreaterThan(10);
      const tenant = await p.tenant(template);
      expect(await p.catalog(tenant), template).toEqual(await p.catalog(p.workspace));
      await p.ddl("DROP SCHEMA public CASCADE", "CREATE SCHEMA public");
    }
  }, 120_000);

  test("the ledger of the fintech template balances and keeps its entries", async () => {
    const p = await project(world());
    await p.at.design.loadSchema(p.projectId, "app", { source: "template", template: "fintech" });
    const wayne = await p.tenant("wayne");
    await p.write(
      wayne,
      "INSERT INTO accounts (account_number, name, overdraft_limit) VALUES ('ACME0001', 'a', 100), ('ACME0002', 'b', 0)",
      "INSERT INTO transactions (type) VALUES ('transfer')",
      "INSERT INTO entries (transaction_id, account_id, amount) VALUES (1, 1, -60), (1, 2, 60)",
    );
    expect(await p.rows(wayne, "SELECT balance FROM accounts ORDER BY id")).toEqual(["-60.00", "60.00"]);
    await expect(p.write(wayne, "INSERT INTO entries (transaction_id, account_id, amount) VALUES (1, 1, 5)")).rejects.toThrow("does not balance");
    await expect(p.write(wayne, "DELETE FROM entries")).rejects.toThrow("never changed");
  });

  test("SQL text is loaded whole or not at all, and says where it is wrong", async () => {
    const p = await project(world());
    const load = (sql: string) => p.at.design.loadSchema(p.projectId, "app", { source: "sql", sql });
    await expect(load("CREATE TABLE a (id int);\n\nCREATE TABLE b (id inte);")).rejects.toMatchObject({
      kind: "query_failed",
      message: 'type "inte" does not exist (at line 3); nothing was loaded',
    });
    expect(await p.pending()).toEqual([]);
    expect((await load("CREATE TABLE a (id int); -- two\nCREATE VIEW v AS SELECT * FROM a")).versions.map((version) => version.sql)).toEqual([
      "CREATE TABLE a (id int)",
      "CREATE VIEW v AS SELECT * FROM a",
    ]);
  });

  test("JSON: names quoted, types PostgreSQL's, references in any order, nothing smuggled in", async () => {
    const p = await project(world());
    const plain = { nullable: true, unique: false, primaryKey: false, identity: false };
    const load = (columns: object[], name = "t") =>
      p.at.design.loadSchema(p.projectId, "app", {
        source: "json",
        tables: [{ name, columns: columns.map((column) => ({ ...plain, ...column })) as never, indexes: [] }],
      });
    for (const type of ["int; DROP TABLE x", "int NOT NULL", "int) ; --", "int DEFAULT 1", "int, b int", "", "int CHECK (true)"]) {
      await expect(load([{ name: "a", type }]), type).rejects.toMatchObject({ kind: "bad_request" });
    }
    for (const value of ["1); DROP TABLE x; --", "1 /* ", "'open", "1, b int DEFAULT 2) ; (", "1)(", "$$x$$", ""]) {
      await expect(load([{ name: "a", type: "int", default: value }]), value).rejects.toMatchObject({ kind: "bad_request" });
    }
    await expect(load([{ name: "a", type: "strange" }])).rejects.toMatchObject({ kind: "query_failed" });
    await p.at.design.loadSchema(p.projectId, "app", {
      source: "json",
      tables: [
        {
          name: 'chi"ld',
          columns: [
            { ...plain, name: "id", type: "bigint", identity: true, primaryKey: true },
            { ...plain, name: "p", type: "uuid", references: { table: "s.parent", column: "id", onDelete: "set null" } },
          ],
          indexes: [{ columns: ["p"], unique: false }],
        },
        {
          schema: "s",
          name: "parent",
          columns: [
            { ...plain, name: "id", type: "uuid", primaryKey: true, default: "gen_random_uuid()" },
            { ...plain, name: "at", type: "timestamp(3) with time zone", default: "now()", nullable: false },
            { ...plain, name: "t", type: "text[]", default: "'{}'" },
          ],
          indexes: [],
        },
      ],
    });
    const wayne = await p.tenant("wayne");
    expect(await p.catalog(wayne)).toEqual(await p.catalog(p.workspace));
    expect(await p.rows(wayne, `SELECT conname FROM pg_constraint WHERE contype = 'f'`)).toEqual(['chi"ld_p_fkey']);
  });
});
