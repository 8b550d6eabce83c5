/** Several processes on one port, with the gateway under node. */
import { describeWorkers } from "../suites/workers.ts";

describeWorkers("node");
