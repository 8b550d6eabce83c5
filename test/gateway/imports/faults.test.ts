/** Imports from sources that lie, vanish or do not fit, and instances that die in the middle. */
import { describe, expect, test } from "vitest";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { tenantSubject } from "../../../gateway/control/tenants.ts";
import { fillShop, sharedSchema, tenantSchema } from "./shop.ts";
import { useSource } from "./source.ts";
import { asDesigner, defaults, type Instance, makeTarget, type Target, untilEnded, untilStatus, useWorld } from "./world.ts";

const source = useSource();
const world = useWorld();
const copyShared = { ...defaults, sharedTables: "copy" as const };
const tenants = ["acme", "globex", "initech", "wayne"];

const small = "CREATE TABLE accounts (id int PRIMARY KEY, tenant_id text, amount text);";
const smallTarget = "CREATE TABLE accounts (id int PRIMARY KEY, amount text);";

async function run(instance: Instance, target: Target, connection: Parameters<Instance["imports"]["analyze"]>[2]["connection"], options = defaults) {
  const started = await instance.imports.startImport(target.projectId, "shop", { connection, options }, "data");
  return await untilEnded(instance, target.projectId, started.id);
}

/** Every row of a tenant is there once, and no other's. */
async function expectWhole(target: Target, ids: readonly string[], customersEach: number): Promise<void> {
  for (const id of ids) {
    const database = await target.database(id);
    const [row] = await world().inside(
      database,
      `SELECT (SELECT count(*)::int FROM public.customers) AS customers, (SELECT count(*)::int FROM public.basket_items) AS items,
              (SELECT count(*)::int FROM public.threads) AS threads, (SELECT min(id) FROM public.tenants) AS tenant, (SELECT count(*)::int FROM tdb.imports WHERE result IS NOT NULL) AS records`,
    );
    expect(row).toEqual({ customers: customersEach, items: customersEach * 2, threads: customersEach * 3, tenant: id, records: 1 });
  }
}

/** Keeps a tenant's tables from being written until it is called. */
async function holdTables(database: PhysicalDatabase): Promise<() => Promise<void>> {
  const holder = await world().server.dialer.asAdmin(database.clusterId, database.name);
  const [row] = await world().inside(
    database,
    "SELECT string_agg(oid::regclass::text, ', ') AS tables FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
  );
  await holder.query("BEGIN");
  await holder.query(`LOCK TABLE ${row!.tables} IN SHARE MODE`);
  return () => holder.close();
}

describe("rows that belong to nobody", () => {
  test("stay in the source, counted by table and reason, and the statement that finds them does", async () => {
    const shared = await source().makeDatabase(`${sharedSchema}${fillShop(["wayne"], 3)}
      INSERT INTO tenants VALUES (' ', 'blank');
      INSERT INTO customers (id, tenant_id, name) VALUES (901, NULL, 'nobody'), (902, ' ', 'blank'), (903, NULL, 'nobody');
      INSERT INTO baskets (id, customer_id) OVERRIDING SYSTEM VALUE VALUES (901, 901), (902, 902);
      INSERT INTO threads VALUES (901, NULL, NULL, 'lost'), (902, 901, NULL, 'of nobody');`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, tenantSchema);
    const status = await run(instance, target, shared.connection, copyShared);
    expect(status).toMatchObject({ state: "done", tenantsDone: 1, error: undefined });
    const unowned = status.tables.flatMap(({ table, unowned: found }) => found.map(({ reason, rows }) => [table, reason, rows]));
    expect(unowned.sort()).toEqual([
      ["baskets", "no_owner", 2],
      ["customers", "blank_routing_field", 1],
      ["customers", "null_routing_field", 2],
      ["tenants", "blank_routing_field", 1],
      ["threads", "no_owner", 2],
    ]);
    for (const { unowned: found } of status.tables) for (const { find, rows } of found) expect(await shared.query(find)).toHaveLength(rows);
    expect((await shared.query("SELECT count(*)::int AS n FROM customers"))[0]).toEqual({ n: 6 });
  });
});

describe("sources that do not fit", () => {
  test("are refused before anything is made: no such field, shared tables undecided, a missing column, a workspace that cannot take them", async () => {
    const shared = await source().makeDatabase(`${small} CREATE TABLE plans (id int PRIMARY KEY);`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, "CREATE TABLE accounts (id int PRIMARY KEY)");
    const attempt = (options: object, connection: object = {}) =>
      instance.imports.startImport(
        target.projectId,
        "shop",
        { connection: { ...shared.connection, ...connection }, options: { ...defaults, ...options } },
        "data",
      );
    await expect(attempt({ routingField: "org" })).rejects.toMatchObject({ kind: "bad_request", message: "no table found with routing field 'org'" });
    await expect(attempt({})).rejects.toMatchObject({
      kind: "bad_request",
      message: expect.stringMatching(/1 table belongs to no tenant: plans.*no column amount: add it/),
    });
    await expect(attempt({ sharedTables: "copy", skipColumns: ["accounts.amount"] })).rejects.toMatchObject({
      message: expect.stringMatching(/table plans is not in the blueprint/),
    });
    await expect(attempt({}, { password: "wrong" })).rejects.toMatchObject({
      kind: "bad_request",
      message: expect.stringMatching(/cannot connect to the source: password authentication failed/),
    });
    await expect(attempt({}, { host: "127.0.0.2" })).rejects.toMatchObject({ kind: "forbidden", message: expect.stringMatching(/loopback/) });
    await expect(attempt({}, { port: 1 })).rejects.toMatchObject({ kind: "bad_request", message: expect.stringMatching(/ECONNREFUSED/) });
    await expect(instance.imports.getImport(target.projectId, "shop", undefined)).rejects.toMatchObject({ kind: "not_found" });
    const done = await attempt({ sharedTables: "skip", skipColumns: ["accounts.amount"] });
    expect((await untilEnded(instance, target.projectId, done.id)).state).toBe("done");
  });

  test("one tenant's bad value or stray reference fails that tenant alone, in words without the value; put right, a retry finishes", async () => {
    const shared = await source().makeDatabase(`
      CREATE TABLE accounts (id int PRIMARY KEY, tenant_id text, amount text);
      CREATE TABLE entries (id int PRIMARY KEY, tenant_id text, account_id int REFERENCES accounts);
      INSERT INTO accounts SELECT i, (ARRAY['a', 'b', 'c', 'd'])[1 + i % 4], i FROM generate_series(0, 19) i;
      INSERT INTO entries SELECT id, tenant_id, id FROM accounts;
      UPDATE accounts SET amount = 'top secret' WHERE id = 5; UPDATE entries SET account_id = 3 WHERE id = 6;`);
    const instance = await world().start();
    const target = await makeTarget(
      world(),
      instance,
      "CREATE TABLE accounts (id int PRIMARY KEY, amount numeric(9,2)); CREATE TABLE entries (id int PRIMARY KEY, account_id int REFERENCES accounts)",
    );
    const status = await run(instance, target, shared.connection);
    expect(status).toMatchObject({ state: "failed", error: "2 of 4 tenants failed", tenantsDone: 2, tenantsFailed: 2 });
    expect(status.tenants.map(({ tenantId, state, error, sqlstate }) => [tenantId, state, error, sqlstate])).toEqual([
      ["a", "done", undefined, undefined],
      ["b", "failed", "table accounts, column amount: invalid input syntax for type numeric", "22P02"],
      ["c", "failed", 'insert or update on table "entries" violates foreign key constraint "entries_account_id_fkey"', "23503"],
      ["d", "done", undefined, undefined],
    ]);
    const shown = (which: "failed" | "none") => instance.imports.getImport(target.projectId, "shop", status.id, which);
    expect(await shown("failed")).toEqual({ ...status, tenants: status.tenants.slice(1, 3) });
    expect(await shown("none")).toEqual({ ...status, tenants: [] });
    for (const id of ["b", "c"]) expect(await world().inside(await target.database(id), "SELECT FROM public.accounts")).toEqual([]);
    await shared.query("UPDATE accounts SET amount = '5' WHERE id = 5; UPDATE entries SET account_id = 2 WHERE id = 6");
    await instance.imports.retryImport(target.projectId, "shop", status.id);
    const again = await untilEnded(instance, target.projectId, status.id);
    expect(again).toMatchObject({ state: "done", error: undefined, tenantsDone: 4 });
    expect(await world().inside(await target.database("b"), "SELECT sum(amount)::text AS s FROM public.accounts")).toEqual([{ s: "45.00" }]);
    await expect(instance.imports.retryImport(target.projectId, "shop", status.id)).rejects.toMatchObject({ kind: "conflict" });
  });

  test("a tenant with rows of its own is left alone; one that must not be made is named", async () => {
    const shared = await source().makeDatabase(`${small} INSERT INTO accounts VALUES (1, 'has_rows', 'x'), (2, 'unknown', 'x'), (3, 'behind', 'x')`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, smallTarget);
    const make = (tenantId: string) =>
      instance.plane.createTenant(target.projectId, { tenantId, databases: [{ blueprint: "shop", isolationLevel: 1 }] });
    await make("has_rows");
    await make("behind");
    await world().inside(await target.database("has_rows"), "INSERT INTO public.accounts VALUES (99, 'mine')");
    await asDesigner(world(), target.workspace, "ALTER TABLE accounts ADD note text");
    const status = await run(instance, target, shared.connection, { ...defaults, createTenants: false });
    expect(status.tenants.map(({ tenantId, error }) => [tenantId, error])).toEqual([
      ["behind", expect.stringMatching(/at version 1 of blueprint 'shop', the newest is 2: deploy first/)],
      ["has_rows", expect.stringMatching(/at version 1/)],
      ["unknown", expect.stringMatching(/does not exist: create it, or set create_tenants to true/)],
    ]);
    const deployment = await instance.plane.createDeployment(target.projectId, {
      blueprint: "shop",
      tenants: "all",
      concurrency: 1,
      lockTimeoutMs: 1000,
    });
    await instance.plane.waitForDeployment(target.projectId, deployment.id, new AbortController().signal);
    await instance.imports.retryImport(target.projectId, "shop", status.id);
    const again = await untilEnded(instance, target.projectId, status.id);
    expect(again.tenants.map(({ tenantId, state, error }) => [tenantId, state, error])).toEqual([
      ["behind", "done", undefined],
      ["has_rows", "failed", "table accounts already holds rows; an import only goes into empty tables"],
      ["unknown", "failed", expect.stringMatching(/does not exist/)],
    ]);
    expect(await world().inside(await target.database("has_rows"), "SELECT id FROM public.accounts")).toEqual([{ id: 99 }]);
  });
});

describe("sources that vanish", () => {
  test("and come back: the import goes on by itself, each tenant whole and once", async () => {
    const shared = await source().makeDatabase(sharedSchema + fillShop(tenants, 400));
    const instance = await world().start({ sourceAttempts: 50 });
    const target = await makeTarget(world(), instance, tenantSchema);
    const started = await instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options: copyShared }, "data");
    for (const bytes of [20_000, 90_000, 200_000]) {
      source().door.shutAfter(bytes);
      await untilStatus(instance, target.projectId, started.id, () => source().door.isShut);
      source().door.open();
    }
    expect(await untilEnded(instance, target.projectId, started.id)).toMatchObject({ state: "done", tenantsDone: 4 });
    await expectWhole(target, tenants, 400);
  });

  test("or fall silent in the middle: it fails and says so, keeps what is done, and a retry finishes", async () => {
    const shared = await source().makeDatabase(sharedSchema + fillShop(tenants, 400));
    const instance = await world().start({ sourceAttempts: 1 }, { stallMs: 5_000, stallSetting: "import.stall_timeout_s" });
    const target = await makeTarget(world(), instance, tenantSchema);
    const request = { connection: shared.connection, options: copyShared };
    const started = await instance.imports.startImport(target.projectId, "shop", request, "data");
    source().door.silenceAfter(90_000);
    const failed = await untilEnded(instance, target.projectId, started.id);
    expect(source().door.isSilent).toBe(true);
    expect(failed).toMatchObject({
      state: "failed",
      error:
        "the connection to the source was lost: no whole row or answer came from it within 5 s (import.stall_timeout_s). Tenants done stay; retry the import to go on with the others",
    });
    source().door.open();
    await instance.imports.retryImport(target.projectId, "shop", started.id);
    expect(await untilEnded(instance, target.projectId, started.id)).toMatchObject({ state: "done", tenantsDone: 4 });
    await expectWhole(target, tenants, 400);
  });

  test("or fall silent before it is known who is there: that can be cancelled, and is not taken for done", async () => {
    const shared = await source().makeDatabase(`${small} INSERT INTO accounts VALUES (1, 'wayne', 'x')`);
    const instance = await world().start();
    const target = await makeTarget(world(), instance, smallTarget);
    const request = { connection: shared.connection, options: defaults };
    const { id } = await instance.imports.startImport(target.projectId, "shop", request, "data");
    source().door.silenceAfter(1);
    await untilStatus(instance, target.projectId, id, () => source().door.isSilent);
    await instance.imports.cancelImport(target.projectId, "shop", id);
    expect(await untilEnded(instance, target.projectId, id)).toMatchObject({ state: "cancelled", tenantsDone: 0 });
    source().door.open();
    await instance.imports.retryImport(target.projectId, "shop", id);
    expect(await untilEnded(instance, target.projectId, id)).toMatchObject({ state: "done", tenantsDone: 1 });
  });

  test("and stay away: it fails and says so, keeps what is done, and a retry finishes", async () => {
    const shared = await source().makeDatabase(sharedSchema + fillShop(tenants, 50));
    const instance = await world().start({ sourceAttempts: 2 });
    const target = await makeTarget(world(), instance, tenantSchema);
    await instance.plane.createTenant(target.projectId, { tenantId: "wayne", databases: [{ blueprint: "shop", isolationLevel: 1 }] });
    const letGo = await holdTables(await target.database("wayne"));
    const options = { ...copyShared, concurrency: 1 };
    const started = await instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options }, "data");
    await untilStatus(instance, target.projectId, started.id, ({ tenants: all }) =>
      all.some((each) => each.tenantId === "wayne" && each.state === "running"),
    );
    source().door.shutAfter(0);
    await letGo();
    expect(await untilEnded(instance, target.projectId, started.id)).toMatchObject({
      state: "failed",
      error: expect.stringMatching(/source.*Tenants done stay; retry the import/),
      tenantsDone: 3,
    });
    source().door.open();
    await instance.imports.retryImport(target.projectId, "shop", started.id);
    expect(await untilEnded(instance, target.projectId, started.id)).toMatchObject({ state: "done", tenantsDone: 4 });
    await expectWhole(target, tenants, 50);
  });
});

describe("instances that end", () => {
  test("stopped in the middle: another carries on, and the connection is forgotten when all is done", async () => {
    const shared = await source().makeDatabase(sharedSchema + fillShop(tenants, 300));
    const first = await world().start();
    const target = await makeTarget(world(), first, tenantSchema);
    const started = await first.imports.startImport(
      target.projectId,
      "shop",
      { connection: shared.connection, options: { ...copyShared, concurrency: 1 } },
      "data",
    );
    expect(await world().control.dump()).not.toContain(shared.connection.password);
    await untilStatus(first, target.projectId, started.id, ({ tenants: all }) => all.some(({ state }) => state === "running" || state === "done"));
    await world().stop(first);
    const second = await world().start();
    const status = await untilEnded(second, target.projectId, started.id);
    expect(status).toMatchObject({ state: "done", tenantsDone: 4 });
    await expectWhole(
      { ...target, database: async (id) => (await second.plane.getTenant(target.projectId, id)).databases[0]!.database! },
      tenants,
      300,
    );
    expect(await world().control.query("SELECT connection FROM tenantry.imports")).toEqual([{ connection: null }]);
  });
});

describe("what a crash left of a tenant", () => {
  test("is waited for while the sweep clears it away, and the tenant is made anew", async () => {
    const shared = await source().makeDatabase(`${small} INSERT INTO accounts VALUES (1, 'wayne', '1');`);
    const instance = await world().start({ settleAttempts: 10_000 });
    const { context } = instance.plane;
    const target = await makeTarget(world(), instance, smallTarget);
    const half = { project_id: target.projectId, id: "wayne", state: "deleting" as const, claimed_by: context.claims.key, created_at: new Date() };
    await context.store.db.insertInto("tenants").values(half).execute();
    const letGo = context.claims.take(tenantSubject(target.projectId, "wayne")); // as the sweep has it
    const started = await instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options: defaults }, "data");
    await untilStatus(instance, target.projectId, started.id, ({ tenants: all }) => all.some(({ state }) => state === "running"));
    await context.store.db.deleteFrom("tenants").where("id", "=", "wayne").execute();
    letGo();
    expect(await untilEnded(instance, target.projectId, started.id)).toMatchObject({ state: "done", tenantsDone: 1, tenantsFailed: 0 });
    expect(await world().inside(await target.database("wayne"), "SELECT id FROM public.accounts")).toEqual([{ id: 1 }]);
  });
});
