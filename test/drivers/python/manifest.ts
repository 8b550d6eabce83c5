/** Drivers and ORMs of Python, in a virtual environment. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

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
function program(name: string): Command {
  return ["python", join(sourceDir("python"), name)];
}

const rows: readonly Row[] = [
  {
    name: "psycopg 3",
    snippet: { files: ["psycopg3.py"], commands: [["python", "psycopg3.py"]], proof: "reads" },
    checks: program("psycopg3.py"),
  },
];

export const python: Language = {
  name: "Python",
  guide: "python",
  prepare,
  workDir: () => workDir,
  env: () => ({ PATH: `${binDir}:${process.env.PATH ?? ""}`, PYTHONDONTWRITEBYTECODE: "1" }),
  rows,
};
