/** Isolation of tenants that share few backends, with the gateway under node. */
import { describeIsolationFuzz } from "../suites/isolation-fuzz.ts";

describeIsolationFuzz("node");
