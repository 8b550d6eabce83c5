/** pool_mode=transaction from outside, with the gateway under Node. */
import { describeSharingFuzz } from "../suites/sharing-fuzz.ts";
import { describeOracle } from "../suites/wire-oracle.ts";

describeSharingFuzz("node");
describeOracle("node", "transaction");
