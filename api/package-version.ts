/** Which release this is: from package.json beside the program, or built into a single executable. */
import { readFile } from "node:fs/promises";

let builtIn: string | undefined;

/** Called once by an executable that has no files beside it. */
export function setBuiltInVersion(version: string): void {
  builtIn = version;
}

/** package.json lies one folder up in the sources and two in the build. @throws Error where there is none. */
export async function readVersion(): Promise<string> {
  if (builtIn !== undefined) return builtIn;
  for (const path of ["../package.json", "../../package.json"]) {
    const text = await readFile(new URL(path, import.meta.url), "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    const found = text === undefined ? undefined : JSON.parse(text);
    if (found?.name === "tenantry") return found.version;
  }
  throw new Error("package.json is missing beside the program");
}
