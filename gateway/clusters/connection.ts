/** From what the operator says of a server to what the dialers of both planes need. */
import { isIP } from "node:net";
import type { ClusterConnection } from "../../core/operations.ts";
import type { ClusterAddress } from "../../engines/postgres/dial.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import { resolveTarget } from "../outbound/outbound.ts";
import type { ClusterTarget } from "../sql-dialer.ts";

/** A server that hosts databases. */
export interface ClusterServer {
  readonly id: string;
  readonly origin: "configuration" | "api";
  /** For the control plane's own SQL. */
  readonly target: ClusterTarget;
  /** For clients' connections; its host by name, as it was given. */
  readonly address: ClusterAddress;
}

/** `rules` are asked with each connection: the name may come to mean another address. */
export function serverOf(id: string, connection: ClusterConnection, rules: () => OutboundRules): ClusterServer {
  const { host, port, user, password, database } = connection;
  const verify = connection.sslmode === "verify-full";
  const target = { host, port, user, password, maintenanceDatabase: database, ssl: tlsOf(connection), resolve: () => resolve(host, port, rules()) };
  const tls = connection.sslmode === "disable" ? undefined : { ca: connection.ca, servername: host, verify };
  return { id, origin: "api", target, address: { connect: { host, port }, tls } };
}

/** What stands in the certificate is compared with the name that was given, although an address is dialled. */
function tlsOf({ host, sslmode, ca }: ClusterConnection): ClusterTarget["ssl"] {
  if (sslmode === "disable") return undefined;
  const name = isIP(host) === 0 ? { servername: host } : { host };
  return { ...name, rejectUnauthorized: sslmode === "verify-full", ...(ca !== undefined && { ca }) };
}

/** In words that are for the log alone: a customer is told that the server cannot be reached. */
async function resolve(host: string, port: number, rules: OutboundRules): Promise<string> {
  try {
    return (await resolveTarget(host, port, rules)).address;
  } catch (error) {
    throw new Error(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Where a server stands, for people. */
export function describeServer({ address: { connect } }: ClusterServer): string {
  if ("path" in connect) return connect.path;
  return `${connect.host.includes(":") ? `[${connect.host}]` : connect.host}:${connect.port}`;
}
