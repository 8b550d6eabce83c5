/** Every conformance case, in the order they run, and how one is run. */

import type { Runtime, RuntimeName } from "../../../../gateway/runtime/runtime.ts";
import { type Case, type Certificates, World } from "../harness.ts";
import { pipeCases } from "./pipe.ts";
import { psqlCases } from "./psql.ts";
import { readCases } from "./reads.ts";
import { serviceCases } from "./services.ts";
import { socketCases } from "./sockets.ts";
import { tlsCases } from "./tls.ts";

const allCases: readonly Case[] = [...pipeCases, ...readCases, ...socketCases, ...tlsCases, ...psqlCases, ...serviceCases];

export function casesOf(runtime: RuntimeName): Case[] {
  return allCases.filter(({ only }) => only === undefined || only === runtime);
}

export async function runCase(runtime: Runtime, certificates: Certificates, { run }: Case): Promise<void> {
  const world = new World(runtime, certificates);
  try {
    await run(world);
  } finally {
    await world.cleanUp();
  }
}
