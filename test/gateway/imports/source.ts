/** A server of its own with shared databases on it, as an import reaches them. */
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll } from "vitest";
import type { ImportConnection } from "../../../core/imports.ts";
import { startTestPostgres, type TestPostgres } from "../../support/postgres.ts";
import { type Door, openDoor } from "./door.ts";

export interface SourceDatabase {
  readonly connection: ImportConnection;
  /** As superuser. */
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

export interface SourceServer {
  readonly door: Door;
  /** A new database set up with these statements. */
  makeDatabase(script: string): Promise<SourceDatabase>;
}

/** Starts the source's server before the file's tests. */
export function useSource(): () => SourceServer {
  let server: TestPostgres | undefined;
  let door: Door | undefined;
  let clients: pg.Client[] = [];
  let databases = 0;
  beforeAll(async () => {
    server = await startTestPostgres();
    door = await openDoor(join(server.target.socketDir!, `.s.PGSQL.${server.target.port}`));
  });
  afterEach(async () => {
    await Promise.all(clients.map((client) => client.end()));
    clients = [];
    door?.open();
  });
  afterAll(async () => {
    await door?.close();
    await server?.stop();
  });
  return () => ({
    door: door!,
    async makeDatabase(script) {
      const { socketDir: host, port, user } = server!.target;
      const password = typeof server!.target.password === "string" ? server!.target.password : server!.target.password();
      const database = `shared_${++databases}`;
      const maintenance = await server!.dialer.asAdmin(server!.clusterId);
      await maintenance.query(`CREATE DATABASE ${database}`);
      await maintenance.close();
      const client = new pg.Client({ host: host!, port, user, password, database });
      await client.connect();
      clients.push(client);
      await client.query(script);
      return {
        connection: { engine: "PostgreSQL", host: "127.0.0.1", port: door!.port, user, password, database, sslmode: "disable" },
        query: async (text, values) => (await client.query(text, values)).rows,
      };
    },
  });
}
