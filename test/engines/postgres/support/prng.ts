/** Random numbers that come out the same for the same seed, so that a failing case can be run again. */

export class Prng {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 1) >>> 0;
  }

  /** mulberry32: in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** In [0, below). */
  int(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.int(values.length)] as T;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.int(256));
  }

  /** The bytes in pieces cut at random places, sometimes one byte long, sometimes all at once. */
  cut(bytes: Uint8Array): Uint8Array[] {
    const most = this.pick([1, 3, 8, 40, 500, bytes.length + 1]);
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + this.int(Math.max(1, most));
      pieces.push(bytes.slice(at, at + length));
      at += length;
    }
    return pieces;
  }
}
