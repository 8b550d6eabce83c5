/** The suites every version of Node must pass: first steps and the wire. Node 20 runs the built package, newer ones the sources. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, it } from "vitest";
import { launchers } from "../e2e/support/gateway.ts";
import { installPackage, platform } from "../support/registry-program.ts";
import { describeFirstSteps } from "./first-steps.ts";
import { describeWire } from "./wire.ts";

const run = promisify(execFile);

/** The oldest that must run it, and the newest of the other lines that are kept. */
export const nodeVersions = { "node-20": "20.19.0", "node-22": "22.23.3", "node-24": "24.21.0" } as const;

export async function describeNodeVersion(runtime: keyof typeof nodeVersions): Promise<void> {
  const version = nodeVersions[runtime];
  try {
    const folder = await installPackage(`node-${platform}`, version, (made) => run(join(made, "bin/node"), ["--version"]));
    launchers[runtime] = [join(folder, "bin/node"), "bin/tdb.js"];
  } catch (error) {
    describe(`Node ${version}`, () => it.skip(`cannot be had here: ${(error as Error).message}`, () => undefined));
    return;
  }
  describe(`Node ${version}`, () => {
    describeFirstSteps(runtime);
    describeWire(runtime);
  });
}
