/** The quick look at a SELECT: it must never say less of a text than the scan of its words does. */
import { describe, expect, it } from "vitest";
import { isPlainRead } from "../../../engines/postgres/plain-read.ts";
import { summarize } from "../../../engines/postgres/statement.ts";
import { Prng } from "./support/prng.ts";

const isPlain = (sql: string) => isPlainRead(Buffer.from(sql), 0, Buffer.from(sql).length);

describe("a plain read", () => {
  it.each([
    "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
    "select 1",
    " \n\tselect\t1 ;\r\n ",
    "select 'into; create table x', \"into;\" from t where a = $1 and b - 1 / 2 > 3",
    "select 'it''s' as i, inner_t.int from inner_t",
    "select",
  ])("%s", (sql) => {
    expect(isPlain(sql)).toBe(true);
  });

  it.each([
    "",
    "selects 1",
    "select1",
    "sel",
    "select 1; select 2",
    "select 1;;",
    "select * into t from u",
    "select * INTO t from u",
    "select E'\\'; create table x (a int)'",
    "select U&'\\0041'",
    "select $$; x $$",
    "select $a$;$a$",
    "select 1 -- no more",
    "select /* ' */ 1",
    "with x as (select 1) select * from x",
    "insert into t values (1)",
    "create table x (a int)",
  ])("not: %s", (sql) => {
    expect(isPlain(sql)).toBe(false);
  });

  it("reads no further than it is told, before and behind", () => {
    const text = Buffer.from("xxselect 1;create table x (a int)");
    expect(isPlainRead(text, 2, 11)).toBe(true);
    expect(isPlainRead(text, 2, text.length)).toBe(false);
    expect(isPlainRead(text, 0, 11)).toBe(false);
  });

  it("agrees with the scan of every word, whatever the words are", () => {
    const prng = new Prng(20_261);
    const signs = [" ", " ", "\n", "'", "''", '"', "$", "$1", "$$", "$a$", "-", "--", "/", "/*", "*/", ";", "E'", "U&'", "\\", "(", ")", ","];
    const words = "select SELECT into Into int i e t 1 create table insert update with as copy é pg_temp prepare".split(" ");
    const parts = [...signs, ...words].map((part) => Buffer.from(part));
    for (let round = 0; round < 20_000; round++) {
      const picked = [Buffer.from("select")];
      for (let count = prng.int(14); count > 0; count--) picked.push(prng.pick(parts));
      const sql = Buffer.concat(picked);
      const scanned = summarize(Buffer.concat([Buffer.from("/**/"), sql])); // behind a comment every word is looked at
      expect(summarize(sql), sql.toString()).toEqual(scanned);
    }
  });
});
