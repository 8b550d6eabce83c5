/** Counters, gauges and histograms in Prometheus' text format. Labels are for a few fixed words each; nothing here is per tenant. */

export type MetricType = "counter" | "gauge" | "histogram";

/** One line of the answer: what follows the metric's name, its labels as name and value, and the number. */
export interface Sample {
  readonly suffix?: string;
  readonly labels?: readonly (readonly [string, string])[];
  readonly value: number;
}

export interface Metric {
  /** As Prometheus spells it: `tenantry_logins_total`. */
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  samples(): Iterable<Sample>;
}

/** Something that only goes up, by the values of its labels. */
export class Counter<Names extends readonly string[] = readonly string[]> implements Metric {
  readonly type = "counter";
  readonly name: string;
  readonly help: string;
  readonly #names: Names;
  readonly #series = new Map<string, { readonly values: readonly string[]; count: number }>();

  constructor(name: string, help: string, names: Names) {
    this.name = name;
    this.help = help;
    this.#names = names;
    if (names.length === 0) this.#series.set("", { values: [], count: 0 });
  }

  /** `values` in the order of the label names. */
  count(...values: { readonly [Index in keyof Names]: string }): void {
    const key = values.join("\0");
    const known = this.#series.get(key);
    if (known) known.count++;
    else this.#series.set(key, { values, count: 1 });
  }

  *samples(): Iterable<Sample> {
    for (const { values, count } of this.#series.values()) {
      yield { labels: this.#names.map((name, i) => [name, values[i] ?? ""] as const), value: count };
    }
  }
}

/** How often a measured value fell below each bound. */
export class Histogram implements Metric {
  readonly type = "histogram";
  readonly name: string;
  readonly help: string;
  readonly #bounds: readonly number[];
  /** Per bound, and one for what is above the last. */
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` ascending. */
  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.#bounds.length && value > this.#bounds[at]!) at++;
    this.#counts[at]!++;
    this.#sum += value;
  }

  *samples(): Iterable<Sample> {
    let count = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      count += this.#counts[i]!;
      const bound = i < this.#bounds.length ? String(this.#bounds[i]) : "+Inf";
      yield { suffix: "_bucket", labels: [["le", bound]], value: count };
    }
    yield { suffix: "_sum", value: this.#sum };
    yield { suffix: "_count", value: count };
  }
}

/** A metric whose numbers are kept elsewhere and read when they are asked for. */
export function observed(type: MetricType, name: string, help: string, samples: () => Iterable<Sample>): Metric {
  return { type, name, help, samples };
}

/** One number without labels. */
export function reading(type: "counter" | "gauge", name: string, help: string, read: () => number): Metric {
  return observed(type, name, help, () => [{ value: read() }]);
}

/** What `text/plain; version=0.0.4` holds. @see https://prometheus.io/docs/instrumenting/exposition_formats/ */
export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/** The metrics as text, each with its help and type. */
export function formatMetrics(metrics: Iterable<Metric>): string {
  let text = "";
  for (const metric of metrics) {
    const { name, help, type } = metric;
    text += `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
    for (const { suffix = "", labels = [], value } of metric.samples()) text += `${name}${suffix}${formatLabels(labels)} ${formatNumber(value)}\n`;
  }
  return text;
}

function formatLabels(labels: readonly (readonly [string, string])[]): string {
  if (labels.length === 0) return "";
  const pairs = labels.map(([name, value]) => `${name}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`);
  return `{${pairs.join(",")}}`;
}

function formatNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
