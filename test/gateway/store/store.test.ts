/** The store itself: migrations, the change feed and its way back, locks, presence. */

import { sql } from "kysely";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Change } from "../../../core/directory.ts";
import { silentLog } from "../../../core/log.ts";
import { notifyChange } from "../../../gateway/store/changes.ts";
import { migrate, StoreTooNewError } from "../../../gateway/store/migrate.ts";
import { migrations } from "../../../gateway/store/migrations.ts";
import { claimIsAlive } from "../../../gateway/store/presence.ts";
import { isStoreAway } from "../../../gateway/store/store-errors.ts";
import { useTestPostgres } from "../../support/postgres.ts";
import { type ControlDatabase, eventually, makeControlDatabase } from "./control-database.ts";

const server = useTestPostgres();
let control: ControlDatabase;

beforeEach(async () => {
  control = await makeControlDatabase(server());
});

afterEach(async () => {
  await control.close();
});

const change: Change = { projectId: "tdb_00000001", tenantId: "acme" };

describe("store: migrations", () => {
  test("run twice without doing anything the second time", async () => {
    await (await control.open()).close();
    await (await control.open()).close();
    const rows = await control.query<{ value: string }>("select value from tenantry.meta where key = 'schema_version'");
    expect(rows).toEqual([{ value: String(migrations.at(-1)!.version) }]);
  });

  test("run once when instances start together", async () => {
    const stores = await Promise.all([control.open(), control.open(), control.open(), control.open()]);
    expect(new Set(stores.map((store) => store.presenceKey)).size).toBe(4);
    expect(await control.query("select * from tenantry.projects")).toEqual([]);
  });

  test("refuse a database a newer version has migrated, and leave it alone", async () => {
    await (await control.open()).close();
    await control.query("update tenantry.meta set value = '999' where key = 'schema_version'");
    await expect(control.open()).rejects.toThrow(StoreTooNewError);
    await expect(control.open()).rejects.toThrow(/schema is at version 999, this version of Tenantry knows up to \d+/);
    expect(await control.query("select value from tenantry.meta where key = 'schema_version'")).toEqual([{ value: "999" }]);
  });

  test("are done wholly or not at all", async () => {
    const pool = new pg.Pool(control.connection as pg.PoolConfig);
    const broken = [...migrations, { version: 1000, name: "broken", sql: "create table tenantry.half (a int); select 1/0" }];
    await expect(migrate(pool, silentLog, broken)).rejects.toThrow("division by zero");
    expect(await control.query("select 1 from pg_namespace where nspname = 'tenantry'")).toEqual([]);
    await migrate(pool, silentLog);
    await pool.end();
  });
});

describe("store: change feed", () => {
  test("delivers a change to every instance once it is committed, and never when it is rolled back", async () => {
    const [a, b] = await Promise.all([control.open(), control.open()]);
    const heard: unknown[] = [];
    b.routes.onChange((c) => heard.push(c));
    const bHears = new Promise<void>((resolve) => b.routes.onChange((c) => c?.tenantId === "last" && resolve()));
    await a.transaction((trx) => notifyChange(trx, change));
    await expect(
      a.transaction(async (trx) => {
        await notifyChange(trx, { ...change, tenantId: "rolled_back" });
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    await notifyChange(a.db, { ...change, tenantId: "last" });
    await bHears;
    expect(heard).toEqual([change, { ...change, tenantId: "last" }]);
  });

  test("stops telling a listener that has unsubscribed", async () => {
    const store = await control.open();
    const heard: unknown[] = [];
    const unsubscribe = store.routes.onChange((c) => heard.push(c));
    unsubscribe();
    const other = new Promise<void>((resolve) => store.routes.onChange(() => resolve()));
    await notifyChange(store.db, change);
    await other;
    expect(heard).toEqual([]);
  });

  test("comes back after its connection is cut, says that changes may have been missed, and goes on", async () => {
    const store = await control.open();
    const heard: unknown[] = [];
    let hear: () => void = () => undefined;
    store.routes.onChange((c) => {
      heard.push(c);
      hear();
    });
    const first = new Promise<void>((resolve) => {
      hear = resolve;
    });
    await control.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tenantry changes' and datname = current_database()",
    );
    await first;
    const second = new Promise<void>((resolve) => {
      hear = resolve;
    });
    await notifyChange(store.db, change);
    await second;
    expect(heard).toEqual([undefined, change]);
  });

  test("ignores what is not a change", async () => {
    const store = await control.open();
    const heard: unknown[] = [];
    store.routes.onChange((c) => heard.push(c));
    const done = new Promise<void>((resolve) => store.routes.onChange(() => resolve()));
    await control.query("select pg_notify('tenantry_changes', 'hello'), pg_notify('tenantry_changes', '{\"a\":1}')");
    await notifyChange(store.db, change);
    await done;
    expect(heard).toEqual([change]);
  });
});

describe("store: presence", () => {
  const alive = async (key: number, asker: Awaited<ReturnType<ControlDatabase["open"]>>) => {
    const answer = await sql<{
      alive: boolean;
    }>`select ${claimIsAlive(sql.ref("c.key"))} as alive from (values (${sql.lit(key)}::int)) as c(key)`.execute(asker.db);
    return answer.rows[0]!.alive;
  };

  test("ends with the instance, and is back after its connection was cut", async () => {
    const [a, b] = await Promise.all([control.open({ heartbeatMs: 20 }), control.open()]);
    expect(await alive(a.presenceKey, b)).toBe(true);
    const back = new Promise<void>((resolve) => a.onChange((c) => c === undefined && resolve()));
    await control.query("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1", [a.presenceKey]);
    await back;
    await eventually(async () => ((await alive(a.presenceKey, b)) ? true : undefined));
    await a.close();
    await eventually(async () => ((await alive(a.presenceKey, b)) ? undefined : true));
  });
});

describe("store: locks", () => {
  test("shared ones are held together, an exclusive one alone", async () => {
    const [a, b] = await Promise.all([control.open(), control.open()]);
    const order: string[] = [];
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = a.withLock("x", "shared", async () => {
      order.push("first");
      await held;
      order.push("first ends");
    });
    await eventually(async () => (order.length > 0 ? true : undefined));
    await b.withLock("x", "shared", async () => void order.push("second"));
    const exclusive = b.withLock("x", "exclusive", async () => void order.push("exclusive"));
    release();
    await Promise.all([first, exclusive]);
    expect(order).toEqual(["first", "second", "first ends", "exclusive"]);
  });
});

describe("store: away", () => {
  test("is told from a store that says no", async () => {
    const store = await control.open();
    const refused = await sql`select 1/0`.execute(store.db).catch((error: unknown) => error);
    expect(isStoreAway(refused)).toBe(false);
    await store.close();
    const away = await sql`select 1`.execute(store.db).catch((error: unknown) => error);
    expect(away).toBeInstanceOf(Error);
    const unreachable = new pg.Client({ host: "/nowhere", port: 1, user: "x", database: "x" });
    expect(isStoreAway(await unreachable.connect().catch((error: unknown) => error))).toBe(true);
  });
});
