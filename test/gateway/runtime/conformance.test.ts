/** The conformance cases, as one test each: on this Node directly, on Deno and Bun by a runner process. */

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, test } from "vitest";
import { createNodeRuntime } from "../../../gateway/runtime/node.ts";
import { casesOf, runCase } from "./cases/all.ts";
import { makeCertificates } from "./harness.ts";
import type { CaseResult } from "./runner.ts";

describe("runtime on node", () => {
  let made: Awaited<ReturnType<typeof makeCertificates>>;
  beforeAll(async () => {
    made = await makeCertificates();
  });
  afterAll(() => made.remove());
  for (const one of casesOf("node")) test.skipIf(one.canRun?.() === false)(one.name, () => runCase(createNodeRuntime(), made.certificates, one));
});

const root = fileURLToPath(new URL("../../../", import.meta.url));
const runner = fileURLToPath(new URL("runner.ts", import.meta.url));

for (const [name, args] of [
  ["deno", ["run", "-A", runner]],
  ["bun", [runner]],
] as const) {
  describe(`runtime on ${name}`, () => {
    let child: ChildProcess;
    let results: Promise<Map<string, CaseResult>>;
    let log = "";
    beforeAll(() => {
      child = spawn(`${root}node_modules/.bin/${name}`, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
      results = collect(child, (text) => {
        log += text;
      });
    });
    afterAll(() => child.kill("SIGKILL"));
    for (const { name: caseName, canRun } of casesOf(name)) {
      test.skipIf(canRun?.() === false)(caseName, { timeout: 180_000 }, async () => {
        const result = (await results).get(caseName);
        if (!result) throw new Error(`the ${name} runner stopped before this case:\n${log}`);
        if (result.error) throw new Error(result.error);
      });
    }
  });
}

/** The first failure of a case counts: what escapes it later must not be painted over. */
function collect(child: ChildProcess, onLog: (text: string) => void): Promise<Map<string, CaseResult>> {
  return new Promise((resolve, reject) => {
    const results = new Map<string, CaseResult>();
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr?.setEncoding("utf8").on("data", onLog);
    child.on("error", reject);
    child.on("close", () => {
      for (const line of output.split("\n").filter((text) => text.startsWith("{"))) {
        const result: CaseResult = JSON.parse(line);
        if (!results.get(result.name)?.error) results.set(result.name, result);
      }
      onLog(output);
      resolve(results);
    });
  });
}
