/** Keeps the memory of large results flat on Node and Deno: chunks live outside V8's heap, which alone would let 64 MB of them gather. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { readonly type: "minor"; readonly execution: "sync" | "async" }) => void;

/** Smaller ones are a query's or a row's, and gather slowly. */
const largeChunkBytes = 8 * 1024;
const collectEveryBytes = 8 * 1024 * 1024;

let collect: Collect | undefined;
/** Bytes of large chunks since the last collection, over all pipes. */
let gathered = 0;

/** Notes a chunk that will soon be garbage; now and then has the young ones collected, which takes about a millisecond. */
export function noteChunk(bytes: number): void {
  if (bytes < largeChunkBytes) return;
  gathered += bytes;
  if (gathered < collectEveryBytes) return;
  gathered = 0;
  collect ??= findCollect();
  collect({ type: "minor", execution: "async" });
}

/** V8's own function, which is hidden behind a flag. */
function findCollect(): Collect {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as Collect;
}
