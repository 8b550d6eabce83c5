/** How sessions end that the client did not end: revoked, suspended, idle, stopped; and a ban of psql's address. A gateway of its own. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, ending, failure, psql, spawnPsql } from "../e2e/support/clients.ts";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import { collect, type RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { until } from "../e2e/support/until.ts";
import { fieldsOf, Wire } from "../e2e/support/wire.ts";

export function describeEndings(runtime: RuntimeUnderTest): void {
  describe("endings", () => {
    let fleet: Fleet;
    beforeAll(async () => {
      fleet = await makeFleet(runtime);
    });
    afterAll(async () => {
      await fleet?.dispose();
    });

    it("a revoked key: open sessions are told and closed, running statements cancelled, others go on", async () => {
      const { id, password } = await fleet.makeKey({ scope_type: "tenant", scope_values: ["wayne"] });
      const target = { ...fleet.tenant("wayne"), password };
      const idle = await connect(fleet.gateway, target);
      const busy = await connect(fleet.gateway, target);
      const other = await connect(fleet.gateway, fleet.tenant("wayne"));
      const idleEnds = ending(idle);
      const busyEnds = failure(busy.query("SELECT pg_sleep(60) /* revoked */"));
      const running = async () => (await other.query("SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* revoked */'")).rowCount;
      await until(async () => (await running()) === 1);
      expect((await fleet.api("DELETE", `/apikeys/${id}`)).status).toBe(200);
      for (const error of await Promise.all([idleEnds, busyEnds])) {
        expect([error.severity, error.code, error.message]).toEqual([
          "FATAL",
          "57P01",
          "terminating connection: the credential was revoked or has expired",
        ]);
      }
      await until(async () => (await running()) === 0);
      expect((await failure(connect(fleet.gateway, target))).code).toBe("28P01");
      await other.end();
    });

    it("a suspended tenant: open sessions are told and closed", async () => {
      const client = await connect(fleet.gateway, fleet.tenant("globex"));
      const ended = ending(client);
      await fleet.api("POST", "/tenants/globex/suspend");
      const error = await ended;
      expect([error.severity, error.code, error.message]).toEqual(["FATAL", "57P01", 'terminating connection: tenant "globex" is suspended']);
      await fleet.api("POST", "/tenants/globex/resume");
      await (await connect(fleet.gateway, fleet.tenant("globex"))).end();
    });

    it("an idle client: told 57P05 and closed, one in a transaction too; a busy one goes on", async () => {
      const busy = await connect(fleet.gateway, fleet.tenant("wayne"));
      const idle = [
        await connect(fleet.gateway, fleet.tenant("wayne")),
        await connect(fleet.gateway, { ...fleet.tenant("wayne"), sslmode: "disable" }),
      ];
      await idle[1]?.query("BEGIN");
      const ends = idle.map(ending);
      const long = busy.query("SELECT pg_sleep(2.5)");
      await fleet.reload({ client_idle_timeout_s: 1 });
      for (const error of await Promise.all(ends)) {
        expect([error.severity, error.code, error.message]).toEqual(["FATAL", "57P05", "terminating connection due to client_idle_timeout"]);
      }
      await long;
      await fleet.reload({});
      await busy.end();
    });

    it("a client that is silent in a transaction: told 25P03 and closed, its locks given back; others go on", async () => {
      const [holder, outside, waiting] = await Promise.all([1, 2, 3].map(() => connect(fleet.gateway, fleet.tenant("wayne"))));
      if (!holder || !outside || !waiting) throw new Error("three clients were asked for");
      await holder.query("BEGIN; LOCK TABLE accounts");
      const end = ending(holder);
      const counted = waiting.query("SELECT count(*) FROM accounts"); // in nobody's transaction but its own, and busy
      await fleet.reload({ idle_in_transaction_timeout_s: 1 });
      const { severity, code, message } = await end;
      expect([severity, code, message]).toEqual(["FATAL", "25P03", "terminating connection due to idle-in-transaction timeout"]);
      expect((await counted).rowCount).toBe(1);
      await new Promise((done) => setTimeout(done, 1200));
      for (const client of [outside, waiting]) expect((await client.query("SELECT 1")).rowCount).toBe(1);
      await fleet.reload({});
      await Promise.all([outside.end(), waiting.end()]);
    });

    it("a login that takes too long: told and closed", async () => {
      await fleet.reload({ login_timeout_ms: 500 });
      const [silent, begun] = [
        await Wire.dial({ port: fleet.gateway.credentials.pg_port }),
        await Wire.dial({ port: fleet.gateway.credentials.pg_port }),
      ];
      begun.send(Buffer.from([0, 0, 0, 50, 0, 3]));
      for (const wire of [silent, begun]) {
        expect(fieldsOf((await wire.readToEnd())[0])).toMatchObject({ S: "FATAL", M: "login was not finished within login_timeout_ms (500)" });
      }
      await fleet.reload({});
    });

    it("a gateway that stops: idle clients are told, a running transaction finishes, new clients stay out, exit code 0", async () => {
      const idle = await Promise.all(
        Array.from({ length: 10 }, (_, i) => connect(fleet.gateway, { ...fleet.tenant("wayne"), sslmode: i % 2 ? "disable" : "verify-full" })),
      );
      const working = await connect(fleet.gateway, fleet.tenant("globex"));
      await working.query("BEGIN");
      await working.query("INSERT INTO accounts (name) VALUES ('in time')");
      const watcher = await connect(fleet.gateway, fleet.tenant("globex"));
      const sleeper = spawnPsql(fleet.gateway, fleet.tenant("globex"), ["-c", "SELECT pg_sleep(1)", "-c", "SELECT 'not reached'"]);
      const slept = collect(sleeper);
      const running = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(1)%'";
      await until(async () => (await watcher.query(running)).rowCount === 1);
      const idleEnds = [...idle, watcher].map(ending);
      const workingEnds = ending(working);
      fleet.gateway.signal("SIGTERM");
      const shutdown = ["FATAL", "57P01", "terminating connection due to gateway shutdown"];
      for (const error of await Promise.all(idleEnds)) expect([error.severity, error.code, error.message]).toEqual(shutdown);
      expect((await failure(connect(fleet.gateway, fleet.tenant("wayne")))).code).toBe("ECONNREFUSED");
      expect((await working.query("SELECT name FROM accounts")).rows).toEqual([{ name: "in time" }]);
      await working.query("COMMIT");
      const error = await workingEnds;
      expect([error.severity, error.code, error.message]).toEqual(shutdown);
      const shown = await slept;
      expect(shown.stdout).toBe("\n");
      expect(shown.stderr).toContain("terminating connection due to gateway shutdown");
      expect(await fleet.gateway.ended).toBe(0);
    });
  });

  describe("psql's own address", () => {
    let fleet: Fleet;
    beforeAll(async () => {
      fleet = await makeFleet(runtime, ["--drain-s", "1"]);
    });
    afterAll(async () => {
      await fleet?.dispose();
    });

    it("is banned after ten wrong passwords; an open session goes on", async () => {
      const good = await connect(fleet.gateway, fleet.tenant("wayne"));
      const wrong = { ...fleet.tenant("wayne"), password: "tdb_0000000000000000" };
      for (let i = 0; i < 10; i++) {
        const shown = await psql(fleet.gateway, { ...wrong, sslmode: i % 2 ? "disable" : "verify-full" }, "SELECT 1");
        expect(shown.stderr).toContain(`FATAL:  password authentication failed for user "${wrong.user}"`);
      }
      for (const sslmode of ["verify-full", "disable"] as const) {
        const shown = await psql(fleet.gateway, { ...fleet.tenant("wayne"), sslmode }, "SELECT 1");
        expect(shown.stderr).toMatch(
          /failed: FATAL: {2}connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in ([1-9]|[1-5]\d|60)s\n$/,
        );
      }
      expect((await good.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);

      // What does not end within drain_s is ended.
      const stuck = failure(good.query("SELECT pg_sleep(60)"));
      const raw = fleet.api("POST", "/tenants/wayne/query", { query: "SELECT pg_sleep(20)" }).catch(() => undefined);
      fleet.gateway.signal("SIGTERM");
      const error = await stuck;
      expect([error.severity, error.code, error.message]).toEqual(["FATAL", "57P01", "terminating connection due to gateway shutdown"]);
      expect(await fleet.gateway.ended).toBe(0);
      await raw;
    });
  });
}
