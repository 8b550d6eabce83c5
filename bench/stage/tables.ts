/** pgbench's own tables, made and filled with plain SQL: through the gateway there is no COPY. */
import type pg from "pg";

const accounts = 100_000;

/** What `pgbench -S` reads, with pgbench's column types. */
export const createTables = [
  "CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88))",
  "CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84))",
] as const;

export async function fillTables(client: pg.Client): Promise<void> {
  await client.query("INSERT INTO pgbench_branches VALUES (1, 0, '')");
  await client.query("INSERT INTO pgbench_accounts SELECT g, 1, 0, '' FROM generate_series(1, $1::int) g", [accounts]);
  // Read once, so that no later reader has to settle which rows are visible.
  await client.query("SELECT count(*) FROM pgbench_accounts");
}
