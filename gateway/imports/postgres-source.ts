/** A PostgreSQL source: an exported snapshot that every reader takes part in, read with COPY. */
import { isIP } from "node:net";
import pg from "pg";
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection } from "../../core/imports.ts";
import { quoteIdentifier, quoteLiteral } from "../../core/sql.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { copyOut } from "../sql/copy.ts";
import { postgresDialect } from "./dialect.ts";
import { readPostgresCatalog, settleSessionSql } from "./postgres-catalog.ts";
import { cannotConnect, type ImportSource, SourceLost, type SourceReader } from "./source.ts";
import { describeSqlFailure } from "./sql-failure.ts";

/** @throws {GatewayError} bad_request when it cannot be connected to. */
export async function openPostgresSource(connection: ImportConnection, target: OutboundTarget, now: () => number): Promise<ImportSource> {
  const holder = await connect(connection, target);
  try {
    await beginReading(holder);
    const snapshotAt = now();
    const { rows } = await holder.query<{ id: string }>("SELECT pg_catalog.pg_export_snapshot() AS id");
    const snapshot = rows[0]!.id;
    return {
      engine: "PostgreSQL",
      dialect: postgresDialect,
      snapshotAt,
      maxReaders: 64,
      readCatalog: () => readPostgresCatalog(async (text) => (await ask(holder, text)).rows),
      query: async (text) => (await ask(holder, text)).rows,
      openReader: () => openReader(connection, target, snapshot),
      close: () => endQuietly(holder),
    };
  } catch (error) {
    await endQuietly(holder);
    throw cannotConnect(error);
  }
}

async function openReader(connection: ImportConnection, target: OutboundTarget, snapshot: string): Promise<SourceReader> {
  const client = await connect(connection, target).catch((error: unknown) => {
    throw new SourceLost(error);
  });
  try {
    await beginReading(client);
    await client.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
  } catch (error) {
    await endQuietly(client);
    throw new SourceLost(error);
  }
  return {
    async *readRows(from, columns, condition) {
      const list = columns.map(({ name }) => `t.${quoteIdentifier(name)}`).join(", ");
      const where = condition === undefined ? "" : ` WHERE ${condition}`;
      try {
        yield* copyOut(client, `COPY (SELECT ${list} FROM ${from} t${where}) TO STDOUT`);
      } catch (error) {
        throw asSourceError(error);
      }
    },
    close: () => endQuietly(client),
  };
}

async function connect(connection: ImportConnection, target: OutboundTarget): Promise<pg.Client> {
  const client = new pg.Client({
    host: target.address,
    port: target.port,
    user: connection.user,
    password: connection.password,
    database: connection.database,
    ssl: connection.sslmode === "disable" ? false : tlsOptions(connection, target),
    application_name: "tenantry import",
    connectionTimeoutMillis: 15_000,
    keepAlive: true,
  });
  client.on("error", () => {}); // told by the query that fails
  try {
    await client.connect();
    return client;
  } catch (error) {
    await endQuietly(client);
    throw cannotConnect(error);
  }
}

/** The certificate is compared with the name that was asked for, although an address is dialled. */
export function tlsOptions(connection: ImportConnection, target: OutboundTarget) {
  return { rejectUnauthorized: connection.sslmode === "verify-full", ...(isIP(target.host) === 0 && { servername: target.host }) };
}

/** Only read, and all of it: row security raises an error instead of leaving rows out. */
async function beginReading(client: pg.Client): Promise<void> {
  await client.query(`SET default_transaction_read_only TO on;${settleSessionSql}`);
  await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
}

async function ask(client: pg.Client, text: string): Promise<pg.QueryResult> {
  try {
    return await client.query(text);
  } catch (error) {
    throw asSourceError(error);
  }
}

/** What PostgreSQL says against a statement is told; what ends the connection is another matter. */
function asSourceError(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError) || /^(08|57P|XX)/.test(error.code ?? "")) return new SourceLost(error);
  const { message, sqlstate = "" } = describeSqlFailure(error);
  return new GatewayError("query_failed", `the source cannot be read: ${message}`, { sqlstate, cause: error });
}

async function endQuietly(client: pg.Client): Promise<void> {
  await client.end().catch(() => undefined);
}
