/** COPY, rows and time: the settings of a blueprint, in force on connections that are open. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure, psql, psqlScript, refusal, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import { until } from "../e2e/support/until.ts";
import {
  bind,
  copyData,
  copyDone,
  describePortal,
  execute,
  fieldsOf,
  type Message,
  parse,
  query,
  statement,
  sync,
  Wire,
} from "../e2e/support/wire.ts";

const copyMessage = "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.";

export function describeLimits(fleetOf: () => Fleet): void {
  describe("limits", () => {
    let fleet: Fleet;
    let target: Target;
    let client: pg.Client;

    beforeAll(async () => {
      fleet = fleetOf();
      target = fleet.tenant("wayne");
      client = await connect(fleet.gateway, target);
      await client.query("DELETE FROM accounts");
      await client.query("INSERT INTO accounts (name) SELECT 'n' || i FROM generate_series(1, 10) i");
    });
    afterAll(async () => {
      await client.end();
    });

    async function login(on: Target = target): Promise<Wire> {
      const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port, tls: { ca: fleet.ca } });
      await wire.login(on.user, on.password, on.database);
      return wire;
    }

    /** Settings reach open connections in their own time: asks until the answer tells so. */
    async function set(settings: Readonly<Record<string, unknown>>, probe: string, code: string | undefined): Promise<void> {
      await fleet.setSettings(settings);
      await until(async () => {
        const got = await client.query(probe).then(
          () => undefined,
          (error) => error.code,
        );
        return got === code;
      });
    }

    const types = (messages: readonly Message[]) => messages.map(({ type }) => type).join("");

    describe("COPY", () => {
      it("is refused in every form, on tenants and in workspaces, the session goes on", async () => {
        const workspace = await connect(fleet.gateway, fleet.project());
        for (const each of [client, workspace]) {
          for (const sql of [
            "COPY accounts TO STDOUT",
            "copy accounts from stdin",
            "COPY (SELECT 1) TO STDOUT",
            "/* c */ COPY accounts (name) TO STDOUT WITH (FORMAT csv)",
            "SELECT 1; COPY accounts TO STDOUT",
          ]) {
            expect([sql, ...(await refusal(each.query(sql)))]).toEqual([sql, "0A000", copyMessage]);
            expect((await each.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
          }
          await each.query("BEGIN");
          expect((await failure(each.query("COPY accounts TO STDOUT"))).code).toBe("0A000");
          expect((await failure(each.query("SELECT 1"))).code).toBe("25P02");
          await each.query("ROLLBACK");
        }
        await workspace.end();
      });

      it("is refused to psql's \\copy in both directions", async () => {
        // Newer psql passes over what follows a refused \copy up to its end; to older ones `\.` is a command they do not know.
        const script = "\\copy accounts to stdout\n\\copy accounts (name) from stdin\n\\.\nSELECT 'alive';\n";
        const shown = await psqlScript(fleet.gateway, target, script);
        expect(shown.stderr.split("\n").filter((line) => line.startsWith("ERROR"))).toEqual([
          `ERROR:  0A000: ${copyMessage}`,
          `ERROR:  0A000: ${copyMessage}`,
        ]);
        expect(shown.stdout).toBe("alive\n");
      });

      it("is refused in the extended protocol and in a pipeline: the batch is skipped to its Sync, the next one runs", async () => {
        const wire = await login();
        for (const sql of ["COPY accounts TO STDOUT", "COPY accounts (name) FROM STDIN"]) {
          wire.send(statement("SELECT 1"), statement(sql), statement("SELECT 2"), sync, statement("SELECT 3"), sync, query("SELECT 4"));
          const messages = await wire.readUntil("Z", 3);
          expect(types(messages.filter(({ type }) => "DEZGHd".includes(type)))).toBe("DEZDZDZ");
          const refused = messages.find(({ type }) => type === "E");
          expect(fieldsOf(refused)).toMatchObject({ S: "ERROR", C: "0A000", M: copyMessage });
        }
        wire.end();
      });

      it("works both ways with allow_copy, and is refused again without", async () => {
        await set({ allow_copy: true }, "SELECT 1", undefined);
        const out = await untilCopies("\\copy (SELECT name FROM accounts ORDER BY id LIMIT 3) to stdout\n");
        expect(out.stdout).toBe("n1\nn2\nn3\n");
        const into = await psqlScript(
          fleet.gateway,
          target,
          "\\copy accounts (name) from stdin\ncopied one\ncopied two\n\\.\nSELECT count(*) FROM accounts WHERE name LIKE 'copied%';\n",
        );
        expect([into.stderr, into.stdout]).toEqual(["", "COPY 2\n2\n"]);
        const wire = await login();
        wire.send(parse("", "COPY accounts (name) FROM STDIN"), bind("", ""), describePortal(), execute());
        wire.send(copyData("wired\n"), copyDone, sync, query("SELECT count(*) FROM accounts WHERE name = 'wired'"));
        expect(types(await wire.readUntil("Z", 2))).toBe("12nGCZTDCZ");
        wire.send(statement("COPY (SELECT 1) TO STDOUT"), sync);
        expect(types(await wire.readUntil("Z"))).toBe("12nHdcCZ");
        wire.end();
        await set({ allow_copy: false }, "COPY accounts TO STDOUT", "0A000");
      });

      async function untilCopies(script: string) {
        let last = await psqlScript(fleet.gateway, target, script);
        await until(async () => {
          if (last.stderr !== "") last = await psqlScript(fleet.gateway, target, script);
          return last.stderr === "";
        });
        return last;
      }
    });

    describe("max_rows_per_query", () => {
      const message = "query exceeded max_rows_per_query (3)";
      beforeAll(() => set({ max_rows_per_query: 3 }, "SELECT generate_series(1, 4)", "54000"));
      afterAll(() => set({ max_rows_per_query: 0 }, "SELECT generate_series(1, 4)", undefined));

      it("ends a statement in both protocols and in psql, never a row too early", async () => {
        expect((await client.query("SELECT generate_series(1, 3)")).rowCount).toBe(3);
        for (const work of [
          () => client.query("SELECT generate_series(1, 100000)"),
          () => client.query("SELECT generate_series(1, $1::int)", [100000]),
          () => client.query("SELECT 1; SELECT generate_series(1, 100000)"),
        ]) {
          const error = await failure(work());
          expect([error.severity, error.code, error.message]).toEqual(["ERROR", "54000", message]);
          expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
        }
        const shown = await psql(fleet.gateway, target, "SELECT generate_series(1, 100000)");
        expect(shown.stderr).toContain(`ERROR:  54000: ${message}`);
      });

      it("leaves an open transaction failed", async () => {
        for (const sql of ["SELECT generate_series(1, 4)", "SELECT generate_series(1, 1000000)"]) {
          await client.query("BEGIN");
          expect((await failure(client.query(sql))).code).toBe("54000");
          expect((await failure(client.query("SELECT 1"))).code).toBe("25P02");
          await client.query("ROLLBACK");
        }
      });

      it("counts each statement, each FETCH and each portal for itself, and no writing one", async () => {
        await client.query("SELECT generate_series(1, 3); SELECT generate_series(1, 3)");
        await client.query("BEGIN");
        await client.query("DECLARE c CURSOR FOR SELECT generate_series(1, 9)");
        for (let i = 0; i < 3; i++) expect((await client.query("FETCH 3 FROM c")).rowCount).toBe(3);
        const inserted = await client.query("INSERT INTO accounts (name) SELECT 'r' FROM generate_series(1, 9) RETURNING id");
        expect(inserted.rowCount).toBe(9);
        expect((await client.query("WITH u AS (SELECT 1) UPDATE accounts SET balance = 1 RETURNING id")).rowCount).toBeGreaterThan(9);
        await client.query("ROLLBACK");
        const wire = await login();
        wire.send(parse("", "SELECT generate_series(1, 9)"), bind("", ""), execute("", 2), execute("", 2), sync, query("SELECT 1"));
        const messages = await wire.readUntil("Z", 2);
        expect(types(messages)).toMatch(/^12DDsD?EZTDCZ$/);
        expect(fieldsOf(messages.find(({ type }) => type === "E"))).toMatchObject({ C: "54000", M: message });
        wire.end();
      });

      it("holds for COPY TO", async () => {
        await set({ allow_copy: true }, "SELECT 1", undefined);
        await until(async () => (await psqlScript(fleet.gateway, target, "\\copy (SELECT 1) to stdout\n")).stderr === "");
        const shown = await psqlScript(fleet.gateway, target, "\\copy (SELECT generate_series(1, 1000)) to stdout\n");
        expect(shown.stderr).toContain(message);
        await fleet.setSettings({ allow_copy: false });
      });
    });

    describe("query_timeout_ms", () => {
      const message = "query exceeded query_timeout_ms (300)";
      beforeAll(() => set({ query_timeout_ms: 300 }, "SELECT pg_sleep(0.5)", "57014"));
      afterAll(() => set({ query_timeout_ms: 0 }, "SELECT pg_sleep(0.5)", undefined));

      it("ends a statement in both protocols and in psql; a client cannot lift it", async () => {
        await client.query("SET statement_timeout = 0");
        for (const work of [() => client.query("SELECT pg_sleep(60)"), () => client.query("SELECT pg_sleep($1)", [60])]) {
          const error = await failure(work());
          expect([error.severity, error.code, error.message]).toEqual(["ERROR", "57014", message]);
          expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
        }
        await client.query("RESET statement_timeout");
        const shown = await psql(fleet.gateway, target, "SET statement_timeout = 0", "SELECT pg_sleep(60)");
        expect(shown.stderr).toContain(`ERROR:  57014: ${message}`);
      });

      it("leaves an open transaction failed", async () => {
        await client.query("BEGIN");
        expect(await refusal(client.query("SELECT pg_sleep(60)"))).toEqual(["57014", message]);
        expect((await failure(client.query("SELECT 1"))).code).toBe("25P02");
        await client.query("ROLLBACK");
      });

      it("does not touch PostgreSQL's own timeout of the client's choice", async () => {
        await client.query("SET statement_timeout = 100");
        expect(await refusal(client.query("SELECT pg_sleep(60)"))).toEqual(["57014", "canceling statement due to statement timeout"]);
        await client.query("RESET statement_timeout");
      });

      it("can be a tenant's own", async () => {
        await fleet.api("PATCH", "/tenants/globex/settings", { query_timeout_ms: 0 });
        const other = await connect(fleet.gateway, fleet.tenant("globex"));
        await other.query("SELECT pg_sleep(0.6)");
        await fleet.api("PATCH", "/tenants/globex/settings", { query_timeout_ms: null });
        await until(async () => {
          const got = await other.query("SELECT pg_sleep(0.5)").catch((error) => error.message);
          return got === message;
        });
        await other.end();
      });
    });
  });
}
