/** Sessions of many tenants over few backends, doing whatever sessions do and leaving however they like: nobody ever receives a byte of another's. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { psql, type Target } from "../e2e/support/clients.ts";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { type NativeServer, openNativeServer } from "../e2e/support/native.ts";
import { until } from "../e2e/support/until.ts";
import { show, Wire } from "../e2e/support/wire.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { FuzzSession, markerOf } from "./isolation-session.ts";

/** The second half of them has a backend for each transaction, on the same budget as the first. */
const tenants = Array.from({ length: 8 }, (_, i) => `iso${i}`);
const sharing: ReadonlySet<string> = new Set(tenants.slice(4));
const backends = 4;
const lanes = 6;
const fuzzMs = Number(process.env.TDB_FUZZ_MS ?? 15_000);
const testMs = fuzzMs + 165_000;
const seed = Number(process.env.TDB_FUZZ_SEED ?? 20_261_123);

export function describeIsolationFuzz(runtime: RuntimeUnderTest): void {
  describe(`isolation under ${runtime}: ${tenants.length} tenants over ${backends} backends`, () => {
    let fleet: Fleet;
    let native: NativeServer;
    beforeAll(async () => {
      fleet = await makeFleet(runtime, ["--backend-budget", String(backends)]);
      native = openNativeServer(fleet.gateway);
      for (const tenant of tenants) {
        const target = await fleet.addTenant(tenant);
        const pool_mode = sharing.has(tenant) ? "transaction" : "session";
        expect((await fleet.api("PATCH", `/tenants/${tenant}/settings`, { pool_mode })).status).toBe(200);
        const fill = `INSERT INTO accounts (name, email) SELECT '${markerOf(tenant)}', '${markerOf(tenant)}' || i FROM generate_series(1, 200) i`;
        const filled = await psql(fleet.gateway, target, fill);
        if (filled.stderr) throw new Error(filled.stderr);
      }
    }, 180_000);
    afterAll(async () => {
      await native?.close();
      await fleet?.dispose();
    });

    it("no byte of another tenant's is received, no state of another session's is found, and nothing is left", { timeout: testMs }, async () => {
      const totals = { sessions: 0, sharing: 0, steps: 0, bytes: 0, cancels: 0 };
      const wrong: string[] = [];
      const end = performance.now() + fuzzMs;
      const lane = async (number: number) => {
        const random = new Prng(seed + number);
        while (performance.now() < end && wrong.length === 0) {
          const tenant = random.pick(tenants);
          const session = new FuzzSession(fleet, tenant, sharing.has(tenant), random, totals);
          try {
            await session.run();
          } catch (error) {
            wrong.push(`seed ${seed}, lane ${number}, ${tenant}: ${(error as Error).message}\n${session.story.join("\n")}`);
          }
        }
      };
      await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)));
      expect(wrong).toEqual([]);
      if (process.env.TDB_FUZZ_MS) process.stdout.write(`${JSON.stringify(totals)}\n`); // for whoever asked for a longer one
      expect(totals.sessions - totals.sharing).toBeGreaterThan(20);
      expect(totals.sharing).toBeGreaterThan(20);
      await everythingBack(fleet, native);
    });
  });
}

/** All sessions gone, every backend idle and clean, every lock free; and the gateway takes its full number of sessions again. */
async function everythingBack(fleet: Fleet, native: NativeServer): Promise<void> {
  const ours = `FROM pg_stat_activity WHERE usename ~ '^tdb_[0-9a-f]{16}_(admin|write|read)$'`;
  const busy = () => native.rows(undefined, `SELECT pid, state, query ${ours} AND state <> 'idle'`);
  await until(async () => (await busy()).length === 0);
  expect((await native.rows(undefined, `SELECT count(*)::int AS n ${ours}`))[0].n).toBeLessThanOrEqual(backends);
  expect(await native.rows(undefined, `SELECT * FROM pg_locks WHERE locktype = 'advisory' AND pid IN (SELECT pid ${ours})`)).toEqual([]);
  const full = await Promise.all(Array.from({ length: backends }, (_, i) => dial(fleet, fleet.tenant(tenants[i] as string))));
  expect(full.map((wire) => wire.isClosed)).toEqual(full.map(() => false));
  for (const wire of full) wire.end();
  expect(await fleet.gateway.stop()).toBe(0);
}

async function dial(fleet: Fleet, target: Target): Promise<Wire> {
  const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
  const messages = await wire.login(target.user, target.password, target.database);
  const error = messages.find(({ type }) => type === "E");
  if (error) {
    wire.destroy();
    throw new Error(`login refused: ${show(error)}`);
  }
  return wire;
}
