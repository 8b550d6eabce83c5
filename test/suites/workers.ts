/** Two workers behind one port are one gateway: limits, bans, places, room for backends, cancel requests, sessions, metrics, changes, endings. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import { connect as dialTls } from "node:tls";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, ending, failure, from, refusal, type Target } from "../e2e/support/clients.ts";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import { type GatewayProcess, type RuntimeUnderTest, startGateway } from "../e2e/support/gateway.ts";
import { redirectClients } from "../e2e/support/redirect-clients.ts";
import { until } from "../e2e/support/until.ts";
import { workerOf, workerPids } from "../e2e/support/worker-of.ts";
import { respCommand } from "../engines/support/openings.ts";

const budget = 6;
const placesPerAddress = 8;
const connectBurst = 40;
const banThreshold = 5;
const placesOfSmall = 3;
const flags = [
  ...["--workers=2", `--backend-budget=${budget}`, "--backend-reserve-percent=0", `--auth-ban-threshold=${banThreshold}`],
  ...[`--ip-max-connections=${placesPerAddress}`, "--ip-connect-rate=1", `--ip-connect-burst=${connectBurst}`],
  ...["--mysql-port=0", "--mongo-port=0", "--redis-port=0"],
];

export function describeWorkers(runtime: RuntimeUnderTest): void {
  describe(`two workers under ${runtime}`, () => {
    let fleet: Fleet;
    let gateway: GatewayProcess;
    let wayne: Target;
    /** Its database has few places. */
    let small: Target;
    let address = 20;
    /** Each with limits of its own. */
    const nextAddress = () => `127.0.${3 + (++address >> 8)}.${address & 255}`;

    beforeAll(async () => {
      fleet = await makeFleet(runtime, flags);
      gateway = fleet.gateway;
      wayne = fleet.tenant("wayne");
      small = await fleet.addTenant("small");
      expect((await fleet.api("PATCH", "/tenants/small/settings", { max_connections: placesOfSmall })).status).toBe(200);
    });
    afterAll(async () => {
      await gateway?.stop();
      await fleet?.dispose();
    });

    const placeOf = (client: pg.Client) => workerOf(gateway, (client as unknown as { connection: { stream: Socket } }).connection.stream);
    const pgPort = () => gateway.credentials.pg_port;
    const inClear = (target: Target): Target => ({ ...target, sslmode: "disable" });
    /** Connects until one comes to this worker; the others leave. A place or backend that has just been left may take a moment to be free. */
    async function connectAt(place: number, target: Target): Promise<pg.Client> {
      let found: pg.Client | undefined;
      let last: unknown;
      const attempt = async () => {
        const client = await connect(gateway, inClear(target), from(nextAddress()));
        const isThere = await placeOf(client).then(
          (found) => found === place,
          (error) => client.end().then(() => Promise.reject(error)),
        );
        if (isThere) found = client;
        else await client.end();
      };
      await until(
        async () => {
          await attempt().catch((error) => {
            last = error;
          });
          return found !== undefined;
        },
        () => String(last),
      );
      return found as pg.Client;
    }
    const onBoth = (target: Target) => Promise.all([0, 1].map((place) => connectAt(place, target)));
    /** What a login is refused with; one that is not leaves again. */
    const refused = (target: Target, localAddress = nextAddress()) =>
      refusal(connect(gateway, inClear(target), from(localAddress)).then((client) => client.end()));
    const endAll = (clients: readonly pg.Client[]) => Promise.all(clients.map((client) => client.end()));
    const metric = async (name: string) => {
      const text = await (await fetch(`${gateway.credentials.api_url}/metrics`)).text();
      return Number(new RegExp(`^${name.replace(/[{}]/g, "\\$&")} (\\S+)$`, "m").exec(text)?.[1]);
    };

    it("both serve clients; sessions and metrics are of both, and each session can be ended", async () => {
      const clients = await onBoth(wayne);
      for (const client of clients) expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      await until(async () => (await fleet.api("GET", "/sessions")).body.count === 2);
      const { body } = await fleet.api("GET", "/sessions");
      expect([await metric("tenantry_workers"), await metric('tenantry_sessions{state="idle"}')]).toEqual([2, 2]);
      const ends = clients.map(ending);
      for (const { id } of body.sessions) expect((await fleet.api("DELETE", `/sessions/${id}`)).status).toBe(200);
      for (const end of await Promise.all(ends)) expect(end).toMatchObject({ code: "57P01" });
    });

    it.runIf(runtime === "node")("resume a TLS session whichever of them began it", async () => {
      const openTls = async (session?: Buffer) => {
        const where = { host: "127.0.0.1", port: pgPort(), localAddress: nextAddress() };
        const socket = dialTls({ ...where, ALPNProtocols: ["postgresql"], rejectUnauthorized: false, ...(session && { session }) });
        const ticket = session ?? once(socket, "session").then(([made]) => made as Buffer);
        await once(socket, "secureConnect");
        const opened = { ticket: await ticket, isResumed: socket.isSessionReused(), place: await workerOf(gateway, socket) };
        socket.destroy();
        return opened;
      };
      const first = await openTls();
      const resumedAt = new Set<number>();
      await until(async () => {
        const next = await openTls(first.ticket);
        expect(next.isResumed).toBe(true);
        return resumedAt.add(next.place).size === 2;
      });
    });

    it("count the connections of an address together", async () => {
      const own = nextAddress();
      const sockets: Socket[] = [];
      for (let i = 0; i < placesPerAddress; i++) sockets.push(await openSocket(pgPort(), own));
      // The kernel takes connections before a worker does.
      await until(async () => (await metric('tenantry_sessions{state="login"}')) === placesPerAddress);
      const told = `connection rejected: too many connections from your IP (limit ${placesPerAddress})`;
      expect(await refused(wayne, own)).toEqual(["53300", told]);
      sockets.pop()?.destroy();
      await until(() =>
        connect(gateway, inClear(wayne), from(own)).then(
          (client) => client.end().then(() => true),
          () => false,
        ),
      );
      for (const socket of sockets) socket.destroy();
    });

    it("count how fast an address connects together", async () => {
      const own = nextAddress();
      for (let opened = 0; opened < connectBurst; opened += placesPerAddress) {
        const sockets = await Promise.all(Array.from({ length: placesPerAddress }, () => openSocket(pgPort(), own)));
        await until(async () => (await metric('tenantry_sessions{state="login"}')) === placesPerAddress);
        for (const socket of sockets) socket.destroy();
        await until(async () => (await metric('tenantry_sessions{state="login"}')) === 0);
      }
      let message = "";
      // What a slow machine regains meanwhile is far from what two workers by themselves would allow.
      for (let i = 0; i < connectBurst - 5 && !message; i++) message = await openings(gateway, own, wayne);
      expect(message).toMatch(/^connection rejected: your IP is connecting too fast, retry in \d+s$/);
    });

    it("count wrong passwords together, ban on both, and let in again on both", async () => {
      const own = from(nextAddress());
      const wrong = inClear({ ...wayne, password: "tdb_0000000000000000" });
      const told: string[] = [];
      for (let i = 0; i < banThreshold + 6; i++) told.push((await failure(connect(gateway, wrong, own))).message);
      const seconds = told.slice(banThreshold).map((text) => Number(/repeated failed auth attempts, retry in (\d+)s$/.exec(text)?.[1]));
      expect(told.filter((text) => text.startsWith("password authentication failed"))).toHaveLength(banThreshold);
      expect(seconds).toEqual([...seconds].sort((a, b) => b - a));
      expect(seconds[0]).toBeLessThanOrEqual(60);
      const { body } = await fleet.api("GET", "/bans");
      expect([body.count, await metric("tenantry_bans")]).toEqual([1, 1]);
      expect((await fleet.api("DELETE", `/bans/${body.bans[0].ip}`)).status).toBe(200);
      for (let i = 0; i < 6; i++) await (await connect(gateway, inClear(wayne), own)).end();
    });

    it("count the places of a database together", async () => {
      const told = ["53300", `too many connections for database "myapp__small" (max_connections = ${placesOfSmall})`];
      const clients = [...(await onBoth(small)), await connectAt(0, small)];
      for (let i = 0; i < 4; i++) expect(await refused(small)).toEqual(told);
      await clients.pop()?.end();
      clients.push(await connectAt(1, small));
      await endAll(clients);
    });

    it("lend each other room for backends, close each other's idle ones, and never have more than the budget", async () => {
      const clients: pg.Client[] = [];
      const open = async () =>
        (await metric('tenantry_pool_connections{cluster="main",state="open"}')) +
        (await metric('tenantry_pool_connections{cluster="main",state="closing"}'));
      for (let i = 0; i < budget; i++) clients.push(await connectAt(0, i % 2 ? wayne : fleet.tenant("globex")));
      expect(await open()).toBeLessThanOrEqual(budget);
      const waits = fleet.tenant("acme");
      const waiting = Promise.all(Array.from({ length: 4 }, () => connect(gateway, inClear(waits), from(nextAddress()))));
      await until(async () => (await metric('tenantry_pool_connections{cluster="main",state="waiting"}')) === 4);
      expect(await open()).toBe(budget);
      await endAll(clients.splice(0, 4));
      clients.push(...(await waiting));
      expect(await open()).toBeLessThanOrEqual(budget);
      await endAll(clients);
    });

    it("pass a cancel request on to the worker whose session it is", async () => {
      const observer = await connect(gateway, inClear(wayne), from(nextAddress()));
      for (const client of await onBoth(wayne)) {
        const own = await placeOf(client);
        const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
        const running = failure(client.query("SELECT pg_sleep(600)"));
        // PostgreSQL itself must have begun: it ignores a request that comes before.
        const begun = "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        await until(async () => (await observer.query(begun, [processID])).rowCount === 1);
        let socket = await openSocket(pgPort(), nextAddress());
        while ((await workerOf(gateway, socket)) === own) {
          socket.destroy();
          socket = await openSocket(pgPort(), nextAddress());
        }
        socket.end(cancelRequest(processID, secretKey));
        expect((await running).code).toBe("57014");
        await client.end();
      }
      await observer.end();
    });

    it.each(["MySQL", "MongoDB", "Redis"] as const)("redirect clients of %s on both", async (engine) => {
      const name = `shop_${engine.toLowerCase()}`;
      const made = await fleet.api("POST", "/workspaces", { name, database: engine, redirect_to: "db.example:1234" });
      const { user, password } = fleet.project();
      const port = made.body.connection.port as number;
      const places = new Set<number>();
      await until(async () => {
        const socket = await openSocket(port, nextAddress());
        places.add(await workerOf(gateway, socket));
        socket.destroy();
        return places.size === 2;
      });
      const told = await redirectClients[engine]({ port, user, password, database: `${name}_workspace`, tls: { ca: fleet.ca } });
      expect(told).toContain("Connect to it directly at db.example:1234");
    });

    it("count connections and wrong passwords of all listeners together, and ban on all", async () => {
      const own = nextAddress();
      const { body: cache } = await fleet.api("POST", "/workspaces", { name: "cache", database: "Redis", redirect_to: "db.example:1234" });
      const { port } = cache.connection;
      const sockets: Socket[] = [];
      for (let i = 0; i < placesPerAddress; i++) sockets.push(await openSocket(i % 2 ? port : pgPort(), own));
      await until(async () => (await metric('tenantry_sessions{state="login"}')) === placesPerAddress);
      const limit = `too many connections from your IP (limit ${placesPerAddress})`;
      expect((await refused(wayne, own))[1]).toContain(limit);
      expect(await authenticate(port, own, "cache", fleet.project().password)).toContain(limit);
      for (const socket of sockets) socket.destroy();
      await until(async () => (await metric('tenantry_sessions{state="login"}')) === 0);
      for (let i = 0; i < banThreshold; i++) expect(await authenticate(port, own, "cache", "tdb_0000000000000000")).toContain("-WRONGPASS");
      const banned = "your IP is temporarily rate-limited after repeated failed auth attempts";
      for (let i = 0; i < 4; i++) {
        expect((await refused(wayne, own))[1]).toContain(banned);
        expect(await authenticate(port, own, "cache", fleet.project().password)).toContain(banned);
      }
      expect((await fleet.api("DELETE", `/bans/${own}`)).status).toBe(200);
      for (let i = 0; i < 4; i++) expect(await authenticate(port, own, "cache", fleet.project().password)).toContain("-NOPERM");
    });

    it("deploy under the clients of both, and end the sessions of both when a tenant is suspended", async () => {
      const clients = await onBoth(fleet.tenant("globex"));
      const look = (client: pg.Client) => client.query({ name: "all", text: "SELECT * FROM accounts LIMIT 0" });
      for (const client of clients) await look(client);
      const workspace = await connect(gateway, inClear(fleet.project()), from(nextAddress()));
      await workspace.query("ALTER TABLE accounts ADD COLUMN by_workers int");
      await workspace.end();
      const { body } = await fleet.api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
      expect(body.deployment?.status ?? body.status).toBe("done");
      for (const client of clients) await until(async () => (await look(client)).fields.some(({ name }) => name === "by_workers"));
      const ends = clients.map(ending);
      await fleet.api("POST", "/tenants/globex/suspend");
      for (const end of await Promise.all(ends)) expect(end.message).toBe('terminating connection: tenant "globex" is suspended');
      await fleet.api("POST", "/tenants/globex/resume");
    });

    it("take a new configuration into force on both", async () => {
      await fleet.reload({ tls: { required: "always" } });
      for (let i = 0; i < 6; i++) {
        const [code] = await refused(wayne);
        expect(code).toBe("28000");
      }
      await fleet.reload({});
      await endAll(await onBoth(wayne));
    });

    it("one that dies is started again, and what it had is free", async () => {
      const own = nextAddress();
      const sockets: Socket[] = [];
      const clients = [await connectAt(1, small), await connectAt(0, small), await connectAt(0, small)];
      for (let i = 0; i < placesPerAddress; i++) sockets.push(await openSocket(pgPort(), own));
      const lost = clients.slice(1).map((client) => new Promise<void>((done) => client.once("end", done)));
      const [dead] = workerPids(gateway);
      process.kill(dead as number, "SIGKILL");
      await Promise.all(lost);
      await until(() => workerPids(gateway)[0] !== dead, gateway.errors);
      expect(gateway.errors()).toContain("worker ended, another one is started in its place");
      expect((await clients[0]?.query("SELECT 1 AS one"))?.rows).toEqual([{ one: 1 }]);
      const again = await onBoth(small);
      expect((await refused(small))[1]).toContain(`max_connections = ${placesOfSmall}`);
      expect(await metric("tenantry_worker_restarts_total")).toBe(1);
      for (const socket of sockets) socket.destroy();
      await endAll([clients[0] as pg.Client, ...again]);
    });

    it("end when the gateway is killed", async () => {
      const pids = workerPids(gateway);
      const server = Number((await readFile(join(gateway.dataDir, "postgres/postmaster.pid"), "utf8")).split("\n")[0]);
      const client = await connectAt(0, wayne);
      const lost = new Promise<void>((done) => client.once("end", done));
      await gateway.stop("SIGKILL");
      await lost;
      await until(() => pids.filter(isAlive).length === 0);
      process.kill(server, "SIGQUIT");
      await until(() => !isAlive(server));
    });

    it("let transactions end when the gateway is told to stop, and end with it", async () => {
      gateway = await startGateway({ runtime, dataDir: gateway.dataDir, args: flags });
      const clients = await onBoth(wayne);
      for (const client of clients) await client.query("BEGIN");
      const ends = clients.map(ending);
      const pids = workerPids(gateway);
      const stopped = gateway.stop();
      await until(() => gateway.errors().includes('"event":"stopping"'));
      for (const client of clients) await client.query("COMMIT");
      for (const end of await Promise.all(ends)) expect(end).toMatchObject({ code: "57P01" });
      expect([await stopped, pids.filter(isAlive)]).toEqual([0, []]);
    }, 120_000);
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A connection that says nothing yet. */
async function openSocket(port: number, localAddress: string): Promise<Socket> {
  const socket = dial({ host: "127.0.0.1", port, localAddress });
  socket.on("error", () => undefined); // the gateway may end it
  await once(socket, "connect");
  return socket;
}

/** A password for Redis's listener, in clear, and a command behind it. @returns what it says of both until it closes. */
async function authenticate(port: number, localAddress: string, user: string, password: string): Promise<string> {
  const socket = await openSocket(port, localAddress);
  socket.write(Buffer.concat([respCommand("AUTH", user, password), respCommand("GET", "key"), respCommand("QUIT")]));
  let said = "";
  for await (const chunk of socket) said += chunk;
  return said;
}

/** @returns what a login is refused with, empty where it is not. */
async function openings(gateway: GatewayProcess, localAddress: string, target: Target): Promise<string> {
  return await connect(gateway, { ...target, sslmode: "disable" }, from(localAddress)).then(
    (client) => client.end().then(() => ""),
    (error: Error) => error.message,
  );
}

function cancelRequest(pid: number, secret: number): Uint8Array {
  const packet = Buffer.alloc(16);
  packet.writeInt32BE(16, 0);
  packet.writeInt32BE(80877102, 4);
  packet.writeInt32BE(pid, 8);
  packet.writeInt32BE(secret, 12);
  return packet;
}
