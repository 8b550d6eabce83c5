/** How the gateway describes itself: a standalone server of its own, so that clients stay with the address they were given. */
import type { Document } from "bson";
import { maxMessageBytes } from "./channel.ts";

/** MongoDB 7.0, which all current drivers speak to. */
const maxWireVersion = 21;
const version = "7.0.0";
const maxBsonBytes = 16 * 1024 * 1024;

/**
 * The answer to hello, or to isMaster, its older name. There is no topologyVersion in it on purpose: clients would take it for an offer to wait
 * for changes, and ask again at once for ever.
 */
export function describeServer(connectionId: number, localTime: Date, isLegacy: boolean): Document {
  return {
    [isLegacy ? "ismaster" : "isWritablePrimary"]: true,
    maxBsonObjectSize: maxBsonBytes,
    maxMessageSizeBytes: maxMessageBytes,
    maxWriteBatchSize: 100_000,
    localTime,
    logicalSessionTimeoutMinutes: 30,
    connectionId,
    minWireVersion: 0,
    maxWireVersion,
    readOnly: false,
    ok: 1,
  };
}

export function describeBuild(): Document {
  return { version, versionArray: [7, 0, 0, 0], gitVersion: "", modules: [], bits: 64, debug: false, maxBsonObjectSize: maxBsonBytes, ok: 1 };
}
