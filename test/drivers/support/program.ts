/** Runs a driver's programs, and a guide's snippets as programs. */
import { spawn } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { collect, type Finished } from "../../e2e/support/gateway.ts";
import type { Command } from "./language.ts";

const guides = new URL("../../../docs/connect/", import.meta.url);

export interface Report {
  /** What the program says it tested. */
  readonly version?: string;
  readonly passed: readonly string[];
  readonly skipped: readonly (readonly [check: string, reason: string])[];
  readonly failed: readonly string[];
}

/** Reads a program's lines. Checks that it does not mention have failed, and so has what it printed about a crash. */
export function readReport(done: Finished, checks: readonly string[]): Report {
  const lines = done.stdout.split("\n");
  const passed = lines.flatMap((line) => /^ok (.+)$/.exec(line)?.[1] ?? []);
  const skipped = lines.flatMap((line) => {
    const found = /^skip ([^:]+): (.+)$/.exec(line);
    return found ? [[found[1]!, found[2]!] as const] : [];
  });
  const failed = lines.filter((line) => line.startsWith("fail "));
  const said = new Set([...passed, ...skipped.map(([check]) => check), ...failed.map((line) => line.slice(5).split(":")[0])]);
  const silent = checks.filter((check) => !said.has(check)).map((check) => `fail ${check}: the program did not report it`);
  const crashed = done.code === 0 ? [] : [`fail: ended with ${done.code}`];
  const version = lines.find((line) => line.startsWith("version "))?.slice(8);
  return { ...(version === undefined ? {} : { version }), passed, skipped, failed: [...failed, ...silent, ...crashed] };
}

/** Runs a command in a folder to its end; after two minutes it is killed. */
export function runIn(dir: string, [program, ...args]: Command, env: Readonly<Record<string, string>>): Promise<Finished> {
  const child = spawn(program, args, { cwd: dir, env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
  const hangs = setTimeout(() => child.kill("SIGKILL"), 120_000);
  return collect(child).finally(() => clearTimeout(hangs));
}

/** A new empty folder, for a snippet's files. */
export async function freshDir(parent: string, name: string): Promise<string> {
  const dir = join(parent, `run-${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}`);
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  return dir;
}

/** Writes a guide's code blocks into a folder, each as `edit` makes it. */
export async function writeBlocks(guide: string, files: readonly string[], dir: string, edit: (text: string, file: string) => string): Promise<void> {
  const blocks = readBlocks(await readFile(new URL(`${guide}.md`, guides), "utf8"));
  for (const file of files) {
    const text = blocks.get(file);
    if (text === undefined) throw new Error(`docs/connect/${guide}.md has no code block named ${file}`);
    await mkdir(join(dir, file, ".."), { recursive: true });
    await writeFile(join(dir, file), edit(text, basename(file)));
  }
}

/** A guide's code blocks by the second word behind their fence: ```js pg.js */
export function readBlocks(markdown: string): ReadonlyMap<string, string> {
  const found = [...markdown.matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm)];
  return new Map(found.map(([, file = "", text = ""]) => [file, text]));
}
