/** Whose sessions are ended when a database holds too much of the lock table. */
import { afterEach, describe, expect, it } from "vitest";
import { ManualClock } from "../../core/clock.ts";
import { nativeRoleName } from "../../core/model.ts";
import { quoteIdentifier, quoteLiteral, type SqlConnection } from "../../core/sql.ts";
import { LockWatch, tooGreedy } from "../../gateway/lock-watch.ts";
import { useTestPostgres } from "../support/postgres.ts";

const room = 1000;
const holder = (database: string, pid: number, locks: number) => ({ database, pid, locks, room });

describe("lock watch", () => {
  it("leaves alone what is within its part, several sessions together", () => {
    expect(tooGreedy([holder("a", 1, 300), holder("a", 2, 200), holder("b", 3, 100)], 50)).toEqual([]);
  });

  it("ends the largest holders of a database until the rest is within it, others' never", () => {
    const holders = [holder("a", 1, 400), holder("b", 2, 300), holder("a", 3, 200), holder("a", 4, 100)];
    expect(tooGreedy(holders, 50).map(({ pid }) => pid)).toEqual([1]);
    expect(tooGreedy(holders, 25).map(({ pid }) => pid)).toEqual([1, 2, 3]);
    expect(tooGreedy(holders, 1).map(({ pid }) => pid)).toEqual([1, 2, 3, 4]);
  });
});

describe("a lock watch on a server", () => {
  const server = useTestPostgres();
  const open: SqlConnection[] = [];
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });

  /** Sessions of a new database, each with so many locks in the shared table. */
  async function hold(sessions: number, locks: number): Promise<SqlConnection[]> {
    const { dialer, secrets, clusterId } = server();
    const database = server().freshDatabase();
    const admin = await dialer.asAdmin(clusterId);
    const role = quoteIdentifier(nativeRoleName(database.name, "read"));
    await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD ${quoteLiteral(secrets.nativeRolePassword(database, "read"))}`);
    await admin.query(`CREATE DATABASE ${quoteIdentifier(database.name)}`);
    await admin.close();
    const all = await Promise.all(Array.from({ length: sessions }, () => dialer.asRole(database, "read")));
    open.push(...all);
    for (const [i, each] of all.entries()) await each.query(`SELECT pg_advisory_lock(${i} * 1000 + n) FROM generate_series(1, ${locks}) n`);
    return all;
  }

  /** One look, at this much of the server's 51,200 locks. */
  async function look(percent: number): Promise<void> {
    const { dialer, clusterId } = server();
    const watch = new LockWatch({
      dialer,
      clusterIds: () => [clusterId],
      clock: new ManualClock(),
      log: { write: () => undefined },
      percent: () => percent,
    });
    await watch.look();
    await watch.stop();
  }

  async function countAlive(sessions: readonly SqlConnection[]): Promise<number> {
    const answers = await Promise.allSettled(sessions.map((each) => each.query("SELECT 1")));
    return answers.filter(({ status }) => status === "fulfilled").length;
  }

  it("counts sessions with few locks together, and leaves other databases alone", async () => {
    const many = await hold(12, 40);
    const neighbour = await hold(2, 60);
    await look(1);
    expect([await countAlive(many), await countAlive(neighbour)]).toEqual([12, 2]);
    await look(0.5); // 256
    expect([await countAlive(many), await countAlive(neighbour)]).toEqual([6, 2]);
  });
});
