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
  flush,
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

      it("is never applied to a statement that writes, however long its text, nor to one that was prepared before the limit", async () => {
        const wide = "x".repeat(80_000);
        const values = Array.from({ length: 9 }, (_, i) => `('w${i}')`).join(", ");
        await client.query("BEGIN");
        for (const sql of [
          `INSERT INTO accounts (name) VALUES ${values}, ('${wide}') RETURNING id`,
          `/* ${wide} */ WITH n AS (SELECT generate_series(1, 9) AS i) INSERT INTO accounts (name) SELECT 'v' || i FROM n RETURNING id`,
          `WITH n AS (SELECT '${wide}' AS wide, generate_series(1, 9) AS i) UPDATE accounts SET balance = 2 FROM n WHERE i = 1 RETURNING id`,
        ]) {
          expect((await client.query(sql)).rowCount).toBeGreaterThan(3);
          expect((await client.query(sql.replace("RETURNING id", "RETURNING $1::int"), [1])).rowCount).toBeGreaterThan(3);
        }
        await client.query("ROLLBACK");
        for (const sql of [`SELECT '${wide}', generate_series(1, 9)`, `SELECT '${wide}', generate_series(1, $1::int)`]) {
          expect(await refusal(client.query(sql, sql.includes("$1") ? [9] : []))).toEqual(["54000", message]);
        }
        await set({ max_rows_per_query: 0 }, "SELECT generate_series(1, 4)", undefined);
        const wire = await login();
        wire.send(
          parse("read", "SELECT generate_series(1, 9)"),
          parse("write", "INSERT INTO accounts (name) SELECT 'p' FROM generate_series(1, 9) RETURNING id"),
          sync,
        );
        await wire.readUntil("Z");
        await set({ max_rows_per_query: 3 }, "SELECT generate_series(1, 4)", "54000");
        wire.send(query("BEGIN"), bind("", "write"), execute(), sync, query("ROLLBACK"), bind("", "read"), execute(), sync);
        const messages = await wire.readUntil("Z", 4);
        expect(types(messages)).toMatch(/^CZ2D{9}CZCZ2DDDEZ$/);
        wire.end();
      });

      it("never tells of a failure where something behind it is carried out: that statement is let through", async () => {
        await client.query("DELETE FROM accounts WHERE name = 'behind'");
        const count = async () => (await client.query("SELECT count(*)::int AS n FROM accounts WHERE name = 'behind'")).rows[0].n as number;
        const results = await client.query("SELECT generate_series(1, 9); INSERT INTO accounts (name) VALUES ('behind')");
        expect((results as unknown as pg.QueryResult[]).map(({ rowCount }) => rowCount)).toEqual([9, 1]);
        expect(await count()).toBe(1);
        const wire = await login();
        wire.send(statement("SELECT generate_series(1, 9)"), statement("INSERT INTO accounts (name) VALUES ('behind')"), sync);
        expect(types(await wire.readUntil("Z"))).toBe("12TD".concat("D".repeat(8), "C12nCZ"));
        expect(await count()).toBe(2);
        // Sent once the limit was told: skipped, as PostgreSQL skips after an error.
        wire.send(statement("INSERT INTO accounts (name) VALUES ('behind')"), statement("SELECT generate_series(1, 9)"), flush);
        await wire.readUntil("E");
        wire.send(statement("INSERT INTO accounts (name) VALUES ('behind')"), sync, query("SELECT 1"));
        expect(types(await wire.readUntil("Z", 2))).toBe("ZTDCZ");
        wire.end();
        expect(await count()).toBe(2);
      });

      it("tells who asked for it when most of the budget is used up", async () => {
        await set({ max_rows_per_query: 10 }, "SELECT generate_series(1, 4)", undefined);
        const notices: string[] = [];
        const asking = await connect(fleet.gateway, target, { options: "-c tenantry.row_notice=on" });
        asking.on("notice", (notice) => notices.push(`${notice.severity} ${notice.code} ${notice.message}`));
        await until(async () => (await refusal(asking.query("SELECT generate_series(1, 11)")).catch(() => []))[0] === "54000");
        notices.length = 0;
        expect((await asking.query("SELECT generate_series(1, 7)")).rowCount).toBe(7);
        expect(notices).toEqual([]);
        for (const [sql, values] of [
          ["SELECT generate_series(1, 8)", []],
          ["SELECT generate_series(1, $1::int)", [10]],
        ] as const) {
          expect((await asking.query(sql, [...values])).rowCount).toBeGreaterThan(7);
          expect(notices.splice(0)).toEqual(["NOTICE 01000 query has used 80% of max_rows_per_query (10)"]);
        }
        await asking.end();
        const shown = await psql(fleet.gateway, { ...target, options: "options='-c tenantry.row_notice=on'" }, "SELECT generate_series(1, 9)");
        expect(shown.stderr).toContain("NOTICE:  01000: query has used 80% of max_rows_per_query (10)");
        const silent = await psql(fleet.gateway, target, "SELECT generate_series(1, 9)");
        expect(silent.stderr).toBe("");
        await set({ max_rows_per_query: 3 }, "SELECT generate_series(1, 4)", "54000");
      });

      it("holds for COPY TO", async () => {
        await set({ allow_copy: true }, "SELECT 1", undefined);
        await until(async () => (await psqlScript(fleet.gateway, target, "\\copy (SELECT 1) to stdout\n")).stderr === "");
        const shown = await psqlScript(fleet.gateway, target, "\\copy (SELECT generate_series(1, 1000)) to stdout\n");
        expect(shown.stderr).toContain(message);
        // The header line is no row, nor is what begins and ends the binary format.
        const { stdout: version } = await psql(fleet.gateway, target, "SHOW server_version_num");
        const texts = Number(version) >= 150_000 ? ["(FORMAT text, HEADER true)"] : []; // 14 has it for CSV only
        for (const options of ["(FORMAT csv, HEADER)", ...texts, "(FORMAT binary)", "CSV HEADER"]) {
          const whole = await psqlScript(
            fleet.gateway,
            target,
            `\\copy (SELECT generate_series(1, 3) AS n) to /dev/null ${options.startsWith("(") ? "with " : ""}${options}\n`,
          );
          expect([options, whole.stderr]).toEqual([options, ""]);
          const cut = await psqlScript(
            fleet.gateway,
            target,
            `\\copy (SELECT generate_series(1, 4) AS n) to /dev/null ${options.startsWith("(") ? "with " : ""}${options}\n`,
          );
          expect([options, cut.stderr]).toEqual([options, expect.stringContaining(message)]);
        }
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

      it("ends what waits in a function, a DO block, for a lock, for an advisory lock, in a pipeline, in each FETCH and portal", async () => {
        const holder = await connect(fleet.gateway, target);
        await holder.query("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_xact_lock(4711)");
        for (const sql of [
          "SET statement_timeout = 0; SELECT pg_sleep(60)",
          "SELECT set_config('statement_timeout', '0', false); SELECT pg_sleep(60)",
          "DO $$BEGIN PERFORM set_config('statement_timeout', '0', false); LOOP PERFORM 1; END LOOP; END$$",
          "DO $$BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN OTHERS THEN PERFORM pg_sleep(60); END$$",
          "SELECT count(*) FROM generate_series(1, 100000000000) g",
          "SELECT * FROM accounts",
          "SELECT pg_advisory_lock(4711)",
          "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r",
        ]) {
          expect([sql, ...(await refusal(client.query(sql)))]).toEqual([sql, "57014", message]);
          expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
        }
        await holder.end();
        const wire = await login();
        wire.send(statement("SELECT 1"), statement("SELECT pg_sleep(60)"), statement("SELECT 2"), sync, query("SELECT 3"));
        const messages = await wire.readUntil("Z", 2);
        expect(types(messages)).toMatch(/^12TDC12T?EZTDCZ$/);
        expect(fieldsOf(messages.find(({ type }) => type === "E"))).toMatchObject({ C: "57014", M: message });
        wire.send(
          query("BEGIN; DECLARE slow CURSOR FOR SELECT pg_sleep(0.2) FROM generate_series(1, 9)"),
          query("FETCH 1 FROM slow"),
          query("FETCH 8 FROM slow"),
        );
        const fetched = await wire.readUntil("Z", 3);
        expect(types(fetched)).toMatch(/^CCZTDCZT?D*EZ$/);
        wire.send(
          query("ROLLBACK"),
          parse("", "SELECT pg_sleep(0.2) FROM generate_series(1, 9)"),
          bind("", ""),
          execute("", 1),
          execute("", 8),
          sync,
        );
        expect(types(await wire.readUntil("Z", 2))).toMatch(/^CZ12D*s?D*EZ$/);
        wire.end();
        await client.query("RESET statement_timeout");
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
