/** What is installed, for a package that does not export its package.json either. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export function versionOf(name) {
  for (const folder of createRequire(import.meta.url).resolve.paths(name)) {
    try {
      return JSON.parse(readFileSync(`${folder}/${name}/package.json`, "utf8")).version;
    } catch {
      // not in this folder
    }
  }
  throw new Error(`${name} is not installed`);
}
