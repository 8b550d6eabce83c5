/** pgbench's own tables and `accounts`, made and filled with plain SQL: through the gateway there is no COPY unless it is allowed. */
import type pg from "pg";

/** Ten branches, so that transactions that write wait for each other no more than they do in pgbench at scale 10; accounts as at scale 1. */
export const sizes = { branches: 10, tellers: 100, accounts: 100_000 } as const;

/** With pgbench's column types, and the table of the documentation's first steps. */
export const createTables = [
  "CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88))",
  "CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int, tbalance int, filler char(84))",
  "CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84))",
  "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
  "CREATE TABLE accounts (id serial PRIMARY KEY, name varchar(255) NOT NULL, email varchar(255) UNIQUE NOT NULL, balance decimal(15,2) DEFAULT 0)",
  "CREATE TABLE copied (id int NOT NULL, filler text NOT NULL)",
] as const;

export async function fillTables(client: pg.Client): Promise<void> {
  const { branches, tellers, accounts } = sizes;
  await client.query("INSERT INTO pgbench_branches SELECT g, 0, '' FROM generate_series(1, $1::int) g", [branches]);
  await client.query("INSERT INTO pgbench_tellers SELECT g, 1 + g % $2::int, 0, '' FROM generate_series(1, $1::int) g", [tellers, branches]);
  await client.query("INSERT INTO pgbench_accounts SELECT g, 1 + g % $2::int, 0, '' FROM generate_series(1, $1::int) g", [accounts, branches]);
  await client.query(
    "INSERT INTO accounts (name, email, balance) SELECT 'name ' || g, 'mail' || g || '@example.com', g FROM generate_series(1, $1::int) g",
    [accounts],
  );
  // Read once, so that no later reader has to settle which rows are visible.
  for (const table of ["pgbench_accounts", "accounts"]) await client.query(`SELECT count(*) FROM ${table}`);
}

/** As `pgbench -i -s scale` does: pgbench takes the scale from the number of branches. */
export async function fillWriterTables(client: pg.Client, scale: number): Promise<void> {
  await client.query("INSERT INTO pgbench_branches SELECT g, 0, '' FROM generate_series(1, $1::int) g", [scale]);
  await client.query("INSERT INTO pgbench_tellers SELECT g, (g - 1) / 10 + 1, 0, '' FROM generate_series(1, $1::int * 10) g", [scale]);
  await client.query("INSERT INTO pgbench_accounts SELECT g, (g - 1) / $2::int + 1, 0, '' FROM generate_series(1, $1::int * $2::int) g", [
    scale,
    sizes.accounts,
  ]);
  await client.query("SELECT count(*) FROM pgbench_accounts");
}
