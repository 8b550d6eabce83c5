/** Faults at start and at run time, under node; the other runtimes share the code. */
import { describeFaults } from "../suites/faults.ts";

describeFaults("node");
