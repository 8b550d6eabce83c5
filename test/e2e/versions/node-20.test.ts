/** The gateway under Node 20. */
import { describeNodeVersion } from "../../suites/node-version.ts";

await describeNodeVersion("node-20");
