/** The little statistics the benchmark needs: medians, and ratios of runs made in the same round. */

/** @throws RangeError without values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("no values to take the median of");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/**
 * Round by round, how `values` compare to `base`: a machine that is slower for a while is slower for both.
 * @throws RangeError when the rounds do not match.
 */
export function ratiosOf(values: readonly number[], base: readonly number[]): Spread {
  if (values.length !== base.length) throw new RangeError(`${values.length} rounds cannot be compared to ${base.length}`);
  return spreadOf(values.map((value, round) => value / base[round]!));
}

/** The contenders of a round, each round beginning with another one, so that none always runs first. */
export function rotate<T>(items: readonly T[], round: number): T[] {
  if (items.length === 0) return [];
  const by = round % items.length;
  return [...items.slice(by), ...items.slice(0, by)];
}

/** The value that `part` of all are not above. `sorted` is in ascending order. @throws RangeError without values. */
export function percentile(sorted: readonly number[], part: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  if (value === undefined) throw new RangeError("no values to take a percentile of");
  return value;
}
