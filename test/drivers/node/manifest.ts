/** Drivers and ORMs of JavaScript, under Node, Deno and Bun. */
import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { launcherOf, type RuntimeUnderTest } from "../../e2e/support/gateway.ts";
import { installed, makeWorkDir, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row, Snippet } from "../support/language.ts";

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

/** Prisma's generate wants to see its engines, which cannot be fetched everywhere, and does not run them: any program will do. */
const env = () => ({ PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, PRISMA_QUERY_ENGINE_LIBRARY: process.execPath, CHECKPOINT_DISABLE: "1" });

/** How each runtime runs a program. */
function runs(runtime: RuntimeUnderTest, program: string, ...args: string[]): Command {
  const [command, ...launcher] = launcherOf(runtime);
  return [command, ...launcher.slice(0, -1), program, ...args];
}

/** The guides' snippets stand in an async function, as `await` in CommonJS must. */
function inFunction(more = ""): (text: string) => string {
  return (text) => `(async () => {\n${text}${more}})();\n`;
}

/** A driver whose snippet prints `rows`, or one that makes Alice. */
function snippet(file: string, proof: "reads" | "writes", more: Partial<Snippet> = {}): Snippet {
  return { files: [file], commands: [runs("node", file)], complete: inFunction(proof === "reads" ? "console.log(rows);\n" : ""), proof, ...more };
}

const rows: readonly Row[] = [
  { name: "pg", snippet: snippet("pg.cjs", "reads"), checks: runs("node", "pg.mjs"), sharing: true, pool: runs("node", "pools.mjs", "pg") },
  { name: "pg (Deno)", checks: runs("deno", "pg.mjs") },
  { name: "pg (Bun)", checks: runs("bun", "pg.mjs") },
  {
    name: "Sequelize",
    snippet: snippet("sequelize.cjs", "writes", {
      complete: inFunction("await sequelize.close();\n"),
      workspace: [
        'ALTER TABLE accounts ADD COLUMN "createdAt" TIMESTAMPTZ NOT NULL DEFAULT now()',
        'ALTER TABLE accounts ADD COLUMN "updatedAt" TIMESTAMPTZ NOT NULL DEFAULT now()',
      ],
    }),
    checks: runs("node", "sequelize.mjs"),
    pool: runs("node", "pools.mjs", "sequelize"),
  },
  {
    name: "Prisma",
    snippet: {
      files: ["schema.prisma", "prisma.config.ts", ".env", "prisma.cjs"],
      commands: [
        [runs("node", "")[0], "--env-file=.env", "../../node_modules/prisma/build/index.js", "generate"],
        [runs("node", "")[0], "--env-file=.env", "prisma.cjs"],
      ],
      complete: (text, file) => (file === "prisma.cjs" ? inFunction("await prisma.$disconnect()\n")(text) : text),
      proof: "writes",
    },
    checks: runs("node", "prisma.mjs"),
  },
  { name: "Drizzle", snippet: snippet("drizzle.cjs", "reads"), checks: runs("node", "drizzle.mjs") },
  { name: "Knex", snippet: snippet("knex.cjs", "reads"), checks: runs("node", "knex.mjs"), pool: runs("node", "pools.mjs", "knex") },
  { name: "TypeORM", snippet: snippet("typeorm.cjs", "writes"), checks: runs("node", "typeorm.mjs") },
  { name: "Kysely", snippet: snippet("kysely.cjs", "reads"), checks: runs("node", "kysely.mjs") },
  { name: "pg-promise", snippet: snippet("pg-promise.cjs", "reads"), checks: runs("node", "pg-promise.mjs") },
  {
    name: "postgres.js",
    snippet: snippet("postgres.cjs", "reads"),
    checks: runs("node", "postgres.mjs"),
    pool: runs("node", "pools.mjs", "postgres"),
  },
  { name: "postgres.js (Deno)", checks: runs("deno", "postgres.mjs") },
  { name: "postgres.js (Bun)", checks: runs("bun", "postgres.mjs") },
  {
    name: "Bun.SQL",
    snippet: snippet("bun-sql.mjs", "reads", { commands: [runs("bun", "bun-sql.mjs")], complete: (text) => `${text}console.log(rows);\n` }),
    checks: runs("bun", "bun-sql.mjs"),
  },
  // A migration works in a folder of its own, below the programs.
  { name: "Drizzle Kit", migration: { command: runs("node", "../drizzle-migrate.mjs") } },
  { name: "Knex migrations", migration: { command: runs("node", "../knex-migrate.mjs") } },
  { name: "TypeORM migrations", migration: { command: runs("node", "../typeorm-migrate.mjs") } },
  { name: "Sequelize sync", migration: { command: runs("node", "../sequelize-migrate.mjs") } },
  {
    name: "Prisma migrate diff",
    migration: { command: runs("node", "../prisma-migrate.mjs") },
    note: "its `migrate dev`, `migrate deploy` and `db push` need an engine that only its makers' server has, and were not run",
  },
  {
    name: "deno-postgres",
    absent: "it is published on jsr.io and deno.land only, and these tests install from the npm registry",
  },
];

export const node: Language = { name: "JavaScript", guide: "javascript", prepare, workDir: () => workDir, env, rows };
