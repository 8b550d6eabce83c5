/** Several processes on one port, with the gateway under bun. */
import { describeWorkers } from "../suites/workers.ts";

describeWorkers("bun");
