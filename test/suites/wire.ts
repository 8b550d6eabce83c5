/** The PostgreSQL wire from outside, with a real gateway process, a real server and real clients: run under every runtime. */
import { afterAll, beforeAll, describe } from "vitest";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { describeAddresses } from "./wire-addresses.ts";
import { describeDdl } from "./wire-ddl.ts";
import { describeEndings } from "./wire-endings.ts";
import { describeHostile } from "./wire-hostile.ts";
import { describeLimitOrder } from "./wire-limit-order.ts";
import { describeLimits } from "./wire-limits.ts";
import { describeOracle } from "./wire-oracle.ts";
import { describeProtocol } from "./wire-protocol.ts";
import { describeRefusals } from "./wire-refusals.ts";

export function describeWire(runtime: RuntimeUnderTest): void {
  describe(`the wire under ${runtime}`, () => {
    let fleet: Fleet;
    beforeAll(async () => {
      fleet = await makeFleet(runtime);
    });
    afterAll(async () => {
      await fleet?.dispose();
    });
    const fleetOf = () => fleet;
    describeRefusals(fleetOf);
    describeDdl(fleetOf);
    describeLimits(fleetOf);
    describeLimitOrder(fleetOf);
    describeProtocol(fleetOf);
    describeHostile(fleetOf);
    describeAddresses(fleetOf);
  });
  describeEndings(runtime);
  describeOracle(runtime);
}
