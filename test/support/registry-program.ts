/** Programs out of npm packages that are no dependency of ours: other versions of what the tests run, kept between runs. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const cache = resolve(import.meta.dirname, "../../node_modules/.cache/tenantry");

/** As packages for one platform are named. */
export const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;

/** @param finish what is left to do in the package's folder, once. @returns that folder. @throws npm's error, in one line. */
export async function installPackage(name: string, version: string, finish: (folder: string) => Promise<unknown>): Promise<string> {
  const home = join(cache, name.replace("/", "+"), version);
  const folder = join(home, "node_modules", name);
  const complete = join(home, "complete");
  if (existsSync(complete)) return folder;
  await mkdir(home, { recursive: true });
  const flags = ["--no-save", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"];
  await run("npm", ["install", "--prefix", home, ...flags, `${name}@${version}`], { cwd: home }).catch((error: Error) => {
    throw new Error(error.message.split("\n").find((line) => line.includes("error")) ?? error.message);
  });
  await finish(folder);
  await mkdir(complete);
  return folder;
}
