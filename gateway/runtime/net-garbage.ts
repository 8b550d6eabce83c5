/**
 * Keeps memory flat on Node and Deno: chunks live outside V8's heap, which alone would let 64 MB of them gather. And it is what keeps Node 26 fast: there
 * a read of a hundred bytes may hold a slab of 64 KB. V8 adds those to its old generation and, since a relay makes hardly anything else, marks the whole
 * heap ten times a second instead of looking at the young.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { readonly type: "minor"; readonly execution: "sync" | "async" }) => void;

/** Smaller ones are a query's or a row's, and gather slowly. */
const largeBytes = 8 * 1024;
const collectEveryBytes = 16 * 1024 * 1024;

let collect: Collect | undefined;
/** Bytes held by large chunks since the last collection, over all pipes. */
let gathered = 0;
let lastSlab: ArrayBufferLike | undefined;

/** Notes a chunk that will soon be garbage; now and then has the young ones collected, which takes about a millisecond. Not for those of net-reads.ts. */
export function noteChunk({ buffer }: Uint8Array): void {
  const bytes = buffer.byteLength;
  if (bytes < largeBytes || buffer === lastSlab) return;
  lastSlab = buffer; // the next small chunks may be of the same
  noteSlab(bytes);
}

/** The same of so many bytes that chunks will be cut from. */
export function noteSlab(bytes: number): void {
  gathered += bytes;
  if (gathered < collectEveryBytes) return;
  gathered = 0;
  lastSlab = undefined;
  collect ??= prepare();
  collect({ type: "minor", execution: "async" });
}

/**
 * V8's own function, which is hidden behind a flag. From now on marking begins when four fifths of what the heap may grow by are used, and not as soon as
 * the rest is less than the young generation could take, which a few hundred slabs bring about.
 */
function prepare(): Collect {
  setFlagsFromString("--incremental-marking-soft-trigger=80");
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as Collect;
}
