/** pool_mode=transaction from outside: what follows a client from backend to backend, what keeps one, and what is told while it waits for one. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { openNativeServer } from "../e2e/support/native.ts";
import { until } from "../e2e/support/until.ts";
import {
  bind,
  cancelRequest,
  closeStatement,
  describeStatement,
  execute,
  fieldsOf,
  type Message,
  parse,
  query,
  show,
  statement,
  sync,
  Wire,
} from "../e2e/support/wire.ts";

export function describeSharing(runtime: RuntimeUnderTest): void {
  describe(`clients that share one backend under ${runtime}`, () => {
    let fleet: Fleet;
    const open: Wire[] = [];

    beforeAll(async () => {
      fleet = await makeFleet(runtime, ["--backend-budget", "1", "--connect-wait-ms", "60000"]);
      await fleet.setSettings({ pool_mode: "transaction" });
      await until(async () => {
        const wire = await dial();
        const isShared = (await sessions()).length === 1 && !(await holdsBackend());
        wire.end();
        await until(async () => (await sessions()).length === 0);
        return isShared;
      });
    });
    afterEach(async () => {
      for (const wire of open.splice(0)) wire.destroy();
      await until(async () => (await sessions()).length === 0);
    });
    afterAll(async () => {
      await fleet?.dispose();
    });

    async function dial(parameters: Record<string, string> = {}, database = "myapp__wayne"): Promise<Wire> {
      const { user, password } = fleet.tenant("wayne");
      const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      open.push(wire);
      const messages = await wire.login(user, password, database, parameters);
      if (messages.at(-1)?.type !== "Z") throw new Error(messages.map(show).join(" "));
      return wire;
    }

    // biome-ignore lint/suspicious/noExplicitAny: answers are looked into field by field
    async function sessions(): Promise<any[]> {
      return (await fleet.api("GET", "/sessions")).body.sessions;
    }

    async function hasBackends(state: "open" | "leased"): Promise<boolean> {
      const metrics = await fetch(`${fleet.gateway.credentials.api_url}/metrics`);
      return new RegExp(`tenantry_pool_connections\\{[^}]*state="${state}"[^}]*\\} [1-9]`).test(await metrics.text());
    }
    const holdsBackend = () => hasBackends("leased");

    it("go on in turns, each with its own settings, and none sees another's", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "SET app.who = 'a'; SET DateStyle = 'German'");
      await ask(b, "SET app.who = 'b'");
      for (let round = 0; round < 3; round++) {
        expect(await ask(a, "SELECT current_setting('app.who'), '2026-11-29'::date")).toEqual(["a", "29.11.2026"]);
        expect(await ask(b, "SELECT current_setting('app.who'), '2026-11-29'::date")).toEqual(["b", "2026-11-29"]);
      }
      expect((await sessions()).map(({ pinned_by }) => pinned_by)).toEqual([[], []]);
    });

    it("keep what was set in a transaction that was committed, and nothing of one that was rolled back", async () => {
      const [a, b] = [await dial(), await dial()];
      for (const sql of ["BEGIN", "SET app.who = 'kept'", "COMMIT", "BEGIN", "SET app.who = 'lost'", "SET LOCAL app.other = 'lost'", "ROLLBACK"])
        await ask(a, sql);
      await ask(b, "SELECT 1");
      expect(await ask(a, "SELECT current_setting('app.who'), current_setting('app.other', true)")).toEqual(["kept", ""]);
    });

    it("never meet what a function left behind unseen", async () => {
      const workspace = await fleet.makeKey({ scope_type: "workspace", scope_values: ["myapp"] });
      const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      open.push(wire);
      await wire.login(fleet.tenant("wayne").user, workspace.password, "myapp_workspace");
      const hides = `CREATE FUNCTION hide() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('app.hidden', 'secret', false); PERFORM pg_advisory_lock(7); EXECUTE 'LISTEN hidden';
        EXECUTE 'CREATE TEMP TABLE hidden AS SELECT 1'; EXECUTE 'PREPARE hidden AS SELECT 1'; END $$`;
      await ask(wire, hides);
      await ask(wire, "SELECT hide()");
      const other = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      open.push(other);
      await other.login(fleet.tenant("wayne").user, workspace.password, "myapp_workspace");
      expect(await ask(other, "SELECT coalesce(current_setting('app.hidden', true), '')")).toEqual([""]);
      expect(await ask(other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7")).toEqual(["0"]);
      expect(await ask(other, "SELECT count(*) FROM pg_listening_channels()")).toEqual(["0"]);
      expect(await ask(other, "SELECT coalesce(to_regclass('hidden')::text, 'none')")).toEqual(["none"]);
    });

    it("use what they have prepared, on whatever backend", async () => {
      const [a, b] = [await dial(), await dial()];
      a.send(parse("s", "SELECT $1::int + 1 AS n"), describeStatement("s"), sync);
      b.send(parse("s", "SELECT 'b' || $1"), sync);
      expect(types(await a.readUntil("Z"))).toBe("1tTZ");
      expect(types(await b.readUntil("Z"))).toBe("1Z");
      for (let round = 0; round < 3; round++) {
        a.send(bind("", "s", ["41"]), execute(), sync);
        expect(row(await a.readUntil("Z"))).toEqual(["42"]);
        b.send(bind("", "s", ["x"]), execute(), sync);
        expect(row(await b.readUntil("Z"))).toEqual(["bx"]);
        await ask(b, "SELECT 1"); // a simple query ends the unnamed one
      }
      a.send(parse("", "SELECT 'unnamed'"), sync);
      await a.readUntil("Z");
      await ask(b, "SELECT 1");
      a.send(bind("", ""), execute(), sync);
      expect(row(await a.readUntil("Z"))).toEqual(["unnamed"]);
      expect(await ask(a, "EXECUTE s(1)")).toEqual(["2"]);
      await ask(b, "SELECT 1");
      await ask(a, "DEALLOCATE s");
      a.send(bind("", "s", ["1"]), sync);
      expect(fieldsOf((await a.readUntil("Z"))[0])).toMatchObject({ C: "26000", M: 'prepared statement "s" does not exist' });
      b.send(closeStatement("s"), parse("s", "SELECT 2"), bind("", "s"), execute(), sync);
      expect(row(await b.readUntil("Z"))).toEqual(["2"]);
    });

    it("keep their backend while they have what would be lost on another, and say so", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "LISTEN news; CREATE TEMP TABLE mine AS SELECT 'mine' AS t");
      const waiting = ask(b, "NOTIFY news, 'hello'");
      await until(async () => (await sessions()).some(({ waiting_for }) => waiting_for === "backend"));
      expect((await sessions()).map(({ pinned_by, state }) => [state, pinned_by])).toEqual([
        ["idle", ["listen", "temporary object"]],
        ["waiting", []],
      ]);
      expect(await ask(a, "SELECT t FROM mine")).toEqual(["mine"]);
      await ask(a, "DISCARD ALL");
      await waiting;
      expect((await sessions()).map(({ pinned_by }) => pinned_by)).toEqual([[], []]);
    });

    it("wait for a transaction of another's to end; a cancel request ends the waiting, and the session goes on", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "BEGIN");
      for (const request of [query("SELECT 'never'"), Buffer.concat([statement("SELECT 'never'"), sync])]) {
        b.send(request);
        await until(async () => (await sessions()).some(({ waiting_for }) => waiting_for === "backend"));
        const canceller = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
        canceller.send(cancelRequest(b.key!.pid, b.key!.secret));
        await canceller.closed();
        const messages = await b.readUntil("Z");
        expect(fieldsOf(messages[0])).toMatchObject({ C: "57014", M: "canceling statement due to user request" });
        expect(types(messages)).toBe("EZ");
      }
      b.send(query("SELECT 'later'"));
      await ask(a, "COMMIT");
      expect(row(await b.readUntil("Z"))).toEqual(["later"]);
    });

    it("cancel only what is their own, also when the backend has moved on", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "SELECT 1");
      b.send(query("SELECT 'untouched' FROM pg_sleep(0.5)"));
      await until(async () => (await sessions()).some(({ state }) => state === "active"));
      const canceller = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      canceller.send(cancelRequest(a.key!.pid, a.key!.secret));
      await canceller.closed();
      expect(row(await b.readUntil("Z"))).toEqual(["untouched"]);
      a.send(query("SELECT pg_sleep(600)"));
      await until(async () => (await sessions()).some(({ state }) => state === "active"));
      const right = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      right.send(cancelRequest(a.key!.pid, a.key!.secret));
      expect(fieldsOf((await a.readUntil("Z")).find(({ type }) => type === "E"))).toMatchObject({ C: "57014" });
      expect(await ask(b, "SELECT 1")).toEqual(["1"]);
    });

    it("who leaves in the middle of a transaction takes nothing with it", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "BEGIN; CREATE TEMP TABLE gone (i int); SET app.who = 'gone'");
      a.destroy();
      expect(await ask(b, "SELECT coalesce(current_setting('app.who', true), ''), coalesce(to_regclass('gone')::text, 'none')")).toEqual([
        "",
        "none",
      ]);
    });

    it("do not notice when a backend at rest ends; who keeps one is told as by PostgreSQL", async () => {
      const native = openNativeServer(fleet.gateway);
      try {
        const [a, b] = [await dial(), await dial()];
        const backendOf = async (wire: Wire) => (await ask(wire, "SELECT pg_backend_pid()"))[0];
        const end = (pid: string | undefined) => native.rows(undefined, "SELECT pg_terminate_backend($1)", [pid]);
        const first = await backendOf(a);
        await end(first);
        await until(async () => !(await hasBackends("open")));
        const second = await backendOf(a);
        expect(second).not.toBe(first);
        await ask(a, "LISTEN news");
        await end(second);
        expect(fieldsOf((await a.readToEnd()).at(-1))).toMatchObject({ C: "57P01", M: "terminating connection due to administrator command" });
        expect(await backendOf(b)).not.toBe(second);
      } finally {
        await native.close();
      }
    });

    it("keep their backends once the setting is session again", async () => {
      const [a, b] = [await dial(), await dial()];
      await ask(a, "SELECT 1");
      await fleet.setSettings({ pool_mode: "session" });
      await until(async () => {
        await ask(a, "SELECT 1");
        return await holdsBackend();
      });
      await fleet.setSettings({ pool_mode: "transaction" });
      await until(async () => {
        await ask(a, "SELECT 1");
        return !(await holdsBackend());
      });
      expect(await ask(b, "SELECT 2")).toEqual(["2"]);
    });

    it("are told of a changed shape as by PostgreSQL, or let go, after a deployment", async () => {
      const a = await dial();
      a.send(parse("all", "SELECT * FROM accounts"), describeStatement("all"), bind("", "all"), execute(), sync);
      await a.readUntil("Z");
      const made = await fleet.api("POST", "/workspaces/myapp/queries", { query: "ALTER TABLE accounts ADD COLUMN added text" });
      expect(made.status).toBe(200);
      const deployed = await fleet.api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
      expect(deployed.body.status).toBe("done");
      const last = await a.readToEnd();
      expect(fieldsOf(last.at(-1))).toMatchObject({ C: "57P01", M: "terminating connection: the schema changed under its prepared statements" });
      const b = await dial();
      b.send(parse("all", "SELECT * FROM accounts"), bind("", "all"), describeStatement("all"), execute(), sync);
      expect((await b.readUntil("Z")).find(({ type }) => type === "T")!.body.includes("added")).toBe(true);
    });
  });
}

async function ask(wire: Wire, sql: string): Promise<string[]> {
  wire.send(query(sql));
  const messages = await wire.readUntil("Z");
  const error = messages.find(({ type }) => type === "E");
  if (error) throw new Error(show(error));
  return row(messages);
}

/** Of the last row. */
function row(messages: readonly Message[]): string[] {
  const body = messages.findLast(({ type }) => type === "D")?.body;
  if (!body) return [];
  const values: string[] = [];
  for (let at = 2; at < body.length; ) {
    const length = body.readInt32BE(at);
    values.push(body.toString("utf8", at + 4, at + 4 + length));
    at += 4 + Math.max(0, length);
  }
  return values;
}

function types(messages: readonly Message[]): string {
  return messages.map(({ type }) => type).join("");
}
