/** A MySQL or MariaDB source: one connection with one consistent snapshot, which cannot be shared, read as a stream. */
import { type Connection, createConnection, type QueryError } from "mysql2";
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection } from "../../core/imports.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { mysqlDialect } from "./dialect.ts";
import { readMysqlCatalog } from "./mysql-catalog.ts";
import { RowWriter } from "./mysql-rows.ts";
import { tlsOptions } from "./postgres-source.ts";
import { cannotConnect, type ImportSource, type ReadColumn, SourceLost, type SourceReader } from "./source.ts";

type Row = Readonly<Record<string, unknown>>;

/** Backslashes escape, and times are UTC: as the dialect writes literals and PostgreSQL is told. */
const settle = [
  "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 86400",
  "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
  "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];
/** Each is one of the two families' only. */
const unlimited = ["SET SESSION max_execution_time = 0", "SET SESSION max_statement_time = 0"];

/** @throws {GatewayError} bad_request when it cannot be connected to. */
export async function openMysqlSource(connection: ImportConnection, target: OutboundTarget, now: () => number): Promise<ImportSource> {
  const client = await connect(connection, target);
  const query = (text: string) => ask(client, text);
  try {
    for (const text of unlimited) await query(text).catch(() => undefined);
    for (const text of settle) await query(text);
  } catch (error) {
    client.destroy();
    throw cannotConnect(error);
  }
  return {
    engine: "MySQL",
    dialect: mysqlDialect,
    snapshotAt: now(),
    maxReaders: 1,
    readCatalog: () => readMysqlCatalog(query),
    query,
    openReader: async () => makeReader(client),
    close: async () => client.destroy(),
  };
}

function connect(connection: ImportConnection, target: OutboundTarget): Promise<Connection> {
  const { user, password, database, sslmode } = connection;
  const client = createConnection({
    ...{ user, password, database, host: target.address, port: target.port },
    charset: "utf8mb4",
    connectTimeout: 15_000,
    // The server may ask for files of the client's: never.
    flags: ["-LOCAL_FILES"],
    ...(sslmode !== "disable" && { ssl: { ...tlsOptions(connection, target), verifyIdentity: sslmode === "verify-full" } as object }),
  });
  return new Promise((resolve, reject) => {
    client.on("error", () => undefined); // told by the query that fails
    client.connect((error: QueryError | null) => {
      if (!error) return resolve(client);
      client.destroy();
      reject(cannotConnect(error));
    });
  });
}

function ask(client: Connection, text: string): Promise<readonly Row[]> {
  return new Promise((resolve, reject) => {
    client.query({ sql: text, typeCast: (field) => field.buffer()?.toString("utf8") ?? null }, (error, rows) => {
      if (error) reject(asSourceError(error));
      else resolve(Array.isArray(rows) ? (rows as unknown as Row[]) : []);
    });
  });
}

/** There is only the one connection: a reader that is closed in the middle of rows ends the snapshot with it. */
function makeReader(client: Connection): SourceReader {
  let isReading = false;
  return {
    async *readRows(from, columns, condition) {
      isReading = true;
      yield* streamRows(client, from, columns, condition);
      isReading = false;
    },
    async close() {
      if (isReading) client.destroy();
    },
  };
}

async function* streamRows(
  client: Connection,
  from: string,
  columns: readonly ReadColumn[],
  condition: string | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const list = columns.map(({ name }) => `t.${mysqlDialect.identifier(name)}`).join(", ");
  const where = condition === undefined ? "" : ` WHERE ${condition}`;
  const query = client.query({ sql: `SELECT ${list} FROM ${from} t${where}`, rowsAsArray: true, typeCast: (field) => field.buffer() });
  const writer = new RowWriter(columns);
  try {
    for await (const row of query.stream({ highWaterMark: 256 })) {
      const chunk = writer.add(row as (Buffer | null)[]);
      if (chunk) yield chunk;
    }
  } catch (error) {
    throw asSourceError(error);
  }
  const rest = writer.take();
  if (rest.length > 0) yield rest;
}

function asSourceError(error: unknown): unknown {
  const { sqlState, fatal, message } = error as Partial<QueryError>;
  if (fatal === true || sqlState === undefined || sqlState.startsWith("08")) return new SourceLost(error);
  return new GatewayError("query_failed", `the source cannot be read: ${message}`, { sqlstate: sqlState, cause: error });
}
