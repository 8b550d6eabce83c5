/** Two gateways over one redis-server: a ban on one holds on the other; while Redis is away both go on, and say so once. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasRedis, type RedisProcess, startRedis } from "../support/redis.ts";
import { connect, from, refusal, type Target } from "./support/clients.ts";
import { anyPorts, type GatewayProcess, startGateway } from "./support/gateway.ts";
import { until } from "./support/until.ts";

describe.skipIf(!hasRedis)("two gateways that share limits (skipped where redis-server is missing)", () => {
  let redis: RedisProcess;
  let gateways: GatewayProcess[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    const args = [...anyPorts, `--redis-url=${redis.url}`, "--auth-ban-threshold=3"];
    gateways = await Promise.all((["node", "bun"] as const).map((runtime) => startGateway({ runtime, args })));
  });

  afterAll(async () => {
    await Promise.all(gateways.map((each) => each.dispose()));
    await redis?.kill();
  });

  const times = (gateway: GatewayProcess, event: string) => gateway.errors().split(event).length - 1;
  const untilShared = (round: number) =>
    until(() => gateways.every((each) => times(each, "limits and bans are shared by redis_url") === round), gateways[0]!.errors);
  const told = async (gateway: GatewayProcess, address: string, password = "tdb_0000000000000000") => {
    const target: Target = { user: gateway.credentials.project_id, password, database: "nowhere_workspace" };
    return (await refusal(connect(gateway, target, from(address))))[1];
  };
  /** What the operator sees of it: the metric, and the warnings of readiness. */
  const shown = async (gateway: GatewayProcess) => {
    const { api_url } = gateway.credentials;
    const metrics = await (await fetch(`${api_url}/metrics`)).text();
    const { warnings } = (await (await fetch(`${api_url}/ready`)).json()) as { warnings: string[] };
    return [/^tenantry_limits_shared (\d)$/m.exec(metrics)?.[1], warnings.filter((warning) => warning.includes("redis_url")).length];
  };
  const banned = /^connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in ([1-9]|[1-5]\d|60)s$/;

  it("share a ban, whose failures were spread", async () => {
    await untilShared(1);
    for (const gateway of gateways) expect(await shown(gateway)).toEqual(["1", 0]);
    const [a, b] = gateways as [GatewayProcess, GatewayProcess];
    for (const gateway of [a, b, a]) expect(await told(gateway, "127.0.0.21")).toMatch(/^password authentication failed/);
    await until(async () => banned.test(await told(a, "127.0.0.21")));
    expect(await told(b, "127.0.0.21", b.credentials.proxy_password)).toMatch(banned);
    expect(await told(b, "127.0.0.22")).toMatch(/^password authentication failed/);
  });

  it("go on alone while Redis is away, warning once, and together when it is back", async () => {
    const [a, b] = gateways as [GatewayProcess, GatewayProcess];
    await redis.kill();
    await until(() => gateways.every((each) => times(each, "redis_url does not answer") === 1));
    for (const gateway of gateways) expect(await shown(gateway)).toEqual(["0", 1]);
    for (let i = 0; i < 3; i++) expect(await told(a, "127.0.0.23")).toMatch(/^password authentication failed/);
    expect(await told(a, "127.0.0.23")).toMatch(banned);
    expect(await told(b, "127.0.0.23")).toMatch(/^password authentication failed/);
    await redis.start();
    await untilShared(2);
    for (let i = 0; i < 3; i++) await told(b, "127.0.0.24");
    await until(async () => banned.test(await told(a, "127.0.0.24", a.credentials.proxy_password)));
    expect(gateways.map((each) => times(each, "redis_url does not answer"))).toEqual([1, 1]);
  });
});
