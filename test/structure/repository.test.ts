/** Structure: what must stay true of the repository's own files. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { readJson, readSources, readText, root } from "./repository.ts";

describe("repository", () => {
  it("opens every source file with a sentence that says what it is for", async () => {
    const sources = await readSources(["core", "engines", "api", "gateway", "bench"]);
    const silent = sources.filter(({ text }) => !/^(#!.*\n)?(\/\*\*?\s+\*?|\/\/) *[\w`].{15,}/.test(text));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it("keeps addresses out of the lock file", async () => {
    const lock = await readText("package-lock.json");
    expect(lock).not.toContain('"resolved"');
    expect(lock).not.toMatch(/"https?:\/\/[^"]*\.tgz"/);
  });

  it("has every optional package in the lock file, those of other platforms too: npm ci refuses it otherwise", async () => {
    const { packages = {} } = await readJson("package-lock.json");
    const present = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)));
    const wanted = Object.values(packages).flatMap((entry) => Object.keys((entry as { optionalDependencies?: object }).optionalDependencies ?? {}));
    expect(wanted.filter((name) => !present.has(name))).toEqual([]);
  });

  it("pins every dependency to one version", async () => {
    const { dependencies, devDependencies } = await readJson("package.json");
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) expect(version, name).toMatch(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  });

  it("says in docs/dependencies.md why each dependency is there, and of no other", async () => {
    const { dependencies, devDependencies } = await readJson("package.json");
    const document = await readText("docs/dependencies.md");
    const [runtime, development] = document.split("## For development and tests");
    const namesIn = (text = "") => [...text.matchAll(/^\| `([^`]+)` +\| \w.{10,}\|$/gm)].map((found) => found[1]).sort();
    expect(namesIn(runtime)).toEqual(Object.keys(dependencies ?? {}).sort());
    expect(namesIn(development)).toEqual(Object.keys(devDependencies ?? {}).sort());
  });

  it("decides about every install script, and explains those that are off", async () => {
    const { allowScripts = {} } = await readJson("package.json");
    const { packages = {} } = await readJson("package-lock.json");
    const scripted = Object.entries(packages).filter(([, entry]) => (entry as { hasInstallScript?: boolean }).hasInstallScript);
    const names = new Set(scripted.map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)));
    // fsevents is an optional package of macOS and carries its binary ready-made
    names.delete("fsevents");
    expect(Object.keys(allowScripts).sort()).toEqual([...names].sort());
    const document = await readText("docs/dependencies.md");
    for (const [name, allowed] of Object.entries(allowScripts)) if (!allowed) expect(document).toContain(`\`${name}\``);
  });

  it("has the same tasks for npm and Bun as for Deno", async () => {
    const { scripts = {} } = await readJson("package.json");
    const { tasks = {} } = await readJson("deno.json");
    expect(Object.keys(tasks).sort()).toEqual(Object.keys(scripts).sort());
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(["check", "test", "start", "bench"]));
  });

  it("compiles core and engines without the types of any runtime", async () => {
    const run = promisify(execFile)(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "core/tsconfig.json"], { cwd: root });
    await expect(run.catch((error: { stdout: string }) => Promise.reject(new Error(error.stdout)))).resolves.toMatchObject({ stdout: "" });
  });
});
