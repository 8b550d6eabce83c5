/** A hundred tenants, ten backends and one tenant that wants them all: everybody is served, the server never has an eleventh, and whoever waits is told why. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPostgres } from "../support/postgres.ts";
import { connect, failure, type Target } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { tdb } from "./support/gateway.ts";
import { type NativeServer, openNativeServer } from "./support/native.ts";
import { standBefore } from "./support/server-under-test.ts";
import { until } from "./support/until.ts";

const budget = 10;
const others = 97; // with the three that a fleet has
const makers = 4;

// A hundred databases are made in no time where nothing is flushed to disk.
standBefore(async () => {
  const { target, stop } = await startTestPostgres();
  const { socketDir = "", port, user } = target;
  const password = String(target.password);
  const url = `postgresql://${user}:${password}@localhost:${port}/postgres?host=${encodeURIComponent(socketDir)}`;
  return { flags: ["--database-url", url], superuser: { host: socketDir, port, user, password }, remove: stop };
});

describe("a budget of ten for a hundred tenants", () => {
  let fleet: Fleet;
  let native: NativeServer;
  const tenants: Target[] = [];
  const clear = (target: Target): Target => ({ ...target, sslmode: "disable" });
  const open = (target: Target) => connect(fleet.gateway, clear(target));

  beforeAll(async () => {
    fleet = await makeFleet("node", ["--spare-databases=0"]);
    await fleet.reload({ backend_budget: budget, connect_wait_ms: 120_000 });
    native = openNativeServer(fleet.gateway);
    const ids = Array.from({ length: others }, (_, i) => `t${i}`).values();
    const make = async () => {
      for (const id of ids) tenants.push(await fleet.addTenant(id));
    };
    await Promise.all(Array.from({ length: makers }, make));
    tenants.push(fleet.tenant("globex"), fleet.tenant("acme"));
  }, 300_000);
  afterAll(async () => {
    await native?.close();
    await fleet?.dispose();
  });

  const waiting = async () => {
    const { body } = await fleet.api("GET", "/sessions?limit=1000");
    const rows = body.sessions as { state: string; waiting_for: string | null; position: number | null; since: string; tenant_id: string }[];
    return rows.filter(({ state }) => state === "waiting");
  };

  it("shows who waits for a backend, in which place, and keeps one for a newcomer meanwhile", async () => {
    const held: pg.Client[] = [];
    for (let i = 0; i < budget - 1; i++) held.push(await open(fleet.tenant("wayne")));
    const queue: Promise<pg.Client>[] = [];
    for (let place = 1; place <= 3; place++) {
      queue.push(open(fleet.tenant("wayne")));
      await until(async () => (await waiting()).some(({ position }) => position === place));
    }
    const shown = await waiting();
    expect(shown.map(({ tenant_id, waiting_for, position }) => [tenant_id, waiting_for, position])).toEqual(
      [1, 2, 3].map((n) => ["wayne", "backend", n]),
    );
    expect(shown.map(({ since }) => since)).toEqual(shown.map(({ since }) => since).sort());
    const { api_url, api_key } = fleet.gateway.credentials;
    const listed = await tdb("node", ["sessions"], { TDB_API_URL: api_url, TDB_API_KEY: api_key });
    expect(listed.stdout).toContain("backend, place 3");
    const newcomer = await open(tenants[0]!);
    expect((await newcomer.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await newcomer.end();
    for (const client of held) await client.end();
    for (const client of await Promise.all(queue)) await client.end();
  });

  it("serves every one of them while one asks without end", async () => {
    let isOver = false;
    const served = { greedy: 0, others: 0 };
    const visit = async (target: Target) => {
      const client = await open(target);
      expect((await client.query("SELECT count(*)::int AS n FROM accounts")).rows).toEqual([{ n: 0 }]);
      await client.end();
    };
    const greedy = Array.from({ length: 40 }, async () => {
      for (; !isOver; served.greedy++) await visit(fleet.tenant("wayne"));
    });
    const most = watchServer(() => isOver);
    await until(() => served.greedy > 20);
    await Promise.all(tenants.map((target) => visit(target).then(() => served.others++)));
    isOver = true;
    await Promise.all(greedy);
    expect(served.others).toBe(others + 2);
    expect(served.greedy).toBeGreaterThan(20);
    expect(await most).toBeLessThanOrEqual(budget);
  });

  it("refuses with 53300 who waits longer than connect_wait_ms", async () => {
    await fleet.reload({ backend_budget: budget, connect_wait_ms: 200 });
    const held = await Promise.all(Array.from({ length: budget - 1 }, () => open(fleet.tenant("wayne"))));
    const refused = await failure(open(fleet.tenant("wayne")));
    expect(refused).toMatchObject({ code: "53300", message: expect.stringContaining("9 of 10 in use, the rest is kept for databases with fewer") });
    await Promise.all(held.map((client) => client.end()));
  });

  /** The most backends of tenants that the server ever has at once. */
  async function watchServer(isEnough: () => boolean): Promise<number> {
    let most = 0;
    while (!isEnough()) {
      const [{ n }] = await native.rows(
        undefined,
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename ~ '^tdb_[0-9a-f]{16}_(admin|write|read)$'",
      );
      most = Math.max(most, n);
    }
    return most;
  }
});
