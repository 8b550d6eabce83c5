/** The tables of the query log: one partition a day, made before it is written to and dropped as a whole when its time is over. */
import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/schema.ts";

/** Statements and usage are kept for equally long. */
const parents = ["query_log", "query_usage"] as const;
const dayMs = 86_400_000;
/** Instances make and drop partitions one after the other; any number no other program is likely to use. */
const partitionLock = 7_309_453_119;
/** Partitions of a busy table are made and dropped between its statements, or not now. */
const lockTimeoutMs = 2_000;

/** Days whose partitions this instance knows to be there. */
export class Partitions {
  readonly #db: Kysely<Tables>;
  readonly #known = new Set<number>();

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  /** Makes what the days of these times need. */
  async ensure(times: Iterable<number>): Promise<void> {
    const missing = new Set<number>();
    for (const at of times) {
      const day = Math.floor(at / dayMs);
      if (!this.#known.has(day)) missing.add(day);
    }
    if (missing.size === 0) return;
    await this.#alone(async (trx) => {
      for (const day of missing) {
        const [from, to] = [isoDay(day), isoDay(day + 1)];
        for (const parent of parents) {
          await sql`create table if not exists ${partition(parent, day)} partition of ${sql.id("tenantry", parent)}
            for values from (${sql.lit(`${from}T00:00:00Z`)}) to (${sql.lit(`${to}T00:00:00Z`)})`.execute(trx);
        }
      }
    });
    for (const day of missing) this.#known.add(day);
  }

  /** Drops the days that ended before `before`. @returns how many partitions went. */
  async drop(before: number): Promise<number> {
    const lastDay = Math.floor(before / dayMs) - 1;
    const found = await sql<{ name: string }>`
      select c.relname as name from pg_catalog.pg_inherits i
      join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent in ('tenantry.query_log'::regclass, 'tenantry.query_usage'::regclass)`.execute(this.#db);
    const old = found.rows.filter(({ name }) => (dayOf(name) ?? Number.POSITIVE_INFINITY) <= lastDay);
    if (old.length === 0) return 0;
    await this.#alone(async (trx) => {
      for (const { name } of old) await sql`drop table if exists ${sql.id("tenantry", name)}`.execute(trx);
    });
    for (const day of this.#known) if (day <= lastDay) this.#known.delete(day);
    return old.length;
  }

  async #alone(work: (trx: Kysely<Tables>) => Promise<void>): Promise<void> {
    await this.#db.transaction().execute(async (trx) => {
      await sql`set local lock_timeout = ${sql.lit(lockTimeoutMs)}`.execute(trx);
      await sql`select pg_advisory_xact_lock(${partitionLock})`.execute(trx);
      await work(trx);
    });
  }
}

function partition(parent: string, day: number) {
  return sql.id("tenantry", `${parent}_${isoDay(day).replaceAll("-", "")}`);
}

function isoDay(day: number): string {
  return new Date(day * dayMs).toISOString().slice(0, 10);
}

/** The day in a partition's name. */
function dayOf(name: string): number | undefined {
  const [, year, month, day] = /_(\d{4})(\d\d)(\d\d)$/.exec(name) ?? [];
  return year === undefined ? undefined : Math.floor(Date.UTC(Number(year), Number(month) - 1, Number(day)) / dayMs);
}
