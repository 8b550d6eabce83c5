/** The first steps of a new user, with the gateway under bun. */
import { describeFirstSteps } from "../suites/first-steps.ts";

describeFirstSteps("bun");
