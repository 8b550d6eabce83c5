/** Structure: imports point one way, and core and engines know no runtime. */
import { describe, expect, it } from "vitest";
import { findWrongImports, readImports } from "./imports.ts";
import { readSources } from "./repository.ts";

describe("imports", () => {
  it("point one way in every source file", async () => {
    const sources = await readSources(["core", "engines", "api", "gateway"]);
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.flatMap(({ path, text }) => findWrongImports(path, text))).toEqual([]);
  });
});

describe("import checker", () => {
  it.each([
    ["core/pool.ts", 'import { x } from "../engines/detect.ts";', "core must not know engines"],
    ["core/pool.ts", 'import type { X } from "../gateway/main.ts";', "core must not know gateway"],
    ["core/policies/a.ts", 'export * from "../../api/app.ts";', "core must not know api"],
    ["engines/postgres/relay.ts", 'import "../../gateway/runtime/node.ts";', "engines must not know gateway"],
    ["engines/postgres/relay.ts", 'const x = await import("../../api/app.ts");', "engines must not know api"],
    ["api/app.ts", 'import { a,\n  b,\n} from "../gateway/main.ts";', "api must not know gateway"],
    ["api/routes/a.ts", "export { a } from '../../engines/detect.ts';", "api must not know engines"],
    ["gateway/main.ts", 'import { x } from "../test/support/x.ts";', "gateway must not know test"],
    ["core/a.ts", 'import { readFile } from "node:fs/promises";', "core uses the web standard only"],
    ["core/a.ts", 'import { z } from "zod";', "core uses the web standard only"],
    ["core/a.ts", 'import x from "npm:zod";', "core uses the web standard only"],
    ["engines/mysql/a.ts", 'import { serve } from "bun";', "engines uses the web standard only"],
    ["engines/mysql/a.ts", 'import { parse } from "libpg-query";', "engines uses the web standard only"],
    ["engines/postgres/a.ts", 'import x from "@peculiar/x509";', "engines uses the web standard only"],
    ["core/a.ts", 'type X = import("node:net").Socket;', "core uses the web standard only"],
    ["core/a.ts", 'import { b } from "./b";', "relative imports name the file, with its ending"],
  ])("refuses in %s: %s", (path, source, fault) => {
    const faults = findWrongImports(path, source);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
  });

  it.each([
    ["core/a.ts", 'import { b } from "./b.ts";\nimport { c } from "./policies/c.ts";'],
    ["core/config.ts", 'import { z } from "zod";'],
    ["engines/postgres/admin/capture.ts", 'import { parse } from "libpg-query";\nimport load from "libpg-query/wasm/libpg-query.js";'],
    ["engines/postgres/relay.ts", 'import { a } from "../../core/a.ts";\nimport { b } from "./b.ts";'],
    ["api/app.ts", 'import { Hono } from "hono";\nimport { a } from "../core/a.ts";'],
    [
      "gateway/main.ts",
      'import { a } from "../core/a.ts";\nimport { b } from "../engines/b.ts";\nimport { c } from "../api/c.ts";\nimport "node:net";',
    ],
    ["core/a.ts", '// import { x } from "../api/app.ts";\n/**\n * import x from "node:fs";\n */\nconst from = "node:fs";'],
  ])("accepts in %s: %s", (path, source) => {
    expect(findWrongImports(path, source)).toEqual([]);
  });

  it("reads every form of import, over several lines too", () => {
    const source =
      'import a from "1";\nimport {\n  b,\n} from "2";\nexport type { c } from "3";\nexport * as d from "4";\nimport "5";\n  void import(\n    "6"\n  );';
    expect(readImports(source)).toEqual(["1", "2", "3", "4", "5", "6"]);
  });
});
