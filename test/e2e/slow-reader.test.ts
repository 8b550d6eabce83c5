/** A client that stops reading in the middle of a large result, under each runtime: its connection and its query go, others stay. */
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { connect, ending, type Target } from "./support/clients.ts";
import { startGateway } from "./support/gateway.ts";
import { until } from "./support/until.ts";

describe.for(["node", "deno", "bun"] as const)("a slow reader, under %s", (runtime) => {
  it("is disconnected, its query gone from the server", async () => {
    const gateway = await startGateway({ runtime, args: ["--slow-reader-timeout-s=1"] });
    try {
      const { api_url, api_key, project_id, proxy_password } = gateway.credentials;
      const headers = { authorization: `Bearer ${api_key}`, "content-type": "application/json" };
      const body = JSON.stringify({ name: "myapp", database: "PostgreSQL" });
      expect((await fetch(`${api_url}/workspaces`, { method: "POST", headers, body })).status).toBe(201);
      const target: Target = { user: project_id, password: proxy_password, database: "myapp_workspace" };
      const watching = await connect(gateway, target);
      const slow = await connect(gateway, target);
      const { stream } = (slow as unknown as { connection: { stream: Socket } }).connection;
      const running = async () => {
        const { rows } = await watching.query(
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'SELECT repeat%' AND state = 'active'",
        );
        return rows[0].n as number;
      };
      const ended = ending(slow);
      const query = slow.query("SELECT repeat('x', 100000) FROM generate_series(1, 100000)").catch(() => undefined);
      stream.pause();
      await until(async () => (await running()) === 1);
      await until(async () => (await running()) === 0);
      await until(() => gateway.errors().includes("the client accepted nothing for slow_reader_timeout_s (1)"), gateway.errors);
      stream.resume();
      await ended;
      await query;
      expect((await watching.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      await watching.end();
    } finally {
      await gateway.dispose();
    }
  });
});
