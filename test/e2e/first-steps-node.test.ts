/** The first steps of a new user, with the gateway under node. */
import { describeFirstSteps } from "../suites/first-steps.ts";

describeFirstSteps("node");
