/** The protocol as real clients use it: parameters, cursors, notifications, large values, TLS in its forms, cancelling, many connections. */
import { once } from "node:events";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure, psql, psqlScript, spawnPsql, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import { collect } from "../e2e/support/gateway.ts";
import { until } from "../e2e/support/until.ts";
import { bind, cancelRequest, execute, fieldsOf, flush, functionCall, parse, query, show, startup, sync, Wire } from "../e2e/support/wire.ts";

export function describeProtocol(fleetOf: () => Fleet): void {
  describe("protocol", () => {
    let fleet: Fleet;
    let target: Target;
    let port: number;

    beforeAll(async () => {
      fleet = fleetOf();
      target = fleet.tenant("wayne");
      port = fleet.gateway.credentials.pg_port;
    });

    async function login(parameters: Record<string, string> = {}, version?: number, direct = false): Promise<Wire> {
      const wire = await Wire.dial({ port, tls: { ca: fleet.ca, direct } });
      const messages = await wire.login(target.user, target.password, target.database, parameters, version);
      if (messages.at(-1)?.type !== "Z") throw new Error(messages.map(show).join(" "));
      return wire;
    }

    async function value(wire: Wire, sql: string): Promise<string | undefined> {
      wire.send(query(sql));
      const row = (await wire.readUntil("Z")).find(({ type }) => type === "D");
      return row?.body.subarray(6).toString();
    }

    it("passes on the server's own parameters", async () => {
      const wire = await login();
      const told = Object.fromEntries(wire.parameters);
      for (const name of [
        "server_version",
        "session_authorization",
        "IntervalStyle",
        "DateStyle",
        "TimeZone",
        "client_encoding",
        "standard_conforming_strings",
      ]) {
        expect([name, told[name]]).toEqual([name, await value(wire, `SHOW ${name}`)]);
      }
      expect(told.server_version).toMatch(/^\d+\.\d+/);
      expect(told.in_hot_standby).toBe("off");
      wire.send(query("SET application_name = 'told'"));
      expect((await wire.readUntil("Z")).map(show).join(" ")).toContain("S(application_name·told·)");
      wire.end();
    });

    it("gives start-up parameters to the session, and resets to them", async () => {
      const parameters = {
        application_name: "e2e app",
        options: "-c search_path=pg_catalog,public --work-mem=5MB -c geqo=off",
        TimeZone: "Asia/Tokyo",
        DateStyle: "German",
        client_encoding: "LATIN1",
      };
      const wire = await login(parameters);
      for (const [name, wanted] of Object.entries({
        application_name: "e2e app",
        search_path: "pg_catalog,public",
        work_mem: "5MB",
        geqo: "off",
        TimeZone: "Asia/Tokyo",
        DateStyle: "German, DMY",
        client_encoding: "LATIN1",
      })) {
        expect([name, await value(wire, `SHOW ${name}`)]).toEqual([name, wanted]);
      }
      await value(wire, "SET work_mem = '9MB'");
      await value(wire, "RESET ALL");
      expect(await value(wire, "SHOW work_mem")).toBe("5MB");
      wire.end();
    });

    it("answers bad start-up parameters in PostgreSQL's own words", async () => {
      const cases: [Record<string, string>, string, string][] = [
        [{ TimeZone: "Nowhere/Land" }, "22023", 'invalid value for parameter "TimeZone": "Nowhere/Land"'],
        [{ nonsense: "1" }, "42704", 'unrecognized configuration parameter "nonsense"'],
        [{ options: "-c work_mem=banana" }, "22023", 'invalid value for parameter "work_mem": "banana"'],
        [{ options: "-c log_statement=all" }, "42501", 'permission denied to set parameter "log_statement"'],
      ];
      for (const [parameters, code, message] of cases) {
        const wire = await Wire.dial({ port });
        const messages = await wire.login(target.user, target.password, target.database, parameters);
        expect(fieldsOf(messages.at(-1))).toMatchObject({ S: "FATAL", C: code, M: message });
      }
    });

    it("speaks 3.0 and 3.2, and negotiates what is newer or unknown", async () => {
      for (const [version, length] of [
        [0x30000, 4],
        [0x30002, 32],
      ] as const) {
        const wire = await login({}, version);
        expect(wire.key?.secret.length).toBe(length);
        wire.end();
      }
      const wire = await Wire.dial({ port });
      wire.send(startup({ user: target.user, database: target.database, "_pq_.unknown": "1" }, 0x3270f));
      const messages = await wire.authenticate(target.password);
      expect(messages[0]?.type).toBe("v");
      expect(messages[0]?.body.readUInt32BE(0)).toBe(0x30002);
      expect(messages[0]?.body.toString()).toContain("_pq_.unknown");
      expect(messages.at(-1)?.type).toBe("Z");
      wire.end();
      const old = await Wire.dial({ port });
      old.send(startup({ user: target.user }, 0x20000));
      expect(fieldsOf((await old.readToEnd())[0])).toMatchObject({ S: "FATAL", C: "08P01" });
    });

    it("upgrades to TLS, takes TLS from the first byte, and is particular about ALPN", async () => {
      const direct = await login({}, undefined, true);
      expect(await value(direct, "SELECT 'direct'")).toBe("direct");
      direct.end();
      const unnamed = await Wire.dial({ port, tls: { ca: fleet.ca, direct: true, alpn: [] } });
      unnamed.send(startup({ user: target.user, database: target.database }));
      expect((await unnamed.readToEnd()).map(fieldsOf)).toMatchObject([
        { S: "FATAL", C: "08P01", M: "direct TLS connections need the ALPN protocol postgresql" },
      ]);
      const shown = await psql(fleet.gateway, { ...target, options: "channel_binding=require" }, "SELECT 'bound'");
      expect([shown.stdout, shown.stderr]).toEqual(["bound\n", ""]);
      for (const sslmode of ["disable", "prefer", "require"] as const) {
        expect((await psql(fleet.gateway, { ...target, sslmode }, "SELECT 1")).stdout).toBe("1\n");
      }
    });

    it("runs prepared statements, named portals and cursors, piece by piece", async () => {
      const wire = await login();
      wire.send(query("BEGIN"));
      await wire.readUntil("Z");
      wire.send(parse("st", "SELECT generate_series(1, $1::int)"), bind("a", "st", ["5"]), bind("b", "st", ["3"]));
      wire.send(execute("a", 2), execute("b", 2), execute("a", 2), execute("b", 2), execute("a", 2), sync);
      const types = (await wire.readUntil("Z")).map(({ type }) => type).join("");
      expect(types).toBe("122DDsDDsDDsDCDCZ");
      wire.send(query("COMMIT"));
      await wire.readUntil("Z");
      wire.send(bind("", "st", ["1"]), execute(), flush);
      expect((await wire.readUntil("C")).map(({ type }) => type).join("")).toBe("2DC");
      wire.send(sync);
      await wire.readUntil("Z");
      wire.end();
      const client = await connect(fleet.gateway, target);
      for (let i = 0; i < 3; i++) {
        expect((await client.query({ name: "named", text: "SELECT $1::int * 2 AS twice", values: [i] })).rows).toEqual([{ twice: i * 2 }]);
      }
      await client.end();
    });

    it("answers pipelined requests in order, errors in their place", async () => {
      const wire = await login();
      const one = (i: number) => Buffer.concat([parse("", `SELECT ${i === 7 || i === 30 ? "1/0" : i}`), bind("", ""), execute(), sync]);
      wire.send(...Array.from({ length: 50 }, (_, i) => one(i)));
      const messages = await wire.readUntil("Z", 50);
      const said = messages
        .filter(({ type }) => type === "D" || type === "E")
        .map(({ type, body }) => (type === "D" ? body.subarray(6).toString() : "E"));
      expect(said).toEqual(Array.from({ length: 50 }, (_, i) => (i === 7 || i === 30 ? "E" : String(i))));
      wire.end();
    });

    it("carries notifications from one client to another, and notices", async () => {
      const [listener, speaker] = [await connect(fleet.gateway, target), await connect(fleet.gateway, target)];
      const heard = once(listener, "notification") as Promise<[pg.Notification]>;
      await listener.query("LISTEN news");
      await speaker.query("NOTIFY news, 'good'");
      expect((await heard)[0]).toMatchObject({ channel: "news", payload: "good" });
      const noticed = once(listener, "notice") as Promise<[{ message: string; code: string }]>;
      await listener.query("DO $$BEGIN RAISE NOTICE 'look' USING ERRCODE = '01234'; END$$");
      expect((await noticed)[0]).toMatchObject({ message: "look", code: "01234" });
      await listener.end();
      await speaker.end();
    });

    it("calls functions by the fast path, large objects in a workspace by psql", async () => {
      const wire = await login();
      wire.send(functionCall(1598)); // random()
      expect((await wire.readUntil("Z")).map(({ type }) => type).join("")).toBe("VZ");
      wire.end();
      const shown = await psqlScript(fleet.gateway, fleet.project(), "\\lo_import /etc/hostname\n\\lo_unlink :LASTOID\nSELECT 'done';\n");
      expect([shown.stderr, shown.stdout.split("\n").at(-2)]).toEqual(["", "done"]);
    });

    it("keeps values as they are", async () => {
      const client = await connect(fleet.gateway, target);
      const samples: [string, unknown][] = [
        ["int8", "9223372036854775807"],
        ["numeric", "123456789012345678901234567890.123456789"],
        ["float8", 1.1],
        ["bool", true],
        ["text", "ünïcödé 🐘 'quotes' \\ \n\t"],
        ["bytea", Buffer.from([0, 1, 255, 128])],
        ["jsonb", { a: [1, null, "x"] }],
        ["timestamptz", new Date("2026-02-03T04:05:06.789Z")],
        ["int[]", [1, null, 3]],
        ["uuid", "00000000-0000-4000-8000-000000000001"],
        ["text", null],
      ];
      for (const [type, sample] of samples) {
        const { rows } = await client.query(`SELECT $1::${type} AS value`, [sample]);
        expect([type, rows[0].value]).toEqual([type, sample]);
      }
      await client.end();
    });

    it("carries 50 MB in a value, a parameter and a statement", async () => {
      const client = await connect(fleet.gateway, target);
      const size = 50_000_000;
      const big = "x".repeat(size);
      expect((await client.query(`SELECT repeat('y', ${size}) AS big`)).rows[0].big).toHaveLength(size);
      expect((await client.query("SELECT length($1::text) AS n", [big])).rows).toEqual([{ n: size }]);
      expect((await client.query(`SELECT length('${big}') AS n`)).rows).toEqual([{ n: size }]);
      await client.end();
    });

    it("cancels for psql, for a raw client in clear and inside TLS, with short and long keys; a wrong key does nothing", async () => {
      const watcher = await connect(fleet.gateway, target);
      const running = (mark: string) => async () =>
        (await watcher.query("SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1", [`%pg_sleep(60) /* ${mark} */`])).rowCount ===
        1;
      const interrupted = spawnPsql(fleet.gateway, target, ["-c", "SELECT pg_sleep(60) /* psql */"]);
      const finished = collect(interrupted);
      await until(running("psql"));
      interrupted.kill("SIGINT");
      expect((await finished).stderr).toContain("ERROR:  57014: canceling statement due to user request");

      for (const [mark, version, tls] of [
        ["short", 0x30000, undefined],
        ["long", 0x30002, { ca: fleet.ca }],
        ["direct", 0x30002, { ca: fleet.ca, direct: true }],
      ] as const) {
        const wire = await login({}, version);
        const { pid, secret } = wire.key!;
        expect(await value(wire, "SELECT pg_backend_pid()")).toBe(String(pid)); // drivers cancel and look for themselves by it
        wire.send(query(`SELECT pg_sleep(60) /* ${mark} */`));
        await until(running(mark));
        for (const wrong of [secret.map((byte) => byte ^ 1), secret.subarray(1), Buffer.concat([secret, secret])]) {
          const liar = await Wire.dial({ port, ...(tls && { tls }) });
          liar.send(cancelRequest(pid, wrong));
          await liar.closed();
        }
        expect(await running(mark)()).toBe(true);
        const canceller = await Wire.dial({ port, ...(tls && { tls }) });
        canceller.send(cancelRequest(pid, secret));
        await canceller.closed();
        expect(fieldsOf((await wire.readUntil("Z")).find(({ type }) => type === "E"))).toMatchObject({
          C: "57014",
          M: "canceling statement due to user request",
        });
        expect(await value(wire, "SELECT 'alive'")).toBe("alive");
        wire.end();
      }
      await watcher.end();
    });

    it("lets a client go in mid-query, and cancels what it left", async () => {
      const watcher = await connect(fleet.gateway, target);
      const count = async () =>
        (await watcher.query("SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* abandoned */'")).rowCount;
      const wire = await login();
      wire.send(query("SELECT pg_sleep(60) /* abandoned */"));
      await until(async () => (await count()) === 1);
      wire.destroy();
      await until(async () => (await count()) === 0);
      await watcher.end();
    });

    it("opens 200 connections one after the other and 50 at once", async () => {
      for (let i = 0; i < 200; i++) {
        const client = await connect(fleet.gateway, { ...target, sslmode: i % 4 === 0 ? "verify-full" : "disable" });
        expect((await client.query("SELECT $1::int AS i", [i])).rows).toEqual([{ i }]);
        await client.end();
      }
      const clients = await Promise.all(Array.from({ length: 50 }, () => connect(fleet.gateway, fleet.tenant("globex"))));
      const answers = await Promise.all(clients.map((client, i) => client.query("SELECT $1::int AS i", [i])));
      expect(answers.map(({ rows }) => rows[0].i)).toEqual(clients.map((_, i) => i));
      await Promise.all(clients.map((client) => client.end()));
    });
  });

  describe("one backend, one client after the other", () => {
    let fleet: Fleet;
    let target: Target;
    beforeAll(async () => {
      fleet = fleetOf();
      target = await fleet.addTenant("pooled");
    });
    afterAll(async () => {
      await fleet.api("DELETE", "/tenants/pooled?hard=true");
    });

    const pidOf = async (client: pg.Client) => (await client.query("SELECT pg_backend_pid() AS pid")).rows[0].pid as number;

    /** The next client on the same backend. */
    async function successor(pid: number): Promise<pg.Client> {
      let found: pg.Client | undefined;
      const others: pg.Client[] = []; // kept meanwhile, so that they are not lent again in its place
      await until(async () => {
        const client = await connect(fleet.gateway, target);
        if ((await pidOf(client)) === pid) found = client;
        else others.push(client);
        return found !== undefined;
      });
      for (const other of others) await other.end();
      return found as pg.Client;
    }

    const traces: [string, string, string, unknown][] = [
      ["a setting", "SET work_mem = '77MB'", "SHOW work_mem", [{ work_mem: "4MB" }]],
      ["a setting of its own", "SET my.own = 'secret'", "SELECT coalesce(current_setting('my.own', true), '') AS own", [{ own: "" }]],
      ["a search path", "SET search_path = pg_catalog", "SHOW search_path", [{ search_path: '"$user", public' }]],
      ["a temporary table", "CREATE TEMP TABLE left_over AS SELECT 'secret' AS s", "SELECT to_regclass('left_over') AS t", [{ t: null }]],
      ["a prepared statement", "PREPARE left_over AS SELECT 1", "SELECT name FROM pg_prepared_statements", []],
      ["a held cursor", "BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT 1; COMMIT", "SELECT name FROM pg_cursors WHERE name = 'h'", []],
      ["an advisory lock", "SELECT pg_advisory_lock(4242)", "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242", []],
      ["a listener", "LISTEN left_over", "SELECT * FROM pg_listening_channels()", []],
      ["an open transaction", "BEGIN; INSERT INTO accounts (name) VALUES ('uncommitted')", "SELECT name FROM accounts", []],
      ["a failed transaction", "BEGIN; SAVEPOINT a; SELECT set_config('my.failed', '1', false)", "SELECT 1 AS one", [{ one: 1 }]],
      [
        "a sequence's last value",
        "SELECT nextval('accounts_id_seq')",
        "SELECT pg_sequence_last_value('accounts_id_seq') > 0 AS used",
        [{ used: true }],
      ],
      [
        "read only sessions",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only",
        [{ default_transaction_read_only: "off" }],
      ],
    ];
    for (const [what, dirty, look, wanted] of traces) {
      it(`leaves no trace of ${what}`, async () => {
        const first = await connect(fleet.gateway, target);
        const pid = await pidOf(first);
        await first.query(dirty);
        await first.end();
        const second = await successor(pid);
        expect((await second.query(look)).rows).toEqual(wanted);
        await second.end();
      });
    }

    it("does not bring one client's notifications or answers to the next", async () => {
      const first = await connect(fleet.gateway, target);
      const pid = await pidOf(first);
      await first.query("LISTEN gossip");
      await first.end();
      const second = await successor(pid);
      const heard: unknown[] = [];
      second.on("notification", (message) => heard.push(message));
      await second.query("NOTIFY gossip, 'about you'");
      expect((await second.query("SELECT 'mine' AS answer")).rows).toEqual([{ answer: "mine" }]);
      expect((await failure(second.query("SELECT lastval()"))).code).toBe("55000");
      expect(heard).toEqual([]);
      await second.end();
    });

    it("never hands on a backend in the middle of an answer", async () => {
      for (let i = 0; i < 20; i++) {
        const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
        await wire.login(target.user, target.password, target.database);
        wire.send(query(`SELECT 'not yours ${i}' FROM generate_series(1, 100000)`));
        await wire.readUntil("T");
        wire.destroy();
        const next = await connect(fleet.gateway, target);
        expect((await next.query("SELECT $1::int AS i", [i])).rows).toEqual([{ i }]);
        await next.end();
      }
    });
  });
}
