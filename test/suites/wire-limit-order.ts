/** Row limits under any order of Parse, Bind, Describe, Execute, Close and Query: pipelined, failing, inside and outside transactions. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import { until } from "../e2e/support/until.ts";
import * as wire from "../e2e/support/wire.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { judge, limit, makeBatch, read, type Seen } from "./wire-limit-batches.ts";

export function describeLimitOrder(fleetOf: () => Fleet): void {
  describe("row limits under any order of messages", () => {
    let fleet: Fleet;
    let target: Target;

    beforeAll(async () => {
      fleet = fleetOf();
      target = await fleet.addTenant("orderly");
      const client = await connect(fleet.gateway, target);
      await client.query("INSERT INTO accounts (name) SELECT 'n' || i FROM generate_series(1, 5) i");
      await fleet.setSettings({ max_rows_per_query: limit });
      await until(() =>
        client.query(read).then(
          () => false,
          (error) => error.code === "54000",
        ),
      );
      await client.end();
    });
    afterAll(async () => {
      await fleet.setSettings({ max_rows_per_query: 0, pool_mode: "session" });
    });

    it.each(["session", "transaction"])("none lifts a limit, none cuts a write, pool_mode %s", { timeout: 60_000 }, async (pool_mode) => {
      await fleet.setSettings({ pool_mode });
      const seen: Seen = { limited: 0, written: 0 };
      for (let seed = 1; seed <= 15; seed++) {
        const random = new Prng(seed);
        const client = await wire.Wire.dial({ port: fleet.gateway.credentials.pg_port, tls: { ca: fleet.ca } });
        await client.login(target.user, target.password, target.database);
        for (let batch = 0; batch < 20; batch++) {
          const steps = makeBatch(random);
          client.send(...steps.map(([, , bytes]) => bytes), wire.query("-- the end")); // answered in a failed transaction too
          const answers = [...(await client.readUntil("I")), ...(await client.readUntil("Z"))];
          const wrong = judge(steps, answers, seen);
          const told = { seed, batch, steps: steps.map(([op, text]) => `${op} ${text}`), answers: answers.map(wire.show) };
          if (wrong) expect(told).toBe(wrong);
        }
        client.end();
        await client.closed();
      }
      expect(seen.limited).toBeGreaterThan(20);
      expect(seen.written).toBeGreaterThan(20);
    });
  });
}
