/** Named locks across instances: session-level advisory locks, on connections of their own so that waiting never starves the store's queries. */
import type pg from "pg";

export type LockMode = "shared" | "exclusive";

/**
 * Runs `work` while holding the named lock.
 * Never take one lock inside another: the connections are few, and holders that wait for holders would wait for ever.
 */
export async function withAdvisoryLock<T>(pool: pg.Pool, name: string, mode: LockMode, work: () => Promise<T>): Promise<T> {
  const client = await pool.connect();
  const suffix = mode === "shared" ? "_shared" : "";
  let broken: unknown;
  try {
    await client.query(`select pg_advisory_lock${suffix}(hashtextextended($1, 7309))`, [name]);
  } catch (error) {
    client.release(true);
    throw error;
  }
  try {
    return await work();
  } finally {
    try {
      await client.query(`select pg_advisory_unlock${suffix}(hashtextextended($1, 7309))`, [name]);
    } catch (error) {
      broken = error; // closing the connection frees the lock as well
    }
    client.release(broken !== undefined);
  }
}
