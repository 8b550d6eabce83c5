/** The gateway before PostgreSQL 15, under Node 22. */
import { describeVersions } from "../../suites/version.ts";

await describeVersions(15, "node-22");
