/** tokio-postgres and sqlx, built with the toolchain that is installed. */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";
import { writeBlocks } from "../support/program.ts";

const lockFiles = ["Cargo.toml", "Cargo.lock"];
let workDir = "";
let targetDir = "";

async function prepare(): Promise<string | undefined> {
  const absent = await missing("cargo", "--version");
  if (absent) return absent;
  return reasonOf(async () => {
    const manifest = ["--locked", "--manifest-path", join(sourceDir("rust"), "Cargo.toml")];
    const dir = await installed("rust", lockFiles, async (filling) => {
      await must("cargo", ["build", "--quiet", ...manifest, "--target-dir", join(filling, "target")]);
    });
    workDir = await makeWorkDir(dir);
    targetDir = join(dir, "target");
    await must("cargo", ["build", "--quiet", ...manifest, "--target-dir", targetDir]);
  });
}

const cargoEnv = () => ({ CARGO_TARGET_DIR: targetDir, CARGO_PROFILE_DEV_DEBUG: "0", CARGO_INCREMENTAL: "0" });
const lock = join(sourceDir("rust"), "Cargo.lock");

/** The guide's project with the versions that are locked here. Its dependencies, where it has them with other features, are built before it is timed. */
function snippet(project: string): Pick<Row, "snippet" | "prepare"> {
  const files = [`${project}/Cargo.toml`, `${project}/src/main.rs`];
  return {
    prepare: () =>
      reasonOf(async () => {
        await writeBlocks("rust", files, workDir, (text) => text);
        await cp(lock, join(workDir, project, "Cargo.lock"));
        await must("cargo", ["build", "--quiet", "--offline", "--manifest-path", join(workDir, project, "Cargo.toml")], cargoEnv());
      }),
    snippet: {
      files,
      commands: [
        ["cp", lock, `${project}/Cargo.lock`],
        ["cargo", "run", "--quiet", "--offline", "--manifest-path", `${project}/Cargo.toml`],
      ],
      proof: "reads",
    },
  };
}

function program(name: string): Command {
  return [join("..", "target", "debug", name)];
}

const rows: readonly Row[] = [
  { name: "tokio-postgres, deadpool", ...snippet("tokio"), checks: program("tokio-postgres"), sharing: true },
  { name: "sqlx", ...snippet("sqlx"), checks: program("sqlx") },
];

export const rust: Language = {
  name: "Rust",
  guide: "rust",
  prepare,
  workDir: () => workDir,
  env: cargoEnv,
  rows,
};
