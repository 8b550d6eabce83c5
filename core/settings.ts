/** The settings table: every knob of the gateway as one row, from which the loader, --help, the JSON Schema and the documentation are read. */

interface Common {
  /** One sentence for --help and the documentation. */
  readonly help: string;
  /** True when SIGHUP brings a new value into force; false when it takes a restart. */
  readonly reload: boolean;
  /** Its value is never shown, in errors or listings. */
  readonly secret?: true;
  /** Not a key of the configuration file; environment and flag only. */
  readonly outsideFile?: true;
}

interface Whole extends Common {
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

/** One row. What a value must be follows from `type`; units of durations are the last part of the setting's name, `_ms` or `_s`. */
export type Setting =
  | (Whole & { readonly type: "int" | "duration" })
  /** A listener's port: −1 off, 0 any free one. */
  | (Common & { readonly type: "port"; readonly default: number })
  /** A port as clients see it. */
  | (Common & { readonly type: "remote port"; readonly default: number | undefined })
  | (Common & { readonly type: "bool"; readonly default: boolean })
  | (Common & { readonly type: "string" | "path"; readonly default: string | undefined })
  | (Common & { readonly type: "url"; readonly default: string | undefined; readonly schemes: readonly string[] })
  | (Common & { readonly type: "enum"; readonly default: string; readonly values: readonly string[] })
  /** IP addresses and CIDR ranges. */
  | (Common & { readonly type: "cidr list"; readonly default: readonly string[] })
  /** Host names and IP addresses. */
  | (Common & { readonly type: "name list"; readonly default: readonly string[] })
  /** Plain names, as those of extensions. */
  | (Common & { readonly type: "word list"; readonly default: readonly string[] })
  /** Names to URLs. */
  | (Common & { readonly type: "url map"; readonly default: Readonly<Record<string, string>>; readonly schemes: readonly string[] });

const day_ms = 86_400_000;
const day_s = 86_400;
const postgresSchemes = ["postgres", "postgresql"] as const;

/** PostgreSQL's trusted extensions without the procedural languages, and pgvector. */
const defaultExtensions: readonly string[] = [
  ...["btree_gin", "btree_gist", "citext", "cube", "dict_int", "fuzzystrmatch", "hstore", "intarray", "isn", "lo", "ltree", "pg_trgm", "pgcrypto"],
  ...["seg", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "vector"],
];

export const settings = {
  // Where it listens
  host: {
    type: "string",
    default: "127.0.0.1",
    reload: false,
    help: "Address all listeners bind to. Loopback only unless told otherwise, as PostgreSQL itself; 0.0.0.0 or :: opens them to the network.",
  },
  pg_port: { type: "port", default: 5432, reload: false, help: "PostgreSQL listener." },
  mysql_port: { type: "port", default: 3306, reload: false, help: "MySQL listener." },
  mongo_port: { type: "port", default: 27017, reload: false, help: "MongoDB listener." },
  redis_port: { type: "port", default: 6379, reload: false, help: "Redis listener." },
  api_port: { type: "port", default: 9876, reload: false, help: "Management API and dashboard, HTTP." },
  workers: {
    type: "int",
    default: 1,
    min: 0,
    max: 256,
    reload: false,
    help: "Processes that serve clients; 0 = one for each core. With 1 the gateway is one process, otherwise there is one more that keeps everything else.",
  },
  public_host: { type: "string", default: "localhost", reload: true, help: "Host name shown in connection strings; also a name of the certificate." },
  public_pg_port: {
    type: "remote port",
    default: undefined,
    reload: true,
    help: "PostgreSQL port shown in connection strings, where it differs from the one listened on (container, load balancer).",
  },
  // What it keeps, and where
  config: { type: "path", default: undefined, reload: false, outsideFile: true, help: "Configuration file; ./tenantry.json is read when it exists." },
  data_dir: {
    type: "path",
    default: ".tdb",
    reload: false,
    help: "Directory of the embedded database, keys, certificates and first credentials; relative paths are relative to the working directory.",
  },
  master_key_file: {
    type: "path",
    default: undefined,
    reload: false,
    help: "File with the 32-byte master key, hex; default master.key in the data directory. Instances of one installation share it.",
  },
  master_key: {
    type: "string",
    default: undefined,
    reload: false,
    secret: true,
    outsideFile: true,
    help: "The master key itself, 64 hex digits, where it comes by environment (TDB_MASTER_KEY); then no file is read.",
  },
  embedded_bin_dir: {
    type: "path",
    default: undefined,
    reload: false,
    help: "Folder of the initdb and postgres (14 or newer) that are the embedded server, a distribution's for one: /usr/lib/postgresql/18/bin. Default: those of the npm package.",
  },
  database_url: {
    type: "url",
    schemes: postgresSchemes,
    default: undefined,
    reload: false,
    secret: true,
    help: "PostgreSQL server for the control store and the first cluster, as a role that may create databases and roles. Default: an embedded server.",
  },
  clusters: {
    type: "url map",
    schemes: postgresSchemes,
    default: {},
    reload: false,
    secret: true,
    help: "More PostgreSQL servers to host tenants on: administrator's URL by cluster name. POST /clusters adds others without a restart.",
  },
  cluster_allow_addresses: {
    type: "cidr list",
    default: [],
    reload: true,
    help: "Loopback, link-local and metadata addresses and ranges at which servers may be added with POST /clusters; other addresses need no leave.",
  },
  poolers: {
    type: "url map",
    schemes: postgresSchemes,
    default: {},
    reload: false,
    help: "PgBouncer before a cluster, by cluster name (`main` is the first): postgresql://host:port, with ?pool_mode=transaction where it pools so. Clients' connections go through it, the control plane's do not.",
  },
  redis_url: {
    type: "url",
    schemes: ["redis", "rediss"],
    default: undefined,
    reload: false,
    secret: true,
    help: "Redis or Valkey server that instances share limits and bans through. Default: each instance counts for itself.",
  },
  // Time
  login_timeout_ms: { type: "duration", default: 60_000, min: 0, max: 600_000, reload: true, help: "From connect to ReadyForQuery; 0 disables." },
  client_idle_timeout_s: {
    type: "duration",
    default: 1800,
    min: 0,
    max: 30 * day_s,
    reload: true,
    help: "A client that sends nothing for this long is disconnected (57P05); 0 disables.",
  },
  idle_in_transaction_timeout_s: {
    type: "duration",
    default: 0,
    min: 0,
    max: day_s,
    reload: true,
    help: "A client that sends nothing for this long inside a transaction is disconnected (25P03) and its transaction rolled back; 0 disables.",
  },
  slow_reader_timeout_s: {
    type: "duration",
    default: 60,
    min: 0,
    max: day_s,
    reload: true,
    help: "A client that accepts nothing of a result for this long is disconnected and its query cancelled; 0 disables.",
  },
  server_idle_timeout_s: {
    type: "duration",
    default: 1800,
    min: 1,
    max: 30 * day_s,
    reload: true,
    help: "A pooled backend connection nobody used for this long is closed.",
  },
  server_check_delay_s: {
    type: "duration",
    default: 30,
    min: 0,
    max: 30 * day_s,
    reload: true,
    help: "A pooled backend connection nobody used for this long is asked whether its server is there before it is lent; 0 disables.",
  },
  server_connect_timeout_ms: {
    type: "duration",
    default: 15_000,
    min: 0,
    max: 600_000,
    reload: true,
    help: "How long connecting and logging in to a database server may take before the client is told 08006; 0 = as long as the client's own login.",
  },
  connect_wait_ms: {
    type: "duration",
    default: 10_000,
    min: 0,
    max: 600_000,
    reload: true,
    help: "How long a client waits for a backend connection before 53300, and for a database server that is starting before 57P03.",
  },
  drain_s: {
    type: "duration",
    default: 30,
    min: 0,
    max: 3600,
    reload: true,
    help: "How long running transactions may take to finish after SIGTERM.",
  },
  mysql_greeting_delay_ms: {
    type: "duration",
    default: 25,
    min: 0,
    max: 5000,
    reload: true,
    help: "How long the MySQL listener waits for a client of another protocol to speak before it greets; 0 greets at once.",
  },
  lock_share_percent: {
    type: "int",
    default: 50,
    min: 0,
    max: 100,
    reload: true,
    help: "Most of a cluster's shared lock table that the sessions of one database may hold; beyond it the largest holders are ended. 0 switches it off.",
  },
  strict_versions: {
    type: "bool",
    default: false,
    reload: false,
    help: "Refuse to start on a PostgreSQL server below its major version's safe minor version, instead of warning.",
  },
  // How much
  backend_budget: { type: "int", default: 200, min: 1, max: 100_000, reload: true, help: "Most backend connections to one cluster, per instance." },
  backend_minimum: {
    type: "int",
    default: 1,
    min: 1,
    max: 10_000,
    reload: true,
    help: "Backend connections that every database with clients is to have where the budget allows, however many others want.",
  },
  backend_reserve_percent: {
    type: "int",
    default: 10,
    min: 0,
    max: 90,
    reload: true,
    help: "Share of backend_budget, rounded down, that is left to databases with fewer connections than backend_minimum.",
  },
  max_unauthenticated: {
    type: "int",
    default: 1000,
    min: 1,
    max: 1_000_000,
    reload: true,
    help: "Most connections that have not finished logging in, all listeners together. Beyond it the slowest of the address that has most of them goes.",
  },
  spare_databases: {
    type: "int",
    default: 2,
    min: 0,
    max: 100,
    reload: true,
    help: "Finished databases kept ready per blueprint, so that a new tenant need not wait for one.",
  },
  drift_check_interval_s: {
    type: "int",
    default: 3600,
    min: 0,
    max: 604_800,
    reload: true,
    help: "How old, in seconds, the comparison of a tenant's schema with its blueprint version's may get before it is made again in the background; 0 makes none.",
  },
  trash_days: {
    type: "int",
    default: 7,
    min: 0,
    max: 3650,
    reload: true,
    help: "Days a deleted tenant can be restored before its databases are dropped.",
  },
  // Backups
  "backup.directory": {
    type: "path",
    default: undefined,
    reload: false,
    help: "Directory backups are kept in. Default: backups in the data directory. Instances of one installation share it, or use a bucket.",
  },
  "backup.format": {
    type: "enum",
    values: ["auto", "own", "custom"],
    default: "auto",
    reload: true,
    help: "What backups are kept as: own (a script for psql), custom (an archive of pg_dump, for pg_restore), auto: custom where this machine has a pg_dump that is new enough for the server.",
  },
  "backup.client_tools_dir": {
    type: "path",
    default: undefined,
    reload: false,
    help: "Folder of pg_dump and pg_restore. Default: PATH, then /usr/lib/postgresql/*/bin and /usr/pgsql-*/bin.",
  },
  "backup.s3_url": {
    type: "url",
    schemes: ["https", "http"],
    default: undefined,
    reload: false,
    help: "Bucket of an S3-compatible service to keep new backups in, with its host: https://s3.eu-central-1.amazonaws.com/bucket. Default: backup.directory.",
  },
  "backup.s3_region": { type: "string", default: "auto", reload: false, help: "Region of that bucket." },
  "backup.s3_access_key_id": { type: "string", default: undefined, reload: false, help: "Access key of the bucket." },
  "backup.s3_secret_access_key": { type: "string", default: undefined, reload: false, secret: true, help: "Its secret." },
  "backup.concurrency": {
    type: "int",
    default: 2,
    min: 1,
    max: 64,
    reload: true,
    help: "Backups and rollbacks one instance works on at a time.",
  },
  "backup.keep_replaced_h": {
    type: "int",
    default: 24,
    min: 0,
    max: 8760,
    reload: true,
    help: "Hours the database that a rollback replaced is kept, so that the rollback can be undone.",
  },
  "extensions.allow": {
    type: "word list",
    default: defaultExtensions,
    reload: true,
    help: "Extensions that may be created in workspaces, and come to tenants with the schema. Those PostgreSQL does not mark as trusted need a superuser all the same.",
  },
  // Per client address; IPv6 counts per /64
  "ip.max_connections": { type: "int", default: 1000, min: 1, max: 1_000_000, reload: true, help: "Most open connections from one client address." },
  "ip.connect_rate": { type: "int", default: 200, min: 1, max: 1_000_000, reload: true, help: "New connections per second from one client address." },
  "ip.connect_burst": {
    type: "int",
    default: 1000,
    min: 1,
    max: 1_000_000,
    reload: true,
    help: "New connections at once, before connect_rate holds.",
  },
  "ip.replies_per_min": {
    type: "int",
    default: 300,
    min: 1,
    max: 1_000_000,
    reload: true,
    help: "Refused connections of one client address that get a TLS handshake to be told why, each minute; others are held a second and closed.",
  },
  "ip.exempt": { type: "cidr list", default: [], reload: true, help: "Addresses and ranges without limits and bans." },
  "ip.proxy_protocol_from": {
    type: "cidr list",
    default: [],
    reload: true,
    help: "Load balancers whose PROXY protocol v1/v2 header is believed, and then required.",
  },
  "auth_ban.threshold": {
    type: "int",
    default: 10,
    min: 1,
    max: 1_000_000,
    reload: true,
    help: "Wrong passwords from one address within window_s that ban it.",
  },
  "auth_ban.window_s": { type: "duration", default: 60, min: 1, max: day_s, reload: true, help: "Time the failures are counted over." },
  "auth_ban.ban_s": {
    type: "duration",
    default: 60,
    min: 1,
    max: 30 * day_s,
    reload: true,
    help: "First ban; doubles with each ban within an hour.",
  },
  "auth_ban.max_ban_s": { type: "duration", default: 900, min: 1, max: 30 * day_s, reload: true, help: "Longest ban." },
  // TLS
  "tls.required": {
    type: "enum",
    values: ["remote", "always", "never"],
    default: "remote",
    reload: true,
    help: "Who must use TLS: remote = everybody but loopback, always, or never.",
  },
  "tls.cert_file": {
    type: "path",
    default: undefined,
    reload: true,
    help: "Certificate chain, PEM. Default: one made at first start, with its own CA.",
  },
  "tls.key_file": { type: "path", default: undefined, reload: true, help: "Private key of tls.cert_file, PEM." },
  "tls.client_certificates": {
    type: "bool",
    default: false,
    reload: false,
    help: "Ask clients for a certificate, on every listener but the API's, so that projects can demand one (mTLS). Those that show none come in as before elsewhere.",
  },
  "tls.names": {
    type: "name list",
    default: [],
    reload: false,
    help: "More host names and addresses for the certificate made at first start.",
  },
  // Management API
  "api.rate_per_s": { type: "int", default: 100, min: 1, max: 1_000_000, reload: false, help: "API requests per second from one client address." },
  "api.ban_violations": {
    type: "int",
    default: 5,
    min: 1,
    max: 1_000_000,
    reload: false,
    help: "Times over api.rate_per_s within a minute that ban the address.",
  },
  "api.ban_s": { type: "duration", default: 300, min: 1, max: day_s, reload: false, help: "How long that ban lasts." },
  "api.trusted_proxies": {
    type: "cidr list",
    default: [],
    reload: true,
    help: "Reverse proxies whose X-Forwarded-For header says who the client is. Default: none, the connection's own address counts.",
  },
  "api.query_timeout_ms": {
    type: "duration",
    default: 30_000,
    min: 1,
    max: day_ms,
    reload: true,
    help: "Longest a query sent through the API may run, where query_timeout_ms of its workspace or tenant is not shorter.",
  },
  "import.allow_private_addresses": {
    type: "bool",
    default: false,
    reload: true,
    help: "Whether schemas and data may be read from servers in private networks (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7).",
  },
  "import.allow_addresses": {
    type: "cidr list",
    default: [],
    reload: true,
    help: "Addresses and ranges that may be read from whatever they are; loopback, link-local and metadata addresses are refused otherwise.",
  },
  "import.stall_timeout_s": {
    type: "duration",
    default: 3600,
    min: 1,
    max: 7 * day_s,
    reload: true,
    help: "How long an import waits for its source's next whole row, or for one answer about its tables (a count reads a whole table), before it connects again.",
  },
  "import.max_row_mb": {
    type: "int",
    default: 128,
    min: 1,
    max: 1024,
    reload: true,
    help: "Longest row an import takes, in MiB, as PostgreSQL's COPY text has it (bytea as hex); its tenant fails. From MySQL a row is held in memory several times over.",
  },
  "otel.endpoint": {
    type: "url",
    schemes: ["http", "https"],
    default: undefined,
    reload: false,
    help: "OpenTelemetry collector that traces are sent to, by OTLP over HTTP: http://collector:4318. Default: OTEL_EXPORTER_OTLP_ENDPOINT of the environment, and without that no traces are made.",
  },
  "otel.sample_percent": {
    type: "int",
    default: 100,
    min: 0,
    max: 100,
    reload: false,
    help: "Share of log-ins, API requests and deployments that are traced; what comes with a traceparent header follows that.",
  },
  signup_enabled: { type: "bool", default: true, reload: true, help: "Whether anybody who reaches the API may make an account." },
  operator_token: {
    type: "string",
    default: undefined,
    reload: true,
    secret: true,
    help: "Bearer token of the server's operator, for the endpoints under /clusters. Default: they are open to nobody.",
  },
  metrics_token: {
    type: "string",
    default: undefined,
    reload: true,
    secret: true,
    help: "Bearer token for GET /metrics. Default: open on loopback, closed elsewhere.",
  },
  // Query log
  "query_log.enabled": { type: "bool", default: true, reload: true, help: "Whether statements are kept, for GET /tenants/{id}/logs." },
  "query_log.mask": {
    type: "bool",
    default: true,
    reload: true,
    help: "Whether literals are taken out of statements before they are kept; statements that name a password always are.",
  },
  "query_log.sample_percent": {
    type: "int",
    default: 100,
    min: 0,
    max: 100,
    reload: true,
    help: "Share of ordinary statements that are kept; errors and slow statements all are.",
  },
  "query_log.max_per_s": {
    type: "int",
    default: 1000,
    min: 1,
    max: 20_000,
    reload: true,
    help: "Most ordinary statements kept per second and instance, and as many errors and slow ones again; more are counted as dropped.",
  },
  "query_log.max_per_database_per_s": {
    type: "int",
    default: 200,
    min: 1,
    max: 20_000,
    reload: true,
    help: "The same for one database, so that a busy tenant does not take the others' place.",
  },
  "query_log.retention_days": {
    type: "int",
    default: 7,
    min: 1,
    max: 3650,
    reload: true,
    help: "Days statements and usage are kept; whole days are dropped.",
  },
  // Log
  "log.level": { type: "enum", values: ["debug", "info", "warn", "error"], default: "info", reload: true, help: "Least serious event written." },
  "log.format": {
    type: "enum",
    values: ["auto", "json", "pretty"],
    default: "auto",
    reload: false,
    help: "json: one object a line; pretty: text for people; auto: pretty on a terminal, else json.",
  },
} as const satisfies Record<string, Setting>;

/** A setting's name, as `pg_port` or `ip.connect_rate`. */
export type SettingPath = keyof typeof settings;

type ValueOf<S> = S extends { type: "int" | "duration" | "port" }
  ? number
  : S extends { type: "remote port" }
    ? number | undefined
    : S extends { type: "bool" }
      ? boolean
      : S extends { type: "enum"; values: readonly (infer V)[] }
        ? V
        : S extends { type: "cidr list" | "name list" | "word list" }
          ? readonly string[]
          : S extends { type: "url map" }
            ? Readonly<Record<string, string>>
            : S extends { default: undefined }
              ? string | undefined
              : string;

/** The configuration in force: one value per row, typed by it. */
export type Config = { readonly [Path in SettingPath]: ValueOf<(typeof settings)[Path]> };

/** The row of a setting, widened to the general shape. */
export function settingAt(path: SettingPath): Setting {
  return settings[path];
}

/** All names, in the order of the table. */
export const settingPaths = Object.keys(settings) as SettingPath[];

/** `ip.connect_rate` → `ip-connect-rate`. */
export function flagName(path: string): string {
  return path.replaceAll(/[._]/g, "-");
}

/** `ip.connect_rate` → `TDB_IP_CONNECT_RATE`. */
export function envName(path: string): string {
  return `TDB_${path.replaceAll(".", "_").toUpperCase()}`;
}
