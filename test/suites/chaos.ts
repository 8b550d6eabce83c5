/**
 * Clients that commit while everything around them is killed: what they were told committed is there once, the rest at most once. Afterwards the
 * gateway has what it had before them. `TDB_CHAOS_ROUNDS` makes it longer, `TDB_CHAOS_SEED` does another one.
 */
import { readdir } from "node:fs/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../core/log.ts";
import { isAlive } from "../../gateway/embedded/process.ts";
import { type EmbeddedServer, startEmbedded } from "../../gateway/embedded.ts";
import { makeApi } from "../e2e/support/api.ts";
import { childrenOf } from "../e2e/support/children-of.ts";
import { connect, parseTarget, psql, refusal } from "../e2e/support/clients.ts";
import { type GatewayProcess, makeDataDir, type RuntimeUnderTest, removeDataDir, startGateway } from "../e2e/support/gateway.ts";
import { at } from "../e2e/support/instances.ts";
import { until } from "../e2e/support/until.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { Ledger } from "./ledger.ts";

const rounds = Number(process.env.TDB_CHAOS_ROUNDS ?? 1);
const seed = Number(process.env.TDB_CHAOS_SEED ?? 20_261_130);
const budgetMs = 60_000 + rounds * 60_000;
const password = "superuser-of-the-test";

/** In the gateway's process: on SIGUSR2 it says what keeps it busy, and how much of its heap is left after two collections. */
const probe = `import v8 from "node:v8"; import vm from "node:vm"; v8.setFlagsFromString("--expose-gc"); const gc = vm.runInNewContext("gc");
process.on("SIGUSR2", () => { gc(); setImmediate(() => { gc(); const kinds = {}; for (const kind of process.getActiveResourcesInfo()) kinds[kind] = (kinds[kind] ?? 0) + 1;
process.stderr.write("PROBE " + JSON.stringify({ kinds, heap: process.memoryUsage().heapUsed }) + "\\n"); }); });`;
const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(probe)}` };

/** What a gateway at rest holds: open descriptors, timers and sockets by kind, bytes of heap. */
interface Held {
  readonly descriptors: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly heap: number;
}

export function describeChaos(runtime: RuntimeUnderTest): void {
  describe(`everything killed under ${runtime}, seed ${seed}`, () => {
    const random = new Prng(seed);
    let serverDir: string;
    let server: EmbeddedServer;
    let gateway: GatewayProcess;
    let args: string[];
    let ledgers: Ledger[];

    const startServer = () => startEmbedded({ dataDir: serverDir, superuserPassword: password, log: silentLog, maxConnections: 60 });
    const superuser = { user: "postgres", password };

    async function native<Row extends object>(sql: string, database = "postgres"): Promise<Row[]> {
      const { socketDir, port } = server.connection as { socketDir: string; port: number };
      const client = new pg.Client({ ...superuser, host: socketDir, port, database });
      client.on("error", () => undefined);
      await client.connect();
      try {
        return (await client.query(sql)).rows as Row[];
      } finally {
        await client.end();
      }
    }

    beforeAll(async () => {
      serverDir = await makeDataDir();
      server = await startServer();
      const { socketDir, port } = server.connection as { socketDir: string; port: number };
      args = ["--database-url", `postgresql://postgres:${password}@localhost:${port}/postgres?host=${encodeURIComponent(socketDir)}`];
      args.push("--backend-budget=12", "--ip-connect-burst=100000", "--ip-connect-rate=10000", "--server-check-delay-s=1");
      gateway = await startGateway({ runtime, args, env, dataDir: await makeDataDir() });
      const { project_id, proxy_password, api_url, api_key } = gateway.credentials;
      const api = makeApi(api_url, api_key);
      await api("POST", "/workspaces", { name: "myapp" });
      const workspace = { user: project_id, password: proxy_password, database: "myapp_workspace" };
      expect((await psql(gateway, workspace, "CREATE TABLE ledger (id text)")).stderr).toBe("");
      ledgers = [];
      for (const [tenant, pool_mode] of [
        ["wayne", "session"],
        ["globex", "transaction"],
      ] as const) {
        const { body } = await api("POST", "/tenants", { tenant_id: tenant, databases: [{ blueprint: "myapp" }] });
        expect((await api("PATCH", `/tenants/${tenant}/settings`, { pool_mode })).status).toBe(200);
        const target = { ...parseTarget(body.databases[0].connection_string), sslmode: "disable" as const };
        ledgers.push(new Ledger(tenant, target, () => gateway));
      }
    }, 120_000);
    afterAll(async () => {
      await gateway?.dispose();
      await server?.stop();
      await removeDataDir(serverDir);
    });

    /** Faults land in the middle of work: each ledger goes on by a random number of rows first. */
    async function progress(rows: number): Promise<void> {
      for (const ledger of ledgers) {
        const enough = ledger.acknowledged.size + 1 + random.int(rows);
        await until(
          () => ledger.acknowledged.size >= enough,
          () => gateway.errors().slice(-3000),
        );
      }
    }

    const roleOf = "usename ~ '^tdb_[0-9a-f]{16}_(admin|write|read)$'";
    const endBackends = () => native(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${roleOf} LIMIT 3`);
    const dropClients = () => {
      for (const ledger of ledgers) ledger.drop();
    };
    const reload = () => gateway.signal("SIGHUP");
    /** The server ends all others and starts over. */
    const killBackend = async () => {
      const [row] = await native<{ pid: number }>(`SELECT pid FROM pg_stat_activity WHERE ${roleOf} LIMIT 1`);
      if (row) process.kill(row.pid, "SIGKILL");
    };
    const stopServer = async () => {
      process.kill(server.pid, "SIGKILL");
      await server.ended;
      await server.stop();
    };
    /** Also its backends, which outlive it until they look: an idle one of them could still be lent, and would answer. */
    const stopServerWhole = async () => {
      const children = await childrenOf(server.pid);
      expect(children.length).toBeGreaterThan(0);
      await stopServer();
      await until(async () => (await Promise.all(children.map(isAlive))).every((alive) => !alive));
    };
    const startAgain = () =>
      until(async () => {
        const again = await startServer().catch(() => undefined); // its children outlive it for a moment
        server = again ?? server;
        return again !== undefined;
      });
    const killServer = async () => {
      await stopServer();
      await startAgain();
    };
    const killGateway = async () => {
      await gateway.stop("SIGKILL");
      gateway = at(await startGateway({ runtime, args, env, dataDir: gateway.dataDir }));
    };

    const countSessions = () => ledgers.reduce((sum, { sessions }) => sum + sessions, 0);

    /** @param sessions how many there are to be at the least. */
    async function under(all: readonly (() => unknown)[], sessions = 0): Promise<void> {
      const enough = countSessions() + sessions;
      for (const ledger of ledgers) ledger.start(4);
      for (const left = [...all]; left.length > 0; ) {
        const [fault] = left.splice(random.int(left.length), 1);
        await progress(60);
        await fault?.();
      }
      await progress(60);
      await until(() => countSessions() >= enough);
      await Promise.all(ledgers.map((ledger) => ledger.stop()));
    }

    it(
      "what was told committed is there, once; what was not, at most once",
      async () => {
        for (let round = 0; round < rounds; round++) await under([endBackends, dropClients, reload, killBackend, killServer, killGateway]);
        const names = await native<{ name: string; tenant: string }>(
          "SELECT database_name AS name, tenant_id AS tenant FROM tenantry.tenant_databases",
        );
        for (const ledger of ledgers) {
          const { name } = names.find(({ tenant }) => tenant === ledger.name)!;
          const rows = await native<{ id: string; times: number }>("SELECT id, count(*)::int AS times FROM ledger GROUP BY id", name);
          expect(rows.filter(({ times }) => times > 1)).toEqual([]);
          const there = new Set(rows.map(({ id }) => id));
          expect([...ledger.acknowledged].filter((id) => !there.has(id))).toEqual([]);
          expect([...there].filter((id) => !ledger.acknowledged.has(id) && !ledger.unknown.has(id))).toEqual([]);
          expect(ledger.unknown.size).toBeGreaterThan(0); // the faults did hit somebody
        }
      },
      budgetMs,
    );

    async function samples(name: string): Promise<Record<string, number>> {
      const text = await (await fetch(`${gateway.credentials.api_url}/metrics`)).text();
      const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return Object.fromEntries(lines.map((line) => [/(?:state|cluster)="([a-z]+)"\}/.exec(line)?.[1] ?? "", Number(line.split(" ").at(-1))]));
    }

    /** Once nobody is there any more, and everything that was given back is. */
    async function held(): Promise<Held> {
      await until(async () => Object.values(await samples("tenantry_sessions")).every((count) => count === 0));
      await until(async () => {
        const { leased, waiting, closing } = await samples("tenantry_pool_connections");
        return leased === 0 && waiting === 0 && closing === 0;
      });
      const from = gateway.errors().length;
      gateway.signal("SIGUSR2");
      await until(() => /PROBE .*\n/.test(gateway.errors().slice(from)));
      const { kinds, heap } = JSON.parse(/PROBE (.*)\n/.exec(gateway.errors().slice(from))![1]!);
      return { descriptors: (await readdir(`/proc/${gateway.pid}/fd`)).length, kinds, heap };
    }

    it(
      "the gateway's counts are the truth, and it holds no more than before 150 sessions",
      async () => {
        // What the server's own recovery takes is not waited for in every run of the tests.
        const all = [endBackends, dropClients, reload, dropClients, ...(rounds > 1 ? [killBackend, killServer] : [])];
        await under(all, 150); // what is made once is made
        const before = await held();
        const sessionsBefore = countSessions();
        for (let round = 0; round < rounds; round++) await under(all, 150);
        const after = await held();
        const sessions = countSessions() - sessionsBefore;
        await until(async () => {
          const [row] = await native<{ n: number }>(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE ${roleOf}`);
          return row?.n === (await samples("tenantry_pool_connections")).open;
        });
        // A leak of one for each session, or for each fifth of them, would be above.
        const slack = 20;
        expect(after.descriptors).toBeLessThan(before.descriptors + slack);
        for (const [kind, count] of Object.entries(after.kinds))
          expect([kind, count - (before.kinds[kind] ?? 0) < slack, count]).toEqual([kind, true, count]);
        expect((after.heap - before.heap) / sessions, "bytes of heap for each session").toBeLessThan(20_000);
        expect(await samples("tenantry_server_down")).toEqual({ main: 0 });
      },
      budgetMs,
    );

    it("a backend that no longer answers is not lent: the client gets another", async () => {
      const { target } = ledgers[0]!;
      await (await connect(gateway, target)).end();
      const resting = `SELECT pid FROM pg_stat_activity WHERE ${roleOf} AND state = 'idle' AND clock_timestamp() - state_change > interval '1.2 s'`;
      await until(
        async () => (await native(resting)).length > 0 && (await samples("tenantry_pool_connections")).idle === (await native(resting)).length,
      );
      const stopped = await native<{ pid: number }>(resting);
      const before = await samples("tenantry_pool_vanished_total");
      for (const { pid } of stopped) process.kill(pid, "SIGSTOP");
      try {
        const client = await connect(gateway, target);
        const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
        expect(stopped.map(({ pid }) => pid)).not.toContain(rows[0].pid);
        await client.end();
        expect((await samples("tenantry_pool_vanished_total")).main).toBe((before.main ?? 0) + 1);
      } finally {
        for (const { pid } of stopped) process.kill(pid, "SIGCONT");
      }
    });

    it("a server that is down: every client is told, few of them ask it, and all are in when it is back", async () => {
      const { target } = ledgers[1]!;
      await (await connect(gateway, target)).end(); // the store is on that server too: its key is known from here on
      await stopServerWhole();
      for (let i = 0; i < 8; i++)
        expect(await refusal(connect(gateway, target))).toEqual(["08006", 'database server for "myapp__globex" is not reachable']);
      expect(await samples("tenantry_server_down")).toEqual({ main: 1 });
      expect((await samples("tenantry_server_logins_spared_total")).main).toBeGreaterThan(0);
      await startAgain();
      await until(() =>
        connect(gateway, target).then(
          (client) => client.end().then(() => true),
          () => false,
        ),
      );
      expect(await samples("tenantry_server_down")).toEqual({ main: 0 });
      expect(gateway.errors()).toContain("database server answers again");
    });
  });
}
