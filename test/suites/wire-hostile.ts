/** Bytes that are no PostgreSQL, and requests that make no sense, thrown at a gateway with a good session beside that must not notice. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { makeApi } from "../e2e/support/api.ts";
import { connect, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import {
  bind,
  execute,
  fieldsOf,
  frame,
  gssRequest,
  int32,
  type Message,
  parse,
  query,
  sslRequest,
  startup,
  sync,
  Wire,
} from "../e2e/support/wire.ts";

export function describeHostile(fleetOf: () => Fleet): void {
  describe("hostile input", () => {
    let fleet: Fleet;
    let target: Target;
    let port: number;
    let witness: pg.Client;
    let watching: Promise<number>;
    let isOver = false;

    beforeAll(() => {
      fleet = fleetOf();
      target = fleet.tenant("wayne");
      port = fleet.gateway.credentials.pg_port;
    });
    beforeEach(async () => {
      isOver = false;
      witness = await connect(fleet.gateway, target);
      watching = (async () => {
        let answers = 0;
        for (; !isOver || answers === 0; answers++) {
          const { rows } = await witness.query("SELECT count(*)::int AS n, $1::int AS i FROM generate_series(1, 500)", [answers]);
          if (rows[0].n !== 500 || rows[0].i !== answers) throw new Error("the witness got another's answer");
        }
        return answers;
      })();
    });
    afterEach(async () => {
      isOver = true;
      expect(await watching).toBeGreaterThan(0);
      await witness.end();
    });

    const dial = (tls = false) => Wire.dial({ port, ...(tls && { tls: { ca: fleet.ca } }) });

    async function login(): Promise<Wire> {
      const wire = await dial();
      await wire.login(target.user, target.password, target.database);
      return wire;
    }

    /** One FATAL error, then the end. */
    async function expectFatal(wire: Wire, message: string | RegExp): Promise<void> {
      const messages = await wire.readToEnd();
      expect(messages.map(({ type }) => type)).toEqual(["E"]);
      expect(fieldsOf(messages[0])).toMatchObject({ S: "FATAL", C: "08P01", M: expect.stringMatching(message) });
    }

    /** PostgreSQL 18 goes down, with every database of the cluster, when it executes the unnamed portal of a query that failed. */
    it.each([
      ["at once", [execute()], "34000"],
      ["behind a Parse that fails", [parse("b", "SELECT 'r'"), sync, execute()], "25P02 34000"],
      ["behind a Bind that fails", [bind("", "nothing"), sync, execute()], "26000 34000"],
      ["behind one that is skipped", [parse("b", "SELECT 'r'"), bind("", "b"), sync, execute()], "25P02 34000"],
    ])("what a failed query left of the unnamed portal is not executed: %s", async (_, messages, codes) => {
      for (const together of [true, false]) {
        const wire = await login();
        const opening = [query("BEGIN"), query("ROLLBACK TO nothing")];
        if (!together) {
          wire.send(...opening);
          await wire.readUntil("Z", 2);
        }
        wire.send(...(together ? opening : []), ...messages, sync, query("ROLLBACK"), query("-- the end"));
        const errors = (await wire.readUntil("I")).filter(({ type }) => type === "E").map((message) => fieldsOf(message).C);
        expect(errors.join(" ")).toBe(together ? `3B001 ${codes}` : codes);
        wire.destroy();
      }
    });

    it("a transaction that failed is still ended by the extended protocol", async () => {
      const wire = await login();
      wire.send(query("BEGIN"), query("ROLLBACK TO nothing"));
      await wire.readUntil("Z", 2);
      wire.send(parse("", "ROLLBACK"), bind("", ""), sync);
      await wire.readUntil("Z");
      wire.send(execute(), sync);
      expect((await wire.readUntil("Z")).map(({ type }) => type).join("")).toBe("CZ");
      wire.destroy();
    });

    async function residentBytes(): Promise<number> {
      const status = await readFile(`/proc/${fleet.gateway.pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
    }

    it("a start-up packet of impossible length, in clear and inside TLS", async () => {
      for (const tls of [false, true]) {
        for (const length of [0, 3, 7, 10_001, 0x7fffffff, 0x80000000, 0xffffffff]) {
          const wire = await dial(tls);
          wire.send(int32(length));
          await expectFatal(wire, "invalid length of startup packet");
        }
      }
    });

    it("HTTP on this port: answered and closed", async () => {
      const wire = await dial();
      wire.send(Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      await wire.closed();
      expect(wire.rest.toString("latin1")).toMatch(/^(E|HTTP\/1\.1 4\d\d )/);
    });

    it("start-up packets without end, without a user, with too many parameters, with an unknown protocol", async () => {
      const packet = (...parts: Buffer[]) => {
        const body = Buffer.concat(parts);
        return Buffer.concat([int32(body.length + 4), body]);
      };
      const many = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`a${i}`, "b"]));
      for (const [bytes, message] of [
        [packet(int32(0x30000), Buffer.from("user\0x")), /^invalid startup/],
        [packet(int32(0x30000), Buffer.from("user\0x\0\0trailing")), /^invalid startup packet layout/],
        [packet(int32(0x40000), Buffer.from("user\0x\0\0")), /^unsupported frontend protocol 4\.0/],
        [startup({ user: "x", ...many }), /too many parameters/],
      ] as const) {
        const wire = await dial();
        wire.send(bytes);
        await expectFatal(wire, message);
      }
    });

    it("plaintext glued behind SSLRequest or GSSENCRequest, TLS asked for twice, and without end", async () => {
      for (const request of [sslRequest, gssRequest]) {
        const wire = await dial();
        wire.send(request, startup({ user: target.user, database: target.database }));
        await expectFatal(wire, "received unencrypted data after SSL request");
      }
      const twice = await dial(true);
      twice.send(sslRequest);
      await expectFatal(twice, /./);
      const wire = await dial();
      wire.sendInPieces(Buffer.concat(Array.from({ length: 1000 }, () => Buffer.concat([gssRequest, gssRequest]))), 16);
      await wire.closed();
      expect(wire.rest.length).toBeLessThan(200);
    });

    it("plaintext after TLS was agreed: nothing of it is read as a message", async () => {
      const wire = await dial();
      wire.send(sslRequest);
      while (wire.rest.length === 0 && !wire.isClosed) await new Promise(setImmediate);
      expect(wire.rest.toString("latin1")).toBe("S");
      wire.send(startup({ user: target.user, database: target.database }));
      await wire.closed();
      expect(wire.rest.toString("latin1")).not.toContain("SCRAM");
    });

    it("during authentication: a query, a giant, an unknown mechanism, broken SCRAM", async () => {
      const sasl = (text: string) => frame("p", Buffer.from(`SCRAM-SHA-256\0`), int32(text.length), Buffer.from(text));
      for (const bytes of [
        query("SELECT 1"),
        Buffer.concat([Buffer.from("p"), int32(0x7fffffff)]),
        Buffer.concat([Buffer.from("p"), int32(3)]),
        frame("p", Buffer.from("PLAIN\0"), int32(4), Buffer.from("abcd")),
        frame("p", Buffer.from("SCRAM-SHA-256\0"), int32(0x7fffffff)),
        sasl("n,,n=,r="),
        sasl("y,,"),
        sasl("n,,n=,r=abc,,,,"),
        frame("p", randomBytes(1000)),
      ]) {
        const wire = await dial();
        wire.send(startup({ user: target.user, database: target.database }));
        expect((await wire.next())?.type).toBe("R");
        wire.send(bytes);
        const messages = await wire.readToEnd();
        expect(messages.at(-1)?.type).toBe("E");
        expect(["08P01", "28P01"]).toContain(fieldsOf(messages.at(-1)).C);
        expect(messages.some(({ type }) => type === "Z")).toBe(false);
      }
    });

    it("after login: unknown types, lengths below 4 and above PostgreSQL's own largest", async () => {
      for (const [bytes, message] of [
        [frame("z"), "invalid frontend message type 122"],
        [frame("p", Buffer.from("again\0")), "invalid frontend message type 112"],
        [Buffer.from([0, 0, 0, 0, 8, 4, 210, 22, 47]), "invalid frontend message type 0"],
        [Buffer.concat([Buffer.from("Q"), int32(3)]), "invalid message length"],
        [Buffer.concat([Buffer.from("Q"), int32(0x7fffffff)]), "invalid message length"],
        [Buffer.concat([Buffer.from("B"), int32(0xffffffff)]), "invalid message length"],
      ] as const) {
        const wire = await login();
        wire.send(bytes);
        await expectFatal(wire, message);
      }
    });

    it("claims of a gigabyte are not believed in memory", async () => {
      const before = await residentBytes();
      const wires = await Promise.all(Array.from({ length: 40 }, login));
      for (const wire of wires) wire.send(Buffer.from("Q"), int32(0x3fffffff), Buffer.alloc(1000, "x"));
      const early = await Promise.all(Array.from({ length: 40 }, () => dial()));
      for (const wire of early) wire.send(int32(9_999));
      expect((await witness.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      expect((await residentBytes()) - before).toBeLessThan(300_000_000);
      for (const wire of [...wires, ...early]) wire.destroy();
    });

    it("random bytes on 500 connections", async () => {
      for (let round = 0; round < 10; round++) {
        const wires = await Promise.all(Array.from({ length: 50 }, () => dial()));
        const ends = wires.map(async (wire, i) => {
          const noise = randomBytes(1 + Math.floor(1000 * (i / 50)));
          noise[0] = i % 3 ? 0xff : 0; // most are too long at once, some wait for more
          wire.send(noise);
          if (i % 3) await wire.closed();
          wire.destroy();
        });
        await Promise.all(ends);
      }
    });

    it("random bytes after login, and random messages of known types", async () => {
      const types = "QPBDECSHFdcf";
      for (let i = 0; i < 60; i++) {
        const wire = await login();
        if (i % 2) wire.send(randomBytes(300));
        else for (let n = 0; n < 10; n++) wire.send(frame(types[(i + n) % types.length] as string, randomBytes(n * 7)));
        wire.end();
        const messages: Message[] = await wire.readToEnd().catch(() => []);
        for (const { type } of messages) expect("EZNS123nTtDCIsGHWdcVA").toContain(type);
      }
    });

    it("requests to the API that make no sense: 4xx with reasons, never 500", async () => {
      const { api_url, api_key } = fleet.gateway.credentials;
      const api = makeApi(api_url, api_key);
      const ids = ["a'b", 'a"b', "a;DROP TABLE tenants", "ünïcödé", "a__b", "%00", "a/b", "x".repeat(5000), "A", " ", "-", "🐘"];
      const wrong: unknown[] = [];
      const note = ({ status, body }: { status: number; body: { success?: boolean; code?: string } }, what: unknown, ...allowed: number[]) => {
        if (!allowed.includes(status) || body.success !== false || !body.code) wrong.push([what, status, body]);
      };
      for (const id of ids) {
        const path = encodeURIComponent(id);
        for (const [method, url] of [
          ["GET", `/tenants/${path}`],
          ["DELETE", `/tenants/${path}?hard=true`],
          ["GET", `/workspaces/${path}`],
          ["GET", `/blueprints/${path}/versions`],
          ["GET", `/deployments/${path}`],
          ["DELETE", `/apikeys/${path}`],
        ] as const) {
          note(await api(method, url), `${method} ${url.slice(0, 60)}`, 400, 404, 405, 414);
        }
        note(await api("POST", "/tenants", { tenant_id: id, databases: [{ blueprint: "myapp" }] }), ["tenant", id.slice(0, 60)], 400);
        note(await api("POST", "/workspaces", { name: id, database: "PostgreSQL" }), ["workspace", id.slice(0, 60)], 400);
      }
      for (const body of [
        '{"',
        "",
        "null",
        "[]",
        '"text"',
        "1e999",
        '{"tenant_id":1,"databases":[]}',
        '{"tenant_id":"ok","databases":"myapp"}',
        '{"tenant_id":"ok","databases":[{"blueprint":"myapp"}],"extra":1}',
        '{"__proto__":{"tenant_id":"ok"}}',
        `${"[".repeat(100_000)}`,
        '{"tenant_id":"ok","databases":[{"blueprint":"myapp","isolation_level":"x"}]}',
      ]) {
        note(await api("POST", "/tenants", body), body.slice(0, 60), 400);
      }
      for (const [path, body] of [
        ["/tenants/wayne/query", { query: 1 }],
        ["/tenants/wayne/query", { query: "SELECT \u0000" }],
        ["/tenants/wayne/query", { query: "SELECT $1", params: { a: 1 } }],
        ["/tenants/wayne/query", { query: "SELECT 1/0" }],
        ["/tenants/wayne/query", { query: "" }],
        ["/deployments", { blueprint_name: "nope", deploy_all: true }],
        ["/deployments", { blueprint_name: "myapp", version: -1, deploy_all: true }],
        ["/apikeys", { name: "x", role: "root" }],
        ["/apikeys", { name: "x", expires_at: "yesterday" }],
        ["/login", { email: 1 }],
        ["/signup", { email: "a@b.c", password: "short" }],
      ] as const) {
        note(await api("POST", path, body), [path, body], 400, 401, 404);
      }
      for (const patch of [
        { max_connections: 0 },
        { max_connections: 1e9 },
        { pool_mode: "statement" },
        { unknown: 1 },
        { query_timeout_ms: "1" },
        [],
      ]) {
        note(await api("PATCH", "/workspaces/myapp/settings", patch), ["settings", patch], 400);
      }
      note(await api("GET", "/tenants?limit=banana"), "limit", 400);
      note(await api("GET", "/tenants?cursor=%00%ff"), "cursor", 400);
      note(await api("GET", "/nowhere"), "path", 404);
      note(await api("POST", "/tenants", `{"tenant_id":"${"x".repeat(10_000_000)}"}`), "10 MB", 413);
      for (const authorization of ["", "Bearer", "Bearer x", "Basic eDp5", `Bearer ${"x".repeat(5000)}`, `Bearer ${api_key}x`]) {
        note(await makeApi(api_url, "")("GET", "/tenants", undefined, authorization ? { authorization } : {}), authorization.slice(0, 30), 401);
      }
      expect(wrong).toEqual([]);
      expect((await api("GET", "/health")).status).toBe(200);
    });
  });
}
