/** The gateway before PostgreSQL 14. */
import { describeVersion } from "../../suites/version.ts";

await describeVersion(14);
