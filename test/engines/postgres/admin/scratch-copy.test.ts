/** Copies of tenants' databases for dry runs, and what a dry run tells of each statement, on a real server. */
import { describe, expect, test } from "vitest";
import type { DryRunStatement, PhysicalDatabase } from "../../../../core/model.ts";
import { applyOptions, useAdmin, versionsOf } from "./fixture.ts";

const { admin, tenantOf, as, asSuperuser, postgres } = useAdmin();

const ddl = [
  "CREATE TABLE plans (id int PRIMARY KEY, name text)",
  "CREATE TABLE accounts (id bigserial PRIMARY KEY, plan_id int REFERENCES plans, name text, twice text GENERATED ALWAYS AS (name || name) STORED)",
  "CREATE TABLE events (id int GENERATED ALWAYS AS IDENTITY, at date) PARTITION BY RANGE (at)",
  "CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
  "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a copy fires no triggers'; END $$",
  "CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM accounts",
];

/** A tenant with rows in every table, a sequence that has moved on, a large object, and a trigger that refuses any insert. */
async function filledTenant() {
  const { tenant } = await tenantOf(...ddl);
  await as(tenant, "admin", async (session) => {
    await session.query("INSERT INTO accounts (name) SELECT 'n' || i FROM generate_series(1, 500) i");
    await session.query("INSERT INTO plans VALUES (1, 'free'); UPDATE accounts SET plan_id = 1");
    await session.query("INSERT INTO events (at) VALUES ('2026-02-03')");
    await session.query("SELECT lo_from_bytea(4711, repeat('x', 5000)::bytea)");
  });
  await as(tenant, "owner", (session) => session.query("REFRESH MATERIALIZED VIEW totals"));
  return tenant;
}

const contents = (database: PhysicalDatabase) =>
  asSuperuser(database, async (session) => {
    await session.query("SET search_path TO public");
    const { rows } = await session.query(
      `SELECT (SELECT count(*)::int FROM accounts WHERE plan_id = 1) AS accounts, (SELECT max(twice) FROM accounts) AS twice, (SELECT count(*)::int FROM plans) AS plans,
              (SELECT min(at)::text FROM events) AS event, (SELECT n::int FROM totals) AS total, nextval('accounts_id_seq')::int AS next,
              length(lo_get(4711)) AS large, (SELECT regexp_replace(pg_get_userbyid(lomowner)::text, '^.*_', '') FROM pg_largeobject_metadata) AS owner`,
    );
    return rows[0];
  });

const everything = { accounts: 500, twice: "n9n9", plans: 1, event: "2026-02-03", total: 500, next: 501, large: 5000, owner: "admin" };

describe("a scratch copy", () => {
  test("of a database nobody is connected to, and of one in use, holds the same and takes deployments", async () => {
    const tenant = await filledTenant();
    const client = await postgres().dialer.asRole(tenant, "write");
    const versions = versionsOf([...ddl, "ALTER TABLE accounts ADD note text"]);
    try {
      const inUse = postgres().freshDatabase();
      await admin().createScratchCopy(inUse, tenant, versions.slice(0, ddl.length));
      expect(await contents(inUse)).toEqual(everything);
      expect(await admin().applyVersions(inUse, versions, applyOptions)).toMatchObject({ fromVersion: 6, toVersion: 7 });
      await admin().dropDatabase(inUse);
    } finally {
      await client.close();
    }
    const unused = postgres().freshDatabase();
    await admin().createScratchCopy(unused, tenant, versions.slice(0, ddl.length));
    expect(await contents(unused)).toEqual(everything);
    expect(await admin().applyVersions(unused, versions, applyOptions)).toMatchObject({ fromVersion: 6, toVersion: 7 });
    for (const role of ["admin", "write", "read"] as const) await expect(postgres().dialer.asRole(unused, role)).rejects.toThrow();
    await admin().dropDatabase(unused);
    // The tenant is as it was: its clients connect, and may what they could.
    expect(await admin().readAppliedVersion(tenant)).toBe(6);
    expect(await as(tenant, "write", async (session) => (await session.query("UPDATE accounts SET name = 'x' WHERE id = 1")).rowCount)).toBe(1);
    await admin().dropDatabase(tenant);
  });

  test("of a database that somebody changed by hand says which table differs", async () => {
    const tenant = await filledTenant();
    await asSuperuser(tenant, (session) => session.query("CREATE TABLE public.planted (id int)"));
    const client = await postgres().dialer.asRole(tenant, "write");
    const copy = postgres().freshDatabase();
    await expect(admin().createScratchCopy(copy, tenant, versionsOf(ddl))).rejects.toMatchObject({
      kind: "conflict",
      message: expect.stringContaining('"public"."planted"'),
    });
    await client.close();
    await admin().dropDatabase(copy);
  });
});

describe("what a dry run tells", () => {
  test("time, locks on what was there before, and tables written anew", async () => {
    const { tenant } = await tenantOf(...ddl);
    const told: DryRunStatement[] = [];
    const next = [
      "ALTER TABLE accounts ADD note text",
      "ALTER TABLE accounts ALTER id TYPE numeric",
      "CREATE TABLE orders (account_id numeric, plan_id int REFERENCES plans)",
      "CREATE INDEX CONCURRENTLY accounts_name ON accounts (name)",
    ];
    const versions = versionsOf([...ddl, ...next], { 9: { transactional: false, commandTag: "CREATE INDEX" } });
    await admin().applyVersions(tenant, versions, { ...applyOptions, onStatement: (statement) => told.push(statement) });
    expect(told.map(({ version, command }) => [version, command])).toEqual([
      [7, "ALTER TABLE"],
      [8, "ALTER TABLE"],
      [9, "CREATE TABLE"],
      [10, "CREATE INDEX"],
    ]);
    expect(told.every(({ durationMs }) => durationMs > 0)).toBe(true);
    expect(told[0]).toMatchObject({ locks: ["public.accounts AccessExclusiveLock"], rewrites: [] });
    expect(told[1]!.rewrites).toEqual(["public.accounts"]);
    expect(told[2]).toMatchObject({ locks: expect.arrayContaining(["public.plans ShareRowExclusiveLock"]), rewrites: [] });
    expect(told[2]!.locks.join()).not.toContain("orders");
  });
});
