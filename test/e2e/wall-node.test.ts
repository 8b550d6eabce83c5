/** The wall around each database, with the gateway under node. */
import { describeWall } from "../suites/wall.ts";

describeWall("node");
