#!/usr/bin/env node
// Starts `tdb`: from the TypeScript sources where the runtime can run them, else from the build.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
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

/** Compiles a source checkout once, for a Node that cannot run TypeScript. */
function build() {
  const compiler = new URL("node_modules/typescript/bin/tsc", root);
  if (!existsSync(compiler)) fail("the sources are not built and the compiler is not installed: run npm ci");
  process.stderr.write(`tdb: Node ${process.versions.node} cannot run TypeScript; building once into dist/ …\n`);
  const { status } = spawnSync(process.execPath, [fileURLToPath(compiler), "-p", fileURLToPath(new URL("tsconfig.build.json", root))], {
    stdio: ["ignore", 2, 2],
    cwd: fileURLToPath(root),
  });
  if (status !== 0) fail("the build failed");
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

const runsSources = canRunSources();
if (runsSources) silenceTypeStrippingWarning();
else if (!existsSync(new URL("dist/api/cli/main.js", root))) build();

const base = runsSources ? root : new URL("dist/", root);
const ending = runsSources ? "ts" : "js";
const load = (path) => import(new URL(`${path}.${ending}`, base).href);

const { main } = await load("api/cli/main");
await main(process.argv.slice(2), async (args) => (await load("gateway/main")).runUp(args));
