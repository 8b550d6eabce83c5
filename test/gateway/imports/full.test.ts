/** import-full: the structure of a shared database into an empty workspace, the routing column taken out of it, then the rows. */
import { describe, expect, test } from "vitest";
import { fillShop, sharedSchema } from "./shop.ts";
import { useSource } from "./source.ts";
import { asDesigner, defaults, makeTarget, untilEnded, useWorld } from "./world.ts";

const source = useSource();
const world = useWorld();
const copyShared = { ...defaults, sharedTables: "copy" as const };

const more = `
CREATE UNIQUE INDEX customers_name ON customers (tenant_id, name DESC);
CREATE INDEX customers_active ON customers (name) WHERE tenant_id IS NOT NULL;
ALTER TABLE customers ADD CONSTRAINT named CHECK (tenant_id <> name);
CREATE TABLE refunds (
  tenant_id text NOT NULL, number int NOT NULL, line int NOT NULL, PRIMARY KEY (tenant_id, number, line),
  FOREIGN KEY (tenant_id, number) REFERENCES orders (tenant_id, number) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders USING (tenant_id = current_user);
CREATE TABLE settings (tenant_id text PRIMARY KEY, theme text);
`;
const structure = `${sharedSchema}${more}`;

async function catalogOf(database: Parameters<ReturnType<typeof world>["inside"]>[0]) {
  const constraints = await world().inside(
    database,
    `SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) AS def FROM pg_constraint
      WHERE contype IN ('p', 'u', 'f', 'c') AND conrelid::regclass::text ~ 'customers|orders|refunds|settings' ORDER BY 1`,
  );
  const indexes = await world().inside(
    database,
    "SELECT indexdef AS def FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'customers' AND indexname NOT LIKE '%pkey' ORDER BY 1",
  );
  return [...constraints, ...indexes].map((row) => String(row.def).replaceAll("public.", ""));
}

describe("import-full", () => {
  test("loads the structure, takes the routing column out of keys and indexes, and splits the rows", async () => {
    const shared = await source().makeDatabase(`${structure}${fillShop(["wayne", "globex"], 4)}
      INSERT INTO refunds SELECT tenant_id, number, 1 FROM orders; INSERT INTO settings SELECT id, 'dark' FROM tenants;`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, "");
    const analysis = await instance.imports.analyze(target.projectId, "shop", { connection: shared.connection, options: defaults }, "full");
    expect(analysis).toMatchObject({ tenantCount: 2, unownedRows: 0, problems: [expect.stringMatching(/1 table belongs to no tenant: countries/)] });
    const started = await instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options: copyShared }, "full");
    const status = await untilEnded(instance, target.projectId, started.id);
    expect(status).toMatchObject({ state: "done", phase: "data", kind: "full", tenantsDone: 2, error: undefined });
    expect(status.warnings.filter((warning) => warning.startsWith("not loaded"))).toEqual([
      "not loaded: policy own on public.orders, which looks at tenant_id",
      expect.stringMatching(/^not loaded: constraint named of public.customers: CHECK/),
      expect.stringMatching(/^not loaded: index CREATE INDEX customers_active/),
    ]);
    const wayne = await target.database("wayne");
    const expected = [
      "customers FOREIGN KEY (country) REFERENCES countries(code)",
      "customers FOREIGN KEY (invited_by) REFERENCES customers(id)",
      "customers PRIMARY KEY (id)",
      "orders FOREIGN KEY (customer_id) REFERENCES customers(id)",
      "orders PRIMARY KEY (number)",
      "refunds FOREIGN KEY (number) REFERENCES orders(number) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
      "refunds PRIMARY KEY (number, line)",
      "CREATE INDEX customers_tenant ON customers USING btree (id)",
      "CREATE UNIQUE INDEX customers_name ON customers USING btree (name DESC)",
    ];
    // An index on the key alone is the primary key's already.
    expect(await catalogOf(target.workspace)).toEqual(expected.filter((def) => !def.startsWith("CREATE INDEX customers_tenant")));
    expect(await catalogOf(wayne)).toEqual(await catalogOf(target.workspace));
    expect(await world().inside(wayne, "SELECT relrowsecurity AS on FROM pg_class WHERE oid = 'public.orders'::regclass")).toEqual([{ on: false }]);
    expect(
      await world().inside(wayne, "SELECT (SELECT count(*)::int FROM public.refunds) AS refunds, (SELECT theme FROM public.settings) AS theme"),
    ).toEqual([{ refunds: 4, theme: "dark" }]);
    const again = instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options: copyShared }, "full");
    await expect(again).rejects.toMatchObject({ kind: "bad_request", message: expect.stringMatching(/workspace 'shop' already has tables/) });
  });

  test("keeps the column where asked, and stops at a view that looks at it with the workspace's tables to be seen", async () => {
    const tables = "CREATE TABLE notes (id int PRIMARY KEY, tenant_id text, body text);";
    const shared = await source().makeDatabase(`${tables} INSERT INTO notes VALUES (1, 'wayne', 'x');`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, "");
    await shared.query("CREATE VIEW mine AS SELECT * FROM notes WHERE tenant_id = current_user");
    const request = { connection: shared.connection, options: defaults };
    const failed = await instance.imports.startImport(target.projectId, "shop", request, "full");
    expect(await untilEnded(instance, target.projectId, failed.id)).toMatchObject({
      state: "failed",
      phase: "structure",
      error: expect.stringMatching(/cannot drop tenant_id: the view (public\.)?mine looks at it/),
    });
    await asDesigner(world(), target.workspace, "DROP VIEW mine; DROP TABLE notes");
    await shared.query("DROP VIEW mine");
    const kept = await instance.imports.startImport(
      target.projectId,
      "shop",
      { ...request, options: { ...defaults, dropRoutingColumn: false } },
      "full",
    );
    expect(await untilEnded(instance, target.projectId, kept.id)).toMatchObject({ state: "done", error: undefined });
    expect(await world().inside(await target.database("wayne"), "SELECT * FROM public.notes")).toEqual([{ id: 1, tenant_id: "wayne", body: "x" }]);
  });
});
