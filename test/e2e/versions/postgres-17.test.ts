/** The gateway before PostgreSQL 17. */
import { describeVersions } from "../../suites/version.ts";

await describeVersions(17, "node");
