/** What a measurement hands back: a table for people, the asks it answers, and every sample for whoever wants to look closer. */

export interface Ask {
  readonly what: string;
  readonly wanted: string;
  readonly got: string;
  readonly met: boolean;
}

/** Bars in groups, for an SVG beside the tables. */
export interface Plot {
  /** Without extension. */
  readonly file: string;
  readonly title: string;
  readonly unit: string;
  readonly groups: readonly { readonly name: string; readonly bars: readonly { readonly name: string; readonly value: number }[] }[];
}

export interface Section {
  readonly name: string;
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly asks: readonly Ask[];
  readonly samples: unknown;
  readonly plots?: readonly Plot[];
}

/** An ask of the form "at least" or "less than". */
export function ask(what: string, got: number, sense: ">=" | "<", limit: number, show: (value: number) => string): Ask {
  const met = sense === ">=" ? got >= limit : got < limit;
  return { what, wanted: `${sense === ">=" ? "≥" : "<"} ${show(limit)}`, got: show(got), met };
}
