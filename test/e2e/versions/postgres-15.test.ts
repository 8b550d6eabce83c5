/** The gateway before PostgreSQL 15. */
import { describeVersion } from "../../suites/version.ts";

await describeVersion(15);
