/** Reads a source file's imports and says which of them break the rule that arrows point one way. */
import { posix } from "node:path";

/** Folders a file of the first folder may import from, its own left out. */
const allowedFolders: Readonly<Record<string, readonly string[]>> = {
  core: [],
  engines: ["core"],
  api: ["core"],
  gateway: ["core", "engines", "api"],
};

/** core and engines run anywhere: packages, and the files that may use them. */
const portablePackages: Readonly<Record<string, readonly string[]>> = {
  zod: ["core/config.ts"],
  "libpg-query": ["engines/postgres/"],
  bson: ["engines/mongodb/"],
};

/** Module names a source imports, exports from, or loads with a literal `import()`; those in comments left out. */
export function readImports(source: string): readonly string[] {
  const statements =
    /^[ \t]*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"'\n]+)["']|^[ \t]*import\s*["']([^"'\n]+)["']|\bimport\(\s*["']([^"'\n]+)["']/gm;
  const code = source.replaceAll(/^[ \t]*(?:\/\/.*|\/\*[\s\S]*?\*\/[ \t]*$)/gm, "");
  return [...code.matchAll(statements)].map((found) => found[1] ?? found[2] ?? found[3]!);
}

/** @returns one sentence for each import that must not be; `path` is relative to the repository, with `/`. */
export function findWrongImports(path: string, source: string): readonly string[] {
  const folder = path.slice(0, path.indexOf("/"));
  const allowed = allowedFolders[folder];
  if (!allowed) throw new Error(`no rule for the folder of ${path}`);
  return readImports(source).flatMap((name) => {
    const fault = name.startsWith(".") ? checkFile(path, name, folder, allowed) : checkPackage(path, name, folder);
    return fault ? [`${path} imports "${name}": ${fault}`] : [];
  });
}

function checkFile(path: string, name: string, folder: string, allowed: readonly string[]): string | undefined {
  const target = posix.join(posix.dirname(path), name);
  const cut = target.indexOf("/");
  const to = target.slice(0, cut);
  if (!/\.(ts|json)$/.test(name)) return "relative imports name the file, with its ending";
  if (cut < 0) return undefined; // a file of the root, as package.json
  return to === folder || allowed.includes(to) ? undefined : `${folder} must not know ${to}`;
}

function checkPackage(path: string, name: string, folder: string): string | undefined {
  if (folder !== "core" && folder !== "engines") return undefined;
  const parts = name.split("/");
  const packageName = name.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0]!;
  const users = portablePackages[packageName] ?? [];
  return users.some((user) => path.startsWith(user)) ? undefined : `${folder} uses the web standard only`;
}
