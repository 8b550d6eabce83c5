/** Finds the Sync that ends a request nobody will answer message by message, in whatever pieces it comes. */
import { concatBytes, readUint32 } from "../bytes.ts";
import { frontend as F } from "../message-types.ts";

export class UntilSync {
  #left = 0;
  #carry: Uint8Array | undefined;

  /** @returns what stands behind the Sync; undefined = it has not come. */
  skip(incoming: Uint8Array): Uint8Array | undefined {
    const chunk = this.#carry ? concatBytes(this.#carry, incoming) : incoming;
    this.#carry = undefined;
    let at = 0;
    while (at < chunk.length) {
      if (this.#left === 0) {
        if (chunk.length - at < 5) break;
        const total = readUint32(chunk, at + 1) + 1;
        if (chunk[at] === F.Sync) return chunk.subarray(at + total);
        this.#left = total;
      }
      const taken = Math.min(this.#left, chunk.length - at);
      this.#left -= taken;
      at += taken;
    }
    if (at < chunk.length) this.#carry = new Uint8Array(chunk.subarray(at));
    return undefined;
  }
}
