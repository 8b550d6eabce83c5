/** Where a text stops being JSON. */
import { describe, expect, it } from "vitest";
import { findJsonFault } from "../../../gateway/config/json-fault.ts";

describe("json fault", () => {
  it.each([
    ["", 1, 1, "expected a value, found the end of the file"],
    ['{ "a": 1,\n}', 1, 9, '"," before "}": remove it'],
    ['{ "a": 1\n  "b": 2 }', 2, 3, 'expected "," or "}", found "\\""'],
    ["{\n  // why\n}", 2, 3, "JSON has no comments"],
    ["{ a: 1 }", 1, 3, 'expected a name in double quotes, found "a"'],
    ['{ "a" 1 }', 1, 7, 'expected ":", found "1"'],
    ['{ "a": 01 }', 1, 8, 'expected a value, found "0"'],
    ['{ "a": "x\n" }', 1, 8, "a text that does not end, or holds a raw line break or a bad escape"],
    ['{ "a": True }', 1, 8, 'expected a value, found "T"'],
    ["{} {}", 1, 4, 'unexpected "{" after the end of the value'],
    ["[1,\r\n 2", 2, 3, 'expected "," or "]", found the end of the file'],
  ])("%j is wrong at line %i, column %i", (text, line, column, message) => {
    expect(findJsonFault(text)).toEqual({ line, column, message });
  });

  it("agrees with JSON.parse on what is JSON, for every cut and every changed character of a document", () => {
    const document = '{"a": [1, -2.5e+3, true, null], "b\\u00e9\\n": {"c": "x"}}';
    const isJson = (text: string): boolean => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    const variants = [...document].flatMap((_, at) => {
      const changed = [...'{}[]",:0e-\\ \n'].map((letter) => document.slice(0, at) + letter + document.slice(at + 1));
      return [document.slice(0, at), document.slice(0, at) + document.slice(at + 1), ...changed];
    });
    for (const text of [document, ...variants]) expect(findJsonFault(text) === undefined, text).toBe(isJson(text));
  });

  it("does not run out of stack on deep nesting", () => {
    expect(findJsonFault("[".repeat(100_000))?.message).toBe("nested deeper than 200");
  });
});
