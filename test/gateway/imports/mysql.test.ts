/** Imports from MySQL, on MariaDB: types, collations, binary and broken values, checked as they arrive. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImportConnection } from "../../../core/imports.ts";
import { type MysqlServer, mysqlMissing, mysqlUser, startMysql } from "./mysql-server.ts";
import { defaults, makeTarget, untilEnded, useWorld } from "./world.ts";

if (mysqlMissing !== undefined) console.warn(`Skipped: imports from MySQL, because ${mysqlMissing}`);

const schema = [
  "CREATE TABLE plans (code varchar(10) PRIMARY KEY)",
  `CREATE TABLE users (
    id int unsigned AUTO_INCREMENT PRIMARY KEY, tenant_id varchar(40) COLLATE utf8mb4_general_ci, name varchar(100), bio text, is_active tinyint(1) NOT NULL DEFAULT 1,
    flags bit(5), token varbinary(20), price decimal(10,2), ratio double, born date, seen datetime, at timestamp(3) NULL, doc json, kind enum('a','b'), tags set('x','y z'),
    invited_by int unsigned, shout varchar(100) GENERATED ALWAYS AS (upper(name)) STORED, FOREIGN KEY (invited_by) REFERENCES users (id), KEY (tenant_id))`,
  "CREATE TABLE `order``s` (id bigint PRIMARY KEY, user_id int unsigned NOT NULL, note varchar(200), FOREIGN KEY (user_id) REFERENCES users (id))",
  "CREATE TABLE tree (id int PRIMARY KEY, user_id int unsigned, parent int, FOREIGN KEY (user_id) REFERENCES users (id), FOREIGN KEY (parent) REFERENCES tree (id))",
];
const rows = [
  "INSERT INTO plans VALUES ('free')",
  "SET sql_mode = ''",
  `INSERT INTO users (id, tenant_id, name, bio, is_active, flags, token, price, ratio, born, seen, at, doc, kind, tags, invited_by) VALUES
    (1, 'wayne', 'tab\\tnl\\ncr\\r\\\\N 🦇', NULL, 1, b'10101', x'00ff0a5c', 12.50, 0.1, '2026-01-02', '2026-01-02 03:04:05', '2026-01-02 03:04:05.678', '{"a": "ä"}', 'a', 'x,y z', NULL),
    (2, 'wayne', '', 'b', 0, NULL, NULL, NULL, NULL, '0000-00-00', '0000-00-00 00:00:00', NULL, NULL, NULL, '', 1),
    (3, 'Acme', 'x', 'y', 2, b'0', '', 0, 1e300, NULL, NULL, NULL, 'null', 'b', NULL, NULL),
    (4, NULL, 'nobody', NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
  "INSERT INTO `order``s` SELECT id * 10, id, concat('of ', id) FROM users",
  "INSERT INTO tree VALUES (1, 1, NULL), (2, NULL, 1), (3, NULL, 2), (4, 3, NULL), (5, NULL, NULL)",
];
const target = `
CREATE TABLE plans (code varchar(10) PRIMARY KEY);
CREATE TABLE users (
  id bigserial PRIMARY KEY, name varchar(100), bio text, is_active boolean NOT NULL, flags bit(5), token bytea, price numeric(10,2), ratio double precision, born date,
  seen timestamp(0), at timestamptz(3), doc jsonb, kind text, tags text[], invited_by bigint REFERENCES users, shout varchar(100) GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE "order\`s" (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, note varchar(200));
CREATE TABLE tree (id int PRIMARY KEY, user_id bigint REFERENCES users, parent int REFERENCES tree);
`;

describe.skipIf(mysqlMissing !== undefined)("an import from MySQL", () => {
  const world = useWorld();
  let server: MysqlServer | undefined;
  beforeAll(async () => {
    server = await startMysql();
  });
  afterAll(() => server?.stop());
  const connectionTo = (database: string): ImportConnection => ({
    engine: "MySQL",
    host: "127.0.0.1",
    port: server!.port,
    ...mysqlUser,
    database,
    sslmode: "disable",
  });

  test("brings every kind of value, by field, key and tree, and leaves nobody's rows", async () => {
    const connection = connectionTo(await server!.makeDatabase([...schema, ...rows]));
    const instance = await world().start();
    const { projectId, database } = await makeTarget(world(), instance, target);
    const options = { ...defaults, sharedTables: "copy" as const };
    const analysis = await instance.imports.analyze(projectId, "shop", { connection, options }, "data");
    expect(analysis).toMatchObject({
      engine: "MySQL",
      problems: [],
      tenantCount: 2,
      tenants: [{ value: "Acme" }, { value: "wayne", tenantId: "wayne", rows: 2 }],
    });
    const started = await instance.imports.startImport(projectId, "shop", { connection, options }, "data");
    const status = await untilEnded(instance, projectId, started.id);
    expect(status.tenants.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(status).toMatchObject({ state: "done", error: undefined, tenantsDone: 2 });
    expect(status.tables.flatMap(({ table, unowned }) => unowned.map(({ reason, rows }) => [table, reason, rows])).sort()).toEqual([
      ["order`s", "no_owner", 1],
      ["tree", "no_owner", 1],
      ["users", "null_routing_field", 1],
    ]);
    const wayne = await database("wayne");
    expect(
      await world().inside(wayne, "SELECT *, seen::text AS seen, at AT TIME ZONE 'UTC' AS at, born::text AS born FROM public.users ORDER BY id"),
    ).toEqual([
      expect.objectContaining({
        ...{
          id: "1",
          name: "tab\tnl\ncr\r\\N 🦇",
          bio: null,
          is_active: true,
          flags: "10101",
          token: Buffer.from("00ff0a5c", "hex"),
          price: "12.50",
          ratio: 0.1,
        },
        ...{ born: "2026-01-02", seen: "2026-01-02 03:04:05", doc: { a: "ä" }, kind: "a", tags: ["x", "y z"], shout: expect.stringMatching(/^TAB/) },
      }),
      expect.objectContaining({ name: "", is_active: false, born: null, seen: null, tags: [], invited_by: "1" }),
    ]);
    expect(await world().inside(wayne, 'SELECT id FROM public."order`s" ORDER BY id')).toEqual([{ id: "10" }, { id: "20" }]);
    expect(await world().inside(wayne, "SELECT id FROM public.tree ORDER BY id")).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }]);
    expect(await world().inside(wayne, "INSERT INTO public.users (name, is_active) VALUES ('new', true) RETURNING id")).toEqual([{ id: "3" }]);
  });

  test("tells values apart that its collation calls equal, and goes on after a tenant that does not fit", async () => {
    const values =
      "INSERT INTO users (id, tenant_id, name) VALUES (1, 'wayne', 'a'), (2, 'WAYNE', 'b'), (3, 'other', repeat('x', 100)), (4, 'wäyne', 'c')";
    const connection = connectionTo(await server!.makeDatabase([...schema, values]));
    const instance = await world().start();
    const { projectId, database } = await makeTarget(world(), instance, target.replace("name varchar(100)", "name varchar(10)"));
    const started = await instance.imports.startImport(projectId, "shop", { connection, options: { ...defaults, sharedTables: "skip" } }, "data");
    const status = await untilEnded(instance, projectId, started.id);
    expect(status.tenants.map(({ value, state, error }) => [value, state, error])).toEqual(
      expect.arrayContaining([
        ["other", "failed", expect.stringMatching(/^table users, column name: value too long/)],
        ["wayne", "done", undefined],
        ["WAYNE", "done", undefined],
        ["wäyne", "done", undefined],
      ]),
    );
    expect(await world().inside(await database("wayne"), "SELECT id FROM public.users")).toEqual([{ id: "1" }]);
  });
});
