/** pool_mode=transaction from outside, with the gateway under Bun. */
import { describeSharing } from "../suites/sharing.ts";
import { describeSharingFuzz } from "../suites/sharing-fuzz.ts";

describeSharing("bun");
describeSharingFuzz("bun");
