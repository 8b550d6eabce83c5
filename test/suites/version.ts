/** The suites that matter to another version of PostgreSQL: first steps, the wire, and the wall its own roles make. */
import { describe, it } from "vitest";
import { standBefore } from "../e2e/support/server-under-test.ts";
import { findVersion, type OtherVersion } from "../support/postgres-versions.ts";
import { describeFirstSteps } from "./first-steps.ts";
import { describeWall } from "./wall.ts";
import { describeWire } from "./wire.ts";

export async function describeVersion(version: OtherVersion): Promise<void> {
  const found = await findVersion(version);
  if ("missing" in found) {
    describe(`PostgreSQL ${version}`, () => it.skip(found.missing, () => undefined));
    return;
  }
  standBefore(found.make);
  describe(`PostgreSQL ${version} (${found.from})`, () => {
    describeFirstSteps("node");
    describeWire("node");
    describeWall("node");
  });
}
