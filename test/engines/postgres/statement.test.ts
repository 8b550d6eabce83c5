/** What the guard reads in SQL text: a table of statements, PostgreSQL's own parser as the judge, and texts made to be slow. */

import { parse } from "libpg-query";
import { describe, expect, it } from "vitest";
import { ddlCertain, ddlNone, ddlPerhaps, summarize } from "../../../engines/postgres/statement.ts";
import { Prng } from "./support/prng.ts";

const read = (sql: string) => summarize(Buffer.from(sql));

const none = [
  "",
  ";",
  ";;;",
  "   \n\t",
  "-- create schema x",
  "/* create schema x */",
  "/* /* */ create schema x */",
  "select 1",
  "select 'create schema x'",
  "select 'it''s; create schema x'",
  "select E'\\'; create schema x'",
  "select e'\\\\\\'; create schema x'",
  "select 'a\\'",
  "select U&'\\0041; create schema x'",
  "select B'01', X'ff', N'; create schema x'",
  "select $$; create schema x $$",
  "select $tag$; create schema x $$ ; $tag$",
  "select $ü$; create schema x $ü$",
  'select "; create schema x"',
  'select """;create schema x"',
  'select U&"; create schema x"',
  "select $1, $2::text",
  "select a$b$c from t; select '$b$'",
  "select create_schema, dropped, altered from t",
  "select 1 as create",
  "insert into created values ('drop table x')",
  "insert into t select * from u",
  "insert into t (a) values (1) on conflict (a) do update set a = 2 returning a",
  "with x as (insert into t values (1) returning *) insert into u select * from x",
  "with recursive x as (select 1 union all select 1 from x) select * from x",
  "merge into t using u on t.a = u.a when matched then update set a = 1 when not matched then insert values (1)",
  "update t set a = 1 where b = 'x'",
  "delete from t using u",
  "begin",
  "start transaction",
  "commit; begin",
  "savepoint create_x; rollback to create_x",
  "set search_path = a, b",
  "set local work_mem = '1MB'",
  "reset all",
  "show all",
  "listen x; notify x, 'create schema y'; unlisten *",
  "declare c cursor for select 1; fetch all from c; close c",
  "move 5 in c",
  "prepare p as select 1; execute p; deallocate p",
  "discard all",
  "explain select 1",
  "explain (analyze, format json) select * from t",
  "vacuum t",
  "analyze t",
  "lock table t in access share mode",
  "truncate t",
  "call p(1)",
  "values (1), (2)",
  "table t",
  "checkpoint",
  "create temp table x (a int)",
  "create temporary table x as select 1",
  "create global temporary table x (a int)",
  "create local temp table x (a int)",
  "create temp view v as select 1",
  "create temp sequence s",
  "create or replace temp view v as select 1",
  "CREATE/**/TEMP/**/TABLE x()",
  "select 1 into temp x",
  "select a into temporary table x from t",
  "select pg_temp.f()",
  "select 'unterminated",
  'select "unterminated',
  "select $$unterminated",
  "select /* unterminated ; create schema x",
  "select -- no line end ; create schema x",
  "select E'unterminated\\",
];
const perhaps = [
  "create table x (a int)",
  "CREATE TABLE x()",
  "create unlogged table x()",
  "/*/**/*/create table x()",
  "CREATE/**/TABLE x()",
  "create\u000btable x()",
  ";;create table x()",
  "select 1;create table x()",
  "select 'a' ;create table x()",
  "create table x as select 1",
  "create table pg_temp.x (a int)",
  "create view v as select 1",
  "create or replace view v as select 1",
  "create recursive view v (a) as select 1",
  "create index i on t (a)",
  "create unique index concurrently i on t (a)",
  "create sequence s",
  "create function pg_temp.f() returns int language sql as 'select 1'",
  "create or replace function pg_temp.f() returns int language sql as $$ select 1 $$",
  "create or replace procedure p() language sql as ''",
  "create aggregate a (int) (sfunc = int4pl, stype = int)",
  "create type t as enum ('a')",
  "create domain d as int",
  "create trigger g before insert on t execute function f()",
  "create rule r as on insert to t do also select 1",
  "create policy p on t",
  "create statistics s on a, b from t",
  "create operator + (function = f, leftarg = int)",
  "alter table t add column a int",
  "alter index i rename to j",
  "alter view v rename to w",
  "alter sequence s restart",
  "alter function f() volatile",
  "alter type t add value 'b'",
  "drop table t",
  "drop table if exists t, u cascade",
  "drop index concurrently i",
  "drop view v",
  "drop function f",
  "drop sequence s",
  "drop trigger g on t",
  "comment on table t is 'x'",
  "reindex table t",
  "cluster t using i",
  "refresh materialized view m",
  "select 1 into x",
  "select * into table x from t",
  "with a as (select 1) select * into x from a",
  "select 1 into pg_temp.x",
  "explain analyze create table x as select 1",
  "explain create materialized view x as select 1",
  "begin; drop table t; commit",
  "insert into t values (1); alter table t add b int",
  "prepare x as select 1; create table y()",
  "select $$a$$; create table x()",
  "select $a$ $b$ $a$; create table x()",
  "select E'a\\\\'; create table x()",
  "select 'a\\'; create table x()",
  'select "a""b"; create table x()',
  "select U&'\\0027'; create table x()",
  "select as'a\\'; create table x()",
];
const certain = [
  "create schema x",
  "CREATE SCHEMA IF NOT EXISTS x AUTHORIZATION y",
  "create extension hstore",
  "create role r",
  "create user u",
  "create group g",
  "create database d",
  "create tablespace t location '/x'",
  "create materialized view m as select 1",
  "create event trigger e on ddl_command_end execute function f()",
  "create foreign data wrapper w",
  "create foreign table f (a int) server s",
  "create server s foreign data wrapper w",
  "create user mapping for current_user server s",
  "create publication p",
  "create subscription s connection '' publication p",
  "create language l",
  "create or replace trusted language l",
  "create access method a type index handler h",
  "create cast (a as b) without function",
  "create conversion c for 'a' to 'b' from f",
  "create transform for a language b (from sql with function f)",
  "alter schema x rename to y",
  "alter role r set work_mem = '1MB'",
  "alter user u password 'x'",
  "alter database d set x = 1",
  "alter default privileges grant select on tables to public",
  "alter system set work_mem = '1MB'",
  "alter large object 1 owner to x",
  "alter extension e update",
  "drop schema x cascade",
  "drop role r",
  "drop owned by x",
  "drop extension e",
  "drop materialized view m",
  "grant select on t to public",
  "grant r to s",
  "revoke all on schema x from public",
  "reassign owned by a to b",
  "security label on table t is 'x'",
  "import foreign schema a from server s into b",
  "select 1; grant select on t to public",
  "create table x(); create schema y",
  "/* a */ -- b\n GRANT SELECT ON t TO x",
];

describe("statement", () => {
  it.each(none)("sees no DDL in %j", (sql) => {
    expect(read(sql).ddl).toBe(ddlNone);
    expect(read(sql).copy).toBe(false);
  });
  it.each(perhaps)("leaves %j to the database", (sql) => expect(read(sql).ddl).toBe(ddlPerhaps));
  it.each(certain)("sees DDL in %j", (sql) => expect(read(sql).ddl).toBe(ddlCertain));

  it.each(["copy t from stdin", "COPY(select 1)to stdout", "/**/copy t to program 'x'", "select 1;copy t to stdout"])("sees COPY in %j", (sql) => {
    expect(read(sql).copy).toBe(true);
  });
  it.each(["select 'copy t from stdin'", "select 1 as copy", 'select "copy"', "-- copy t from stdin"])("sees no COPY in %j", (sql) => {
    expect(read(sql).copy).toBe(false);
  });

  it.each<[string, boolean[]]>([
    ["select 1; insert into t values (1); select 2", [false, true, false]],
    [";;update t set a = 1;;", [true]],
    ["delete from t; merge into t using u on true when matched then delete", [true, true]],
    ["select * from t for update", [false]],
    ["with x as (delete from t returning *) select * from x", [false]],
    ["with x as (select 1) insert into t select * from x", [true]],
    ["with a as (select 1), b as (select 2) update t set a = 1", [true]],
    ["with update as (select 1), delete as (select 2) select * from update", [false]],
    ["with recursive insert as (select 1) table insert", [false]],
    ["(select 1)", [false]],
    ["explain analyze insert into t values (1)", [false]],
    ["copy (insert into t values (1) returning a) to stdout", [false]],
    ["", []],
  ])("says of %j which statements write", (sql, writes) => expect(read(sql).writes).toEqual(writes));

  it("reads no further than the statement's end, whatever stands behind it in the chunk", () => {
    const endings = ["create table t(a int)", "'", '"', "*/", "$$", "$tag$ create", "\n", "gg", "copy t to stdout"];
    for (const sql of [...none, ...perhaps, ...certain]) {
      const alone = read(sql);
      for (const ending of endings) {
        const chunk = Buffer.from(`drop table x;\0${sql}\0${ending}`);
        const from = "drop table x;\0".length;
        expect(summarize(chunk, from, from + Buffer.byteLength(sql)), `${sql} before ${ending}`).toEqual(alone);
      }
    }
  });
});

/** Node types of PostgreSQL's grammar that create, alter or drop, and never only a temporary object. */
const ddlNodes = /^(Create|Alter|Drop|Index|View|Rename|Grant|Comment|Define|Rule|Import|SecLabel|Reindex|Refresh|Cluster|CompositeType|Reassign)/;

async function judge(sql: string): Promise<{ ddl: boolean; copy: boolean; count: number } | undefined> {
  let tree: Awaited<ReturnType<typeof parse>>;
  try {
    tree = await parse(sql);
  } catch {
    return undefined; // PostgreSQL will not run it either
  }
  const nodes = (tree.stmts ?? []).map((statement) => Object.entries(statement.stmt as unknown as Record<string, Record<string, unknown>>)[0]!);
  return { ddl: nodes.some(([name, node]) => isDdl(name, node)), copy: nodes.some(([name]) => name === "CopyStmt"), count: nodes.length };
}

function isDdl(name: string, node: Record<string, unknown>): boolean {
  const relation = (node.relation ?? node.view ?? node.sequence ?? (node.into as { rel?: unknown } | undefined)?.rel) as
    | { relpersistence?: string }
    | undefined;
  if (relation?.relpersistence === "t") return false;
  if (name === "SelectStmt") {
    const into = (node.intoClause as { rel?: { relpersistence?: string } } | undefined)?.rel;
    return into !== undefined && into.relpersistence !== "t";
  }
  if (name === "ExplainStmt") return Object.keys((node.query as object) ?? {})[0] === "CreateTableAsStmt";
  return ddlNodes.test(name);
}

describe("statement, judged by PostgreSQL's own parser", () => {
  it("agrees on every statement of the tables", async () => {
    let judged = 0;
    for (const sql of [...none, ...perhaps, ...certain]) {
      const judgement = await judge(sql);
      if (!judgement) continue;
      judged++;
      expect({ sql, ddl: read(sql).ddl !== ddlNone }).toEqual({ sql, ddl: judgement.ddl });
      expect({ sql, count: read(sql).writes.length }).toEqual({ sql, count: judgement.count });
    }
    expect(judged).toBeGreaterThan(140);
  });

  it("agrees on thousands of texts put together at random", async () => {
    const fragments = [
      ...none.filter((sql) => !/unterminated|no line end/.test(sql)),
      ...perhaps,
      ...certain,
      "copy t to stdout",
      "copy t from stdin",
    ];
    const glue = [";", "; ", ";\n", ";/* ; */", ";--;\n", ";;"];
    let judged = 0;
    for (let seed = 0; seed < 1200; seed++) {
      const random = new Prng(seed);
      let sql = "";
      for (let i = random.int(4); i >= 0; i--) sql += random.pick(fragments) + random.pick(glue);
      if (random.chance(0.3)) sql = sql.replaceAll(" ", random.pick(["  ", "\n", "/**/", "\t", "/*'*/", "--'\n"]));
      const judgement = await judge(sql);
      if (!judgement) continue;
      judged++;
      const summary = read(sql);
      expect({ seed, sql, ddl: summary.ddl !== ddlNone, copy: summary.copy }).toEqual({ seed, sql, ddl: judgement.ddl, copy: judgement.copy });
    }
    expect(judged).toBeGreaterThan(800);
  });
});

/** Counts how many bytes are looked at, so that slowness shows without a clock. */
function stepsFor(sql: Uint8Array): number {
  let steps = 0;
  const counted = new Proxy(sql, {
    get(target, key) {
      if (key === "indexOf") {
        return (value: number, from: number) => {
          const found = target.indexOf(value, from);
          steps += (found < 0 ? target.length : found + 1) - from;
          return found;
        };
      }
      if (typeof key === "string" && /^\d+$/.test(key)) steps++;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  summarize(counted);
  return steps;
}

describe("statement, made to be slow", () => {
  const patterns = [
    "(",
    ")",
    "'",
    '"',
    "$",
    "$$",
    "$a$b",
    "$a",
    "/*",
    "*/",
    "/",
    "--\n",
    "a ",
    "a",
    ";",
    "E'\\",
    "é",
    "''",
    "create ",
    "select into ",
    "$aaaaaaaa",
  ];
  it.each(patterns)("looks at a text of %j a bounded number of times for each byte", (pattern) => {
    const size = 4000;
    const text = (length: number) => Buffer.from(pattern.repeat(length / pattern.length));
    expect(stepsFor(text(size * 2)) / stepsFor(text(size))).toBeLessThan(2.2);
    expect(stepsFor(text(size)) / size).toBeLessThan(20);
  });

  it("reads ten million brackets and fifty thousand nested ones without a stack", () => {
    expect(summarize(new Uint8Array(10_000_000).fill(0x28)).ddl).toBe(ddlNone);
    expect(read(`select ${"(".repeat(50_000)}1${")".repeat(50_000)}; create schema x`).ddl).toBe(ddlCertain);
  });

  it("survives random bytes", () => {
    const letters = Buffer.from("createselct -/*'\"$;()\\EU&\n\0é\xff");
    for (let seed = 0; seed < 3000; seed++) {
      const random = new Prng(seed);
      const bytes = Uint8Array.from({ length: random.int(200) }, () => (random.chance(0.9) ? letters[random.int(letters.length)]! : random.int(256)));
      const summary = summarize(bytes);
      expect([ddlNone, ddlPerhaps, ddlCertain]).toContain(summary.ddl);
    }
  });
});
