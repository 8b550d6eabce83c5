/** tokio-postgres and sqlx, built with the toolchain that is installed. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

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

/** The guide's project with the versions that are locked here, which are built already. */
function snippet(project: string): Row["snippet"] {
  const at = ["--manifest-path", `${project}/Cargo.toml`];
  return {
    files: [`${project}/Cargo.toml`, `${project}/src/main.rs`],
    commands: [
      ["cp", join(sourceDir("rust"), "Cargo.lock"), `${project}/Cargo.lock`],
      ["cargo", "run", "--quiet", "--offline", ...at],
    ],
    proof: "reads",
  };
}

function program(name: string): Command {
  return [join("..", "target", "debug", name)];
}

const rows: readonly Row[] = [
  { name: "tokio-postgres, deadpool", snippet: snippet("tokio"), checks: program("tokio-postgres") },
  { name: "sqlx", snippet: snippet("sqlx"), checks: program("sqlx") },
];

export const rust: Language = {
  name: "Rust",
  guide: "rust",
  prepare,
  workDir: () => workDir,
  env: () => ({ CARGO_TARGET_DIR: targetDir, CARGO_PROFILE_DEV_DEBUG: "0", CARGO_INCREMENTAL: "0" }),
  rows,
};
