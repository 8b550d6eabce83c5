/** The few statements that are answered without a database, and the many that are not. */
import { describe, expect, test } from "vitest";
import { matchesLike, readStatement } from "../../../engines/mysql/statement.ts";
import { Prng } from "../postgres/support/prng.ts";

const literal = (name: string, value: string | number | null) => ({ name, expression: { type: "literal", value } });
const variable = (name: string, of: string) => ({ name, expression: { type: "variable", name: of } });
const call = (name: string, of: string) => ({ name, expression: { type: "function", name: of } });

describe("statements", () => {
  test.each([
    ["SELECT 1", [literal("1", 1)]],
    ["select 1 ;\n", [literal("1", 1)]],
    ["-- ping\nSELECT 'x' AS `a b`, NULL", [literal("a b", "x"), literal("NULL", null)]],
    ["select @@version_comment limit 1", [variable("@@version_comment", "version_comment")]],
    [
      "/* mysql-connector-j */SELECT  @@session.auto_increment_increment AS aii, @@SQL_MODE",
      [variable("aii", "auto_increment_increment"), variable("@@SQL_MODE", "SQL_MODE")],
    ],
    [
      "SELECT VERSION(), database() db, CURRENT_USER, connection_id( )",
      [call("VERSION()", "version"), call("db", "database"), call("CURRENT_USER", "user"), call("connection_id( )", "connection_id")],
    ],
    ["SELECT 'a,b', \"c'd\" x", [literal("a,b", "a,b"), literal("x", "c'd")]],
  ])("%s", (sql, columns) => {
    expect(readStatement(sql)).toEqual({ type: "select", columns });
  });

  test.each([
    ["SHOW DATABASES", { type: "show", what: "databases", like: undefined }],
    ["show schemas like 'my%'", { type: "show", what: "databases", like: "my%" }],
    ["SHOW VARIABLES LIKE 'max_allowed_packet'", { type: "show", what: "variables", like: "max_allowed_packet" }],
    ["SHOW SESSION VARIABLES WHERE Variable_name = 'x'", { type: "show", what: "variables", like: undefined }],
    ["SHOW GLOBAL STATUS", { type: "show", what: "nothing", like: undefined }],
    ["SHOW WARNINGS", { type: "show", what: "nothing", like: undefined }],
    ["SELECT SCHEMA_NAME AS TABLE_CAT FROM INFORMATION_SCHEMA.SCHEMATA", { type: "show", what: "databases", like: undefined, column: "TABLE_CAT" }],
    [
      "select schema_name from information_schema.schemata where schema_name like 'a%' order by schema_name",
      { type: "show", what: "databases", like: "a%", column: "SCHEMA_NAME" },
    ],
    ["SELECT SCHEMA_NAME FROM INFORMATION_SCHEMA.SCHEMATA JOIN x", { type: "other" }],
    ["USE `shop_workspace`", { type: "use", database: "shop_workspace" }],
    ["use shop_workspace;", { type: "use", database: "shop_workspace" }],
    ["SET NAMES utf8mb4", { type: "accepted" }],
    ["START TRANSACTION", { type: "accepted" }],
    ["ROLLBACK", { type: "accepted" }],
    ["", { type: "empty" }],
    [" ; -- nothing", { type: "other" }],
    ["/* only this */", { type: "empty" }],
    ["# only this", { type: "empty" }],
    ["/* open", { type: "other" }],
    ["SHOW TABLES", { type: "other" }],
    ["SELECT * FROM t", { type: "other" }],
    ["SELECT $$", { type: "other" }],
    ["SELECT 1 FROM dual", { type: "other" }],
    ["SELECT", { type: "other" }],
    ["SELECT ,", { type: "other" }],
    ["INSERT INTO t VALUES (1)", { type: "other" }],
    ["(SELECT 1)", { type: "other" }],
    [`SELECT '${"x".repeat(9000)}'`, { type: "other" }],
  ])("%s", (sql, expected) => {
    expect(readStatement(sql)).toEqual(expected);
  });

  test("LIKE patterns", () => {
    for (const [pattern, text, matches] of [
      ["max\\_%", "max_allowed_packet", true],
      ["max\\_%", "maximum", false],
      ["m_x%", "MAX", true],
      ["%", "", true],
      ["", "x", false],
      ["%packet", "max_allowed_packet", true],
    ] as const) {
      expect(matchesLike(pattern, text), `${text} like ${pattern}`).toBe(matches);
    }
    expect(matchesLike("%a".repeat(2000), "a".repeat(63))).toBe(false);
  });

  test("any text is read as something", () => {
    const words = ["select ", "show ", "@@", "'", '"', "`", ",", "--", "/*", "*/", "databases", " like ", "()", "limit 1", ";", "\n", "x", " where "];
    for (let seed = 0; seed < 5000; seed++) {
      const prng = new Prng(seed);
      const sql = Array.from({ length: prng.int(40) }, () => prng.pick(words)).join("");
      expect(readStatement(sql).type, sql).toMatch(/^(select|use|show|accepted|empty|other)$/);
    }
  });
});
