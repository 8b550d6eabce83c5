/** Clients behind a load balancer that speaks the PROXY protocol: their own addresses decide about TLS, bans and logs. */
import { readFile } from "node:fs/promises";
import { createConnection } from "mysql2/promise";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Balancer, balancerAddress, binaryHeader, exchange, localHeader, startBalancer, textHeader } from "./support/balancer.ts";
import { connect, psql, refusal, type Target } from "./support/clients.ts";
import { anyPorts, type GatewayProcess, startGateway } from "./support/gateway.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

const workspaceBody = JSON.stringify({ name: "myapp", database: "PostgreSQL" });

describe.for(["node", "deno", "bun"] as const)("behind a load balancer, under %s", (runtime) => {
  let gateway: GatewayProcess;
  let balancers: Balancer[];
  let target: Target;

  beforeAll(async () => {
    gateway = await startGateway({ runtime, args: [...anyPorts, `--ip-proxy-protocol-from=${balancerAddress}/32`, "--auth-ban-threshold=3"] });
    const { api_url, api_key, project_id, proxy_password, pg_port } = gateway.credentials;
    const headers = { authorization: `Bearer ${api_key}`, "content-type": "application/json" };
    const made = await fetch(`${api_url}/workspaces`, { method: "POST", headers, body: workspaceBody });
    expect(made.status).toBe(201);
    target = { user: project_id, password: proxy_password, database: "myapp_workspace" };
    balancers = await Promise.all([startBalancer(pg_port, true), startBalancer(pg_port, false)]);
  });

  afterAll(async () => {
    await Promise.all((balancers ?? []).map((each) => each.close()));
    await gateway?.dispose();
  });

  /** The gateway as clients of a balancer see it. */
  function through(index: number, header: Uint8Array): GatewayProcess {
    const balancer = balancers[index]!;
    balancer.header = header;
    return { ...gateway, credentials: { ...gateway.credentials, pg_port: balancer.port } };
  }

  it("psql and node-postgres log in over verified TLS, with both versions, glued to the first bytes and apart", async () => {
    for (const index of [0, 1]) {
      for (const header of [textHeader("203.0.113.1"), binaryHeader("203.0.113.1"), localHeader]) {
        expect(await psql(through(index, header), target, "SELECT 41 + 1")).toMatchObject({ stdout: "42\n", stderr: "" });
        const client = await connect(through(index, header), target);
        expect((await client.query("SELECT repeat('x', 300000) AS x")).rows[0].x).toHaveLength(300_000);
        await client.end();
      }
    }
  });

  it("TLS from the first byte, which comes with the header", async () => {
    const { credentials } = through(0, binaryHeader("203.0.113.1"));
    const wire = await Wire.dial({ port: credentials.pg_port, tls: { ca: await readFile(credentials.ca_file, "utf8"), direct: true } });
    expect(wire).toBeInstanceOf(Wire);
    wire.end();
  });

  it("a client from afar must use TLS although its balancer is on loopback; the balancer's own connections need not", async () => {
    const clear = { ...target, sslmode: "disable" } as const;
    expect(await refusal(connect(through(0, textHeader("203.0.113.2")), clear))).toEqual(["28000", "TLS is required: connect with sslmode=require"]);
    await (await connect(through(0, localHeader), clear)).end();
    await (await connect(gateway, clear)).end();
  });

  it("bans the client, not its balancer, on PostgreSQL, MySQL and Redis listeners", async () => {
    const banned = "203.0.113.3";
    const wrong = { ...target, password: "tdb_0000000000000000" };
    for (let i = 0; i < 3; i++) expect((await refusal(connect(through(0, textHeader(banned)), wrong)))[0]).toBe("28P01");
    expect((await refusal(connect(through(1, binaryHeader(banned)), target)))[1]).toMatch(/^connection rejected: your IP is temporarily/);
    await (await connect(through(1, binaryHeader("203.0.113.4")), target)).end();
    await (await connect(gateway, target)).end();
    await until(
      () => new RegExp(`"address banned".*"address":"${banned}"|"address":"${banned}".*"address banned"`).test(gateway.errors()),
      gateway.errors,
    );
    const port = (engine: string) => Number(new RegExp(`^ *${engine} +\\S+:(\\d+)$`, "m").exec(gateway.output())?.[1]);
    const rejected = (text: string) => text.includes("connection rejected");
    const mysql = await startBalancer(port("MySQL"), false);
    mysql.header = binaryHeader(banned);
    const { user, password } = target;
    await expect(createConnection({ host: "127.0.0.1", port: mysql.port, user, password })).rejects.toThrow("connection rejected");
    await mysql.close();
    const ping = Buffer.concat([textHeader(banned), Buffer.from("PING\r\n")]);
    expect(await exchange(port("Redis"), ping, balancerAddress, rejected)).toContain("connection rejected");
  });

  it("closes a balancer's connection without a header, unanswered", async () => {
    const sslRequest = Buffer.from("0000000804d2162f", "hex");
    expect(await exchange(gateway.credentials.pg_port, sslRequest, balancerAddress)).toBe("");
  });

  it("refuses a header from anybody else as a wrong protocol, believing nothing of it", async () => {
    for (const header of [textHeader("203.0.113.5"), binaryHeader("203.0.113.5")]) {
      expect(await exchange(gateway.credentials.pg_port, header, "127.0.0.3")).toBe("");
    }
    await until(() => gateway.errors().split("this client speaks PROXY").length === 3, gateway.errors);
    expect(gateway.errors()).not.toContain("203.0.113.5");
  });
});
