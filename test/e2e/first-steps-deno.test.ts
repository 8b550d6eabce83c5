/** The first steps of a new user, with the gateway under deno. */
import { describeFirstSteps } from "../suites/first-steps.ts";

describeFirstSteps("deno");
