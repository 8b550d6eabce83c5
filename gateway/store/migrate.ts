/** Brings the store's schema to the version this program knows, once, whichever of several instances comes first. */
import type pg from "pg";
import type { Log } from "../../core/log.ts";
import { migrations as allMigrations, type Migration } from "./migrations.ts";

/** Advisory lock taken while migrating; any number no other program is likely to use. */
const migrationLock = 7_309_453_118;

/** The database was migrated by a newer version of this program, which this one must not touch. */
export class StoreTooNewError extends Error {
  constructor(found: number, known: number) {
    super(
      `Cannot use the control database: its schema is at version ${found}, this version of Tenantry knows up to ${known}. Start the newer version again, or restore a backup made before it.`,
    );
    this.name = "StoreTooNewError";
  }
}

/** Runs what is pending, all in one transaction: it is wholly done or not at all. @throws {StoreTooNewError} */
export async function migrate(pool: pg.Pool, log: Log, migrations: readonly Migration[] = allMigrations): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    await runPending(client, log, migrations);
    await client.query("commit");
    client.release();
  } catch (error) {
    client.release(true); // the connection goes, and the transaction with it
    throw error;
  }
}

async function runPending(client: pg.PoolClient, log: Log, migrations: readonly Migration[]): Promise<void> {
  await client.query("create schema if not exists tenantry");
  await client.query("create table if not exists tenantry.meta (key text primary key, value text not null)");
  const answer = await client.query<{ value: string }>("select value from tenantry.meta where key = 'schema_version'");
  const found = Number(answer.rows[0]?.value ?? 0);
  const known = migrations.at(-1)?.version ?? 0;
  if (found > known) throw new StoreTooNewError(found, known);
  for (const migration of migrations.filter((m) => m.version > found)) {
    log.write("info", "store migrated", { version: migration.version, name: migration.name });
    await client.query(migration.sql);
  }
  await client.query("insert into tenantry.meta (key, value) values ('schema_version', $1) on conflict (key) do update set value = excluded.value", [
    String(known),
  ]);
}
