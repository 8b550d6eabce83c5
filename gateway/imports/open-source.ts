/** Opens a source: its address checked first, dialled as it was checked. */
import type { ImportConnection } from "../../core/imports.ts";
import { resolveTarget } from "../outbound/outbound.ts";
import type { ImportsContext } from "./context.ts";
import { openMysqlSource } from "./mysql-source.ts";
import { openPostgresSource } from "./postgres-source.ts";
import type { ImportSource } from "./source.ts";

/** @throws {GatewayError} bad_request where it cannot be connected to, forbidden where it may not be. */
export async function openSource(context: ImportsContext, connection: ImportConnection): Promise<ImportSource> {
  const target = await resolveTarget(connection.host, connection.port, context.outbound());
  const now = () => context.clock.wallMs();
  const open = connection.engine === "MySQL" ? openMysqlSource : openPostgresSource;
  return await open(connection, target, context.limits(), now);
}
