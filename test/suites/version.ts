/**
 * The suites that matter to another version of PostgreSQL, first steps, the wire, and the wall its own roles make, and to another version of Node, the
 * first two: a version of one and a version of the other are proven together, since the suites take minutes. What cannot be had is replaced by the
 * version that all other tests run with.
 */
import { describe, it } from "vitest";
import type { OlderNode } from "../e2e/support/gateway.ts";
import { standBefore } from "../e2e/support/server-under-test.ts";
import { findVersion, type OtherVersion } from "../support/postgres-versions.ts";
import { describeFirstSteps } from "./first-steps.ts";
import { describeHandedOver, installNode, nodeVersions } from "./node-version.ts";
import { describeWall } from "./wall.ts";
import { describeWire } from "./wire.ts";

export async function describeVersions(postgres: OtherVersion, node: OlderNode | "node"): Promise<void> {
  const server = await findVersion(postgres);
  const missingNode = node === "node" ? undefined : await installNode(node);
  const skip = (what: string, why: string) => describe(what, () => it.skip(why, () => undefined));
  if ("missing" in server) skip(`PostgreSQL ${postgres}`, server.missing);
  else standBefore(server.make);
  if (missingNode) skip(node, missingNode.missing);
  const runtime = missingNode ? "node" : node;
  if ("missing" in server && runtime === "node") return; // all other tests run so
  const names = ["missing" in server ? [] : `PostgreSQL ${postgres} (${server.from})`, runtime === "node" ? [] : `Node ${nodeVersions[runtime]}`];
  describe(names.flat().join(", "), () => {
    describeFirstSteps(runtime);
    describeWire(runtime);
    if (!("missing" in server)) describeWall(runtime);
    if (runtime === "node-20") describeHandedOver(runtime);
  });
}
