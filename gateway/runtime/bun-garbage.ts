/** Keeps the memory of large results flat on Bun: its collector lets chunks that were written on gather into hundreds of megabytes. */
import { bunGlobal } from "./bun-api.ts";

/** Smaller ones are a query's or a row's, and gather slowly. */
const largeChunkBytes = 8 * 1024;
const collectEveryBytes = 4 * 1024 * 1024;

/** Bytes of large chunks since the last hint, over all pipes. */
let gathered = 0;

/** Notes a chunk that will soon be garbage; now and then hints that collecting is worth it, which does not wait for it. */
export function noteChunk(bytes: number): void {
  if (bytes < largeChunkBytes) return;
  gathered += bytes;
  if (gathered < collectEveryBytes) return;
  gathered = 0;
  bunGlobal().gc(false);
}
