/** What counts per client address: bans, connections, connect rate; TLS demanded; told in words every client shows. Settings come by SIGHUP. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure, from, psql, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import { until } from "../e2e/support/until.ts";

export function describeAddresses(fleetOf: () => Fleet): void {
  describe("per client address", () => {
    let fleet: Fleet;
    let target: Target;
    let wrong: Target;
    beforeAll(async () => {
      fleet = fleetOf();
      target = fleet.tenant("wayne");
      wrong = { ...target, password: "tdb_0000000000000000" };
    });
    afterAll(() => fleet.reload({}));

    /** Reads the seconds, which count down. */
    function expectBanned(text: string, secondsAtMost: number): void {
      const seconds = /connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in (\d+)s$/m.exec(
        text,
      )?.[1];
      expect(text.slice(0, 200)).toContain("connection rejected");
      expect(Number(seconds)).toBeGreaterThan(0);
      expect(Number(seconds)).toBeLessThanOrEqual(secondsAtMost);
    }

    it("ten wrong passwords ban it, over TLS and in clear, with the right password too; open connections go on, other addresses come in", async () => {
      const good = await connect(fleet.gateway, target, from("127.0.0.9"));
      for (let i = 0; i < 10; i++) {
        const error = await failure(connect(fleet.gateway, { ...wrong, sslmode: i % 2 ? "disable" : "verify-full" }, from("127.0.0.9")));
        expect([i, error.code]).toEqual([i, "28P01"]);
      }
      for (const sslmode of ["verify-full", "disable"] as const) {
        for (const who of [wrong, target]) {
          const error = await failure(connect(fleet.gateway, { ...who, sslmode }, from("127.0.0.9")));
          expect([error.severity, error.code]).toEqual(["FATAL", "53300"]);
          expectBanned(error.message, 60);
        }
      }
      expect((await good.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      await good.end();
      await (await connect(fleet.gateway, target, from("127.0.0.10"))).end();
    });

    it("a good credential outside its scope is no failure, and a success clears the count", async () => {
      const outside = { ...target, database: "myapp__globex" };
      for (let i = 0; i < 12; i++) expect((await failure(connect(fleet.gateway, outside, from("127.0.0.11")))).code).toBe("28000");
      for (let i = 0; i < 18; i++) {
        if (i % 9 === 0) await (await connect(fleet.gateway, target, from("127.0.0.11"))).end();
        expect((await failure(connect(fleet.gateway, wrong, from("127.0.0.11")))).code).toBe("28P01");
      }
    });

    it("is exempt when configured so", async () => {
      await fleet.reload({ ip: { exempt: ["127.0.0.12/32"] } });
      for (let i = 0; i < 12; i++) expect((await failure(connect(fleet.gateway, wrong, from("127.0.0.12")))).code).toBe("28P01");
    });

    it("too many connections at once", async () => {
      await fleet.reload({ ip: { max_connections: 3 } });
      const open = await Promise.all([1, 2, 3].map(() => connect(fleet.gateway, target, from("127.0.0.13"))));
      for (const sslmode of ["verify-full", "disable"] as const) {
        const error = await failure(connect(fleet.gateway, { ...target, sslmode }, from("127.0.0.13")));
        expect([error.severity, error.code, error.message]).toEqual([
          "FATAL",
          "53300",
          "connection rejected: too many connections from your IP (limit 3)",
        ]);
      }
      await (await connect(fleet.gateway, target, from("127.0.0.14"))).end();
      await open[0]?.end();
      await until(async () => {
        const again = await connect(fleet.gateway, target, from("127.0.0.13")).catch(() => undefined);
        await again?.end();
        return again !== undefined;
      });
      const held: pg.Client[] = [];
      await until(async () => {
        const client = await connect(fleet.gateway, target).catch(() => undefined); // what earlier tests closed may still be counted
        if (client) held.push(client);
        return held.length === 3;
      });
      const shown = await psql(fleet.gateway, target, "SELECT 1");
      expect(shown.stderr).toContain("failed: FATAL:  connection rejected: too many connections from your IP (limit 3)\n");
      for (const client of [...open.slice(1), ...held]) await client.end();
    });

    it("connecting too fast", async () => {
      await fleet.reload({ ip: { connect_rate: 1, connect_burst: 2 } });
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, () =>
          connect(fleet.gateway, target, from("127.0.0.15")).then(
            (client) => client.end(),
            (error) => error,
          ),
        ),
      );
      const refused = outcomes.filter((outcome) => outcome !== undefined);
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.length).toBeLessThan(8);
      for (const error of refused) {
        expect([error.severity, error.code, error.message]).toEqual([
          "FATAL",
          "53300",
          "connection rejected: your IP is connecting too fast, retry in 1s",
        ]);
      }
      const shown = await Promise.all(Array.from({ length: 6 }, () => psql(fleet.gateway, target, "SELECT 1")));
      const told = shown.filter(({ code }) => code !== 0);
      expect(told.length).toBeGreaterThan(0);
      for (const { stderr } of told) expect(stderr).toContain("failed: FATAL:  connection rejected: your IP is connecting too fast, retry in 1s\n");
    });

    it("TLS demanded of everybody: told in clear, before a password is asked for", async () => {
      await fleet.reload({ tls: { required: "always" } });
      const error = await failure(connect(fleet.gateway, { ...wrong, sslmode: "disable" }));
      expect([error.severity, error.code, error.message]).toEqual(["FATAL", "28000", "TLS is required: connect with sslmode=require"]);
      const shown = await psql(fleet.gateway, { ...target, sslmode: "disable" }, "SELECT 1");
      expect(shown.stderr).toContain("failed: FATAL:  TLS is required: connect with sslmode=require\n");
      await (await connect(fleet.gateway, target)).end();
    });

    it("a bad value in a reloaded file is told in the log, and the old ones stay", async () => {
      const before = fleet.gateway.errors().length;
      await expect(fleet.reload({ ip: { max_connections: "many" } })).rejects.toThrow("configuration not reloaded");
      expect(fleet.gateway.errors().slice(before)).toContain("ip.max_connections");
      expect((await failure(connect(fleet.gateway, { ...target, sslmode: "disable" }))).message).toContain("TLS is required");
      await fleet.reload({});
      await (await connect(fleet.gateway, { ...target, sslmode: "disable" })).end();
    });
  });
}
