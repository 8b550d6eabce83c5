/** Imports from a shared PostgreSQL into tenants' own databases, on real servers. */
import { describe, expect, test } from "vitest";
import { fillShop, sharedSchema, tenantSchema } from "./shop.ts";
import { useSource } from "./source.ts";
import { defaults, makeTarget, untilEnded, useWorld } from "./world.ts";

const source = useSource();
const world = useWorld();
const copyShared = { ...defaults, sharedTables: "copy" as const };

describe("import-data", () => {
  test("splits a shared database: every hop, tree and ring, checked, with sequences and triggers as they should be", async () => {
    const shared = await source().makeDatabase(sharedSchema + fillShop(["wayne", "globex"], 5));
    const instance = await world().start();
    const target = await makeTarget(world(), instance, tenantSchema);
    const started = await instance.imports.startImport(target.projectId, "shop", { connection: shared.connection, options: copyShared }, "data");
    const status = await untilEnded(instance, target.projectId, started.id);
    expect(status).toMatchObject({ state: "done", error: undefined, tenantsTotal: 2, tenantsDone: 2, tenantsFailed: 0 });
    expect(status.rowsDone).toBe(status.rowsTotal);
    const wayne = await target.database("wayne");
    const inWayne = (text: string) => world().inside(wayne, text);
    const counts: Record<string, number> = {};
    for (const { table } of status.tables) counts[table] = Number((await inWayne(`SELECT count(*) AS n FROM public.${table}`))[0]!.n);
    const expected = {
      tenants: 1,
      countries: 2,
      customers: 5,
      orders: 5,
      baskets: 5,
      basket_items: 10,
      item_notes: 5,
      threads: 15,
      teams: 1,
      members: 1,
    };
    expect(counts).toEqual(expected);
    const columns = "id, name, country, invited_by, mood, photo, seen, tags, doc, shout";
    expect(await inWayne(`SELECT ${columns} FROM public.customers ORDER BY id`)).toEqual(
      await shared.query(`SELECT ${columns} FROM customers WHERE tenant_id = 'wayne' ORDER BY id`),
    );
    expect(await inWayne("SELECT DISTINCT what FROM public.basket_items ORDER BY 1")).toEqual([{ what: "thing 1" }, { what: "thing 2" }]);
    // What stood aside is back: trigger, foreign keys, comment; and new rows get new ids.
    expect(await inWayne("INSERT INTO public.customers (name) VALUES ('new') RETURNING id")).toEqual([{ id: 10 }]);
    expect(await inWayne("INSERT INTO public.basket_items SELECT max(id), 3, '' FROM public.baskets RETURNING what")).toEqual([
      { what: "spoilt by a trigger" },
    ]);
    await expect(inWayne("INSERT INTO public.item_notes VALUES (1, 99, 'nowhere')")).rejects.toMatchObject({ code: "23503" });
    expect(
      await inWayne("SELECT conname, condeferrable, convalidated, obj_description(oid) AS says FROM pg_constraint WHERE contype = 'f' ORDER BY 1"),
    ).toEqual(
      await world().inside(
        target.workspace,
        "SELECT conname, condeferrable, convalidated, obj_description(oid) AS says FROM pg_constraint WHERE contype = 'f' ORDER BY 1",
      ),
    );
  });
});
