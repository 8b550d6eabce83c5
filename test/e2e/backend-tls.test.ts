/** The gateway's own connections to a server over the network: encrypted, the server's certificate and name checked, nothing said to an impostor. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect as connectTcp, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PostgresServer, startPostgres } from "../../bench/stage/postgres.ts";
import { systemClock } from "../../core/clock.ts";
import { chooseServerUser, prepareDataDir } from "../../gateway/embedded/directories.ts";
import { ensureCertificates } from "../../gateway/tls/certificates.ts";
import { makeApi } from "./support/api.ts";
import { connect, refusal } from "./support/clients.ts";
import { startGateway } from "./support/gateway.ts";

describe("TLS to the database server", () => {
  let dir: string;
  let server: PostgresServer;
  const servers: Server[] = [];
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "tdb-backend-tls-"));
    const user = await chooseServerUser();
    await prepareDataDir(dir, user);
    server = await startPostgres(dir, user);
  }, 180_000);
  afterAll(async () => {
    for (const each of servers) each.close();
    await server?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const url = (host: string, port: number, database: string, ca = join(dir, "ca/ca.crt")) =>
    `postgresql://${server.user}:${server.password}@${host}:${port}/${database}?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`;

  async function makeDatabase(name: string): Promise<string> {
    const admin = await server.connect("postgres");
    await admin.query(`CREATE DATABASE ${name}`).finally(() => admin.end());
    return name;
  }

  /** Passes connections on to `port()`, from an address and port of its own. */
  async function forward(host: string, port: () => number): Promise<number> {
    const forwarder = createServer((from) => {
      const to = connectTcp({ host: "127.0.0.1", port: port() });
      from.pipe(to).pipe(from);
      for (const socket of [from, to]) socket.on("error", () => [from, to].map((each) => each.destroy()));
    });
    servers.push(forwarder);
    forwarder.listen(0, host);
    await once(forwarder, "listening");
    return (forwarder.address() as AddressInfo).port;
  }

  it("every connection is encrypted: control plane, store and clients' backends", async () => {
    const database = await makeDatabase("store_good");
    const gateway = await startGateway({ runtime: "node", args: ["--database-url", url("127.0.0.1", server.port, database)] });
    try {
      const { api_url, api_key, project_id: user, proxy_password: password } = gateway.credentials;
      await makeApi(api_url, api_key)("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const client = await connect(gateway, { user, password, database: "myapp_workspace" });
      expect((await client.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).rows).toEqual([{ ssl: true }]);
      const admin = await server.connect("postgres");
      const { rows } = await admin.query(
        "SELECT ssl, count(*)::int AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY ssl",
      );
      expect(rows).toEqual([{ ssl: true, n: expect.any(Number) }]);
      await admin.end();
      await client.end();
    } finally {
      await gateway.dispose();
    }
  }, 120_000);

  it("an unknown authority and another host's name are refused at the start", async () => {
    const database = await makeDatabase("store_refused");
    const other = await ensureCertificates({ dir: join(dir, "other"), names: [], clock: systemClock });
    const start = (at: string) => startGateway({ runtime: "node", args: ["--database-url", at] });
    await expect(start(url("127.0.0.1", server.port, database, other.caFile))).rejects.toThrow(/cannot be used: .*(certificate|verify|signed)/i);
    const elsewhere = await forward("127.0.0.3", () => server.port);
    await expect(start(url("127.0.0.3", elsewhere, database))).rejects.toThrow(/cannot be used: .*(127\.0\.0\.3|altnames|not match)/i);
  }, 120_000);

  it("an impostor that takes the server's place is told nothing, and the client only that the server is not reachable", async () => {
    const database = await makeDatabase("store_impostor");
    const heard: Buffer[] = [];
    const { certPem: cert, keyPem: key } = await ensureCertificates({ dir: join(dir, "impostor"), names: [], clock: systemClock });
    const impostor = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => {
        socket.write("S");
        const secure = new TLSSocket(socket, { isServer: true, cert, key });
        secure.on("data", (chunk: Buffer) => heard.push(chunk));
        secure.on("error", () => undefined);
      });
    });
    servers.push(impostor);
    impostor.listen(0, "127.0.0.1");
    await once(impostor, "listening");
    let port = server.port;
    const between = await forward("127.0.0.1", () => port);
    const gateway = await startGateway({ runtime: "node", args: ["--database-url", url("127.0.0.1", between, database)] });
    try {
      const { api_url, api_key, project_id: user, proxy_password: password } = gateway.credentials;
      await makeApi(api_url, api_key)("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const target = { user, password, database: "myapp_workspace" };
      const before = await connect(gateway, target);
      port = (impostor.address() as AddressInfo).port;
      expect(await refusal(connect(gateway, target))).toEqual(["08006", 'database server for "myapp_workspace" is not reachable']);
      expect(Buffer.concat(heard).length).toBe(0);
      port = server.port;
      await before.end();
      await (await connect(gateway, target)).end();
    } finally {
      await gateway.dispose();
    }
  }, 120_000);
});
