/** Reads the structure of a database elsewhere and writes it as SQL for a workspace. The source is only read, and only where the configuration allows. */
import { GatewayError } from "../../core/errors.ts";
import type { ForeignSchema, SourceConnection } from "../../core/schema-design.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import { resolveTarget } from "../outbound/outbound.ts";
import { readMysqlSchema } from "./read-mysql.ts";
import { readPostgresSchema } from "./read-postgres.ts";

/** @throws {GatewayError} bad_request: not reachable, wrong password, no such database; forbidden: an address that is not allowed. */
export async function readForeignSchema(connection: SourceConnection, rules: OutboundRules): Promise<ForeignSchema> {
  const target = await resolveTarget(connection.host, connection.port, rules);
  try {
    return connection.type === "MySQL" ? await readMysqlSchema(connection, target) : await readPostgresSchema(connection, target);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    // The source's own words: its message about the caller's own login and database.
    const reason = error instanceof Error && error.message !== "" ? error.message : "the connection failed";
    throw new GatewayError(
      "bad_request",
      `cannot read the schema of "${connection.database}" at ${target.host}:${target.port}: ${reason.slice(0, 300)}`,
      { cause: error },
    );
  }
}
