/** The repository's files, for the tests of its structure. */
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));

export interface SourceFile {
  /** Relative to the repository, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** Every TypeScript file below the folders, those that do not exist left out. */
export async function readSources(folders: readonly string[]): Promise<readonly SourceFile[]> {
  const present = (await readdir(root)).filter((name) => folders.includes(name));
  const lists = await Promise.all(
    present.map(async (folder) => (await readdir(`${root}${folder}`, { recursive: true })).map((name) => `${folder}/${name}`)),
  );
  const paths = lists.flat().filter((path) => path.endsWith(".ts"));
  return Promise.all(paths.sort().map(async (path) => ({ path: path.replaceAll("\\", "/"), text: await readText(path) })));
}

export function readText(path: string): Promise<string> {
  return readFile(`${root}${path}`, "utf8");
}

export async function readJson(path: string): Promise<Record<string, Record<string, unknown>>> {
  return JSON.parse(await readText(path));
}
