/** The gateway before PostgreSQL 17. */
import { describeVersion } from "../../suites/version.ts";

await describeVersion(17);
