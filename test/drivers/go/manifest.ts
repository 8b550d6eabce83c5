/** Go's drivers and GORM, built with the toolchain that is installed. */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

const lockFiles = ["go.mod", "go.sum"];
let workDir = "";

async function prepare(): Promise<string | undefined> {
  const absent = await missing("go", "version");
  if (absent) return absent;
  return reasonOf(async () => {
    const dir = await installed("go", lockFiles, async (filling) => {
      await must("go", ["-C", filling, "mod", "download"]);
    });
    workDir = await makeWorkDir(dir);
    // Snippets are run below these, which makes them part of the module.
    await Promise.all(lockFiles.map((file) => cp(join(sourceDir("go"), file), join(workDir, file))));
    await must("go", ["build", "-C", sourceDir("go"), "-o", `${join(workDir, "bin")}/`, "./..."]);
  });
}

function program(name: string): Command {
  return [name];
}

function goRun(...files: string[]): Command[] {
  return files.map((file) => ["go", "run", file]);
}

/** The guide shows what goes to the top of a file and what into a function. */
function inMain(text: string): string {
  return `package main\n\n${text.replace("// Workspace connection", "func main() {\n$&")}}\n`;
}

const rows: readonly Row[] = [
  {
    name: "pgx, pgxpool, database/sql",
    snippet: { files: ["pgx.go", "pgxpool.go"], commands: goRun("pgx.go", "pgxpool.go"), proof: "reads" },
    checks: program("pgx"),
    sharing: true,
  },
  {
    name: "GORM",
    snippet: { files: ["gorm.go"], commands: goRun("gorm.go"), complete: inMain, empty: true, proof: { captured: "idx_accounts_email" } },
    checks: program("gorm"),
    migration: { command: program("gorm") },
  },
  { name: "lib/pq", snippet: { files: ["pq.go"], commands: goRun("pq.go"), proof: "reads" }, checks: program("pq") },
];

export const go: Language = {
  name: "Go",
  guide: "go",
  prepare,
  workDir: () => workDir,
  env: () => ({ PATH: `${workDir}/bin:${process.env.PATH ?? ""}` }),
  rows,
};
