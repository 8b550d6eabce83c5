/** Metrics of several processes as one: what each has counted, added up. */
import { type Metric, observed, type Sample } from "../../core/metrics.ts";
import type { MetricSnapshot } from "./calls.ts";

/** Told by the first process alone: they are about the gateway as a whole. */
const ofFirst = new Set(["tenantry_uptime_seconds", "tenantry_build_info"]);

/** The largest of all is the gateway's. */
const largest = new Set(["tenantry_pool_longest_wait_seconds"]);

/** What a worker tells of itself. */
export function takeSnapshot(metrics: Iterable<Metric>): readonly MetricSnapshot[] {
  return [...metrics]
    .filter(({ name }) => !ofFirst.has(name))
    .map((metric) => ({ name: metric.name, help: metric.help, type: metric.type, samples: [...metric.samples()] }));
}

/** Adds up samples of the same metric and labels. */
export function sumSnapshots(lists: Iterable<readonly MetricSnapshot[]>): readonly MetricSnapshot[] {
  const sums = new Map<string, MetricSnapshot & { readonly bySeries: Map<string, Sample> }>();
  for (const list of lists) {
    for (const { samples, ...metric } of list) {
      const sum = sums.get(metric.name) ?? { ...metric, samples: [], bySeries: new Map<string, Sample>() };
      sums.set(metric.name, sum);
      for (const sample of samples) addTo(sum.bySeries, sample, largest.has(metric.name) ? Math.max : add);
    }
  }
  return [...sums.values()].map(({ name, help, type, bySeries }) => ({ name, help, type, samples: [...bySeries.values()] }));
}

function addTo(series: Map<string, Sample>, sample: Sample, join: (a: number, b: number) => number): void {
  const key = JSON.stringify([sample.suffix ?? "", sample.labels ?? []]);
  const known = series.get(key);
  series.set(key, known ? { ...known, value: join(known.value, sample.value) } : sample);
}

function add(a: number, b: number): number {
  return a + b;
}

/** What stays counted when a process has ended: a counter that goes back would look like a restart. */
export function lastingCounts(list: readonly MetricSnapshot[]): readonly MetricSnapshot[] {
  return list.filter(({ type }) => type !== "gauge");
}

export function toMetric({ name, help, type, samples }: MetricSnapshot): Metric {
  return observed(type, name, help, () => samples);
}
