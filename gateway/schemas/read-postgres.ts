/** The structure of a PostgreSQL database as SQL, from its catalogs: nothing has to be installed for it, and any version from 12 on will do. */
import pg from "pg";
import type { ForeignSchema, SourceConnection } from "../../core/schema-design.ts";
import type { OutboundTarget } from "../outbound/outbound.ts";
import { endPostgresClient, guardPostgresClient, type SourceGuard } from "../outbound/source-guard.ts";
import { lostSql, postgresParts } from "./postgres-parts.ts";

const timeoutMs = 30_000;

export async function readPostgresSchema(connection: SourceConnection, target: OutboundTarget): Promise<ForeignSchema> {
  const { client, guard } = await connect(connection, target);
  const ask = <R extends pg.QueryResultRow>(sql: string) => guard.during("answer", () => client.query<R>(sql));
  try {
    await ask("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    // Names come out in full then, whatever the role's own path is.
    await ask("SET LOCAL search_path TO pg_catalog");
    const statements: string[] = [];
    for (const sql of postgresParts) {
      const { rows } = await ask<{ sql: string | null }>(sql);
      statements.push(...rows.flatMap((row) => (row.sql === null ? [] : [row.sql.trim().replace(/;$/, "")])));
    }
    const { rows } = await ask<{ lost: string }>(lostSql);
    if (statements.length === 0) return { sql: "", lost: [] };
    return { sql: `SET check_function_bodies = off;\n${statements.map((sql) => `${sql};\n`).join("")}`, lost: rows.map((row) => row.lost) };
  } finally {
    await endPostgresClient(client);
  }
}

async function connect(source: SourceConnection, target: OutboundTarget): Promise<{ client: pg.Client; guard: SourceGuard }> {
  const { user, password, database, tls } = source;
  const open = async (ssl: false | { rejectUnauthorized: boolean; servername?: string }) => {
    const client = new pg.Client({
      ...{ user, password, database, ssl, host: target.address, port: target.port },
      application_name: "tenantry",
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs,
    });
    const guard = guardPostgresClient(client, { stallMs: timeoutMs, maxRowBytes: 0 });
    client.on("error", () => undefined); // the query in progress fails and says so
    await client.connect().catch(async (error: unknown) => {
      await endPostgresClient(client);
      throw guard.fault ?? error;
    });
    return { client, guard };
  };
  if (tls === "off") return await open(false);
  const servername = /^[\d.]+$|:/.test(target.host) ? undefined : target.host;
  const encrypted = open({ rejectUnauthorized: tls === "verify", ...(servername !== undefined && { servername }) });
  if (tls !== "prefer") return await encrypted;
  return await encrypted.catch((error: unknown) => {
    if (error instanceof Error && /does not support SSL/.test(error.message)) return open(false);
    throw error;
  });
}
