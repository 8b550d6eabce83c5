/** A MySQL or MariaDB source: one connection with one consistent snapshot, which cannot be shared, read as a stream. */
import { type Connection, createConnection, type QueryError } from "mysql2";
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection } from "../../core/imports.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { guardMysqlClient, type SourceGuard, type SourceLimits } from "../outbound/source-guard.ts";
import { mysqlDialect } from "./dialect.ts";
import { readMysqlCatalog } from "./mysql-catalog.ts";
import { RowWriter } from "./mysql-rows.ts";
import { tlsOptions } from "./postgres-source.ts";
import { asSourceFault, cannotConnect, type ImportSource, type ReadColumn, SourceLost, type SourceReader } from "./source.ts";

type Row = Readonly<Record<string, unknown>>;

/** Backslashes escape, and times are UTC: as the dialect writes literals and PostgreSQL is told. */
const settle = [
  "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 86400",
  "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
  "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];
/** Rows read ahead of the writing side. */
const batchBytes = 256 * 1024;
/** Each is one of the two families' only. */
const unlimited = ["SET SESSION max_execution_time = 0", "SET SESSION max_statement_time = 0"];

/** @throws {GatewayError} bad_request when it cannot be connected to. */
export async function openMysqlSource(
  connection: ImportConnection,
  target: OutboundTarget,
  limits: SourceLimits,
  now: () => number,
): Promise<ImportSource> {
  const session = await connect(connection, target, limits);
  const { client } = session;
  const query = (text: string) => ask(session, "answer", text);
  try {
    for (const text of unlimited) await ask(session, "talk", text).catch(() => undefined);
    for (const text of settle) await ask(session, "talk", text);
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
    openReader: async () => makeReader(session),
    close: async () => leave(session),
  };
}

interface Session {
  readonly client: Connection;
  readonly guard: SourceGuard;
}

function connect(connection: ImportConnection, target: OutboundTarget, limits: SourceLimits): Promise<Session> {
  const { user, password, database, sslmode } = connection;
  const client = createConnection({
    ...{ user, password, database, host: target.address, port: target.port },
    charset: "utf8mb4",
    connectTimeout: Math.min(15_000, limits.stallMs),
    // The server may ask for files of the client's: never.
    flags: ["-LOCAL_FILES"],
    ...(sslmode !== "disable" && { ssl: { ...tlsOptions(connection, target), verifyIdentity: sslmode === "verify-full" } as object }),
  });
  const guard = guardMysqlClient(client, limits);
  return new Promise((resolve, reject) => {
    client.on("error", () => undefined); // told by the query that fails
    client.connect((error: QueryError | null) => {
      if (!error) return resolve({ client, guard });
      client.destroy();
      reject(cannotConnect(guard.fault ?? error));
    });
  });
}

async function ask({ client, guard }: Session, phase: "talk" | "answer", text: string): Promise<readonly Row[]> {
  const answered = () =>
    new Promise<readonly Row[]>((resolve, reject) => {
      client.query({ sql: text, typeCast: (field) => field.buffer()?.toString("utf8") ?? null }, (error, rows) => {
        if (error) reject(error);
        else resolve(Array.isArray(rows) ? (rows as unknown as Row[]) : []);
      });
    });
  try {
    return await guard.during(phase, answered);
  } catch (error) {
    throw asSourceError(error);
  }
}

function leave({ client, guard }: Session): void {
  guard.leave();
  client.destroy();
}

/** There is only the one connection: a reader that is closed in the middle of rows ends the snapshot with it. */
function makeReader(session: Session): SourceReader {
  let isReading = false;
  return {
    async *readRows(from, columns, condition) {
      isReading = true;
      yield* streamRows(session, from, columns, condition);
      isReading = false;
    },
    async close() {
      if (isReading) leave(session);
    },
  };
}

async function* streamRows(
  session: Session,
  from: string,
  columns: readonly ReadColumn[],
  condition: string | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const list = columns.map(({ name }) => `t.${mysqlDialect.identifier(name)}`).join(", ");
  const where = condition === undefined ? "" : ` WHERE ${condition}`;
  const writer = new RowWriter(columns);
  try {
    for await (const rows of readBatches(session, `SELECT ${list} FROM ${from} t${where}`)) {
      for (const row of rows) {
        const chunk = writer.add(row);
        if (chunk) yield chunk;
      }
    }
  } catch (error) {
    throw asSourceError(error, from);
  }
  const rest = writer.take();
  if (rest.length > 0) yield rest;
}

/** The driver's own stream counts rows ahead, of whatever size; this one counts their bytes. */
async function* readBatches({ client, guard }: Session, sql: string): AsyncGenerator<readonly (Buffer | null)[][], void, undefined> {
  let [rows, bytes, ended]: [(Buffer | null)[][], number, boolean] = [[], 0, false];
  let failure: unknown;
  let wake: () => void = () => undefined;
  const end = (error?: unknown) => {
    ended = true;
    failure ??= error;
    wake();
  };
  client.once("error", end); // what ends the connection is told to nobody else
  const query = client.query({ sql, rowsAsArray: true, typeCast: (field) => field.buffer() });
  query.on("error", end);
  query.on("end", () => end());
  query.on("result", (row) => {
    rows.push(row as unknown as (Buffer | null)[]);
    bytes += (row as unknown as (Buffer | null)[]).reduce((sum, value) => sum + (value?.length ?? 0), 0);
    guard.step();
    if (bytes > batchBytes) client.pause();
    wake();
  });
  const some = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
      if (rows.length > 0 || ended) resolve();
    });
  try {
    guard.begin("rows");
    for (;;) {
      await guard.wait(some);
      if (guard.fault ?? failure) throw guard.fault ?? failure;
      if (rows.length === 0) return;
      const batch = rows;
      [rows, bytes] = [[], 0];
      client.resume();
      yield batch;
    }
  } finally {
    client.off("error", end);
    guard.begin("talk");
  }
}

function asSourceError(error: unknown, table?: string): unknown {
  const fault = asSourceFault(error, table);
  if (fault) return fault;
  const { sqlState, fatal, message } = error as Partial<QueryError>;
  if (fatal === true || sqlState === undefined || sqlState.startsWith("08")) return new SourceLost(error);
  return new GatewayError("query_failed", `the source cannot be read: ${message}`, { sqlstate: sqlState, cause: error });
}
