#!/usr/bin/env node
// Starts `tdb`: from the TypeScript sources where the runtime can run them, else from the build.
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import * as nodeModule from "node:module";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);
const isDenoOrBun = Boolean(process.versions.deno ?? process.versions.bun);

/** True when `version` is at least `major.minor`. */
function isAtLeast(version, major, minor) {
  const [heldMajor, heldMinor] = version.split(".").map(Number);
  return heldMajor > major || (heldMajor === major && heldMinor >= minor);
}

/** Node runs TypeScript from 22.18 on, but never below node_modules. */
function canRunSources() {
  const isInstalled = /[\\/]node_modules[\\/]/.test(fileURLToPath(root));
  return existsSync(new URL("api/cli/main.ts", root)) && (isDenoOrBun || (isAtLeast(process.versions.node, 22, 18) && !isInstalled));
}

const builtMain = new URL("dist/api/cli/main.js", root);
const buildConfig = new URL("tsconfig.build.json", root);

/** True without a build, and in a source checkout also when a source is newer than the build. */
function needsBuild() {
  if (!existsSync(builtMain)) return true;
  if (!existsSync(buildConfig)) return false;
  const builtMs = statSync(builtMain).mtimeMs;
  return ["api", "core", "engines", "gateway"].some((folder) =>
    readdirSync(new URL(folder, root), { recursive: true }).some(
      (name) => name.endsWith(".ts") && statSync(new URL(`${folder}/${name}`, root)).mtimeMs > builtMs,
    ),
  );
}

/** Compiles a source checkout, for a Node that cannot run TypeScript. */
function build() {
  const compiler = new URL("node_modules/typescript/bin/tsc", root);
  if (!existsSync(compiler)) fail("the sources are not built and the compiler is not installed: run npm ci");
  process.stderr.write(`tdb: Node ${process.versions.node} cannot run TypeScript; building into dist/ …\n`);
  const { status } = spawnSync(process.execPath, [fileURLToPath(compiler), "-p", fileURLToPath(buildConfig)], {
    stdio: ["ignore", 2, 2],
    cwd: fileURLToPath(root),
  });
  if (status === 0) return;
  rmSync(builtMain, { force: true });
  fail("the build failed");
}

function fail(message) {
  process.stderr.write(`tdb: ${message}\n`);
  process.exit(1);
}

/** Node 22 warns that stripping types is experimental; that is not news to whoever runs tdb. */
function silenceTypeStrippingWarning() {
  const emit = process.emitWarning;
  process.emitWarning = (warning, ...rest) => {
    if (!/strip.{0,10}types|Type Stripping/i.test(String(warning))) emit.call(process, warning, ...rest);
  };
}

if (!isDenoOrBun && !isAtLeast(process.versions.node, 20, 19)) fail(`Node ${process.versions.node} is too old: use Node 20.19 or newer, Deno or Bun`);

/** Keeps what was compiled, which makes the next start quicker. In a folder of the user's own: whoever may write there decides what runs. */
function keepCompiled() {
  if (isDenoOrBun || process.env.NODE_COMPILE_CACHE || !nodeModule.enableCompileCache) return;
  const caches = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const folder = join(caches, "tenantry");
  if (!isAbsolute(folder) || !haveFolder(caches) || !haveFolder(folder)) return; // no such place: it starts as slowly as the first time
  nodeModule.enableCompileCache(folder);
  // Written when the process ends, which one that is killed never does.
  setTimeout(() => nodeModule.flushCompileCache?.(), 5000).unref();
}

/** Made where it is missing and its parent is the user's own. One level at a time: with `recursive`, Node tries for ever where there is no making any (/proc). */
function haveFolder(path) {
  try {
    if (!existsSync(path)) {
      if (!isOwn(dirname(path))) return false;
      mkdirSync(path, { mode: 0o700 });
    }
    return isOwn(path);
  } catch {
    return false;
  }
}

/** A folder, no link to one, that nobody else may write to. */
function isOwn(path) {
  const stat = lstatSync(path);
  return stat.isDirectory() && (process.getuid === undefined || (stat.uid === process.getuid() && (stat.mode & 0o022) === 0));
}

keepCompiled();
const runsSources = canRunSources();
if (runsSources) silenceTypeStrippingWarning();
else if (needsBuild()) build();

const base = runsSources ? root : new URL("dist/", root);
const ending = runsSources ? "ts" : "js";
const load = (path) => import(new URL(`${path}.${ending}`, base).href);

const { main } = await load("api/cli/main");
await main(process.argv.slice(2), {
  up: async (args) => (await load("gateway/main")).runUp(args),
  worker: async () => (await load("gateway/workers/worker")).runWorker(),
  "master-key": async (args) => (await load("gateway/master-key-command")).runMasterKey(args),
});
