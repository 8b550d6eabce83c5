/** Every message of the gateway as people see it: in the client of each language that is here, over TLS and in clear. */

import { spawn } from "node:child_process";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, type Target } from "../e2e/support/clients.ts";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import { collect } from "../e2e/support/gateway.ts";
import { openNativeServer } from "../e2e/support/native.ts";
import { until } from "../e2e/support/until.ts";
import { go } from "./go/manifest.ts";
import { java } from "./java/manifest.ts";
import { python } from "./python/manifest.ts";
import type { Language } from "./support/language.ts";

interface Case {
  readonly who: Target;
  readonly sql: string;
  readonly expected: string | RegExp;
}

/** Shows what each case shows its user, one text each. */
type Client = (cases: readonly Case[], sslmode: "require" | "disable") => Promise<string[]>;

const absent: Record<string, string> = {};
let fleet: Fleet;

/** A program that reads cases from its standard input. */
function program(language: Language, command: string, ...args: string[]): Client {
  return async (cases, sslmode) => {
    const lines = cases.map(({ who, sql }) => [...address(), who.user, who.password, who.database, sslmode, sql].join("\t"));
    const child = spawn(command, args, { env: { ...process.env, ...language.env?.() }, cwd: language.workDir() });
    const { stdout, stderr } = await collect(child, `${lines.join("\n")}\n`);
    if (stdout === "") throw new Error(stderr);
    return stdout.trimEnd().split("\n");
  };
}

const address = () => ["127.0.0.1", String(fleet.gateway.credentials.pg_port)];

const psql: Client = async (cases, sslmode) => {
  const shown: string[] = [];
  for (const { who, sql } of cases) {
    const [PGHOST = "", PGPORT = ""] = address();
    const env = { ...process.env, PGHOST, PGPORT, PGUSER: who.user, PGPASSWORD: who.password, PGDATABASE: who.database, PGSSLMODE: sslmode };
    const { stderr } = await collect(spawn("psql", ["-X", "-q", "-c", sql], { env, stdio: ["ignore", "pipe", "pipe"] }));
    shown.push(stderr.replaceAll(/\s+/g, " ") || "no error");
  }
  return shown;
};

const nodePostgres: Client = async (cases, sslmode) => {
  const shown: string[] = [];
  for (const { who, sql } of cases) {
    const [host = "", port] = address();
    const client = new pg.Client({
      host,
      port: Number(port),
      ...who,
      ssl: sslmode === "require" ? { rejectUnauthorized: false } : false,
      options: "",
    });
    client.on("error", () => undefined);
    const error = await client
      .connect()
      .then(() => client.query(sql))
      .then(
        () => "no error",
        (failure: Error) => failure.message,
      );
    await client.end();
    shown.push(error);
  }
  return shown;
};

const clients: Record<string, Client> = {
  psql,
  "node-postgres": nodePostgres,
  psycopg: program(python, "python", `${import.meta.dirname}/python/messages.py`, "psycopg"),
  psycopg2: program(python, "python", `${import.meta.dirname}/python/messages.py`, "psycopg2"),
  asyncpg: program(python, "python", `${import.meta.dirname}/python/messages.py`, "asyncpg"),
  pgx: program(go, "messages"),
  pgjdbc: program(java, "java", "-XX:TieredStopAtLevel=1", "tenantry.Messages"),
};
const languageOf: Record<string, Language> = { psycopg: python, psycopg2: python, asyncpg: python, pgx: go, pgjdbc: java };

/** One address plays more clients here than one would be told so much. */
const everyReply = { replies_per_min: 1_000_000 };

describe("messages in real clients", () => {
  let held: pg.Client;
  const sql = "SELECT 1";
  let tenant: Target;
  let read: Target;

  beforeAll(async () => {
    for (const [name, language] of Object.entries({ python, go, java })) {
      const why = await language.prepare();
      if (why === undefined) continue;
      console.warn(`${name} is skipped: ${why}`);
      for (const client of Object.keys(languageOf)) if (languageOf[client] === language) absent[client] = why;
    }
    fleet = await makeFleet("node");
    await fleet.addTenant("asleep");
    await fleet.addTenant("gone");
    await fleet.addTenant("busy");
    await fleet.api("POST", "/tenants/asleep/suspend");
    await fleet.api("DELETE", "/tenants/gone");
    await fleet.api("PATCH", "/tenants/busy/settings", { max_connections: 1 });
    await fleet.api("PATCH", "/tenants/globex/settings", { max_rows_per_query: 3, query_timeout_ms: 200 });
    await fleet.api("POST", "/workspaces", { name: "mysql_test", database: "MySQL" });
    tenant = fleet.tenant("wayne");
    held = await connect(fleet.gateway, fleet.tenant("busy"));
    const key = await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["wayne"] });
    read = { ...tenant, password: key.password };
  }, 600_000);
  afterAll(async () => {
    await held?.end();
    await fleet?.dispose();
  });

  /** Runs the cases in every client that is here, over TLS and in clear. */
  async function see(cases: readonly Case[], modes: readonly ("require" | "disable")[] = ["require", "disable"]): Promise<void> {
    for (const [name, client] of Object.entries(clients)) {
      if (absent[name] !== undefined) continue;
      for (const sslmode of modes) {
        const shown = await client(cases, sslmode);
        expect(shown, `${name}, ${sslmode}`).toHaveLength(cases.length);
        cases.forEach(({ expected }, i) => {
          const matcher = typeof expected === "string" ? expect.stringContaining(expected) : expect.stringMatching(expected);
          expect([name, sslmode, shown[i]]).toEqual([name, sslmode, matcher]);
        });
      }
    }
  }

  /**
   * Runs a statement in every client at once, with one key that `end` is told of when all are at it, and looks at what they show.
   * psycopg2 asks libpq for the last of several errors, which is that the connection is closed; so it does when PostgreSQL itself ends a session.
   */
  async function seeTogether(who: Target, expected: string, end: (keyId: string) => Promise<unknown>): Promise<void> {
    await fleet.api("PATCH", "/tenants/wayne/settings", { max_connections: 100 });
    const { id, password } = await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["wayne"] });
    const here = Object.entries(clients).filter(([name]) => absent[name] === undefined);
    const runs = here.flatMap(([name, client]) =>
      (["require", "disable"] as const).map(async (sslmode) => {
        const shown = await client([{ who: { ...who, password }, sql: "SELECT pg_sleep(100)", expected }], sslmode);
        return [name, sslmode, shown[0]];
      }),
    );
    await until(async () => (await countRunning()) === runs.length);
    await end(id);
    for (const [name, sslmode, shown] of await Promise.all(runs)) {
      const told = name === "psycopg2" ? expect.stringMatching(/closed (the connection )?unexpectedly/) : expect.stringContaining(expected);
      expect([name, sslmode, shown]).toEqual([name, sslmode, told]);
    }
  }

  async function countRunning(): Promise<number> {
    const { body } = await fleet.api("GET", "/sessions");
    return body.sessions.filter((session: { state: string }) => session.state === "active").length;
  }

  /** Where a connection may get through between two refused ones: of many, some are refused, each in these words. */
  async function seeSometimes(refused: Case & { readonly expected: RegExp }): Promise<void> {
    for (const [name, client] of Object.entries(clients)) {
      if (absent[name] !== undefined) continue;
      for (const sslmode of ["require", "disable"] as const) {
        const shown = await client(new Array<Case>(8).fill(refused), sslmode);
        const others = shown.filter((text) => !refused.expected.test(text));
        expect(others.length, `${name}, ${sslmode}`).toBeLessThan(shown.length);
        expect(others.filter((text) => !text.includes("no error"))).toEqual([]);
      }
    }
  }

  it("at login: password, scope, state, engine, limits; afterwards: DDL, COPY, rows, time, role", async () => {
    const workspaceKey = await fleet.makeKey({ scope_type: "workspace", scope_values: ["myapp"] });
    const on = (database: string, who = tenant): Target => ({ ...who, database });
    await until(async () => (await psql([{ who: fleet.tenant("busy"), sql, expected: "" }], "require"))[0]?.includes("max_connections") === true);
    await see([
      { who: tenant, sql, expected: "no error" },
      { who: { ...tenant, user: "tdb_00000000" }, sql, expected: 'password authentication failed for user "tdb_00000000"' },
      {
        who: fleet.project("myapp__wayne"),
        sql,
        expected: "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key",
      },
      {
        who: on("other_app_workspace", { ...tenant, password: workspaceKey.password }),
        sql,
        expected: 'credential scoped to workspaces [myapp], attempted workspace "other_app"',
      },
      { who: on("myapp__globex"), sql, expected: 'credential scoped to tenants [wayne], attempted tenant "globex"' },
      { who: on("myapp_workspace"), sql, expected: 'credential scoped to tenants [wayne], attempted workspace "myapp"' },
      {
        who: fleet.project("mysql_test_workspace"),
        sql,
        expected: 'blueprint "mysql_test" is MySQL, not PostgreSQL. Connect via the mysql proxy instead.',
      },
      { who: fleet.project("nothing_workspace"), sql, expected: 'database "nothing_workspace" does not exist' },
      { who: fleet.tenant("asleep"), sql, expected: 'tenant "asleep" is suspended' },
      { who: on("myapp__gone", { ...tenant, password: workspaceKey.password }), sql, expected: 'tenant "gone" is in trash' },
      { who: fleet.tenant("busy"), sql, expected: 'too many connections for database "myapp__busy" (max_connections = 1)' },
      { who: tenant, sql: "CREATE TABLE t (i int)", expected: "DDL not allowed on tenant databases, use workspace mode" },
      {
        who: tenant,
        sql: "COPY accounts TO STDOUT",
        expected: "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.",
      },
      { who: fleet.tenant("globex"), sql: "SELECT generate_series(1, 9)", expected: "query exceeded max_rows_per_query (3)" },
      { who: fleet.tenant("globex"), sql: "SELECT pg_sleep(9)", expected: "query exceeded query_timeout_ms (200)" },
      { who: read, sql: "DELETE FROM accounts", expected: "permission denied for table accounts" },
    ]);
  }, 300_000);

  it("a key that has expired, and one revoked while a statement runs", async () => {
    const soon = await fleet.api("POST", "/apikeys", {
      ...{ name: "short", role: "read", scope_type: "tenant", scope_values: ["wayne"] },
      expires_at: new Date(Date.now() + 1000).toISOString(),
    });
    expect(soon.status).toBe(201);
    await new Promise((done) => setTimeout(done, 1500));
    const expired = { ...tenant, password: soon.body.proxy_password };
    // A good login in between, so that nobody is banned.
    await see([
      { who: expired, sql, expected: `password authentication failed for user "${tenant.user}"` },
      { who: tenant, sql, expected: "no error" },
    ]);
    await seeTogether(tenant, "terminating connection: the credential was revoked or has expired", async (id) => {
      await fleet.api("DELETE", `/apikeys/${id}`);
    });
  }, 120_000);

  it("a database server that cannot be reached", async () => {
    const globex = fleet.tenant("globex");
    const { password } = await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["globex"] });
    // Whose key it is, is known from now on; of its role no backend is there.
    await (await connect(fleet.gateway, globex)).end();
    const socket = join(openNativeServer(fleet.gateway).socketDir, ".s.PGSQL.5432");
    await rename(socket, `${socket}.away`);
    try {
      await see([{ who: { ...globex, password }, sql, expected: 'database server for "myapp__globex" is not reachable' }]);
    } finally {
      await rename(`${socket}.away`, socket);
    }
  }, 120_000);

  it("a gateway that stops while a statement runs", async () => {
    const before = fleet;
    fleet = await makeFleet("node", ["--drain-s=1"]);
    try {
      await seeTogether(fleet.tenant("wayne"), "terminating connection due to gateway shutdown", () => fleet.gateway.stop());
    } finally {
      await fleet.dispose();
      fleet = before;
    }
  }, 120_000);

  it("TLS demanded, in clear", async () => {
    await fleet.reload({ tls: { required: "always" } });
    await see([{ who: tenant, sql, expected: "TLS is required: connect with sslmode=require" }], ["disable"]);
    await fleet.reload({});
  }, 120_000);

  it("too many connections, connecting too fast", async () => {
    await fleet.reload({ ip: { max_connections: 1 } });
    await see([{ who: tenant, sql, expected: "connection rejected: too many connections from your IP (limit 1)" }]);
    await fleet.reload({ ip: { connect_rate: 1, connect_burst: 1, max_connections: 1000, ...everyReply } });
    const flood = setInterval(() => void nodePostgres([{ who: tenant, sql, expected: "" }], "disable"), 100);
    try {
      await until(async () => (await nodePostgres([{ who: tenant, sql, expected: "" }], "disable"))[0]?.includes("too fast") === true);
      await seeSometimes({ who: tenant, sql, expected: /connection rejected: your IP is connecting too fast, retry in \d+s/ });
    } finally {
      clearInterval(flood);
    }
    await fleet.reload({});
  }, 180_000);

  it("banned: at every retry, seconds counting down", async () => {
    await fleet.reload({ auth_ban: { threshold: 3, ban_s: 900 }, ip: everyReply });
    for (let i = 0; i < 3; i++) await nodePostgres([{ who: { ...tenant, password: "wrong" }, sql, expected: "" }], "require");
    const text = /connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in \d+s/;
    const attempt = { who: tenant, sql, expected: text };
    await see([attempt, attempt, attempt]);
  }, 120_000);
});
