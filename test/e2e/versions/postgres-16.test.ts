/** The gateway before PostgreSQL 16. */
import { describeVersion } from "../../suites/version.ts";

await describeVersion(16);
