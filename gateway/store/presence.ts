/**
 * Which instances are alive. Each holds a session-level advisory lock under its own number for as long as its feed connection lives;
 * rows it is at work on carry that number. PostgreSQL releases the lock the moment the process dies, so work left behind by a crash is
 * seen as such at once and by everybody, with no clocks to compare and no time to wait out.
 */
import { type RawBuilder, type Sql, sql } from "kysely";

/** First key of the advisory lock; the second is the instance's number. */
export const presenceClass = 1_952_804_458;

/** A number for a new instance: 31 random bits, so that it is positive as an int4. */
export function makePresenceKey(random: Uint8Array): number {
  const view = new DataView(random.buffer, random.byteOffset, random.byteLength);
  return (view.getUint32(0) >>> 1) | 1;
}

export const countInstancesSql = `
  select count(*)::int as instances from pg_catalog.pg_locks held
  where held.locktype = 'advisory' and held.classid::bigint = ${presenceClass} and held.objsubid = 2 and held.granted
    and held.database = (select oid from pg_catalog.pg_database where datname = current_database())`;

/** SQL condition: the row of `claim` (a column holding a presence key) is claimed by an instance that is alive. */
export function claimIsAlive(claim: ReturnType<Sql["ref"]>): RawBuilder<boolean> {
  return sql<boolean>`exists (
    select 1 from pg_catalog.pg_locks held
    where held.locktype = 'advisory' and held.classid::bigint = ${sql.lit(presenceClass)} and held.objid::bigint = ${claim}
      and held.objsubid = 2 and held.granted
      and held.database = (select oid from pg_catalog.pg_database where datname = current_database()))`;
}
