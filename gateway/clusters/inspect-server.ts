/** Whether a server is fit to host databases, found out over one connection as the administrator it was given. */
import pg from "pg";
import { GatewayError } from "../../core/errors.ts";
import type { ClusterConnection } from "../../core/operations.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import { resolveTarget } from "../outbound/outbound.ts";
import { ScramClient } from "../scram-client.ts";
import { versionProblem } from "../server-versions.ts";
import { serverOf } from "./connection.ts";

export interface ServerFacts {
  readonly versionNum: number;
  /** Made by initdb and the same in physical copies. Undefined where the server does not tell. */
  readonly systemId: string | undefined;
  /** Of the databases asked for, those it has. */
  readonly has: readonly string[];
}

const oldestMajor = 14;
const connectTimeoutMs = 5000;

const factsSql = `
SELECT pg_catalog.current_setting('server_version_num')::int4 AS version, pg_catalog.pg_is_in_recovery() AS standby,
  (SELECT rolsuper OR (rolcreatedb AND rolcreaterole) FROM pg_catalog.pg_roles WHERE rolname = current_user) AS able,
  ARRAY(SELECT datname::text FROM pg_catalog.pg_database WHERE datname = ANY ($1::pg_catalog.text[])) AS has`;
export const systemIdSql = "SELECT system_identifier::text AS id FROM pg_catalog.pg_control_system()";

/**
 * @param expected databases it should have.
 * @throws {GatewayError} forbidden for its address, backend_unreachable or bad_request with what is wrong; nothing of the password in it.
 */
export async function inspectServer(connection: ClusterConnection, rules: OutboundRules, expected: readonly string[]): Promise<ServerFacts> {
  const { address } = await resolveTarget(connection.host, connection.port, rules);
  const { target } = serverOf("", connection, () => rules);
  const { user, password, database, port } = connection;
  const client = new ScramClient({
    ...{ host: address, port, user, password, database, ssl: target.ssl ?? false },
    application_name: "tenantry",
    connectionTimeoutMillis: connectTimeoutMs,
  });
  client.on("error", () => undefined); // told by the call that fails
  try {
    await client.connect();
    return await readFacts(client, expected);
  } catch (error) {
    throw refusalOf(error);
  } finally {
    await client.end().catch(() => undefined); // gone is gone
  }
}

async function readFacts(client: pg.Client, expected: readonly string[]): Promise<ServerFacts> {
  const { rows } = await client.query<{ version: number; standby: boolean; able: boolean | null; has: string[] }>(factsSql, [expected]);
  const facts = rows[0]!;
  if (facts.version < oldestMajor * 10_000)
    throw unfit(`it is PostgreSQL ${Math.floor(facts.version / 10_000)}, and ${oldestMajor} is the oldest that is supported`);
  if (facts.standby) throw unfit("it is a standby, which only reads");
  if (facts.able !== true) throw unfit("its role may not create databases and roles (a superuser is expected)");
  const systemId = await client.query<{ id: string }>(systemIdSql).then(
    (answer) => answer.rows[0]?.id,
    () => undefined, // managed services may keep it to themselves
  );
  return { versionNum: facts.version, systemId, has: facts.has };
}

/** @throws {GatewayError} forbidden when strict_versions keeps servers with known holes out. */
export function assertVersion({ versionNum }: ServerFacts, isStrict: boolean): void {
  const problem = versionProblem(versionNum);
  if (problem !== undefined && isStrict) throw new GatewayError("forbidden", `the server cannot be used with strict_versions: ${problem}`);
}

function unfit(reason: string): GatewayError {
  const message = `the server cannot be used: ${reason}`;
  return new GatewayError("bad_request", message, { issues: [{ path: "connection", message }] });
}

/** What the server says is told as it is; what keeps us from it is the network's. */
function refusalOf(error: unknown): unknown {
  if (error instanceof GatewayError) return error;
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const code = String((first as { code?: unknown }).code ?? "");
  const reason = (first instanceof Error && first.message) || code || "no answer";
  if (error instanceof pg.DatabaseError) return unfit(reason);
  const wayOut = /does not support SSL/i.test(reason) ? "; sslmode disable connects in clear, for a network you trust" : "";
  return unfit(`cannot connect to it: ${reason}${wayOut}`);
}
