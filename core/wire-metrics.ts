/** What the data path counts of itself: logins and how they ended, wrong secrets, waits for a backend, statements and bytes. */
import { GatewayError, type RefusalKind } from "./errors.ts";
import { Counter, Histogram, type Metric, observed, reading } from "./metrics.ts";
import type { EngineName } from "./model.ts";

/** Plain numbers that relays add to, on the hot path: nothing is called and nothing is made. */
export class Traffic {
  /** ReadyForQuery messages: a simple query, or all statements up to a Sync. */
  queries = 0;
  fromClients = 0;
  toClients = 0;
  readonly refusals = new Map<RefusalKind, number>();

  /** A statement was refused, or a session ended, by the gateway. */
  refused(kind: RefusalKind): void {
    this.refusals.set(kind, (this.refusals.get(kind) ?? 0) + 1);
  }
}

/** `ok`, a refusal's kind, `left` (the client went away by itself), or `backend_refused` (the database server said no in its own words). */
export type LoginOutcome = "ok" | RefusalKind | "left" | "backend_refused";

const waitBoundsS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class WireMetrics {
  readonly traffic = new Traffic();
  readonly logins = new Counter("tenantry_logins_total", "Connections by how their login ended; ok, or the kind of refusal as in GET /errors.", [
    "engine",
    "outcome",
  ] as const);
  readonly authFailures = new Counter("tenantry_auth_failures_total", "Wrong passwords and unknown users.", ["engine"] as const);
  readonly waits = new Histogram(
    "tenantry_connection_wait_seconds",
    "Time clients waited for a backend connection at login, a new login to the database included.",
    waitBoundsS,
  );

  readonly authentications = new Histogram(
    "tenantry_authentication_seconds",
    "Time from a client's first packet to its proven secret, the client's own part of the exchange included.",
    waitBoundsS,
  );
  readonly connects = new Histogram("tenantry_connect_seconds", "Time from accepting a connection to letting it in.", waitBoundsS);

  loginEnded(engine: EngineName, outcome: LoginOutcome): void {
    this.logins.count(engine, outcome);
  }

  loginFailed(engine: EngineName, error: unknown): void {
    const outcome = error instanceof GatewayError ? error.kind : "backend_refused";
    this.loginEnded(engine, outcome);
    if (outcome === "auth_failed") this.authFailures.count(engine);
  }

  all(): readonly Metric[] {
    const { traffic } = this;
    return [
      this.logins,
      this.authFailures,
      this.authentications,
      this.waits,
      this.connects,
      observed("counter", "tenantry_refusals_total", "Statements refused and sessions ended by the gateway, by kind as in GET /errors.", () =>
        [...traffic.refusals].map(([kind, value]) => ({ labels: [["kind", kind]], value })),
      ),
      reading("counter", "tenantry_queries_total", "Answers completed with ReadyForQuery.", () => traffic.queries),
      reading("counter", "tenantry_client_received_bytes_total", "Bytes relayed from clients.", () => traffic.fromClients),
      reading("counter", "tenantry_client_sent_bytes_total", "Bytes relayed to clients.", () => traffic.toClients),
    ];
  }
}
