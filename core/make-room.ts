/** Room in a bounded map, oldest entries first. */

/**
 * One in sixteen goes at a time. One by one, each look at the oldest passes over the places of all that went before it, until the map is laid out
 * anew: with 100,000 entries some 80 µs for every new one.
 */
const share = 16;

/**
 * Drops the oldest entries of a map that has `max` of them: of the oldest eighth those that may go, or where that are too few, whatever there is. The
 * work for each new entry stays the same, whatever is kept.
 */
export function makeRoom<K, V>(entries: Map<K, V>, max: number, mayGo: (value: V) => boolean = () => true): void {
  if (entries.size < max) return;
  const enough = Math.ceil(max / share);
  const gone = dropOldest(entries, enough, 2 * enough, mayGo);
  dropOldest(entries, Math.ceil(enough / 2) - gone, entries.size, () => true);
}

function dropOldest<K, V>(entries: Map<K, V>, count: number, most: number, mayGo: (value: V) => boolean): number {
  let gone = 0;
  let seen = 0;
  for (const [key, value] of entries) {
    if (gone >= count || seen++ === most) break;
    if (!mayGo(value)) continue;
    entries.delete(key);
    gone++;
  }
  return gone;
}
