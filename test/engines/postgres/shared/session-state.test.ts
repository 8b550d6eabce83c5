/** What of a statement stays in its session: settings to be made again, pins, and the names of prepared statements. */
import { describe, expect, it } from "vitest";
import { fromUtf8 } from "../../../../engines/postgres/bytes.ts";
import { readState, type StateReading } from "../../../../engines/postgres/shared/session-state.ts";

function read(sql: string): StateReading | undefined {
  return readState(fromUtf8(sql));
}

describe("session state: nothing stays of", () => {
  it.for([
    "SELECT 1",
    "SELECT abalance FROM pgbench_accounts WHERE aid = 1;",
    "UPDATE accounts SET balance = balance + 1 WHERE id = $1",
    "INSERT INTO t VALUES ('SET x = 1; LISTEN a')",
    "BEGIN; INSERT INTO t VALUES (1); COMMIT",
    "SET LOCAL search_path = x",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION READ ONLY",
    "SET CONSTRAINTS ALL DEFERRED",
    "CREATE TABLE t (id int)",
    "CREATE TEMP TABLE t (id int) ON COMMIT DROP",
    "SELECT set_config('app.user', $1, true)",
    "SELECT set_config('app.user', 'x', 't')",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_advisory_unlock(1)",
    "DECLARE c CURSOR FOR SELECT 1",
    "PREPARE TRANSACTION 'x'",
    "-- SET x = 1\nSELECT 1",
    "/* LISTEN a */ SELECT $$ SET x = 1 $$",
    "DO $$ BEGIN UPDATE t SET a = 1; END $$",
    "DO $$ BEGIN SET LOCAL app.x = '1'; END $$",
    "DISCARD PLANS",
    "SELECT * FROM pg_temp.t",
    "DROP TABLE pg_temp.t",
    "",
  ])("%s", (sql) => expect(read(sql)).toBeUndefined());
});

describe("session state: can be made again", () => {
  it.for<[string, string, string?]>([
    ["SET search_path TO app, public", "search_path"],
    ["set  Search_Path = app;", "search_path", "set  Search_Path = app"],
    ["SET \"TimeZone\" TO 'UTC'", "timezone"],
    ["SET SESSION statement_timeout = 5000", "statement_timeout"],
    ["SET TIME ZONE 'Europe/Berlin'", "timezone"],
    ["SET NAMES 'UTF8'", "client_encoding"],
    ["SET SCHEMA 'app'", "search_path"],
    ["SET app.user_id = '42'", "app.user_id"],
    ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "session characteristics"],
    ["SET a.b = E'x\\ny'", "a.b"],
    ["SELECT set_config('TimeZone', 'UTC', false)", "timezone"],
    ["SELECT pg_catalog.set_config('app.x', '1', false) AS done", "app.x"],
  ])("%s", ([sql, name, text = sql]) => {
    expect(read(sql)).toEqual({ changes: [{ kind: "set", name, sql: text }], pins: [], unpins: [], statement: undefined });
  });

  it("several in one text, in order", () => {
    expect(read("SET a.x = 1; RESET b.y; SET a.x = 2")?.changes).toEqual([
      { kind: "set", name: "a.x", sql: "SET a.x = 1" },
      { kind: "reset", name: "b.y" },
      { kind: "set", name: "a.x", sql: "SET a.x = 2" },
    ]);
  });

  it("among others, in one transaction with them", () => {
    expect(read("SELECT 1; SET a.x = 1; SELECT 2")).toEqual({
      changes: [{ kind: "set", name: "a.x", sql: "SET a.x = 1" }],
      pins: [],
      unpins: [],
      statement: undefined,
    });
  });

  it("RESET ALL takes them all back", () => {
    expect(read("RESET ALL")).toEqual({ changes: [{ kind: "reset all" }], pins: [], unpins: ["setting"], statement: undefined });
  });
});

describe("session state: ties a client to its backend", () => {
  it.for<[string, string]>([
    ["SET a.b = 'x\\y'", "setting"],
    ["SET a.b = 'ä'", "setting"],
    ["SET ROLE NONE", "setting"],
    ["SET SEED TO 0.5", "setting"],
    ["SET SESSION AUTHORIZATION DEFAULT", "setting"],
    ["SELECT set_config($1, $2, false)", "setting"],
    ["SELECT set_config('a.b', 'x', false), 1", "setting"],
    ["SELECT set_config(name, 'x', $1) FROM t", "setting"],
    ["BEGIN; SET a.b = 1; ROLLBACK", "setting"],
    ["LISTEN news", "listen"],
    ["/* first */ listen news", "listen"],
    ["SELECT 1; LISTEN news", "listen"],
    ["CREATE TEMP TABLE t (id int)", "temporary object"],
    ["create or replace temporary view v as select 1", "temporary object"],
    ["CREATE TEMP TABLE t (id int) ON COMMIT DELETE ROWS", "temporary object"],
    ["SELECT 1 INTO TEMP t", "temporary object"],
    ["CREATE TABLE pg_temp.t (id int)", "temporary object"],
    ["SELECT 1 INTO pg_temp.t", "temporary object"],
    ["CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "temporary object"],
    ['CREATE TABLE "pg_temp".t (id int)', "temporary object"],
    ["PREPARE p AS SELECT 1", "prepared statement"],
    ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor"],
    ["SELECT pg_advisory_lock(1)", "advisory lock"],
    ["SELECT pg_catalog.pg_try_advisory_lock_shared(1, 2)", "advisory lock"],
    ['SELECT "pg_advisory_lock"(1)', "advisory lock"],
    ["LOAD 'auto_explain'", "library"],
    ["DO $$ BEGIN PERFORM set_config('a.b', '1', false); END $$", "setting"],
    ["DO $$ BEGIN EXECUTE 'LISTEN a'; END $$", "listen"],
    ["DO $do$ BEGIN CREATE TEMP TABLE t (id int); END $do$", "temporary object"],
    ["DO 'BEGIN PERFORM pg_advisory_lock(1); END'", "advisory lock"],
  ])("%s", ([sql, pin]) => expect(read(sql)?.pins).toEqual([pin]));

  it.for<[string, string]>([
    ["UNLISTEN *", "listen"],
    ["DEALLOCATE ALL", "prepared statement"],
    ["DEALLOCATE PREPARE ALL", "prepared statement"],
    ["DISCARD TEMP", "temporary object"],
    ["CLOSE ALL", "cursor"],
    ["SELECT pg_advisory_unlock_all()", "advisory lock"],
  ])("%s lets it go", ([sql, pin]) => expect(read(sql)?.unpins).toEqual([pin]));
});

describe("session state: prepared statements named in SQL", () => {
  it.for<[string, string, boolean]>([
    ["DEALLOCATE s1", "s1", true],
    ["DEALLOCATE PREPARE S1", "s1", true],
    ['deallocate "_pg3_0"', "_pg3_0", true],
    ["EXECUTE s1(1, 'x')", "s1", false],
  ])("%s", ([sql, name, deallocates]) => {
    const { statement } = read(sql)!;
    expect(statement).toMatchObject({ name, deallocates });
    expect(sql.slice(statement!.from, statement!.to).replaceAll('"', "").toLowerCase()).toBe(name);
  });

  it("is left alone among others", () => expect(read("DEALLOCATE s1; SELECT 1")).toBeUndefined());
});

it("session state: reads a text in the middle of a chunk, and no byte beyond it", () => {
  const chunk = fromUtf8("LISTEN x; SELECT 1; LISTEN y");
  expect(readState(chunk, 10, 18)).toBeUndefined();
  expect(readState(chunk, 0, 8)?.pins).toEqual(["listen"]);
});

it("session state: takes any bytes without failing", () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % below;
  };
  const pieces = [
    "SET ",
    "x",
    "=",
    "'",
    '"',
    "$$",
    "$a$",
    ";",
    "--",
    "/*",
    "*/",
    "\n",
    "E'",
    "\\",
    "(",
    ")",
    ",",
    "set_config",
    "DO ",
    "TEMP ",
    "\u00e4",
    "1",
    ".",
    "DEALLOCATE ",
  ];
  let readable = 0;
  for (let round = 0; round < 5000; round++) {
    if (read(Array.from({ length: 1 + random(12) }, () => pieces[random(pieces.length)]).join(""))) readable++;
  }
  expect(readable).toBeGreaterThan(0);
});
