/** The gateway under Node 24. */
import { describeNodeVersion } from "../../suites/node-version.ts";

await describeNodeVersion("node-24");
