/** Clients of every protocol on the ports of the others, on every runtime: what each user sees. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EngineName } from "../../core/model.ts";
import { mongoClients } from "../drivers/mongodb/clients.ts";
import { mysqlClients } from "../drivers/mysql/clients.ts";
import { redisClients } from "../drivers/redis/clients.ts";
import { anyPorts, type GatewayProcess, type RuntimeUnderTest, run, startGateway } from "./support/gateway.ts";
import { until } from "./support/until.ts";

type Ports = Readonly<Record<EngineName, number>>;

/** Long, because a busy machine may let a client make its TLS settings after it has connected. */
const greetingDelayMs = 2000;
/** Short, because MySQL's clients are only answered when it is over. */
const loginTimeoutMs = 5000;
const engines = ["PostgreSQL", "MySQL", "MongoDB", "Redis"] as const satisfies readonly EngineName[];
const others = (own: EngineName) => engines.filter((engine) => engine !== own);

/** Where the gateway says it listens. */
function readPorts(output: string): Ports {
  const port = (engine: EngineName) => Number(new RegExp(`^ *${engine} +\\S+:(\\d+)`, "m").exec(output)?.[1]);
  return { PostgreSQL: port("PostgreSQL"), MySQL: port("MySQL"), MongoDB: port("MongoDB"), Redis: port("Redis") };
}

/** Sends bytes, or none, and reads until the gateway closes. */
function exchange(port: number, bytes: string): Promise<Buffer> {
  return new Promise((ended, failed) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => {
      if (bytes !== "") socket.write(bytes);
    });
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", failed);
    socket.on("close", () => ended(Buffer.concat(chunks)));
  });
}

describe.each<RuntimeUnderTest>(["node", "deno", "bun"])("clients on the wrong port, on %s", (runtime) => {
  let gateway: GatewayProcess;
  let ports: Ports;
  const told = (here: EngineName, spoken: EngineName) => `this is the ${here} port; connect to ${spoken} on port ${ports[spoken]}`;

  beforeAll(async () => {
    const args = [...anyPorts, `--login-timeout-ms=${loginTimeoutMs}`, `--mysql-greeting-delay-ms=${greetingDelayMs}`];
    gateway = await startGateway({ runtime, args });
    ports = readPorts(gateway.output());
  }, 120_000);

  afterAll(() => gateway?.dispose());

  describe.each(others("PostgreSQL"))("psql on the %s port", (here) => {
    it.each(["disable", "prefer", "require", "verify-full"])("with sslmode=%s", async (sslmode) => {
      const connection = `host=localhost port=${ports[here]} user=u dbname=d sslmode=${sslmode} sslrootcert=${gateway.credentials.ca_file}`;
      const { stderr, code } = await run("psql", [connection, "-c", "SELECT 1"], { PGPASSWORD: "x", HOME: "/nonexistent" });
      expect(stderr).toContain(`FATAL:  ${told(here, "PostgreSQL")}`);
      expect(code).toBe(2);
    });
  });

  describe.each(others("Redis"))("Redis's clients on the %s port", (here) => {
    it.for(redisClients)("$name", async (client, { skip }) => {
      if ((await client.prepare()) !== undefined) skip("its toolchain is missing");
      const server = { port: ports[here], caFile: gateway.credentials.ca_file };
      const seen = await client.run(
        server,
        [true, false].map((tls) => ({ user: "u", password: "p", tls })),
      );
      expect(seen).toEqual(Array(2).fill(client.shown("NOPERM", told(here, "Redis"))));
    });
  });

  describe.each(others("MongoDB"))("MongoDB's clients on the %s port", (here) => {
    it.for(mongoClients.filter(({ name }) => /mongodb \(|pymongo/.test(name)))("$name", async (client, { skip }) => {
      if ((await client.prepare()) !== undefined) skip("its toolchain is missing");
      const at = `mongodb://u:p@localhost:${ports[here]}/x?serverSelectionTimeoutMS=20000`;
      const tls = `&tls=true&tlsCAFile=${encodeURIComponent(gateway.credentials.ca_file)}`;
      const seen = await client.run([at, `${at}${tls}`, `${at}${tls}&authMechanism=PLAIN&authSource=$external`], gateway.credentials.ca_file);
      for (const text of seen) expect(text).toContain(told(here, "MongoDB"));
    });
  });

  describe.each(engines)("web clients on the %s port", (here) => {
    it.each(["http", "https"])("curl by %s", async (scheme) => {
      const url = `${scheme}://localhost:${ports[here]}/health`;
      const { stdout } = await run("curl", ["-s", "-w", "%{http_code}", "--cacert", gateway.credentials.ca_file, url]);
      const list = engines.map((engine) => `${engine} on port ${ports[engine]}`).join(", ");
      expect(stdout).toBe(`this is the ${here} port, which does not speak HTTP; connect to ${list}. The management API has a port of its own\n400`);
    });
  });

  describe.each(["MongoDB", "Redis"] as const)("MySQL's clients, who wait to be greeted, on the %s port", (here) => {
    it.for(mysqlClients.filter(({ name }) => /mysql2 \(Node|mariadb CLI|PyMySQL/.test(name)))("$name", async (client, { skip }) => {
      if ((await client.prepare()) !== undefined) skip("its toolchain is missing");
      const server = { port: ports[here], user: "u", caFile: gateway.credentials.ca_file };
      const [text] = await client.run(server, [{ password: "p", database: "d", tls: false }]);
      expect(text).toContain(told(here, "MySQL"));
    });
  });

  it("closes a silent client at the login timeout, with a line in the log that says what it may be", async () => {
    await Promise.all([ports.PostgreSQL, ports.MongoDB, ports.Redis].map((port) => exchange(port, "")));
    const says = (text: string) => () => gateway.errors().includes(text);
    await until(says("the client sent nothing, as a MySQL client does that waits for the server to speak first"));
    for (const here of ["MongoDB", "Redis"]) await until(says(`as a MySQL client does that waits for the ${here} port to greet it`));
  });

  it("closes what it does not know without a word, and logs it", async () => {
    for (const here of engines) {
      expect((await exchange(ports[here], "SSH-2.0-OpenSSH_9.2\r\n")).length).toBe(0);
      await until(() => gateway.errors().includes(`an SSH client came to the ${here} port`));
    }
  });

  it("is none the worse for it", async () => {
    const log = gateway.errors();
    expect(log.split("\n").filter((line) => line.includes('"level":"error"') || line.includes("internal error"))).toEqual([]);
  });
});
