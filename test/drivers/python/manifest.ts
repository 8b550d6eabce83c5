/** Drivers and ORMs of Python, in a virtual environment. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row, Snippet } from "../support/language.ts";

let workDir = "";
let binDir = "";

async function prepare(): Promise<string | undefined> {
  const absent = (await missing("python3", "--version")) ?? (await missing("python3", "-c", "import ensurepip, venv"));
  if (absent) return absent;
  return reasonOf(async () => {
    const dir = await installed("python", ["requirements.txt"], async (filling) => {
      await must("python3", ["-m", "venv", join(filling, "venv")]);
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
      await must(join(filling, "venv/bin/python"), [...pip, "-r", join(filling, "requirements.txt")]);
    });
    workDir = await makeWorkDir(dir);
    binDir = join(dir, "venv/bin");
  });
}

/** A program of this folder, with the environment's Python, which is first in the path. */
function program(name: string, ...args: string[]): Command {
  return ["python", join(sourceDir("python"), name), ...args];
}

function snippet(file: string, proof: "reads" | "writes"): Snippet {
  return { files: [file], commands: [["python", file]], proof };
}

const rows: readonly Row[] = [
  {
    name: "psycopg 3",
    snippet: snippet("use_psycopg.py", "reads"),
    checks: program("psycopg3.py"),
    sharing: true,
    pool: program("pools.py", "psycopg_pool"),
  },
  { name: "psycopg 3, async", snippet: snippet("use_psycopg_async.py", "reads"), checks: program("psycopg3_async.py") },
  { name: "psycopg 3, pipeline mode", checks: program("psycopg3_async.py", "pipeline") },
  {
    name: "asyncpg",
    snippet: snippet("use_asyncpg.py", "reads"),
    checks: program("asyncpg_checks.py"),
    sharing: true,
    pool: program("pools.py", "asyncpg"),
  },
  { name: "psycopg2", snippet: snippet("use_psycopg2.py", "reads"), checks: program("psycopg2_checks.py") },
  {
    name: "SQLAlchemy",
    snippet: snippet("use_sqlalchemy.py", "writes"),
    checks: program("sqlalchemy_checks.py"),
    pool: program("pools.py", "sqlalchemy"),
  },
  { name: "SQLAlchemy on asyncpg", checks: program("sqlalchemy_checks.py", "asyncpg") },
  {
    name: "Django",
    snippet: { files: ["settings.py", "use_django.py"], commands: [["python", "use_django.py"]], proof: "reads" },
    checks: program("django_checks.py"),
    pool: program("pools.py", "django"),
  },
  { name: "Alembic", migration: { command: program("alembic_migrate.py") } },
  { name: "Django migrations", migration: { command: program("django_migrate.py") } },
];

export const python: Language = {
  name: "Python",
  guide: "python",
  prepare,
  workDir: () => workDir,
  env: () => ({ PATH: `${binDir}:${process.env.PATH ?? ""}`, PYTHONDONTWRITEBYTECODE: "1" }),
  rows,
};
