/** The PostgreSQL wire from outside, with the gateway under deno. */
import { describeWire } from "../suites/wire.ts";

describeWire("deno");
