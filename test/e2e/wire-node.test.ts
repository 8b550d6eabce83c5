/** The PostgreSQL wire from outside, with the gateway under node. */
import { describeWire } from "../suites/wire.ts";

describeWire("node");
