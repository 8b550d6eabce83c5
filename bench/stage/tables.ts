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

/** What pgbench's TPC-B-like script writes to, beside the tables above. */
export const createWriterTables = [
  ...createTables,
  "CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int, tbalance int, filler char(84))",
  "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
] as const;

/** As `pgbench -i -s scale` does: pgbench takes the scale from the number of branches. */
export async function fillWriterTables(client: pg.Client, scale: number): Promise<void> {
  await client.query("INSERT INTO pgbench_branches SELECT g, 0, '' FROM generate_series(1, $1::int) g", [scale]);
  await client.query("INSERT INTO pgbench_tellers SELECT g, (g - 1) / 10 + 1, 0, '' FROM generate_series(1, $1::int * 10) g", [scale]);
  await client.query("INSERT INTO pgbench_accounts SELECT g, (g - 1) / $2::int + 1, 0, '' FROM generate_series(1, $1::int * $2::int) g", [
    scale,
    accounts,
  ]);
  await client.query("SELECT count(*) FROM pgbench_accounts");
}
