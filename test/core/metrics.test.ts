/** Metrics: Prometheus' text, byte for byte. */
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../core/errors.ts";
import { Counter, formatMetrics, Histogram, observed, reading } from "../../core/metrics.ts";
import { WireMetrics } from "../../core/wire-metrics.ts";

describe("metrics", () => {
  it("writes counters with and without labels, a counter without from zero", () => {
    const plain = new Counter("plain_total", "Plain.", [] as const);
    const logins = new Counter("logins_total", "Logins.", ["engine", "outcome"] as const);
    expect(formatMetrics([plain, logins])).toBe(
      "# HELP plain_total Plain.\n# TYPE plain_total counter\nplain_total 0\n# HELP logins_total Logins.\n# TYPE logins_total counter\n",
    );
    plain.count();
    logins.count("PostgreSQL", "ok");
    logins.count("PostgreSQL", "ok");
    logins.count("Redis", "auth_failed");
    const text = formatMetrics([plain, logins]);
    expect(text).toContain("\nplain_total 1\n");
    expect(text).toContain('\nlogins_total{engine="PostgreSQL",outcome="ok"} 2\nlogins_total{engine="Redis",outcome="auth_failed"} 1\n');
  });

  it("writes histograms cumulatively, a bound itself included", () => {
    const wait = new Histogram("wait_seconds", "Waits.", [0.5, 1]);
    for (const value of [0.25, 0.5, 0.75, 8]) wait.observe(value);
    expect(formatMetrics([wait])).toBe(
      `# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n${[
        'wait_seconds_bucket{le="0.5"} 2',
        'wait_seconds_bucket{le="1"} 3',
        'wait_seconds_bucket{le="+Inf"} 4',
        "wait_seconds_sum 9.5",
        "wait_seconds_count 4",
      ].join("\n")}\n`,
    );
  });

  it("reads gauges when asked, and escapes what would break a line", () => {
    let value = 1;
    const gauge = reading("gauge", "now", "A\\b\nc.", () => value);
    value = 2;
    const named = observed("gauge", "named", "N.", () => [{ labels: [["name", 'a"b\\c\nd']], value: Number.NaN }]);
    expect(formatMetrics([gauge, named])).toBe(
      '# HELP now A\\\\b\\nc.\n# TYPE now gauge\nnow 2\n# HELP named N.\n# TYPE named gauge\nnamed{name="a\\"b\\\\c\\nd"} NaN\n',
    );
  });

  it("counts a login by how it ended, a wrong password beside it", () => {
    const metrics = new WireMetrics();
    metrics.loginEnded("PostgreSQL", "ok");
    metrics.loginFailed("MySQL", new GatewayError("auth_failed", "no"));
    metrics.loginFailed("PostgreSQL", new Error("the server's own words"));
    metrics.traffic.queries += 3;
    const text = formatMetrics(metrics.all());
    for (const line of [
      'tenantry_logins_total{engine="PostgreSQL",outcome="ok"} 1',
      'tenantry_logins_total{engine="MySQL",outcome="auth_failed"} 1',
      'tenantry_logins_total{engine="PostgreSQL",outcome="backend_refused"} 1',
      'tenantry_auth_failures_total{engine="MySQL"} 1',
      "tenantry_queries_total 3",
    ])
      expect(text).toContain(`\n${line}\n`);
  });
});
