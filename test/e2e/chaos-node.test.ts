/** Commits under faults, and what is left behind, with the gateway under node. */
import { describeChaos } from "../suites/chaos.ts";

describeChaos("node");
