/** A fresh control database on the test server, and ways to look at what is in it. */
import pg from "pg";
import type { Clock } from "../../../core/clock.ts";
import { systemClock } from "../../../core/clock.ts";
import { silentLog } from "../../../core/log.ts";
import { openStore, type Store, type StoreConnection } from "../../../gateway/store/store.ts";
import type { TestPostgres } from "../../support/postgres.ts";

export interface ControlDatabase {
  readonly connection: StoreConnection;
  open(options?: { clock?: Clock; heartbeatMs?: number; applicationName?: string }): Promise<Store>;
  /** Statements as superuser, one after another on one connection. */
  query<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>;
  /** Every row of every table of ours and of the job queue, as text. */
  dump(): Promise<string>;
  close(): Promise<void>;
}

export async function makeControlDatabase(server: TestPostgres): Promise<ControlDatabase> {
  const { target } = server;
  const base = { host: target.socketDir ?? target.host ?? "localhost", port: target.port, user: target.user, password: target.password };
  const database = `control_${server.secrets.randomHex(6)}`;
  const maintenance = await server.dialer.asAdmin(server.clusterId);
  await maintenance.query(`create database ${database}`);
  await maintenance.close();
  const client = new pg.Client({ ...base, database });
  await client.connect();
  const stores: Store[] = [];
  return {
    connection: { ...base, database },
    async open(options = {}) {
      const store = await openStore({ connection: { ...base, database }, clock: systemClock, log: silentLog, ...options });
      stores.push(store);
      return store;
    },
    query: async (text, values) => (await client.query(text, values)).rows,
    async dump() {
      const tables = await client.query<{ name: string }>(
        `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
         where table_schema in ('tenantry', 'tenantry_jobs') and table_type = 'BASE TABLE'`,
      );
      let text = "";
      for (const { name } of tables.rows) {
        const rows = await client.query<{ row: string }>(`select t::text || to_jsonb(t)::text as row from ${name} t`);
        text += rows.rows.map((row) => row.row).join("\n");
      }
      return text;
    },
    async close() {
      for (const store of stores) await store.close().catch(() => undefined); // a test may have closed it
      await client.end();
    },
  };
}

/** Resolves with the first value `look` gives that is not undefined, asking again whenever the event loop is free. */
export async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await look();
    if (value !== undefined) return value;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
