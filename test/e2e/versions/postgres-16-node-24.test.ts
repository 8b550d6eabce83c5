/** The gateway before PostgreSQL 16, under Node 24. */
import { describeVersions } from "../../suites/version.ts";

await describeVersions(16, "node-24");
