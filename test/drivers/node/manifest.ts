/** Drivers and ORMs of JavaScript, under Node, Deno and Bun. */
import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { launchers, type RuntimeUnderTest } from "../../e2e/support/gateway.ts";
import { installed, makeWorkDir, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

let workDir = "";

async function prepare(): Promise<string | undefined> {
  return reasonOf(async () => {
    const dir = await installed("node", ["package.json", "package-lock.json"], async (filling) => {
      await must("npm", ["ci", "--ignore-scripts", "--prefix", filling]);
    });
    workDir = await makeWorkDir(dir);
    // Packages are looked for from where a program is.
    const programs = (await readdir(sourceDir("node"))).filter((name) => name.endsWith(".mjs"));
    await Promise.all(programs.map((name) => cp(join(sourceDir("node"), name), join(workDir, name))));
  });
}

/** How each runtime runs a program. */
function runs(runtime: RuntimeUnderTest, program: string, ...args: string[]): Command {
  const [command, ...launcher] = launchers[runtime];
  return [command, ...launcher.slice(0, -1), program, ...args];
}

/** The guides' snippets stand in an async function, as `await` in CommonJS must. */
function inFunction(more = ""): (text: string) => string {
  return (text) => `(async () => {\n${text}${more}})();\n`;
}

const rows: readonly Row[] = [
  {
    name: "pg",
    snippet: {
      files: ["pg.cjs"],
      commands: [runs("node", "pg.cjs")],
      complete: inFunction("console.log(rows);\n"),
      proof: "reads",
    },
    checks: runs("node", "pg.mjs"),
  },
  { name: "pg (Deno)", checks: runs("deno", "pg.mjs") },
  { name: "pg (Bun)", checks: runs("bun", "pg.mjs") },
];

export const node: Language = { name: "JavaScript", guide: "javascript", prepare, workDir: () => workDir, rows };
