/** The query log's totals as metrics. */
import { type Metric, observed, reading } from "../../core/metrics.ts";
import { latencyBoundsMs, type QueryLog } from "../../core/query-log.ts";

export function queryMetrics(queries: QueryLog): readonly Metric[] {
  const { totals } = queries;
  return [
    observed("histogram", "tenantry_statement_seconds", "How long statements took, from the client's message to the end of the answer.", () => {
      let below = 0;
      const buckets = totals.latencies.map((count, i) => {
        below += count;
        return {
          suffix: "_bucket",
          labels: [["le", i < latencyBoundsMs.length ? String(latencyBoundsMs[i]! / 1000) : "+Inf"] as const],
          value: below,
        };
      });
      return [...buckets, { suffix: "_sum", value: totals.durationMs / 1000 }, { suffix: "_count", value: totals.statements }];
    }),
    reading("counter", "tenantry_rows_total", "Rows read or written, as statements report them.", () => totals.rows),
    reading("counter", "tenantry_slow_statements_total", "Statements that took slow_query_ms or longer.", () => totals.slow),
    observed("counter", "tenantry_statement_errors_total", "Statements that failed, by the class of their SQLSTATE.", () =>
      [...totals.errorsByClass].map(([sqlstate, value]) => ({ labels: [["class", sqlstate]], value })),
    ),
    reading("counter", "tenantry_query_log_kept_total", "Statements taken into the query log.", () => totals.kept),
    reading(
      "counter",
      "tenantry_query_log_dropped_total",
      "Statements that should be in the query log and are not: too many at once.",
      () => totals.dropped,
    ),
    reading("gauge", "tenantry_query_log_waiting", "Statements not written to the store yet.", () => totals.waiting),
  ];
}
