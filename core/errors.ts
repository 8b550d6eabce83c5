/** Every refusal the gateway can make: one row is one meaning on every wire. */

export interface Refusal {
  /** PostgreSQL SQLSTATE, the same meaning on the wire whatever the engine. */
  readonly sqlstate: string;
  readonly severity: "FATAL" | "ERROR";
  /** HTTP status and the API's `code` for it (spec section 5). */
  readonly http: number;
  readonly code: string;
  readonly log: "debug" | "info" | "warn" | "error";
  /** For GET /errors: what happened, and the way out. */
  readonly help: string;
}

export const refusals = {
  // Before and during login
  protocol_violation: {
    sqlstate: "08P01",
    severity: "FATAL",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "The client sent bytes that are not this protocol, or out of order. Check the port and the driver.",
  },
  tls_required: {
    sqlstate: "28000",
    severity: "FATAL",
    http: 403,
    code: "forbidden",
    log: "info",
    help: "Connect with sslmode=require or stronger.",
  },
  client_certificate_required: {
    sqlstate: "28000",
    severity: "FATAL",
    http: 403,
    code: "forbidden",
    log: "info",
    help: "The project demands a client certificate it trusts beside the password: connect over TLS with sslcert and sslkey.",
  },
  auth_failed: {
    sqlstate: "28P01",
    severity: "FATAL",
    http: 401,
    code: "unauthorized",
    log: "info",
    help: "Wrong password or unknown project id. Each tenant has its own password.",
  },
  scope_denied: {
    sqlstate: "28000",
    severity: "FATAL",
    http: 403,
    code: "scope_denied",
    log: "info",
    help: "The credential is good but does not reach this database. Use a tenant- or workspace-scoped key.",
  },
  wrong_engine: {
    sqlstate: "08004",
    severity: "FATAL",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "The blueprint belongs to another engine; connect to the port the message names.",
  },
  not_proxied: {
    sqlstate: "08004",
    severity: "FATAL",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "This engine is only redirected; connect to the server the message names.",
  },
  no_such_database: {
    sqlstate: "3D000",
    severity: "FATAL",
    http: 404,
    code: "not_found",
    log: "info",
    help: "Names are {workspace}_workspace and {blueprint}__{tenant}.",
  },
  tenant_suspended: {
    sqlstate: "57P03",
    severity: "FATAL",
    http: 409,
    code: "conflict",
    log: "info",
    help: "POST /tenants/{id}/resume lets it connect again.",
  },
  tenant_in_trash: {
    sqlstate: "3D000",
    severity: "FATAL",
    http: 409,
    code: "conflict",
    log: "info",
    help: "POST /tenants/{id}/restore brings it back.",
  },
  not_ready: {
    sqlstate: "57P03",
    severity: "FATAL",
    http: 409,
    code: "conflict",
    log: "info",
    help: "It is still being created; try again shortly.",
  },
  ip_banned: {
    sqlstate: "53300",
    severity: "FATAL",
    http: 429,
    code: "rate_limited",
    log: "info",
    help: "Too many wrong passwords from this address. Wait the seconds the message names.",
  },
  ip_connections: {
    sqlstate: "53300",
    severity: "FATAL",
    http: 429,
    code: "rate_limited",
    log: "warn",
    help: "Close connections, or raise ip.max_connections.",
  },
  ip_rate: {
    sqlstate: "53300",
    severity: "FATAL",
    http: 429,
    code: "rate_limited",
    log: "info",
    help: "Use a client-side pool, or raise ip.connect_rate.",
  },
  max_connections: {
    sqlstate: "53300",
    severity: "FATAL",
    http: 429,
    code: "rate_limited",
    log: "info",
    help: "Raise max_connections of the workspace or tenant, or use fewer connections.",
  },
  no_backend_slot: {
    sqlstate: "53300",
    severity: "FATAL",
    http: 503,
    code: "backend_unavailable",
    log: "warn",
    help: "All backend connections of the cluster are in use; raise backend_budget or connect_wait_ms.",
  },
  backend_unreachable: {
    sqlstate: "08006",
    severity: "FATAL",
    http: 503,
    code: "backend_unavailable",
    log: "error",
    help: "The database server does not answer; see the gateway's log.",
  },
  backend_starting: {
    sqlstate: "57P03",
    severity: "FATAL",
    http: 503,
    code: "backend_unavailable",
    log: "warn",
    help: "The database server is starting, recovering or shutting down; try again shortly.",
  },
  store_unavailable: {
    sqlstate: "57P03",
    severity: "FATAL",
    http: 503,
    code: "backend_unavailable",
    log: "error",
    help: "The gateway cannot look the credential up right now; try again.",
  },
  login_timeout: {
    sqlstate: "08P01",
    severity: "FATAL",
    http: 504,
    code: "timeout",
    log: "info",
    help: "The client did not finish logging in within login_timeout_ms.",
  },
  unsupported: {
    sqlstate: "0A000",
    severity: "FATAL",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "This feature is not available through the gateway.",
  },
  // During a session
  ddl_denied: {
    sqlstate: "42501",
    severity: "ERROR",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "Change the schema in the workspace, then deploy the blueprint.",
  },
  permission_denied: {
    sqlstate: "42501",
    severity: "ERROR",
    http: 403,
    code: "permission_denied",
    log: "info",
    help: "The credential's role does not allow it; use a key with a higher role.",
  },
  copy_denied: {
    sqlstate: "0A000",
    severity: "ERROR",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "Turn the workspace setting allow_copy on, use the import endpoint, or INSERT statements.",
  },
  too_many_rows: {
    sqlstate: "54000",
    severity: "ERROR",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "Add a LIMIT, use a cursor, or raise max_rows_per_query.",
  },
  query_timeout: {
    sqlstate: "57014",
    severity: "ERROR",
    http: 504,
    code: "timeout",
    log: "info",
    help: "Make the query faster or raise query_timeout_ms.",
  },
  canceled: {
    sqlstate: "57014",
    severity: "ERROR",
    http: 504,
    code: "timeout",
    log: "debug",
    help: "The client asked for it while the statement waited for a backend.",
  },
  duplicate_statement: {
    sqlstate: "42P05",
    severity: "ERROR",
    http: 409,
    code: "conflict",
    log: "debug",
    help: "Close the prepared statement first, or give the new one another name.",
  },
  too_many_statements: {
    sqlstate: "54000",
    severity: "ERROR",
    http: 400,
    code: "bad_request",
    log: "info",
    help: "With pool_mode transaction a session may have 10,000 prepared statements of 32 MiB together. Close those not needed.",
  },
  stale_plan: {
    sqlstate: "0A000",
    severity: "ERROR",
    http: 409,
    code: "conflict",
    log: "info",
    help: "The schema changed: prepare the statement again, as after PostgreSQL's own error of these words.",
  },
  client_idle: {
    sqlstate: "57P05",
    severity: "FATAL",
    http: 408,
    code: "timeout",
    log: "info",
    help: "Keep the client pool's idle time below client_idle_timeout (1800 s).",
  },
  idle_in_transaction: {
    sqlstate: "25P03",
    severity: "FATAL",
    http: 408,
    code: "timeout",
    log: "info",
    help: "End transactions before waiting for something else, or raise idle_in_transaction_timeout_s.",
  },
  slow_reader: {
    sqlstate: "57P05",
    severity: "FATAL",
    http: 408,
    code: "timeout",
    log: "warn",
    help: "Read results as they come, page through them with a cursor, or raise slow_reader_timeout_s.",
  },
  revoked: {
    sqlstate: "57P01",
    severity: "FATAL",
    http: 403,
    code: "forbidden",
    log: "info",
    help: "The credential was revoked or the tenant suspended while connected.",
  },
  terminated: {
    sqlstate: "57P01",
    severity: "FATAL",
    http: 403,
    code: "forbidden",
    log: "info",
    help: "An administrator ended the session with DELETE /sessions/{id}.",
  },
  shutdown: {
    sqlstate: "57P01",
    severity: "FATAL",
    http: 503,
    code: "backend_unavailable",
    log: "debug",
    help: "The gateway is stopping; reconnect.",
  },
  // API only
  bad_request: { sqlstate: "22023", severity: "ERROR", http: 400, code: "bad_request", log: "debug", help: "See `issues` for the field." },
  auth_required: {
    sqlstate: "28000",
    severity: "ERROR",
    http: 401,
    code: "auth_required",
    log: "debug",
    help: "Send Authorization: Bearer <api key>.",
  },
  unauthorized: {
    sqlstate: "28000",
    severity: "ERROR",
    http: 401,
    code: "unauthorized",
    log: "info",
    help: "The key is unknown, expired or revoked.",
  },
  role_required: {
    sqlstate: "42501",
    severity: "ERROR",
    http: 403,
    code: "role_required",
    log: "info",
    help: "Use a key with the role the message names.",
  },
  forbidden: { sqlstate: "42501", severity: "ERROR", http: 403, code: "forbidden", log: "info", help: "Not possible here." },
  not_found: { sqlstate: "42704", severity: "ERROR", http: 404, code: "not_found", log: "debug", help: "No such resource in this project." },
  conflict: {
    sqlstate: "42710",
    severity: "ERROR",
    http: 409,
    code: "conflict",
    log: "debug",
    help: "It exists already, or its state does not allow this.",
  },
  backup_unusable: {
    sqlstate: "XX001",
    severity: "ERROR",
    http: 409,
    code: "conflict",
    log: "error",
    help: "The backup is damaged, incomplete, or not where it was stored; use another one.",
  },
  precondition_failed: {
    sqlstate: "40001",
    severity: "ERROR",
    http: 412,
    code: "precondition_failed",
    log: "debug",
    help: "It was changed meanwhile: read it again, and send the new ETag in If-Match.",
  },
  payload_too_large: { sqlstate: "54000", severity: "ERROR", http: 413, code: "payload_too_large", log: "info", help: "Send less at once." },
  rate_limited: { sqlstate: "53300", severity: "ERROR", http: 429, code: "rate_limited", log: "info", help: "Wait Retry-After seconds." },
  timeout: { sqlstate: "57014", severity: "ERROR", http: 504, code: "timeout", log: "info", help: "It took too long." },
  query_failed: {
    sqlstate: "42601",
    severity: "ERROR",
    http: 400,
    code: "bad_request",
    log: "debug",
    help: "PostgreSQL refused the statement; `sqlstate` says why.",
  },
  internal_error: {
    sqlstate: "XX000",
    severity: "FATAL",
    http: 500,
    code: "internal_error",
    log: "error",
    help: "A fault of the gateway; give the id to its operator.",
  },
} as const satisfies Record<string, Refusal>;

export type RefusalKind = keyof typeof refusals;

export interface ErrorIssue {
  readonly path: string;
  readonly message: string;
}

export interface ErrorDetails {
  readonly detail?: string;
  readonly hint?: string;
  /** Overrides the row's SQLSTATE, where PostgreSQL's own is passed on. */
  readonly sqlstate?: string;
  /** For the API: fields at fault. */
  readonly issues?: readonly ErrorIssue[];
  /** Seconds until a retry makes sense. */
  readonly retryAfterS?: number;
  /** For the log only, never sent. */
  readonly cause?: unknown;
}

/** A refusal on its way to the client. Its message is safe to show: no password, key, parameter, row, host or address. */
export class GatewayError extends Error {
  readonly kind: RefusalKind;
  readonly details: ErrorDetails;

  constructor(kind: RefusalKind, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "GatewayError";
    this.kind = kind;
    this.details = details;
  }

  get refusal(): Refusal {
    return refusals[this.kind];
  }

  get sqlstate(): string {
    return this.details.sqlstate ?? this.refusal.sqlstate;
  }
}
