/** A PostgreSQL source: an exported snapshot that every reader takes part in, read with COPY. */
import { isIP } from "node:net";
import pg from "pg";
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection } from "../../core/imports.ts";
import { quoteIdentifier, quoteLiteral } from "../../core/sql.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { endPostgresClient, guardPostgresClient, type SourceGuard, type SourceLimits } from "../outbound/source-guard.ts";
import { copyOut } from "../sql/copy.ts";
import { postgresDialect } from "./dialect.ts";
import { readPostgresCatalog, settleSessionSql } from "./postgres-catalog.ts";
import { asSourceFault, cannotConnect, type ImportSource, SourceLost, type SourceReader } from "./source.ts";
import { describeSqlFailure } from "./sql-failure.ts";

/** Until the source is ready for a query, whatever it sends meanwhile. */
const loginMs = 15_000;

interface Session {
  readonly client: pg.Client;
  readonly guard: SourceGuard;
}

/** Where its sources are, and what is taken from them. */
interface Dialling {
  readonly connection: ImportConnection;
  readonly target: OutboundTarget;
  readonly limits: SourceLimits;
}

/** @throws {GatewayError} bad_request when it cannot be connected to. */
export async function openPostgresSource(
  connection: ImportConnection,
  target: OutboundTarget,
  limits: SourceLimits,
  now: () => number,
): Promise<ImportSource> {
  const dialling = { connection, target, limits };
  const holder = await connect(dialling);
  try {
    await beginReading(holder);
    const snapshotAt = now();
    const { rows } = await tell<{ id: string }>(holder, "SELECT pg_catalog.pg_export_snapshot() AS id");
    const snapshot = String(rows[0]?.id);
    return {
      engine: "PostgreSQL",
      dialect: postgresDialect,
      snapshotAt,
      maxReaders: 64,
      readCatalog: () => readPostgresCatalog(async (text) => (await ask(holder, text)).rows),
      query: async (text) => (await ask(holder, text)).rows,
      openReader: () => openReader(dialling, snapshot),
      close: () => endQuietly(holder),
    };
  } catch (error) {
    await endQuietly(holder);
    throw cannotConnect(error);
  }
}

async function openReader(dialling: Dialling, snapshot: string): Promise<SourceReader> {
  const session = await connect(dialling).catch((error: unknown) => {
    throw new SourceLost(error);
  });
  try {
    await beginReading(session);
    await tell(session, `SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
  } catch (error) {
    await endQuietly(session);
    throw new SourceLost(error);
  }
  return {
    async *readRows(from, columns, condition) {
      const list = columns.map(({ name }) => `t.${quoteIdentifier(name)}`).join(", ");
      const where = condition === undefined ? "" : ` WHERE ${condition}`;
      try {
        yield* readCopy(session, `COPY (SELECT ${list} FROM ${from} t${where}) TO STDOUT`);
      } catch (error) {
        throw asSourceError(error, from);
      }
    },
    close: () => endQuietly(session),
  };
}

async function* readCopy({ client, guard }: Session, text: string): AsyncGenerator<Uint8Array, void, undefined> {
  guard.step();
  guard.isCopying = true;
  const chunks = copyOut(client, text);
  try {
    for (;;) {
      const { done, value } = await guard.wait(() => chunks.next());
      if (done) return;
      guard.countRows(value);
      if (guard.fault) throw guard.fault;
      yield value;
    }
  } finally {
    // A source that was cut off may leave it waiting for ever.
    const left = chunks.return().catch(() => undefined);
    if (!guard.fault) await left;
    guard.isCopying = false;
  }
}

async function connect({ connection, target, limits }: Dialling): Promise<Session> {
  const client = new pg.Client({
    host: target.address,
    port: target.port,
    user: connection.user,
    password: connection.password,
    database: connection.database,
    ssl: connection.sslmode === "disable" ? false : tlsOptions(connection, target),
    application_name: "tenantry import",
    connectionTimeoutMillis: Math.min(loginMs, limits.stallMs),
    keepAlive: true,
  });
  const session = { client, guard: guardPostgresClient(client, limits) };
  client.on("error", () => {}); // told by the query that fails
  try {
    await client.connect();
    return session;
  } catch (error) {
    await endQuietly(session);
    throw cannotConnect(session.guard.fault ?? error);
  }
}

/** The certificate is compared with the name that was asked for, although an address is dialled. */
export function tlsOptions(connection: ImportConnection, target: OutboundTarget) {
  return { rejectUnauthorized: connection.sslmode === "verify-full", ...(isIP(target.host) === 0 && { servername: target.host }) };
}

/** Only read, and all of it: row security raises an error instead of leaving rows out. */
async function beginReading(session: Session): Promise<void> {
  await tell(session, `SET default_transaction_read_only TO on;${settleSessionSql}`);
  await tell(session, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
}

/** What is done in no time. */
function tell<R extends pg.QueryResultRow>({ client, guard }: Session, text: string): Promise<pg.QueryResult<R>> {
  return guard.during("talk", () => client.query<R>(text));
}

async function ask({ client, guard }: Session, text: string): Promise<pg.QueryResult> {
  try {
    return await guard.during("answer", () => client.query(text));
  } catch (error) {
    throw asSourceError(error);
  }
}

/** What PostgreSQL says against a statement is told; what ends the connection is another matter. */
function asSourceError(error: unknown, table?: string): unknown {
  const fault = asSourceFault(error, table);
  if (fault) return fault;
  if (!(error instanceof pg.DatabaseError) || /^(08|57P|XX)/.test(error.code ?? "")) return new SourceLost(error);
  const { message, sqlstate = "" } = describeSqlFailure(error);
  return new GatewayError("query_failed", `the source cannot be read: ${message}`, { sqlstate, cause: error });
}

async function endQuietly({ client, guard }: Session): Promise<void> {
  if (guard.leave() || guard.fault) return;
  await endPostgresClient(client);
}
