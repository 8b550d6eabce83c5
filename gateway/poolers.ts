/** PgBouncer between gateway and clusters: where it stands, and the files that set one up. */
import type { Config } from "../core/config.ts";
import { GatewayError } from "../core/errors.ts";
import { nativeRoleName } from "../core/model.ts";
import type { PoolerFiles, PoolerRequest } from "../core/operations.ts";
import { roles } from "../core/role.ts";
import type { SqlDialer } from "../core/sql.ts";
import type { ClusterAddress } from "../engines/postgres/dial.ts";
import type { Clusters } from "./clusters/clusters.ts";
import { readPooler } from "./server-target.ts";
import { StartupError } from "./startup-error.ts";
import type { Store } from "./store/store.ts";

/** Where clients' connections go. */
export interface ClusterRoutes {
  /** @throws Error for an unknown cluster. */
  addressOf(clusterId: string): ClusterAddress | Promise<ClusterAddress>;
  /** How the PgBouncer before it pools, where there is one. */
  poolerOf(clusterId: string): ClusterAddress["pooler"];
}

/** @throws {StartupError} naming the setting. */
export async function withPoolers(config: Config, clusters: Clusters): Promise<ClusterRoutes> {
  const poolers = new Map<string, ClusterAddress>();
  for (const [name, url] of Object.entries(config.poolers)) {
    if (!clusters.get(name)) throw new StartupError(`poolers.${name}`, `there is no cluster "${name}"; there are: ${clusters.ids().join(", ")}`);
    poolers.set(name, await readPooler(url, `poolers.${name}`));
  }
  return {
    addressOf: (clusterId) => poolers.get(clusterId) ?? clusters.addressOf(clusterId),
    poolerOf: (clusterId) => poolers.get(clusterId)?.pooler,
  };
}

/**
 * What one role stored in itself (ALTER ROLE … SET) must not shape the next session of that role: a server connection that begins with such
 * settings ends itself before a client gets it, and the gateway, told that the login failed, takes the settings away.
 */
const connectQuery =
  "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()) FROM pg_catalog.pg_db_role_setting WHERE setrole OPERATOR(pg_catalog.=) session_user::pg_catalog.regrole";

const secretsSql =
  "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = ANY ($1::pg_catalog.name[]) AND rolpassword LIKE 'SCRAM-%' ORDER BY rolname";

export interface PoolerDeps {
  readonly store: Pick<Store, "db">;
  readonly dialer: Pick<SqlDialer, "asAdmin">;
  readonly clusters: Clusters;
  readonly backendBudget: () => number;
}

/** @throws {GatewayError} not_found for an unknown cluster. */
export async function describePooler(deps: PoolerDeps, { cluster, poolMode, listenPort }: PoolerRequest): Promise<PoolerFiles> {
  const server = deps.clusters.get(cluster);
  if (!server) throw new GatewayError("not_found", `no cluster "${cluster}"; there are: ${deps.clusters.ids().join(", ")}`);
  const databases = await deps.store.db.selectFrom("databases").select("name").where("cluster_id", "=", cluster).execute();
  const names = databases.flatMap(({ name }) => roles.map((role) => nativeRoleName(name, role)));
  const admin = await deps.dialer.asAdmin(cluster);
  try {
    const { rows } = await admin.query(secretsSql, [names]);
    return {
      "pgbouncer.ini": iniOf(server.address, { cluster, poolMode, listenPort }, deps.backendBudget()),
      "userlist.txt": rows.map(({ rolname, rolpassword }) => `"${rolname}" "${rolpassword}"\n`).join(""),
    };
  } finally {
    await admin.close();
  }
}

function iniOf({ connect, tls }: ClusterAddress, { poolMode, listenPort }: PoolerRequest, budget: number): string {
  const place = "path" in connect ? socketPlace(connect.path) : { host: connect.host, port: String(connect.port) };
  const tlsLines = tls ? [`server_tls_sslmode = ${tls.verify ? "verify-full" : "require"}`] : ["server_tls_sslmode = prefer"];
  return `${[
    ";; Made by tdb pgbouncer-config. userlist.txt holds the SCRAM secrets of the clients' roles: make it again when tenants are added,",
    ";; or leave `tdb pgbouncer-config --watch --reload-command …` running. PgBouncer reads it again on SIGHUP.",
    "[databases]",
    `* = host=${place.host} port=${place.port} connect_query='${connectQuery.replaceAll("'", "''")}'`,
    "",
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${listenPort}`,
    "unix_socket_dir =",
    "auth_type = scram-sha-256",
    "auth_file = userlist.txt",
    `pool_mode = ${poolMode}`,
    // PgBouncer has no client's parameters of its own: drivers' harmless one is let pass where it cannot be set afterwards.
    ...(poolMode === "transaction" ? ["ignore_startup_parameters = extra_float_digits"] : []),
    "server_reset_query = DISCARD ALL",
    `max_client_conn = ${budget + 100}`,
    `default_pool_size = ${poolMode === "transaction" ? 20 : budget}`,
    `max_db_connections = ${budget}`,
    "server_login_retry = 1",
    ...tlsLines,
  ].join("\n")}\n`;
}

/** `/folder/.s.PGSQL.5432` is how libpq writes host=/folder port=5432. */
function socketPlace(path: string): { host: string; port: string } {
  const at = path.lastIndexOf("/.s.PGSQL.");
  return { host: path.slice(0, at), port: path.slice(at + "/.s.PGSQL.".length) };
}
