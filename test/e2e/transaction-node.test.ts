/** pool_mode=transaction from outside, with the gateway under Node. */
import { describeSharing } from "../suites/sharing.ts";
import { describeSharingFuzz } from "../suites/sharing-fuzz.ts";
import { describeOracle } from "../suites/wire-oracle.ts";

describeSharing("node");
describeSharingFuzz("node");
describeOracle("node", "transaction");
