/** Several processes on one port, with the gateway under deno. */
import { describeWorkers } from "../suites/workers.ts";

describeWorkers("deno");
