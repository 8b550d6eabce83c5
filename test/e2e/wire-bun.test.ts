/** The PostgreSQL wire from outside, with the gateway under bun. */
import { describeWire } from "../suites/wire.ts";

describeWire("bun");
