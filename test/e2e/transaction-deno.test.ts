/** pool_mode=transaction from outside, with the gateway under Deno. */
import { describeSharing } from "../suites/sharing.ts";

describeSharing("deno");
