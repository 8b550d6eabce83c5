/** What GET /metrics answers with: what the data path counted, and what is so at the moment of asking. */
import process from "node:process";
import { type Kysely, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { formatMetrics, Histogram, type Metric, observed, reading, type Sample } from "../../core/metrics.ts";
import type { ClusterCounts } from "../../core/pool.ts";
import type { QueryLog } from "../../core/query-log.ts";
import type { Listeners } from "../listeners.ts";
import type { Tables } from "../store/schema.ts";
import { sumSnapshots, takeSnapshot, toMetric } from "../workers/sum-metrics.ts";
import { queryMetrics } from "./query-metrics.ts";

export interface MetricsDeps {
  readonly listeners: Pick<Listeners, "sessions" | "bans" | "clusterCounts" | "poolMetrics" | "limitsShared" | "workers">;
  readonly db: Kysely<Tables>;
  readonly queries: QueryLog;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly runtime: string;
}

const lagSampleMs = 500;
const lagBoundsS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];

export class GatewayMetrics {
  readonly #deps: MetricsDeps;
  readonly #startedMs: number;
  readonly #lag = new Histogram("tenantry_event_loop_lag_seconds", "How much later than asked a timer of this process ran.", lagBoundsS);
  readonly #stop: () => void;
  /** Kept for as long as the store is away, so that the series do not come and go. */
  #deployments: readonly Sample[] = [];

  constructor(deps: MetricsDeps) {
    this.#deps = deps;
    this.#startedMs = deps.clock.nowMs();
    let dueMs = this.#startedMs + lagSampleMs;
    this.#stop = deps.clock.every(lagSampleMs, () => {
      const now = deps.clock.nowMs();
      this.#lag.observe(Math.max(0, now - dueMs) / 1000);
      dueMs = now + lagSampleMs;
    });
  }

  stop(): void {
    this.#stop();
  }

  async render(): Promise<string> {
    await this.#countDeployments();
    const { workers } = this.#deps.listeners;
    if (!workers) return formatMetrics(this.collect());
    const all = [takeSnapshot(this.collect()), await workers.metrics()];
    return formatMetrics([...sumSnapshots(all).map(toMetric), ...this.#ofGateway()]);
  }

  /** What this process counts. */
  collect(): readonly Metric[] {
    const { sessions } = this.#deps.listeners;
    return [
      ...sessions.metrics.all(),
      ...queryMetrics(this.#deps.queries),
      ...this.#entrance(),
      ...this.#pool(),
      ...this.#process(),
      ...this.#ofGateway(),
    ];
  }

  #entrance(): readonly Metric[] {
    const { sessions, bans, limitsShared } = this.#deps.listeners;
    const shared = limitsShared();
    const sharing = reading("gauge", "tenantry_limits_shared", "1 while limits and bans are shared by redis_url, 0 while it is away.", () =>
      shared ? 1 : 0,
    );
    return [
      ...(shared === undefined ? [] : [sharing]),
      observed("gauge", "tenantry_sessions", "Open client connections by what they are doing; login: not authenticated yet.", () => {
        const counts = { login: 0, waiting: 0, active: 0, idle: 0, in_transaction: 0 };
        for (const session of sessions.list()) counts[session.identity ? session.activity.state : "login"]++;
        return samplesOf("state", counts);
      }),
      reading("gauge", "tenantry_bans", "Addresses banned for wrong passwords now.", () => bans.list().length),
      observed("gauge", "tenantry_deployments", "Deployments by state, of all projects and instances.", () => this.#deployments),
    ];
  }

  #pool(): readonly Metric[] {
    const { clusterCounts, poolMetrics } = this.#deps.listeners;
    const counted = [...clusterCounts()];
    const states = ["open", "idle", "leased", "closing", "waiting"] as const;
    const perCluster = (type: "counter" | "gauge", name: string, help: string, read: (counts: ClusterCounts) => number) =>
      observed(type, name, help, () => counted.map(([cluster, counts]) => ({ labels: [["cluster", cluster]], value: read(counts) })));
    return [
      observed(
        "gauge",
        "tenantry_pool_connections",
        "Backend connections by cluster: open (idle and in use), idle, leased to sessions, closing; waiting: clients in line for one.",
        () => counted.flatMap(([cluster, counts]) => samplesOf("state", pick(counts, states), ["cluster", cluster])),
      ),
      perCluster("gauge", "tenantry_pool_waiting_databases", "Databases with clients in line for a backend.", (each) => each.waitingDatabases),
      perCluster(
        "gauge",
        "tenantry_pool_longest_wait_seconds",
        "How long the client in line for longest has waited.",
        (each) => each.longestWaitMs / 1000,
      ),
      perCluster("counter", "tenantry_pool_refused_total", "Clients that waited connect_wait_ms for a backend in vain.", (each) => each.refused),
      perCluster("counter", "tenantry_pool_evicted_total", "Idle backends closed to make room for another database or role.", (each) => each.evicted),
      perCluster("counter", "tenantry_pool_vanished_total", "Idle backends that did not answer when they were to be lent.", (each) => each.vanished),
      ...poolMetrics,
    ];
  }

  #process(): readonly Metric[] {
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    return [
      this.#lag,
      reading("gauge", "process_resident_memory_bytes", "Resident memory.", () => memory.rss),
      reading("gauge", "process_heap_bytes", "JavaScript heap in use.", () => memory.heapUsed),
      reading("counter", "process_cpu_seconds_total", "User and system CPU time.", () => (cpu.user + cpu.system) / 1e6),
    ];
  }

  #ofGateway(): readonly Metric[] {
    const { clock, version, runtime } = this.#deps;
    const uptimeS = (clock.nowMs() - this.#startedMs) / 1000;
    return [
      reading("gauge", "tenantry_uptime_seconds", "Seconds since the gateway started.", () => uptimeS),
      observed("gauge", "tenantry_build_info", "Always 1; what runs is in the labels.", () => [
        {
          labels: [
            ["version", version],
            ["runtime", runtime],
          ],
          value: 1,
        },
      ]),
    ];
  }

  async #countDeployments(): Promise<void> {
    const { db, log } = this.#deps;
    try {
      const rows = await db
        .selectFrom("deployments")
        .select(["state", sql<number>`count(*)`.as("count")])
        .groupBy("state")
        .execute();
      const counts = { queued: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
      for (const { state, count } of rows) counts[state] = count;
      this.#deployments = samplesOf("state", counts);
    } catch (error) {
      log.write("debug", "deployments not counted", { error: String(error) });
    }
  }
}

function samplesOf(label: string, counts: Readonly<Record<string, number>>, ...before: readonly (readonly [string, string])[]): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: [...before, [label, name]], value }));
}

function pick<T, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>;
}
