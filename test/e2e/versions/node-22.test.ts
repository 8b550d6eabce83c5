/** The gateway under Node 22. */
import { describeNodeVersion } from "../../suites/node-version.ts";

await describeNodeVersion("node-22");
