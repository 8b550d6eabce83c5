/** The gateway before PostgreSQL 14, under Node 20. */
import { describeVersions } from "../../suites/version.ts";

await describeVersions(14, "node-20");
