/** Masking: what is taken out of statements for the query log, what stays, and which of them are one. */
import { describe, expect, it } from "vitest";
import { maskStatement } from "../../../engines/postgres/mask.ts";

const encoder = new TextEncoder();

function mask(sql: string, options: { backslashes?: boolean; keepLiterals?: boolean } = {}) {
  return maskStatement(encoder.encode(sql), { backslashes: false, keepLiterals: false, ...options });
}

describe("masking", () => {
  it.each([
    ["SELECT * FROM t WHERE name = 'O''Brien' AND age > 42", "SELECT * FROM t WHERE name = ? AND age > ?"],
    ["SELECT 1.5e-3, .5, 0xFF, 1_000, -7", "SELECT ?, ?, ?, ?, -?"],
    [String.raw`SELECT E'a\'b', b'01', X'ff', N'x', U&'\0061'`, "SELECT ?, ?, ?, ?, ?"],
    [String.raw`SELECT U&"d\0061t" FROM "Na""me1" WHERE t1.c2 = $1`, String.raw`SELECT U&"d\0061t" FROM "Na""me1" WHERE t1.c2 = $1`],
    ["DO $body$ BEGIN RAISE 'secret'; END $body$", "DO ?"],
    ["SELECT $$a$$, $1, $tag$b$tag$", "SELECT ?, $1, ?"],
    ["SELECT /* for bob@example.com /* nested */ */ 1 -- 555-1234\n FROM t", "SELECT ? FROM t"],
    ["  SELECT\n\t 1  ", "SELECT ?"],
    ["SELECT 'never closed", "SELECT ?"],
    ["INSERT INTO t VALUES ('größe', 'ß')", "INSERT INTO t VALUES (?, ?)"],
    ["SELECT größe FROM t", "SELECT größe FROM t"],
    ["", ""],
  ])("%j becomes %j", (sql, expected) => {
    expect(mask(sql).text).toBe(expected);
  });

  it("believes backslashes only where the session does", () => {
    const sql = String.raw`SELECT 'it\'s secret'`;
    expect(mask(sql, { backslashes: true }).text).toBe("SELECT ?");
    expect(mask(String.raw`SELECT 'C:\', 'b'`).text).toBe("SELECT ?, ?");
  });

  it("keeps literals where told, but never a password", () => {
    expect(mask(" SELECT 'kept' ", { keepLiterals: true }).text).toBe("SELECT 'kept'");
    expect(mask("ALTER ROLE x PASSWORD 'hunter2'", { keepLiterals: true }).text).toBe("ALTER ROLE x PASSWORD ?");
  });

  it("lets nothing through that stands in a literal or comment, wherever text is cut", () => {
    const sql = `SELECT 'SECRET', E'SECRET\\'SECRET', $q$SECRET$q$ /* SECRET */, 1 -- SECRET`;
    for (let length = 0; length <= sql.length; length++) expect(mask(sql.slice(0, length)).text).not.toMatch(/SEC/);
  });
});

describe("fingerprints", () => {
  const same = (...texts: string[]) => new Set(texts.map((sql) => mask(sql).fingerprint)).size === 1;

  it("are the same for what differs in literals, parameters, case, space, comments and the length of lists", () => {
    expect(same("SELECT * FROM t WHERE a = 1", "select  *\nfrom T where A=$1;", "/* x */ SELECT * FROM t WHERE a = 'long text'")).toBe(true);
    expect(same("SELECT 1 WHERE a IN (1)", "SELECT 2 WHERE a IN (1, 2,3)", "SELECT 3 WHERE a IN ($1,$2)")).toBe(true);
    expect(same("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (1, 'a'), (2, 'b'),(3,'c')")).toBe(true);
  });

  it("differ for different statements", () => {
    expect(same("SELECT a FROM t", "SELECT b FROM t")).toBe(false);
    expect(same("SELECT ab", "SELECT a b")).toBe(false);
    expect(same('SELECT "A"', 'SELECT "a"')).toBe(false);
    expect(same("SELECT a FROM t WHERE a < 1", "SELECT a FROM t WHERE a > 1")).toBe(false);
  });

  it("are 16 hex, independent of whether literals are kept", () => {
    const { fingerprint } = mask("SELECT 'a'");
    expect(fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(mask("SELECT 'b'", { keepLiterals: true }).fingerprint).toBe(fingerprint);
  });
});

describe("effort", () => {
  it("stays linear for text made to be slow, and within its buffers for any bytes", () => {
    const hostile = ["'", "$a", "$a$", "/*", "(1),", "--", "a'", '"', "1e", "\\"].map((part) => part.repeat(200_000));
    for (const sql of hostile) expect(mask(sql).fingerprint).toHaveLength(16);
    let state = 1;
    for (let round = 0; round < 2000; round++) {
      const bytes = Uint8Array.from({ length: round % 97 }, () => {
        state = Math.imul(state, 1103515245) + 12345;
        return (state >>> 16) & 0xff;
      });
      const { text } = maskStatement(bytes, { backslashes: round % 2 === 0, keepLiterals: false });
      expect(text).not.toContain("\0");
    }
  });
});
